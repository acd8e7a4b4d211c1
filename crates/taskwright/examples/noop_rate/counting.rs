//! A store that gives a number of no-op jobs and counts their ends. It keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright::core::audit::{Behalf, Entry, Link};
use taskwright::core::sight::Sight;
use taskwright::core::token::SecretHash;
use taskwright::core::{
    Attachment, AttachmentName, CancelPolicy, EventId, Fingerprint, GeneratorName, ProcessId, ScheduleName,
    State, TokenId, TokenName, Topic, UserName, Verdict,
};
use taskwright::store::{
    Attached, AttachmentStore, AttachmentView, AuditEnds, AuditFilter, AuditPage, AuditStore, BulkStore,
    Change, Changed, Claim, Claimed, ClaimedJob, Collect, CollectStore, Collected, Counters, DeliveryView,
    DueSchedules, EndedItem, Enqueued, EventKey, EventStore, ExecutionFilter, ExecutionPage, Executions,
    Fence, Filter, Finish, FiringView, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite,
    HistoryStore, IdentityStore, ItemsEnded, JobDetail, JobKey, JobOrigin, Kept, KnownFile, Listening,
    ListeningGenerator, LogChunk, LogEntry, LogPage, MovePlace, MoveStore, Moves, NewBulk, NewEvent,
    NewGenerator, NewSession, NewStep, NewToken, NewUser, NewWebhook, NewWorker, Order, Page, Paged,
    ProcessPlace, ProgressReport, Promoted, QueueView, ReadLog, Reclaimed, Registration, Reply, RequestKey,
    Requested, RetrySet, RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp, RowsAfter,
    ScheduleKey, ScheduleStore, ScheduleWrite, Seen, ServiceRecord, ServiceStore, ServiceView, SessionView,
    SharedStore, Sighting, Signals, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView, StartMarks,
    Statistics, StepStore, StepView, Store, StoreInfo, StoredBulk, StoredEvent, StoredGenerator, StoredRetry,
    StoredSchedule, StoredSession, StoredToken, StoredUser, StoredWebhook, SubmitterStore, TableRows,
    TakeGenerators, TakenGenerators, UserWrite, WebhookStore, WebhookWrite, Whose, WorkerView, Written,
};
use taskwright::{
    Actor, Args, Delivery, JobId, Kind, MaxAttempts, Namespace, NewJob, Owner, Priority, QueueName,
    Timestamp, WorkerId,
};
use tokio::sync::watch;

/// See the [module](self).
pub(crate) struct CountingStore {
    left: AtomicU64,
    kind: Kind,
    args: Args,
    hints: watch::Sender<u64>,
}

impl CountingStore {
    pub(crate) fn new(jobs: u64) -> Self {
        Self {
            left: AtomicU64::new(jobs),
            kind: Kind::new("noop").unwrap(),
            args: Args::default(),
            hints: watch::Sender::new(0),
        }
    }

    /// With these arguments for each.
    #[allow(dead_code, reason = "the example has none")]
    pub(crate) fn args(self, args: Args) -> Self {
        Self { args, ..self }
    }

    fn take(&self, claim: &Claim) -> Vec<ClaimedJob> {
        let left = self.left.load(Ordering::Relaxed);
        let taken = left.min(claim.limit as u64);
        self.left.store(left - taken, Ordering::Relaxed);
        (0..taken).map(|number| self.job(claim, left - number)).collect()
    }

    fn job(&self, claim: &Claim, number: u64) -> ClaimedJob {
        ClaimedJob {
            key: JobKey(number as i64),
            id: JobId::from_parts(number, [0; 10]),
            attempt: 1,
            namespace: Namespace::default(),
            owner: None,
            kind: self.kind.clone(),
            queue: QueueName::default(),
            priority: Priority::default(),
            args: self.args.clone(),
            created_at: claim.now,
            claimed_at: claim.now,
            max_attempts: MaxAttempts::default(),
            backoff: None,
            timeout: None,
            delivery: Delivery::default(),
        }
    }
}

struct NoMarks;

impl StartMarks for NoMarks {
    fn started(&self, _: JobKey, _: u32) {}
}

