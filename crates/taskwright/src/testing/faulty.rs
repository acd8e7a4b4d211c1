//! A store that fails on command.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::audit::{Behalf, Entry, Link};
use taskwright_core::sight::Sight;
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, Attachment, AttachmentName, CancelPolicy, EventId, Fingerprint, GeneratorName, JobId, Namespace,
    NewJob, Owner, ProcessId, QueueName, ScheduleName, State, Timestamp, TokenId, TokenName, Topic, UserName,
    Verdict, WorkerId,
};
use taskwright_store::{
    Attached, AttachmentStore, AttachmentView, AuditEnds, AuditFilter, AuditPage, AuditStore, BulkStore,
    Change, Changed, Claim, Claimed, Collect, CollectStore, Collected, Counters, DeliveryView, DueSchedules,
    EndedItem, Enqueued, Error, EventKey, EventStore, ExecutionFilter, ExecutionPage, Executions, Fence,
    Filter, Finish, FiringView, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, HistoryStore,
    IdentityStore, ItemsEnded, JobDetail, JobKey, JobOrigin, Kept, KnownFile, Listening, ListeningGenerator,
    LogChunk, LogEntry, LogPage, MovePlace, MoveStore, Moves, NewBulk, NewEvent, NewGenerator, NewSession,
    NewStep, NewToken, NewUser, NewWebhook, NewWorker, Order, Page, Paged, ProcessPlace, ProgressReport,
    Promoted, QueueView, ReadLog, Reclaimed, Registration, Reply, RequestKey, Requested, RetrySet,
    RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp, RowsAfter, ScheduleKey, ScheduleStore,
    ScheduleWrite, Seen, ServiceRecord, ServiceStore, ServiceView, SessionView, SharedStore, Sighting,
    Signals, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView, Statistics, StepStore, StepView,
    Store, StoreInfo, StoredBulk, StoredEvent, StoredGenerator, StoredRetry, StoredSchedule, StoredSession,
    StoredToken, StoredUser, StoredWebhook, SubmitterStore, TableRows, TakeGenerators, TakenGenerators,
    Takers, UserWrite, WebhookStore, WebhookWrite, Whose, WorkerView, Written,
};
use tokio::sync::watch;

use super::clock::VirtualClock;
use super::kill::KillSwitch;
use crate::attempt::lock;

/// A call of a store that can be made to fail.
#[expect(missing_docs, reason = "named like the methods of `Store`")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Enqueue,
    EnqueueTo,
    Claim,
    Finish,
    GiveBack,
    Report,
    Log,
    KeepSteps,
    Register,
    Renew,
    Signals,
    Unregister,
    Change,
    List,
    Lead,
    Promote,
    Reclaim,
    WriteSchedules,
    DueSchedules,
    Emit,
    Undelivered,
    Deliver,
    See,
    PutGenerators,
    TakeGenerators,
    ItemsEnded,
    EndedItems,
    CommitGenerator,
    Collect,
    ReadHead,
    ReadLog,
    RollUp,
    WakeWebhooks,
    ReadUser,
    TouchToken,
    TouchSession,
    SealAudit,
    TellServices,
    ForgetServices,
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before it took place.
    Before,
    /// After it took place: the answer is lost.
    After,
}

/// Wraps a store, and lets calls fail that a test names.
pub struct FaultyStore {
    store: SharedStore,
    faults: Arc<Faults>,
    /// Time that stands still while a call is under way.
    clock: Option<VirtualClock>,
}

/// What all handles of one store have in common.
#[derive(Default)]
struct Faults {
    plan: Mutex<Plan>,
    time: Mutex<Option<Timestamp>>,
    refuses: Mutex<Option<Refusal>>,
}

/// Which ends are refused.
type Refusal = Box<dyn Fn(&Finish) -> bool + Send + Sync>;

#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    counts: HashMap<Call, u64>,
}

/// What happens to some calls.
struct Fault {
    call: Call,
    numbers: RangeInclusive<u64>,
    when: When,
    /// Who dies there; the caller gets an error if nobody does.
    kills: Option<KillSwitch>,
}

