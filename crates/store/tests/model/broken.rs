//! Stores that are wrong on purpose.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::audit::{Behalf, Entry, Link};
use taskwright_core::sight::Sight;
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, Attachment, AttachmentName, CancelPolicy, EventId, Fingerprint, GeneratorName, JobId, Namespace,
    NewJob, Owner, ProcessId, QueueName, ScheduleName, State, Timestamp, TokenId, TokenName, Topic, UserName,
    Verdict, WorkerId,
};
use taskwright_store::memory::MemoryStore;
use taskwright_store::*;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    ClaimsBackwards,
    BelievesZombies,
    ForgetsPriorities,
    LosesMarks,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] =
        [Self::ClaimsBackwards, Self::BelievesZombies, Self::ForgetsPriorities, Self::LosesMarks];
}

/// The model with a fault.
pub(crate) struct Broken {
    store: MemoryStore,
    fault: Fault,
}

impl Broken {
    pub(crate) fn new(store: MemoryStore, fault: Fault) -> Self {
        Self { store, fault }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

struct NoMarks;

impl StartMarks for NoMarks {
    fn started(&self, _: JobKey, _: u32) {}
}

/// Passes calls on as they are.
macro_rules! sound {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(
            fn $name(&self, $($arg: $type),*) -> Reply<'_, $reply> {
                self.store.$name($($arg),*)
            }
        )*
    };
}

impl ScheduleStore for Broken {
    sound! {
        write_schedules(now: Timestamp, writes: Vec<ScheduleWrite>) -> Vec<Written>;
        due_schedules(now: Timestamp, limit: usize) -> DueSchedules;
        schedule(namespace: Namespace, name: ScheduleName) -> Option<StoredSchedule>;
        schedules(namespace: Option<Namespace>, after: Option<ScheduleKey>, limit: usize) -> Vec<StoredSchedule>;
        remove_schedule(schedule: ScheduleKey) -> bool;
        firings(schedule: ScheduleKey, before: Option<u64>, limit: usize) -> Vec<FiringView>;
        states(jobs: Vec<JobId>) -> Vec<Option<State>>;
        origins(jobs: Vec<JobId>) -> Vec<Option<JobOrigin>>;
    }
}