fn reply<'a, T: Send + 'a>(value: T) -> Reply<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl ScheduleStore for CountingStore {
    fn write_schedules(&self, _: Timestamp, _: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        reply(Vec::new())
    }

    fn due_schedules(&self, _: Timestamp, _: usize) -> Reply<'_, DueSchedules> {
        reply(DueSchedules::default())
    }

    fn schedule(&self, _: Namespace, _: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        reply(None)
    }

    fn schedules(
        &self,
        _: Option<Namespace>,
        _: Option<ScheduleKey>,
        _: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        reply(Vec::new())
    }

    fn remove_schedule(&self, _: ScheduleKey) -> Reply<'_, bool> {
        reply(false)
    }

    fn firings(&self, _: ScheduleKey, _: Option<u64>, _: usize) -> Reply<'_, Vec<FiringView>> {
        reply(Vec::new())
    }

    fn origins(&self, _: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        reply(Vec::new())
    }

    fn states(&self, _: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        reply(Vec::new())
    }
}

impl EventStore for CountingStore {
    fn emit(&self, _: Timestamp, _: Vec<NewEvent>) -> Reply<'_, ()> {
        reply(())
    }

    fn undelivered(&self, _: usize) -> Reply<'_, Vec<StoredEvent>> {
        reply(Vec::new())
    }

    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>> {
        reply(Vec::new())
    }

    fn deliver(&self, _: Timestamp, _: Vec<EventKey>, _: Vec<ScheduleWrite>) -> Reply<'_, bool> {
        reply(true)
    }

    fn events(
        &self,
        _: Option<Namespace>,
        _: Option<Topic>,
        _: Option<EventKey>,
        _: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        reply(Vec::new())
    }
}

impl SourceStore for CountingStore {
    fn open_source(&self, _: Timestamp, _: SourcePlace) -> Reply<'_, SourceKey> {
        reply(SourceKey(1))
    }

    fn seen_of(&self, _: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>> {
        reply(vec![None; paths.len()])
    }

    fn seen(&self, _: SourceKey, _: Option<String>, _: usize) -> Reply<'_, Vec<(String, Fingerprint)>> {
        reply(Vec::new())
    }

    fn see(&self, _: Timestamp, _: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>> {
        reply(vec![true; sightings.len()])
    }

    fn note_source(&self, _: Timestamp, _: SourceKey, _: SourceNote) -> Reply<'_, bool> {
        reply(true)
    }

    fn sources(&self, _: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        reply(Vec::new())
    }
}

impl BulkStore for CountingStore {
    fn create_bulk(&self, _: Timestamp, bulk: NewBulk) -> Reply<'_, Enqueued> {
        reply(Enqueued { id: bulk.parent.id, existing: false })
    }

    fn bulk(&self, _: JobId) -> Reply<'_, Option<StoredBulk>> {
        reply(None)
    }

    fn bulks(&self, _: Option<Namespace>, _: Option<JobKey>, _: usize) -> Reply<'_, Vec<StoredBulk>> {
        reply(Vec::new())
    }
}

impl GeneratorStore for CountingStore {
    fn put_generators(&self, _: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        reply(vec![false; generators.len()])
    }

    fn take_generators(&self, _: TakeGenerators) -> Reply<'_, TakenGenerators> {
        reply(TakenGenerators::default())
    }

    fn commit_generator(&self, _: Timestamp, _: GeneratorCommit) -> Reply<'_, bool> {
        reply(false)
    }

    fn write_generator(&self, _: Timestamp, _: GeneratorWrite) -> Reply<'_, bool> {
        reply(false)
    }

    fn notify_generator(&self, _: Timestamp, _: Namespace, _: GeneratorName) -> Reply<'_, bool> {
        reply(false)
    }

    fn renew_generator(&self, _: GeneratorKey, _: u64, _: Timestamp) -> Reply<'_, bool> {
        reply(false)
    }

    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>> {
        reply(Vec::new())
    }

    fn items_ended(&self, _: Timestamp, _: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>> {
        reply(Vec::new())
    }

    fn ended_items(&self, _: GeneratorKey, _: usize) -> Reply<'_, Vec<EndedItem>> {
        reply(Vec::new())
    }

    fn files_of(&self, _: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>> {
        reply(vec![None; paths.len()])
    }

    fn files(&self, _: GeneratorKey, _: Option<String>, _: usize) -> Reply<'_, Vec<(String, KnownFile)>> {
        reply(Vec::new())
    }

    fn rows_after(&self, _: RowsAfter) -> Reply<'_, TableRows> {
        reply(TableRows::default())
    }

    fn generator(&self, _: Namespace, _: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        reply(None)
    }

    fn generators(
        &self,
        _: Option<Namespace>,
        _: Option<GeneratorKey>,
        _: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        reply(Vec::new())
    }

    fn remove_generator(&self, _: GeneratorKey) -> Reply<'_, bool> {
        reply(false)
    }
}

