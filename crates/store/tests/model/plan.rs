//! What may be done: steps that make sense in any order, so that a failing sequence can be cut short.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::ReferenceStateMachine;
use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{Delivery, MaxAttempts, NewJob, Owner, Priority, UniqueScope};
use taskwright_store::conformance::fixture::*;
use taskwright_store::{Change, Order};

/// Jobs are numbered up to this, so that ids repeat and many are unknown.
pub(crate) const JOBS: u32 = 40;

/// Processes with one worker each.
pub(crate) const SEATS: usize = 3;

/// The state that the steps are made from: none, since each of them makes sense at any time.
#[derive(Clone, Debug)]
pub(crate) struct Plan;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue(Vec<NewJob>),
    Claim {
        seat: usize,
        limit: usize,
        only_mail: bool,
        only_a: bool,
        only_acme: bool,
        priority_max: Option<Priority>,
    },
    /// Start what the seat claimed.
    Start {
        seat: usize,
        which: Index,
    },
    /// End some of what the seat claimed, now or ever.
    End {
        seat: usize,
        ends: Vec<(Index, Outcome)>,
        knows_of_cancel: bool,
    },
    GiveBack {
        seat: usize,
        which: Index,
    },
    Report {
        seat: usize,
        which: Index,
        done: u64,
    },
    Log {
        seat: usize,
        which: Index,
        bytes: Vec<u8>,
    },
    Change {
        jobs: Vec<u32>,
        change: Change,
        reason: Option<String>,
    },
    /// Change something that the seat was given: what ran before is kept elsewhere than what did not.
    ChangeGiven {
        seat: usize,
        which: Vec<Index>,
        change: Change,
    },
    Pause {
        queue: &'static str,
        paused: bool,
    },
    Purge {
        queue: &'static str,
    },
    Promote {
        limit: usize,
    },
    Advance {
        seconds: u64,
    },
    Renew {
        seat: usize,
    },
    Tell {
        seat: usize,
        order: Order,
    },
    /// The process dies, and another takes its seat.
    Kill {
        seat: usize,
    },
    /// The worker stops in good order, and another takes its seat.
    Stop {
        seat: usize,
    },
    Reclaim,
    Prune {
        keep_s: u64,
    },
}

impl ReferenceStateMachine for Plan {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            6 => prop::collection::vec(new_job(), 1..8).prop_map(Step::Enqueue),
            6 => claim(),
            4 => (seat(), any::<Index>()).prop_map(|(seat, which)| Step::Start { seat, which }),
            6 => end(),
            3 => (seat(), any::<Index>()).prop_map(|(seat, which)| Step::GiveBack { seat, which }),
            1 => (seat(), any::<Index>(), 0..9_u64)
                .prop_map(|(seat, which, done)| Step::Report { seat, which, done }),
            1 => (seat(), any::<Index>(), prop::collection::vec(any::<u8>(), 0..9))
                .prop_map(|(seat, which, bytes)| Step::Log { seat, which, bytes }),
            6 => (prop::collection::vec(1..=JOBS, 1..5), change(), reason())
                .prop_map(|(jobs, change, reason)| Step::Change { jobs, change, reason }),
            8 => (seat(), prop::collection::vec(any::<Index>(), 1..4), change_of_given())
                .prop_map(|(seat, which, change)| Step::ChangeGiven { seat, which, change }),
            1 => (queue_name(), any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
            1 => queue_name().prop_map(|queue| Step::Purge { queue }),
            4 => prop_oneof![Just(1_000), 0..3_usize].prop_map(|limit| Step::Promote { limit }),
            4 => prop_oneof![8 => 0..30_u64, 2 => Just(120), 1 => Just(3_600)]
                .prop_map(|seconds| Step::Advance { seconds }),
            2 => seat().prop_map(|seat| Step::Renew { seat }),
            1 => (seat(), prop_oneof![Just(Order::Quiet), Just(Order::Stop)])
                .prop_map(|(seat, order)| Step::Tell { seat, order }),
            2 => seat().prop_map(|seat| Step::Kill { seat }),
            1 => seat().prop_map(|seat| Step::Stop { seat }),
            3 => Just(Step::Reclaim),
            1 => prop_oneof![Just(0), 0..500_u64].prop_map(|keep_s| Step::Prune { keep_s }),
        ]
        .boxed()
    }

    fn apply(plan: Self, _: &Step) -> Self {
        plan
    }
}

