//! The model and the store under test, side by side: every step goes to both, and everything is compared.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use proptest::sample::Index;
use proptest_state_machine::StateMachineTest;
use taskwright_core::attempt::{Facts, Outcome, decide};
use taskwright_core::sight::Sight;
use taskwright_core::{Backoff, Garbage, Grain, JobId, NewJob, Priority, State, Timestamp, WorkerId};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::oracle::Oracle;
use taskwright_store::memory::MemoryStore;
use taskwright_store::{
    Claim, Claimed, ClaimedJob, Collect, Error, Filter, Finish, JobKey, JobView, LogEntry, LogStream,
    MovePlace, NewWorker, Page, Progress, ProgressReport, QueueView, Reclaimed, Registration, Reply,
    RollUpFilter, SharedStore, Signals, StartMarks, Store,
};

use crate::plan::{JOBS, Plan, SEATS, Step};

/// A store that can be tested.
pub(crate) trait Subject: 'static {
    /// A new one, without jobs.
    fn fresh() -> Self;
    /// One more process on its jobs.
    fn open(&self) -> impl Future<Output = SharedStore>;
}

/// Tests a store against the model.
pub(crate) struct Twins<S>(PhantomData<S>);

/// Both worlds.
pub(crate) struct Both<S> {
    runtime: tokio::runtime::Runtime,
    now: u64,
    workers: u8,
    seats: Vec<Seat>,
    desk: Pair<SharedStore>,
    /// Who follows the moves of jobs in each.
    followers: Pair<RefCell<Follower>>,
    model: MemoryStore,
    subject: S,
}

/// Somebody who knows of jobs only what moves tell.
#[derive(Clone, Debug)]
struct Follower {
    place: MovePlace,
    jobs: BTreeMap<JobId, Told>,
}

/// What a move tells of a job.
type Told = (State, u32, Priority, Timestamp, bool);

fn told(job: &JobView) -> Told {
    (job.state, job.attempt, job.priority, job.run_at, job.cancel_requested)
}

/// Something of the model's, and the same of the subject's.
#[derive(Clone, Debug)]
struct Pair<T> {
    model: T,
    subject: T,
}

/// A process with one worker, in both worlds.
struct Seat {
    stores: Pair<SharedStore>,
    marks: Pair<Arc<dyn StartMarks>>,
    worker: WorkerId,
    /// What it was ever given, the newest last; much of it has ended since, so that fences are tried.
    held: Vec<Pair<ClaimedJob>>,
}

impl<S: Subject> StateMachineTest for Twins<S> {
    type SystemUnderTest = Both<S>;
    type Reference = Plan;

    fn init_test(_: &Plan) -> Both<S> {
        let (model, subject) = (MemoryStore::new(), S::fresh());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let opened = runtime.block_on(subject.open());
        let desk = Pair { model: Arc::new(model.handle()) as SharedStore, subject: opened };
        let follow = |store: &SharedStore| {
            let place = runtime.block_on(store.listen(Duration::from_secs(3_600))).unwrap();
            RefCell::new(Follower { place, jobs: BTreeMap::new() })
        };
        let followers = Pair { model: follow(&desk.model), subject: follow(&desk.subject) };
        let (now, workers, seats) = (0, 0, Vec::new());
        let mut both = Both { runtime, now, workers, seats, desk, followers, model, subject };
        for _ in 0..SEATS {
            let seat = both.sit_down();
            both.seats.push(seat);
        }
        both
    }

    fn apply(mut both: Both<S>, _: &Plan, step: Step) -> Both<S> {
        both.take(step);
        both
    }

    fn check_invariants(both: &Both<S>, _: &Plan) {
        both.compare();
    }

    fn teardown(both: Both<S>, _: Plan) {
        let mut oracle = Oracle::default();
        both.runtime.block_on(oracle.look_at_rest(&*both.desk.subject));
    }
}

impl<S: Subject> Both<S> {
    /// A new process with a new worker.
    fn sit_down(&mut self) -> Seat {
        self.workers += 1;
        let new = NewWorker { lease: Duration::from_secs(600), ..new_worker(self.workers) };
        let worker = new.id;
        let opened = self.runtime.block_on(self.subject.open());
        let stores = Pair { model: Arc::new(self.model.handle()) as SharedStore, subject: opened };
        let register = |store: &SharedStore| -> Registration {
            let registered = store.register(at(self.now), monotonic_us(self.now), new.clone());
            self.runtime.block_on(registered).unwrap()
        };
        let marks = Pair { model: register(&stores.model).marks, subject: register(&stores.subject).marks };
        Seat { stores, marks, worker, held: Vec::new() }
    }