impl WebhookStore for CountingStore {
    fn add_webhook(&self, _: Timestamp, _: NewWebhook) -> Reply<'_, bool> {
        reply(false)
    }

    fn write_webhook(&self, _: Timestamp, _: WebhookWrite) -> Reply<'_, bool> {
        reply(false)
    }

    fn remove_webhook(&self, _: Timestamp, _: GeneratorKey) -> Reply<'_, bool> {
        reply(false)
    }

    fn webhook(&self, _: Namespace, _: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        reply(None)
    }

    fn webhooks(
        &self,
        _: Option<Namespace>,
        _: Option<GeneratorKey>,
        _: usize,
    ) -> Reply<'_, Vec<StoredWebhook>> {
        reply(Vec::new())
    }

    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>> {
        reply(Vec::new())
    }

    fn wake_webhooks(&self, _: Timestamp, _: Vec<GeneratorKey>) -> Reply<'_, ()> {
        reply(())
    }

    fn log_head(&self) -> Reply<'_, i64> {
        reply(0)
    }

    fn read_log(&self, _: ReadLog) -> Reply<'_, LogPage> {
        reply(LogPage::default())
    }

    fn retries(&self, _: RetrySet, _: usize) -> Reply<'_, Vec<StoredRetry>> {
        reply(Vec::new())
    }

    fn retry_count(&self, _: RetrySet, _: usize) -> Reply<'_, usize> {
        reply(0)
    }

    fn waiting_keys(&self, _: RetrySet, _: Vec<String>) -> Reply<'_, Vec<String>> {
        reply(Vec::new())
    }

    fn redeliver(&self, _: Timestamp, _: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        reply(vec![false; events.len()])
    }

    fn deliveries(&self, _: GeneratorKey, _: Option<u64>, _: usize) -> Reply<'_, Vec<DeliveryView>> {
        reply(Vec::new())
    }
}

impl HistoryStore for CountingStore {
    fn executions(&self, _: ExecutionFilter, _: ExecutionPage) -> Reply<'_, Executions> {
        reply(Executions::default())
    }

    fn statistics(&self, _: ExecutionFilter, _: usize) -> Reply<'_, Statistics> {
        reply(Statistics::default())
    }
}

impl RollUpStore for CountingStore {
    fn roll_up(&self, _: usize) -> Reply<'_, RolledUp> {
        reply(RolledUp::default())
    }

    fn roll_ups(&self, _: RollUpFilter, _: Option<RollUpPlace>, _: usize) -> Reply<'_, RollUpPage> {
        reply(RollUpPage::default())
    }
}

impl CollectStore for CountingStore {
    fn collect(&self, _: Collect) -> Reply<'_, Collected> {
        reply(Collected::default())
    }
}