impl FaultyStore {
    /// Wraps a store; every call goes through until told otherwise.
    pub fn new(store: SharedStore) -> Arc<Self> {
        Arc::new(Self { store, faults: Arc::default(), clock: None })
    }

    /// The same on a clock that stands still while a call is under way.
    pub(super) fn held(store: SharedStore, clock: VirtualClock) -> Arc<Self> {
        Arc::new(Self { store, faults: Arc::default(), clock: Some(clock) })
    }

    /// Another handle with the same faults.
    pub(super) fn over(&self, store: SharedStore) -> Arc<Self> {
        Arc::new(Self { store, faults: Arc::clone(&self.faults), clock: self.clock.clone() })
    }

    /// Lets these calls fail; calls of each kind are counted from 1.
    pub fn fail(&self, call: Call, numbers: RangeInclusive<u64>, when: When) {
        lock(&self.faults.plan).faults.push(Fault { call, numbers, when, kills: None });
    }

    /// Kills the workers of a switch at this call, before or after it took place; nobody hears of an answer.
    pub fn kill(&self, call: Call, number: u64, when: When, kills: &KillSwitch) {
        let fault = Fault { call, numbers: number..=number, when, kills: Some(kills.clone()) };
        lock(&self.faults.plan).faults.push(fault);
    }

    /// Lets everything go through from now on.
    pub fn heal(&self) {
        lock(&self.faults.plan).faults.clear();
    }

    /// Has every batch refused, for good, that has such an end in it.
    pub fn refuse_ends(&self, such: impl Fn(&Finish) -> bool + Send + Sync + 'static) {
        *lock(&self.faults.refuses) = Some(Box::new(such));
    }

    /// Has the store tell this time from now on, as one with a clock of its own.
    pub fn tell_time(&self, time: Timestamp) {
        *lock(&self.faults.time) = Some(time);
    }

    /// How often a call was made.
    pub fn count(&self, call: Call) -> u64 {
        lock(&self.faults.plan).counts.get(&call).copied().unwrap_or(0)
    }

    fn next(&self, call: Call) -> Option<(When, Option<KillSwitch>)> {
        let mut plan = lock(&self.faults.plan);
        let count = plan.counts.entry(call).or_default();
        *count += 1;
        let number = *count;
        let hit = |fault: &&Fault| fault.call == call && fault.numbers.contains(&number);
        plan.faults.iter().find(hit).map(|fault| (fault.when, fault.kills.clone()))
    }

    /// The call is made only when its turn has come: a store may act before its reply is awaited.
    fn run<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        make: impl FnOnce() -> Reply<'a, T> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let Some((when, kills)) = self.next(call) else { return self.hold(make()).await };
            if when == When::After {
                self.hold(make()).await?;
            }
            match kills {
                Some(kills) => match kills.here().await {},
                None => Err(Error::unavailable("the store", format!("a test broke {call:?}"))),
            }
        })
    }

    /// A call that nothing happens to.
    fn hold<'a, T: Send + 'a>(&'a self, reply: Reply<'a, T>) -> Reply<'a, T> {
        let Some(clock) = &self.clock else { return reply };
        Box::pin(async move {
            let _held = clock.hold();
            reply.await
        })
    }
}

/// The error of a request that is refused however often it is made.
fn refusal() -> Error {
    taskwright_core::Error::invalid("an end", "a test has it refused", "do not refuse it").into()
}

impl ScheduleStore for FaultyStore {
    fn write_schedules(&self, now: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        self.run(Call::WriteSchedules, move || self.store.write_schedules(now, writes))
    }

    fn due_schedules(&self, now: Timestamp, limit: usize) -> Reply<'_, DueSchedules> {
        self.run(Call::DueSchedules, move || self.store.due_schedules(now, limit))
    }

    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        self.hold(self.store.schedule(namespace, name))
    }

    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        self.hold(self.store.schedules(namespace, after, limit))
    }

    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool> {
        self.hold(self.store.remove_schedule(schedule))
    }

    fn firings(
        &self,
        schedule: ScheduleKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<FiringView>> {
        self.hold(self.store.firings(schedule, before, limit))
    }

    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        self.hold(self.store.origins(jobs))
    }

    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        self.hold(self.store.states(jobs))
    }
}