    /// Asks both, and gives the answers after holding them against each other.
    fn ask<T: Debug, U: PartialEq + Debug>(
        &self,
        stores: &Pair<SharedStore>,
        call: impl for<'s> Fn(&'s dyn Store, bool) -> Reply<'s, T>,
        told: impl Fn(&T) -> U,
    ) -> Option<Pair<T>> {
        let model = self.runtime.block_on(call(&*stores.model, true));
        let subject = self.runtime.block_on(call(&*stores.subject, false));
        match (model, subject) {
            (Ok(model), Ok(subject)) => {
                assert_eq!(told(&model), told(&subject), "the model's answer, then the store's");
                Some(Pair { model, subject })
            }
            (Err(model), Err(subject)) => {
                assert_eq!(kind_of(&model), kind_of(&subject), "{model:?} {subject:?}");
                None
            }
            (model, subject) => panic!("one of them failed: {model:?} {subject:?}"),
        }
    }

    /// Asks both through the desk, where the whole answer must be the same.
    fn same<T: Clone + Debug + PartialEq>(&self, call: impl for<'s> Fn(&'s dyn Store) -> Reply<'s, T>) {
        self.ask(&self.desk, |store, _| call(store), T::clone);
    }

    fn take(&mut self, step: Step) {
        let now = at(self.now);
        let space = || namespace("default");
        match step {
            Step::Enqueue(jobs) => self.enqueue(jobs),
            Step::Claim { seat, limit, only_mail, only_a, only_acme, priority_max } => {
                let kinds = if only_mail { vec![kind("mail")] } else { vec![kind("mail"), kind("report")] };
                let queues = only_a.then(|| vec![queue("a")]);
                self.claim(seat, limit, |claim| Claim {
                    kinds: kinds.clone(),
                    queues: queues.clone(),
                    namespace: only_acme.then(|| namespace("acme")),
                    priority_max,
                    ..claim
                });
            }
            Step::Start { seat, which } => self.start(seat, which),
            Step::End { seat, ends, knows_of_cancel } => self.end(seat, &ends, knows_of_cancel),
            Step::GiveBack { seat, which } => self.give_back(seat, which),
            Step::Report { seat, which, done } => self.report(seat, which, done),
            Step::Log { seat, which, bytes } => self.log(seat, which, &bytes),
            Step::Change { jobs, change, reason } => {
                let ids: Vec<_> = jobs.into_iter().map(id).collect();
                self.same(|store| store.change(now, ids.clone(), change, alice(), reason.clone()));
            }
            Step::ChangeGiven { seat, which, change } => {
                let given = which.into_iter().filter_map(|which| self.pick(seat, which));
                let ids: Vec<_> = given.map(|job| job.model.id).collect();
                self.same(|store| store.change(now, ids.clone(), change, alice(), None));
            }
            Step::Pause { queue: name, paused } => {
                self.same(|store| store.pause(now, space(), queue(name), paused, alice()));
            }
            Step::Purge { queue: name } => {
                self.same(|store| store.purge(now, space(), queue(name), alice(), 1_000));
            }
            Step::Promote { limit } => {
                self.same(|store| store.promote(now, limit));
            }
            Step::Advance { seconds } => self.now += seconds,
            Step::Renew { seat } => self.renew(seat),
            Step::Tell { seat, order } => {
                let worker = self.seats[seat].worker;
                self.same(|store| store.order(vec![worker], order));
            }
            Step::Kill { seat } => self.seats[seat] = self.sit_down(),
            Step::Stop { seat } => self.stop(seat),
            Step::Reclaim => {
                let monotonic = monotonic_us(self.now);
                self.ask(&self.desk, |store, _| store.reclaim(now, monotonic, Sight::endless()), by_worker);
            }
            Step::Prune { keep_s } => self.prune(Duration::from_secs(keep_s)),
        }
    }

    fn enqueue(&self, jobs: Vec<NewJob>) {
        self.same(|store| store.enqueue(at(self.now), jobs.clone()));
    }

    fn claim(&mut self, seat: usize, limit: usize, narrow: impl Fn(Claim) -> Claim) {
        let base = Claim {
            now: at(self.now),
            worker: self.seats[seat].worker,
            limit,
            kinds: Vec::new(),
            queues: None,
            namespace: None,
            priority_max: None,
        };
        let claim = narrow(base);
        let keyless = |job: &ClaimedJob| ClaimedJob { key: JobKey(0), ..job.clone() };
        let claimed = self.ask(
            &self.seats[seat].stores,
            |store, _| store.claim(claim.clone()),
            |claimed: &Claimed| claimed.jobs.iter().map(keyless).collect::<Vec<_>>(),
        );
        if let Some(Pair { model, subject }) = claimed {
            let pairs = model.jobs.into_iter().zip(subject.jobs);
            self.seats[seat].held.extend(pairs.map(|(model, subject)| Pair { model, subject }));
        }
    }

    /// Something that the seat was given; mostly of the newest, which it may still hold.
    fn pick(&self, seat: usize, which: Index) -> Option<&Pair<ClaimedJob>> {
        let held = &self.seats[seat].held;
        let newest = &held[held.len().saturating_sub(6)..];
        (!newest.is_empty()).then(|| which.get(newest))
    }

    /// A worker starts what it holds, and nothing that it has given back.
    fn start(&self, seat: usize, which: Index) {
        let Some(job) = self.pick(seat, which) else { return };
        let Seat { marks, worker, .. } = &self.seats[seat];
        let now = self.runtime.block_on(self.model.job(job.model.id)).unwrap();
        let is_held = |view: &JobView| {
            (view.state, view.worker, view.attempt) == (State::Running, Some(*worker), job.model.attempt)
        };
        if now.is_some_and(|now| is_held(&now.view)) {
            marks.model.started(job.model.key, job.model.attempt);
            marks.subject.started(job.subject.key, job.subject.attempt);
        }
    }

    fn end(&self, seat: usize, ends: &[(Index, Outcome)], cancel_requested: bool) {
        let end = |job: &ClaimedJob, outcome: &Outcome| {
            let facts = Facts {
                attempt: job.attempt,
                max_attempts: job.max_attempts,
                backoff: Backoff::default(),
                delivery: taskwright_core::Delivery::default(),
                on_shutdown: taskwright_core::OnShutdown::default(),
                cancel_requested,
                now: at(self.now),
                dice: 0.5,
            };
            Finish {
                key: job.key,
                attempt: job.attempt,
                started_at: job.claimed_at,
                ended_at: at(self.now),
                decision: decide(outcome.clone(), &facts),
                usage: None,
                follow_ups: Vec::new(),
                snoozes_max: taskwright_core::limit::SNOOZES_MAX,
            }
        };
        let all = |is_model| -> Vec<Finish> {
            let jobs = ends.iter().filter_map(|(which, outcome)| Some((self.pick(seat, *which)?, outcome)));
            jobs.map(|(job, outcome)| end(job.of(is_model), outcome)).collect()
        };
        let ends = Pair { model: all(true), subject: all(false) };
        let Seat { stores, worker, .. } = &self.seats[seat];
        let now = at(self.now);
        self.ask(stores, |store, model| store.finish(now, *worker, ends.of(model).clone()), Vec::clone);
    }

    fn give_back(&self, seat: usize, which: Index) {
        let Some(job) = self.pick(seat, which) else { return };
        let Seat { stores, worker, .. } = &self.seats[seat];
        let back = |job: &ClaimedJob| vec![(job.key, job.attempt)];
        let now = at(self.now);
        self.ask(
            stores,
            |store, model| store.give_back(now, *worker, back(job.of(model)), "not soon".to_owned()),
            Vec::clone,
        );
    }

    fn report(&self, seat: usize, which: Index, done: u64) {
        let Some(job) = self.pick(seat, which) else { return };
        let Seat { stores, worker, .. } = &self.seats[seat];
        let progress = Progress { done, total: None, message: None };
        let report = |job: &ClaimedJob| {
            let (key, attempt, at) = (job.key, job.attempt, at(self.now));
            vec![ProgressReport { key, attempt, at, progress: progress.clone() }]
        };
        self.ask(stores, |store, model| store.report(*worker, report(job.of(model))), Vec::clone);
    }

    fn log(&self, seat: usize, which: Index, bytes: &[u8]) {
        let Some(job) = self.pick(seat, which) else { return };
        let Seat { stores, worker, .. } = &self.seats[seat];
        let entry = |job: &ClaimedJob| {
            let (key, attempt, at) = (job.key, job.attempt, at(self.now));
            vec![LogEntry { key, attempt, at, stream: LogStream::Stdout, bytes: bytes.to_vec() }]
        };
        self.ask(stores, |store, model| store.log(*worker, entry(job.of(model))), Vec::clone);
    }

    fn renew(&self, seat: usize) {
        let Seat { stores, worker, .. } = &self.seats[seat];
        let (now, monotonic) = (at(self.now), monotonic_us(self.now));
        self.ask(stores, |store, _| store.renew(now, monotonic, *worker), without_keys);
    }

    fn stop(&mut self, seat: usize) {
        let Seat { stores, worker, .. } = &self.seats[seat];
        let now = at(self.now);
        self.ask(stores, |store, _| store.unregister(now, *worker), |()| ());
        self.seats[seat] = self.sit_down();
    }

    /// Prunes until nothing is left to prune: how much goes in one call is each store's own matter.
    fn prune(&self, keep: Duration) {
        let before = at(self.now).minus(keep);
        let all = |store: &SharedStore, garbage| {
            let mut collect = Collect { garbage, before, after: None, limit: 10, dry_run: false };
            let mut jobs = 0;
            loop {
                let collected = self.runtime.block_on(store.collect(collect)).unwrap();
                jobs += collected.rows;
                collect.after = collected.next;
                if !collected.more {
                    return jobs;
                }
            }
        };
        for garbage in [Garbage::Completed, Garbage::Failed, Garbage::Dropped] {
            assert_eq!(all(&self.desk.model, garbage), all(&self.desk.subject, garbage), "{garbage}");
        }
        self.roll_up();
    }

    /// Rolls up everything, in steps of each store's own, and holds the roll-ups against each other: ends and times that
    /// handlers ran. Waits are known for longer in one store than in another when a job is run again.
    fn roll_up(&self) {
        let rolled = |store: &SharedStore| {
            while self.runtime.block_on(store.roll_up(5)).unwrap().more {}
            let (from, to) = (at(0), Timestamp::MAX);
            let (grain, namespace, kinds, queues) = (Grain::Minute, None, Vec::new(), Vec::new());
            let filter = RollUpFilter { grain, from, to, namespace, kinds, queues };
            let page = self.runtime.block_on(store.roll_ups(filter, None, 1_000)).unwrap();
            let told = page.roll_ups.into_iter().map(|(place, sum)| (place, sum.ends(), sum.run));
            told.collect::<Vec<_>>()
        };
        assert_eq!(rolled(&self.desk.model), rolled(&self.desk.subject));
    }

    /// Who follows the moves knows each job as it is.
    fn follow(&self, is_model: bool) {
        let (store, mut follower) = (self.desk.of(is_model), self.followers.of(is_model).borrow_mut());
        loop {
            let moves = self.runtime.block_on(store.moves(follower.place.clone(), 10)).unwrap();
            assert!(!moves.missed);
            follower.place = moves.place;
            follower.jobs.extend(moves.jobs.iter().map(|job| (job.id, told(job))));
            if moves.is_end {
                break;
            }
        }
        for job in self.runtime.block_on(store.list(Filter::default(), WHOLE)).unwrap().jobs {
            assert_eq!(follower.jobs.get(&job.id), Some(&told(&job)), "what was told of {}", job.id);
        }
    }

    /// Everything that can be seen must be the same.
    fn compare(&self) {
        self.follow(true);
        self.follow(false);
        self.same(|store| store.list(Filter::default(), WHOLE));
        self.same(|store| store.list(Filter { cancel_requested: Some(true), ..Filter::default() }, WHOLE));
        for n in 1..=JOBS {
            self.same(|store| store.job(id(n)));
            self.same(|store| store.logs(id(n), 0, 100));
        }
        self.ask(
            &self.desk,
            |store, _| store.workers(),
            |workers| {
                let mut workers = workers.clone();
                workers.sort_by_key(|worker| worker.id);
                workers
            },
        );
        self.ask(
            &self.desk,
            |store, _| store.queues(at(self.now), None),
            |queues| {
                // Whether a queue is known that has nothing in it, because all was refused, is nobody's concern.
                let is_in_use =
                    |queue: &&QueueView| queue.paused || queue.available + queue.running + queue.waiting > 0;
                queues.iter().filter(is_in_use).cloned().collect::<Vec<_>>()
            },
        );
        for seat in &self.seats {
            self.ask(&seat.stores, |store, _| store.signals(seat.worker), without_keys);
        }
    }
}

impl<T> Pair<T> {
    fn of(&self, model: bool) -> &T {
        if model { &self.model } else { &self.subject }
    }
}

/// All jobs on one page.
const WHOLE: Page = Page { after: None, limit: 1_000, oldest_first: true };

/// Keys are each store's own.
fn without_keys(signals: &Signals) -> Signals {
    let mut signals = signals.clone();
    signals.cancels.iter_mut().for_each(|cancel| cancel.key = JobKey(0));
    signals
}

/// In which order lost workers are found is each store's own matter, and so is its clock.
fn by_worker(reclaimed: &Reclaimed) -> Reclaimed {
    let mut reclaimed = reclaimed.clone();
    reclaimed.workers.sort_by_key(|lost| lost.id);
    reclaimed.sight = Sight::default();
    reclaimed
}

fn kind_of(error: &Error) -> [bool; 3] {
    [error.is_domain(), error.is_lost(), error.is_closed()]
}