impl IdentityStore for CountingStore {
    fn has_principals(&self) -> Reply<'_, bool> {
        reply(false)
    }

    fn bootstrap(&self, _: Timestamp, _: NewToken) -> Reply<'_, bool> {
        reply(false)
    }

    fn add_token(&self, _: Timestamp, _: NewToken) -> Reply<'_, bool> {
        reply(false)
    }

    fn token(&self, _: SecretHash) -> Reply<'_, Option<StoredToken>> {
        reply(None)
    }

    fn token_named(&self, _: Option<Namespace>, _: TokenName) -> Reply<'_, Option<StoredToken>> {
        reply(None)
    }

    fn tokens(&self, _: Option<TokenId>, _: usize) -> Reply<'_, Vec<StoredToken>> {
        reply(Vec::new())
    }

    fn revoke_token(&self, _: Timestamp, _: TokenId) -> Reply<'_, Kept> {
        reply(Kept::Unknown)
    }

    fn touch_token(&self, _: Timestamp, _: TokenId) -> Reply<'_, ()> {
        reply(())
    }

    fn add_user(&self, _: Timestamp, _: NewUser) -> Reply<'_, bool> {
        reply(false)
    }

    fn user(&self, _: UserName) -> Reply<'_, Option<StoredUser>> {
        reply(None)
    }

    fn users(&self, _: Option<UserName>, _: usize) -> Reply<'_, Vec<StoredUser>> {
        reply(Vec::new())
    }

    fn write_user(&self, _: Timestamp, _: UserName, _: UserWrite) -> Reply<'_, Kept> {
        reply(Kept::Unknown)
    }

    fn remove_user(&self, _: Timestamp, _: UserName) -> Reply<'_, Kept> {
        reply(Kept::Unknown)
    }

    fn open_session(&self, _: Timestamp, _: NewSession) -> Reply<'_, bool> {
        reply(false)
    }

    fn session(&self, _: SecretHash) -> Reply<'_, Option<StoredSession>> {
        reply(None)
    }

    fn touch_session(&self, _: Timestamp, _: SecretHash) -> Reply<'_, ()> {
        reply(())
    }

    fn sessions(&self, _: UserName) -> Reply<'_, Vec<SessionView>> {
        reply(Vec::new())
    }

    fn end_session(&self, _: SecretHash) -> Reply<'_, bool> {
        reply(false)
    }

    fn cancel_policy(&self, _: Namespace) -> Reply<'_, CancelPolicy> {
        reply(CancelPolicy::default())
    }

    fn set_cancel_policy(&self, _: Timestamp, _: Namespace, _: CancelPolicy) -> Reply<'_, bool> {
        reply(false)
    }
}

impl AuditStore for CountingStore {
    fn note_audit(&self, _: Entry) -> Reply<'_, ()> {
        reply(())
    }

    fn seal_audit(&self, _: usize) -> Reply<'_, usize> {
        reply(0)
    }

    fn audit_ends(&self) -> Reply<'_, AuditEnds> {
        reply(AuditEnds::default())
    }

    fn audit_links(&self, _: u64, _: usize) -> Reply<'_, Vec<Link>> {
        reply(Vec::new())
    }

    fn audit_page(&self, _: AuditFilter, _: Option<u64>, _: usize) -> Reply<'_, AuditPage> {
        reply(AuditPage::default())
    }
}

impl StepStore for CountingStore {
    fn keep_steps(&self, _: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        reply(vec![Verdict::Accepted; steps.len()])
    }

    fn steps(&self, _: JobId) -> Reply<'_, Vec<StepView>> {
        reply(Vec::new())
    }
}

impl AttachmentStore for CountingStore {
    fn attach(&self, _: Timestamp, _: JobId, _: Attachment) -> Reply<'_, Attached> {
        reply(Attached::Unknown)
    }

    fn attachments(&self, _: JobId) -> Reply<'_, Vec<AttachmentView>> {
        reply(Vec::new())
    }

    fn attachment_piece(&self, _: JobId, _: AttachmentName, _: u32) -> Reply<'_, Option<Vec<u8>>> {
        reply(None)
    }
}

impl ServiceStore for CountingStore {
    fn tell_services(&self, _: Timestamp, _: ProcessPlace, _: Vec<ServiceRecord>) -> Reply<'_, ()> {
        reply(())
    }

    fn forget_services(&self, _: ProcessId) -> Reply<'_, ()> {
        reply(())
    }

    fn services(&self, _: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        reply(Vec::new())
    }
}

impl MoveStore for CountingStore {
    fn listen(&self, _: Duration) -> Reply<'_, MovePlace> {
        reply("0-0-0".parse().expect("it has the form of a place"))
    }

    fn moves(&self, after: MovePlace, _: usize) -> Reply<'_, Moves> {
        reply(Moves { jobs: Vec::new(), place: after, is_end: true, missed: false })
    }
}