impl EventStore for FaultyStore {
    fn emit(&self, now: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()> {
        self.run(Call::Emit, move || self.store.emit(now, events))
    }

    fn undelivered(&self, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        self.run(Call::Undelivered, move || self.store.undelivered(limit))
    }

    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>> {
        self.hold(self.store.listeners())
    }

    fn deliver(&self, now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> Reply<'_, bool> {
        self.run(Call::Deliver, move || self.store.deliver(now, events, writes))
    }

    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        self.hold(self.store.events(namespace, topic, before, limit))
    }
}

impl SourceStore for FaultyStore {
    fn open_source(&self, now: Timestamp, place: SourcePlace) -> Reply<'_, SourceKey> {
        self.hold(self.store.open_source(now, place))
    }

    fn seen_of(&self, source: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>> {
        self.hold(self.store.seen_of(source, paths))
    }

    fn seen(
        &self,
        source: SourceKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, Fingerprint)>> {
        self.hold(self.store.seen(source, after, limit))
    }

    fn see(&self, now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>> {
        self.run(Call::See, move || self.store.see(now, source, sightings))
    }

    fn note_source(&self, now: Timestamp, source: SourceKey, note: SourceNote) -> Reply<'_, bool> {
        self.hold(self.store.note_source(now, source, note))
    }

    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        self.hold(self.store.sources(namespace))
    }
}

impl GeneratorStore for FaultyStore {
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        self.run(Call::PutGenerators, move || self.store.put_generators(now, generators))
    }

    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators> {
        self.run(Call::TakeGenerators, move || self.store.take_generators(take))
    }

    fn commit_generator(&self, now: Timestamp, commit: GeneratorCommit) -> Reply<'_, bool> {
        self.run(Call::CommitGenerator, move || self.store.commit_generator(now, commit))
    }

    fn write_generator(&self, now: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        self.hold(self.store.write_generator(now, write))
    }

    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        self.hold(self.store.notify_generator(now, namespace, name))
    }

    fn renew_generator(&self, generator: GeneratorKey, fence: u64, until: Timestamp) -> Reply<'_, bool> {
        self.hold(self.store.renew_generator(generator, fence, until))
    }

    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>> {
        self.hold(self.store.listening_generators())
    }

    fn items_ended(&self, now: Timestamp, ended: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>> {
        self.run(Call::ItemsEnded, move || self.store.items_ended(now, ended))
    }

    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>> {
        self.run(Call::EndedItems, move || self.store.ended_items(generator, limit))
    }

    fn files_of(&self, generator: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>> {
        self.hold(self.store.files_of(generator, paths))
    }

    fn files(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, KnownFile)>> {
        self.hold(self.store.files(generator, after, limit))
    }

    fn rows_after(&self, rows: RowsAfter) -> Reply<'_, TableRows> {
        self.hold(self.store.rows_after(rows))
    }

    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        self.hold(self.store.generator(namespace, name))
    }

    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        self.hold(self.store.generators(namespace, after, limit))
    }

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        self.hold(self.store.remove_generator(generator))
    }
}