fn seat() -> impl Strategy<Value = usize> {
    0..SEATS
}

fn queue_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b")]
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::REALTIME), Just(Priority::DEFAULT), Just(Priority::BULK), Just(Priority(-9))]
}

fn reason() -> impl Strategy<Value = Option<String>> {
    prop::option::of(Just("because".to_owned()))
}

fn new_job() -> impl Strategy<Value = NewJob> {
    let names = (any::<bool>(), queue_name(), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    let times = (prop::option::weighted(0.3, 0..4_000_u64), prop::bool::weighted(0.15));
    let scope = prop_oneof![Just(UniqueScope::Waiting), Just(UniqueScope::Active)];
    let rules = (1..4_u32, prop::option::weighted(0.3, (prop_oneof![Just("k"), Just("l")], scope)));
    (1..=JOBS, names, priority(), times, rules, prop::bool::weighted(0.2)).prop_map(
        |(n, (mail, lane, acme, owned), priority, (run_at, held), (attempts, key), once)| NewJob {
            kind: kind(if mail { "mail" } else { "report" }),
            queue: queue(lane),
            namespace: namespace(if acme { "acme" } else { "default" }),
            owner: owned.then(|| Owner::new("zoë").unwrap()),
            priority,
            run_at: run_at.map(at),
            held,
            max_attempts: MaxAttempts::limited(attempts).unwrap(),
            delivery: if once { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            unique: key.and_then(|(key, scope)| unique(key, scope)),
            ..job(n)
        },
    )
}

fn claim() -> impl Strategy<Value = Step> {
    let few = prop::bool::weighted(0.2);
    (seat(), 0..6_usize, few, prop::bool::weighted(0.2), prop::bool::weighted(0.1), any::<bool>(), priority())
        .prop_map(|(seat, limit, only_mail, only_a, only_acme, all, worst)| Step::Claim {
            seat,
            limit,
            only_mail,
            only_a,
            only_acme,
            priority_max: (!all).then_some(worst),
        })
}

fn end() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => prop::option::of(Just("7".to_owned())).prop_map(|result| Outcome::Completed { result }),
        3 => (prop::option::of(0..60_u64), prop_oneof![Just(AttemptEnd::Failed), Just(AttemptEnd::Panicked)])
            .prop_map(|(after, end)| Outcome::Retry {
                error: "boom".to_owned(),
                after: after.map(Duration::from_secs),
                end,
            }),
        1 => Just(Outcome::Fail { error: "bad".to_owned() }),
        1 => (0..60_u64).prop_map(|delay| Outcome::Snooze { delay: Duration::from_secs(delay) }),
        1 => Just(Outcome::Cancelled { reason: "enough".to_owned() }),
        1 => Just(Outcome::GiveBack { reason: "stop".to_owned() }),
    ];
    let ends = prop::collection::vec((any::<Index>(), outcome), 1..5);
    (seat(), ends, prop::bool::weighted(0.2)).prop_map(|(seat, ends, knows_of_cancel)| Step::End {
        seat,
        ends,
        knows_of_cancel,
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::Cancel),
        3 => any::<bool>().prop_map(|repeat| Change::Redo { repeat }),
        2 => Just(Change::RunNow),
        2 => Just(Change::Release),
        2 => (0..4_000_u64).prop_map(|until| Change::Delay { until: at(until) }),
        2 => priority().prop_map(|priority| Change::Reprioritise { priority }),
        1 => Just(Change::Delete),
        2 => Just(Change::Fail),
        1 => Just(Change::Drop),
        1 => Just(Change::Free),
    ]
}

/// Mostly to priorities that are nowhere else, where nothing has been claimed before.
fn change_of_given() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (1..200_i16).prop_map(|priority| Change::Reprioritise { priority: Priority(priority) }),
        4 => Just(Change::Redo { repeat: true }),
        4 => change(),
    ]
}