impl SubmitterStore for CountingStore {
    fn comment(&self, _: Timestamp, _: JobId, _: Actor, _: String) -> Reply<'_, bool> {
        reply(false)
    }

    fn consume(&self, _: Timestamp, jobs: Vec<JobId>, _: Owner) -> Reply<'_, Vec<bool>> {
        reply(vec![false; jobs.len()])
    }

    fn enqueue_once(&self, _: Timestamp, _: RequestKey, _: Vec<NewJob>) -> Reply<'_, Requested> {
        reply(Requested::Other)
    }

    fn whose(&self, _: JobId) -> Reply<'_, Option<Whose>> {
        reply(None)
    }
}

impl Store for CountingStore {
    /// Nobody acts here on behalf of anybody: another store, without jobs.
    fn on_behalf_of(&self, _: Behalf) -> SharedStore {
        Arc::new(Self::new(0))
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        reply(Claimed { jobs: self.take(&claim) })
    }

    fn finish(&self, _: Timestamp, _: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        reply(vec![Verdict::Accepted; ends.len()])
    }

    fn give_back(
        &self,
        _: Timestamp,
        _: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        _: String,
    ) -> Reply<'_, Vec<Verdict>> {
        reply(vec![Verdict::Accepted; jobs.len()])
    }

    fn register(&self, _: Timestamp, _: u64, _: NewWorker) -> Reply<'_, Registration> {
        reply(Registration { marks: Arc::new(NoMarks) })
    }

    fn renew(&self, _: Timestamp, _: u64, _: WorkerId) -> Reply<'_, Signals> {
        reply(Signals::default())
    }

    fn signals(&self, _: WorkerId) -> Reply<'_, Signals> {
        reply(Signals::default())
    }

    fn unregister(&self, _: Timestamp, _: WorkerId) -> Reply<'_, ()> {
        reply(())
    }

    fn remark(&self, _: WorkerId, _: String) -> Reply<'_, ()> {
        reply(())
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "counting", url: "counting:".to_owned(), engine: "none".to_owned(), schema: 0 }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn enqueue(&self, _: Timestamp, _: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        reply(Vec::new())
    }

    fn report(&self, _: WorkerId, _: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        reply(Vec::new())
    }

    fn log(&self, _: WorkerId, _: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        reply(Vec::new())
    }

    fn order(&self, _: Vec<WorkerId>, _: Order) -> Reply<'_, Vec<bool>> {
        reply(Vec::new())
    }

    fn change(
        &self,
        _: Timestamp,
        _: Vec<JobId>,
        _: Change,
        _: Actor,
        _: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        reply(Vec::new())
    }

    fn change_seen(
        &self,
        _: Timestamp,
        _: Vec<Seen>,
        _: Change,
        _: Actor,
        _: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        reply(Vec::new())
    }

    fn pause(&self, _: Timestamp, _: Namespace, _: QueueName, _: bool, _: Actor) -> Reply<'_, bool> {
        reply(false)
    }

    fn purge(&self, _: Timestamp, _: Namespace, _: QueueName, _: Actor, _: usize) -> Reply<'_, usize> {
        reply(0)
    }

    fn lead(&self, _: u64, _: WorkerId, _: Duration) -> Reply<'_, Option<Fence>> {
        reply(None)
    }

    fn resign(&self, _: WorkerId) -> Reply<'_, ()> {
        reply(())
    }

    fn promote(&self, _: Timestamp, _: usize) -> Reply<'_, Promoted> {
        reply(Promoted::default())
    }

    fn reclaim(&self, _: Timestamp, _: u64, _: Sight) -> Reply<'_, Reclaimed> {
        reply(Reclaimed::default())
    }

    fn job(&self, _: JobId) -> Reply<'_, Option<JobDetail>> {
        reply(None)
    }

    fn list(&self, _: Filter, _: Page) -> Reply<'_, Paged> {
        reply(Paged::default())
    }

    fn last_chances(&self, _: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>> {
        reply(Vec::new())
    }

    fn logs(&self, _: JobId, _: u64, _: usize) -> Reply<'_, Vec<LogChunk>> {
        reply(Vec::new())
    }

    fn queues(&self, _: Timestamp, _: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        reply(Vec::new())
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        reply(Vec::new())
    }

    fn close(&self) -> Reply<'_, ()> {
        reply(())
    }
}