impl WebhookStore for FaultyStore {
    fn add_webhook(&self, now: Timestamp, webhook: NewWebhook) -> Reply<'_, bool> {
        self.hold(self.store.add_webhook(now, webhook))
    }

    fn write_webhook(&self, now: Timestamp, write: WebhookWrite) -> Reply<'_, bool> {
        self.hold(self.store.write_webhook(now, write))
    }

    fn remove_webhook(&self, now: Timestamp, generator: GeneratorKey) -> Reply<'_, bool> {
        self.hold(self.store.remove_webhook(now, generator))
    }

    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        self.hold(self.store.webhook(namespace, generator))
    }

    fn webhooks(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredWebhook>> {
        self.hold(self.store.webhooks(namespace, after, limit))
    }

    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>> {
        self.hold(self.store.listening_webhooks())
    }

    fn wake_webhooks(&self, now: Timestamp, generators: Vec<GeneratorKey>) -> Reply<'_, ()> {
        self.run(Call::WakeWebhooks, move || self.store.wake_webhooks(now, generators))
    }

    fn log_head(&self) -> Reply<'_, i64> {
        self.run(Call::ReadHead, move || self.store.log_head())
    }

    fn read_log(&self, read: ReadLog) -> Reply<'_, LogPage> {
        self.run(Call::ReadLog, move || self.store.read_log(read))
    }

    fn retries(&self, set: RetrySet, limit: usize) -> Reply<'_, Vec<StoredRetry>> {
        self.hold(self.store.retries(set, limit))
    }

    fn retry_count(&self, set: RetrySet, limit: usize) -> Reply<'_, usize> {
        self.hold(self.store.retry_count(set, limit))
    }

    fn waiting_keys(&self, set: RetrySet, keys: Vec<String>) -> Reply<'_, Vec<String>> {
        self.hold(self.store.waiting_keys(set, keys))
    }

    fn redeliver(&self, now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        self.hold(self.store.redeliver(now, set, events))
    }

    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>> {
        self.hold(self.store.deliveries(generator, before, limit))
    }
}

impl BulkStore for FaultyStore {
    fn create_bulk(&self, now: Timestamp, bulk: NewBulk) -> Reply<'_, Enqueued> {
        self.hold(self.store.create_bulk(now, bulk))
    }

    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>> {
        self.hold(self.store.bulk(parent))
    }

    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>> {
        self.hold(self.store.bulks(namespace, after, limit))
    }
}

impl HistoryStore for FaultyStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        self.hold(self.store.executions(filter, page))
    }

    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics> {
        self.hold(self.store.statistics(filter, sample_max))
    }
}

impl RollUpStore for FaultyStore {
    fn roll_up(&self, most: usize) -> Reply<'_, RolledUp> {
        self.run(Call::RollUp, move || self.store.roll_up(most))
    }

    fn roll_ups(
        &self,
        filter: RollUpFilter,
        after: Option<RollUpPlace>,
        limit: usize,
    ) -> Reply<'_, RollUpPage> {
        self.hold(self.store.roll_ups(filter, after, limit))
    }
}

impl CollectStore for FaultyStore {
    fn collect(&self, collect: Collect) -> Reply<'_, Collected> {
        self.run(Call::Collect, move || self.store.collect(collect))
    }
}

impl IdentityStore for FaultyStore {
    fn has_principals(&self) -> Reply<'_, bool> {
        self.hold(self.store.has_principals())
    }

    fn bootstrap(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        self.hold(self.store.bootstrap(now, token))
    }

    fn add_token(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        self.hold(self.store.add_token(now, token))
    }

    fn token(&self, hash: SecretHash) -> Reply<'_, Option<StoredToken>> {
        self.hold(self.store.token(hash))
    }

    fn token_named(&self, namespace: Option<Namespace>, name: TokenName) -> Reply<'_, Option<StoredToken>> {
        self.hold(self.store.token_named(namespace, name))
    }

    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>> {
        self.hold(self.store.tokens(before, limit))
    }

    fn revoke_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, Kept> {
        self.hold(self.store.revoke_token(now, token))
    }

    fn touch_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, ()> {
        self.run(Call::TouchToken, move || self.store.touch_token(now, token))
    }

    fn add_user(&self, now: Timestamp, user: NewUser) -> Reply<'_, bool> {
        self.hold(self.store.add_user(now, user))
    }

    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>> {
        self.run(Call::ReadUser, move || self.store.user(name))
    }

    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>> {
        self.hold(self.store.users(after, limit))
    }

    fn write_user(&self, now: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept> {
        self.hold(self.store.write_user(now, name, write))
    }

    fn remove_user(&self, now: Timestamp, name: UserName) -> Reply<'_, Kept> {
        self.hold(self.store.remove_user(now, name))
    }

    fn open_session(&self, now: Timestamp, session: NewSession) -> Reply<'_, bool> {
        self.hold(self.store.open_session(now, session))
    }

    fn session(&self, hash: SecretHash) -> Reply<'_, Option<StoredSession>> {
        self.hold(self.store.session(hash))
    }

    fn touch_session(&self, now: Timestamp, hash: SecretHash) -> Reply<'_, ()> {
        self.run(Call::TouchSession, move || self.store.touch_session(now, hash))
    }

    fn sessions(&self, user: UserName) -> Reply<'_, Vec<SessionView>> {
        self.hold(self.store.sessions(user))
    }

    fn end_session(&self, hash: SecretHash) -> Reply<'_, bool> {
        self.hold(self.store.end_session(hash))
    }

    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy> {
        self.hold(self.store.cancel_policy(namespace))
    }

    fn set_cancel_policy(
        &self,
        now: Timestamp,
        namespace: Namespace,
        policy: CancelPolicy,
    ) -> Reply<'_, bool> {
        self.hold(self.store.set_cancel_policy(now, namespace, policy))
    }
}