impl EventStore for Broken {
    sound! {
        emit(now: Timestamp, events: Vec<NewEvent>) -> ();
        undelivered(limit: usize) -> Vec<StoredEvent>;
        listeners() -> Vec<StoredSchedule>;
        deliver(now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> bool;
        events(of: Option<Namespace>, topic: Option<Topic>, before: Option<EventKey>, limit: usize) -> Vec<StoredEvent>;
    }
}

impl SourceStore for Broken {
    sound! {
        open_source(now: Timestamp, place: SourcePlace) -> SourceKey;
        seen_of(source: SourceKey, paths: Vec<String>) -> Vec<Option<Fingerprint>>;
        seen(source: SourceKey, after: Option<String>, limit: usize) -> Vec<(String, Fingerprint)>;
        see(now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Vec<bool>;
        note_source(now: Timestamp, source: SourceKey, note: SourceNote) -> bool;
        sources(of: Option<Namespace>) -> Vec<SourceView>;
    }
}

impl GeneratorStore for Broken {
    sound! {
        put_generators(now: Timestamp, generators: Vec<NewGenerator>) -> Vec<bool>;
        take_generators(take: TakeGenerators) -> TakenGenerators;
        commit_generator(now: Timestamp, commit: GeneratorCommit) -> bool;
        write_generator(now: Timestamp, write: GeneratorWrite) -> bool;
        notify_generator(now: Timestamp, of: Namespace, name: GeneratorName) -> bool;
        items_ended(now: Timestamp, ended: Vec<ItemsEnded>) -> Vec<u32>;
        ended_items(generator: GeneratorKey, limit: usize) -> Vec<EndedItem>;
        files_of(generator: GeneratorKey, paths: Vec<String>) -> Vec<Option<KnownFile>>;
        files(generator: GeneratorKey, after: Option<String>, limit: usize) -> Vec<(String, KnownFile)>;
        rows_after(rows: RowsAfter) -> TableRows;
        generator(of: Namespace, name: GeneratorName) -> Option<StoredGenerator>;
        generators(of: Option<Namespace>, after: Option<GeneratorKey>, limit: usize) -> Vec<StoredGenerator>;
        renew_generator(generator: GeneratorKey, fence: u64, until: Timestamp) -> bool;
        listening_generators() -> Vec<ListeningGenerator>;
        remove_generator(generator: GeneratorKey) -> bool;
    }
}

impl WebhookStore for Broken {
    sound! {
        add_webhook(now: Timestamp, webhook: NewWebhook) -> bool;
        write_webhook(now: Timestamp, write: WebhookWrite) -> bool;
        remove_webhook(now: Timestamp, generator: GeneratorKey) -> bool;
        webhook(of: Namespace, generator: GeneratorName) -> Option<StoredWebhook>;
        webhooks(of: Option<Namespace>, after: Option<GeneratorKey>, limit: usize) -> Vec<StoredWebhook>;
        listening_webhooks() -> Vec<Listening>;
        wake_webhooks(now: Timestamp, generators: Vec<GeneratorKey>) -> ();
        log_head() -> i64;
        read_log(read: ReadLog) -> LogPage;
        retries(set: RetrySet, limit: usize) -> Vec<StoredRetry>;
        retry_count(set: RetrySet, limit: usize) -> usize;
        waiting_keys(set: RetrySet, keys: Vec<String>) -> Vec<String>;
        redeliver(now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Vec<bool>;
        deliveries(generator: GeneratorKey, before: Option<u64>, limit: usize) -> Vec<DeliveryView>;
    }
}

impl BulkStore for Broken {
    sound! {
        create_bulk(now: Timestamp, bulk: NewBulk) -> Enqueued;
        bulk(parent: JobId) -> Option<StoredBulk>;
        bulks(of: Option<Namespace>, after: Option<JobKey>, limit: usize) -> Vec<StoredBulk>;
    }
}

impl HistoryStore for Broken {
    sound! {
        executions(filter: ExecutionFilter, page: ExecutionPage) -> Executions;
        statistics(filter: ExecutionFilter, sample_max: usize) -> Statistics;
    }
}

impl RollUpStore for Broken {
    sound! {
        roll_up(most: usize) -> RolledUp;
        roll_ups(filter: RollUpFilter, after: Option<RollUpPlace>, limit: usize) -> RollUpPage;
    }
}

impl CollectStore for Broken {
    sound! {
        collect(collect: Collect) -> Collected;
    }
}

impl IdentityStore for Broken {
    sound! {
        has_principals() -> bool;
        bootstrap(now: Timestamp, token: NewToken) -> bool;
        add_token(now: Timestamp, token: NewToken) -> bool;
        token(hash: SecretHash) -> Option<StoredToken>;
        token_named(namespace: Option<Namespace>, name: TokenName) -> Option<StoredToken>;
        tokens(before: Option<TokenId>, limit: usize) -> Vec<StoredToken>;
        revoke_token(now: Timestamp, token: TokenId) -> Kept;
        touch_token(now: Timestamp, token: TokenId) -> ();
        add_user(now: Timestamp, user: NewUser) -> bool;
        user(name: UserName) -> Option<StoredUser>;
        users(after: Option<UserName>, limit: usize) -> Vec<StoredUser>;
        write_user(now: Timestamp, name: UserName, write: UserWrite) -> Kept;
        remove_user(now: Timestamp, name: UserName) -> Kept;
        open_session(now: Timestamp, new: NewSession) -> bool;
        session(hash: SecretHash) -> Option<StoredSession>;
        touch_session(now: Timestamp, hash: SecretHash) -> ();
        end_session(hash: SecretHash) -> bool;
        sessions(user: UserName) -> Vec<SessionView>;
        cancel_policy(of: Namespace) -> CancelPolicy;
        set_cancel_policy(now: Timestamp, of: Namespace, policy: CancelPolicy) -> bool;
    }
}

impl AuditStore for Broken {
    sound! {
        note_audit(entry: Entry) -> ();
        seal_audit(limit: usize) -> usize;
        audit_ends() -> AuditEnds;
        audit_links(after: u64, limit: usize) -> Vec<Link>;
        audit_page(filter: AuditFilter, before: Option<u64>, limit: usize) -> AuditPage;
    }
}

impl StepStore for Broken {
    sound! {
        keep_steps(worker: WorkerId, steps: Vec<NewStep>) -> Vec<Verdict>;
        steps(job: JobId) -> Vec<StepView>;
    }
}

impl AttachmentStore for Broken {
    sound! {
        attach(now: Timestamp, job: JobId, attachment: Attachment) -> Attached;
        attachments(job: JobId) -> Vec<AttachmentView>;
        attachment_piece(job: JobId, name: AttachmentName, number: u32) -> Option<Vec<u8>>;
    }
}

impl ServiceStore for Broken {
    sound! {
        tell_services(now: Timestamp, process: ProcessPlace, services: Vec<ServiceRecord>) -> ();
        forget_services(process: ProcessId) -> ();
        services(now: Timestamp) -> Vec<ServiceView>;
    }
}

impl MoveStore for Broken {
    sound! {
        listen(lease: Duration) -> MovePlace;
        moves(after: MovePlace, limit: usize) -> Moves;
    }
}

impl SubmitterStore for Broken {
    sound! {
        comment(now: Timestamp, job: JobId, actor: Actor, text: String) -> bool;
        consume(now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Vec<bool>;
        enqueue_once(now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Requested;
        whose(job: JobId) -> Option<Whose>;
    }
}

impl Store for Broken {
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore {
        self.store.on_behalf_of(behalf)
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        let backwards = self.is(Fault::ClaimsBackwards);
        let claimed = self.store.claim(claim);
        Box::pin(async move {
            let mut claimed = claimed.await?;
            if backwards {
                claimed.jobs.reverse();
            }
            Ok(claimed)
        })
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        let believes = self.is(Fault::BelievesZombies);
        let verdicts = self.store.finish(now, worker, ends);
        Box::pin(async move {
            let mut verdicts = verdicts.await?;
            if believes {
                verdicts.fill(Verdict::Accepted);
            }
            Ok(verdicts)
        })
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        let loses = self.is(Fault::LosesMarks);
        let registered = self.store.register(now, monotonic_us, worker);
        Box::pin(async move {
            let registration = registered.await?;
            Ok(if loses { Registration { marks: Arc::new(NoMarks) } } else { registration })
        })
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        if self.is(Fault::ForgetsPriorities) && matches!(change, Change::Reprioritise { .. }) {
            return Box::pin(std::future::ready(Ok(vec![Changed::Done; ids.len()])));
        }
        self.store.change(now, ids, change, actor, reason)
    }

    sound! {
        change_seen(now: Timestamp, seen: Vec<Seen>, change: Change, actor: Actor, reason: Option<String>) -> Vec<Changed>;
        enqueue(now: Timestamp, jobs: Vec<NewJob>) -> Vec<Enqueued>;
        give_back(now: Timestamp, worker: WorkerId, jobs: Vec<(JobKey, u32)>, reason: String) -> Vec<Verdict>;
        last_chances(attempts: Vec<(JobKey, u32)>) -> Vec<JobKey>;
        report(worker: WorkerId, reports: Vec<ProgressReport>) -> Vec<Verdict>;
        log(worker: WorkerId, entries: Vec<LogEntry>) -> Vec<Verdict>;
        renew(now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Signals;
        signals(worker: WorkerId) -> Signals;
        unregister(now: Timestamp, worker: WorkerId) -> ();
        remark(worker: WorkerId, remark: String) -> ();
        order(workers: Vec<WorkerId>, order: Order) -> Vec<bool>;
        pause(now: Timestamp, namespace: Namespace, queue: QueueName, paused: bool, actor: Actor) -> bool;
        purge(now: Timestamp, namespace: Namespace, queue: QueueName, actor: Actor, limit: usize) -> usize;
        lead(monotonic_us: u64, node: WorkerId, lease: Duration) -> Option<Fence>;
        resign(node: WorkerId) -> ();
        promote(now: Timestamp, limit: usize) -> Promoted;
        reclaim(now: Timestamp, monotonic_us: u64, sight: Sight) -> Reclaimed;
        job(id: JobId) -> Option<JobDetail>;
        list(filter: Filter, page: Page) -> Paged;
        logs(id: JobId, from: u64, limit: usize) -> Vec<LogChunk>;
        queues(now: Timestamp, namespace: Option<Namespace>) -> Vec<QueueView>;
        workers() -> Vec<WorkerView>;
        close() -> ();
    }

    fn hints(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.hints()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    fn counters(&self) -> Counters {
        self.store.counters()
    }
}