impl AuditStore for FaultyStore {
    fn note_audit(&self, entry: Entry) -> Reply<'_, ()> {
        self.hold(self.store.note_audit(entry))
    }

    fn seal_audit(&self, limit: usize) -> Reply<'_, usize> {
        self.run(Call::SealAudit, move || self.store.seal_audit(limit))
    }

    fn audit_ends(&self) -> Reply<'_, AuditEnds> {
        self.hold(self.store.audit_ends())
    }

    fn audit_links(&self, after: u64, limit: usize) -> Reply<'_, Vec<Link>> {
        self.hold(self.store.audit_links(after, limit))
    }

    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage> {
        self.hold(self.store.audit_page(filter, before, limit))
    }
}

impl AttachmentStore for FaultyStore {
    fn attach(&self, now: Timestamp, job: JobId, attachment: Attachment) -> Reply<'_, Attached> {
        self.hold(self.store.attach(now, job, attachment))
    }

    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>> {
        self.hold(self.store.attachments(job))
    }

    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>> {
        self.hold(self.store.attachment_piece(job, name, number))
    }
}

impl StepStore for FaultyStore {
    fn keep_steps(&self, worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::KeepSteps, move || self.store.keep_steps(worker, steps))
    }

    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>> {
        self.hold(self.store.steps(job))
    }
}

impl ServiceStore for FaultyStore {
    fn tell_services(
        &self,
        now: Timestamp,
        process: ProcessPlace,
        services: Vec<ServiceRecord>,
    ) -> Reply<'_, ()> {
        self.run(Call::TellServices, move || self.store.tell_services(now, process, services))
    }

    fn forget_services(&self, process: ProcessId) -> Reply<'_, ()> {
        self.run(Call::ForgetServices, move || self.store.forget_services(process))
    }

    fn services(&self, now: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        self.hold(self.store.services(now))
    }
}

impl MoveStore for FaultyStore {
    fn listen(&self, lease: Duration) -> Reply<'_, MovePlace> {
        self.hold(self.store.listen(lease))
    }

    fn moves(&self, after: MovePlace, limit: usize) -> Reply<'_, Moves> {
        self.hold(self.store.moves(after, limit))
    }
}

impl SubmitterStore for FaultyStore {
    fn comment(&self, now: Timestamp, job: JobId, actor: Actor, text: String) -> Reply<'_, bool> {
        self.hold(self.store.comment(now, job, actor, text))
    }

    fn consume(&self, now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Reply<'_, Vec<bool>> {
        self.hold(self.store.consume(now, jobs, owner))
    }

    fn enqueue_once(&self, now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Reply<'_, Requested> {
        self.hold(self.store.enqueue_once(now, request, jobs))
    }

    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>> {
        self.hold(self.store.whose(job))
    }
}

impl Store for FaultyStore {
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore {
        self.over(self.store.on_behalf_of(behalf))
    }

    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        self.run(Call::Enqueue, move || self.store.enqueue(now, jobs))
    }

    fn enqueue_told(&self, now: Timestamp, jobs: Vec<(NewJob, Arc<Behalf>)>) -> Reply<'_, Vec<Enqueued>> {
        self.run(Call::Enqueue, move || self.store.enqueue_told(now, jobs))
    }

    fn enqueue_to(&self, now: Timestamp, job: NewJob, claim: Claim) -> Reply<'_, (Enqueued, Claimed)> {
        self.run(Call::EnqueueTo, move || self.store.enqueue_to(now, job, claim))
    }

    fn takers(&self) -> Option<&Takers> {
        self.store.takers()
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.run(Call::Claim, move || self.store.claim(claim))
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        if lock(&self.faults.refuses).as_ref().is_some_and(|refuses| ends.iter().any(refuses)) {
            return Box::pin(async { Err(refusal()) });
        }
        self.run(Call::Finish, move || self.store.finish(now, worker, ends))
    }

    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::GiveBack, move || self.store.give_back(now, worker, jobs, reason))
    }

    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::Report, move || self.store.report(worker, reports))
    }

    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::Log, move || self.store.log(worker, entries))
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        self.run(Call::Register, move || self.store.register(now, monotonic_us, worker))
    }

    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals> {
        self.run(Call::Renew, move || self.store.renew(now, monotonic_us, worker))
    }

    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals> {
        self.run(Call::Signals, move || self.store.signals(worker))
    }

    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()> {
        self.run(Call::Unregister, move || self.store.unregister(now, worker))
    }

    fn remark(&self, worker: WorkerId, remark: String) -> Reply<'_, ()> {
        self.hold(self.store.remark(worker, remark))
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        self.hold(self.store.order(workers, order))
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        self.run(Call::Change, move || self.store.change(now, ids, change, actor, reason))
    }

    fn change_seen(
        &self,
        now: Timestamp,
        seen: Vec<Seen>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        self.run(Call::Change, move || self.store.change_seen(now, seen, change, actor, reason))
    }

    fn pause(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        actor: Actor,
    ) -> Reply<'_, bool> {
        self.hold(self.store.pause(now, namespace, queue, paused, actor))
    }

    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        self.hold(self.store.purge(now, namespace, queue, actor, limit))
    }

    fn lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>> {
        self.run(Call::Lead, move || self.store.lead(monotonic_us, node, lease))
    }

    fn last_chances(&self, attempts: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>> {
        self.hold(self.store.last_chances(attempts))
    }

    fn set_apart(&self, worker: WorkerId, jobs: Vec<(JobKey, u32)>) -> Reply<'_, ()> {
        self.hold(self.store.set_apart(worker, jobs))
    }

    fn resign(&self, node: WorkerId) -> Reply<'_, ()> {
        self.hold(self.store.resign(node))
    }

    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted> {
        self.run(Call::Promote, move || self.store.promote(now, limit))
    }

    fn reclaim(&self, now: Timestamp, monotonic_us: u64, sight: Sight) -> Reply<'_, Reclaimed> {
        self.run(Call::Reclaim, move || self.store.reclaim(now, monotonic_us, sight.clone()))
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        self.hold(self.store.job(id))
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        self.run(Call::List, move || self.store.list(filter, page))
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        self.hold(self.store.logs(id, from, limit))
    }

    fn queues(&self, now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        self.hold(self.store.queues(now, namespace))
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        self.hold(self.store.workers())
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.store.hints()
    }

    fn now(&self) -> Reply<'_, Option<Timestamp>> {
        let told = *lock(&self.faults.time);
        Box::pin(async move { if told.is_some() { Ok(told) } else { self.hold(self.store.now()).await } })
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    fn counters(&self) -> Counters {
        self.store.counters()
    }

    fn close(&self) -> Reply<'_, ()> {
        self.hold(self.store.close())
    }
}
