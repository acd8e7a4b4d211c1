//! A worker with a budget against a store in memory, on a clock of its own.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000;
const TICK_US: u64 = 10 * MS;
/// How long a job is kept that has no room.
const KEPT_US: u64 = 1_000 * MS;

fn weight(cpu_milli: u32, memory_bytes: u64) -> Weight {
    Weight { cpu_milli, memory_bytes }
}

fn budget(cpu_milli: u32, memory_bytes: u64) -> Budget {
    Budget { cpu_milli: Some(cpu_milli), memory_bytes: Some(memory_bytes) }
}

#[derive(Clone, Copy, Debug)]
struct Job {
    number: usize,
    kind: usize,
    priority: Priority,
    took_us: u64,
}

#[derive(Clone, Debug)]
struct Running {
    job: Job,
    ends_us: u64,
}

struct Worker {
    admission: Admission,
    slots: usize,
    now_us: u64,
    running: Vec<Running>,
    kept: Option<(Job, u64)>,
    waiting: Vec<Job>,
    /// When each job started, by its number.
    started: Vec<(usize, u64)>,
    dice: f64,
}

impl Worker {
    fn new(budget: Budget, weights: &[Weight], slots: usize) -> Self {
        Self {
            admission: Admission::new(budget, weights).unwrap(),
            slots,
            now_us: 0,
            running: Vec::new(),
            kept: None,
            waiting: Vec::new(),
            started: Vec::new(),
            dice: 0.5,
        }
    }

    fn load(&self) -> Weight {
        let weights = self.running.iter().map(|running| self.admission.weight(running.job.kind));
        weights.fold(Weight::NONE, Weight::plus)
    }

    fn start(&mut self, job: Job) {
        self.started.push((job.number, self.now_us));
        self.running.push(Running { job, ends_us: self.now_us + job.took_us });
    }

    /// The jobs that a store would give.
    fn take(&mut self, claim: &Claim) -> Vec<Job> {
        let matches = |job: &Job| {
            claim.kinds.contains(&job.kind) && claim.priority_max.is_none_or(|worst| job.priority <= worst)
        };
        self.waiting.sort_by_key(|job| (job.priority, job.number));
        let taken: Vec<Job> = self.waiting.iter().copied().filter(matches).take(claim.most).collect();
        self.waiting.retain(|job| taken.iter().all(|taken| taken.number != job.number));
        taken
    }

    fn tick(&mut self) {
        self.now_us += TICK_US;
        let now_us = self.now_us;
        self.running.retain(|running| running.ends_us > now_us);
        if let Some((job, since_us)) = self.kept
            && now_us - since_us >= KEPT_US
        {
            self.kept = None;
            self.waiting.push(job);
        }
        for _ in 0..100 {
            let want = self.slots - self.running.len();
            if want == 0 {
                return;
            }
            match self.admission.ask(now_us, self.load(), self.kept.is_some(), want, self.dice) {
                Ask::Nothing => return,
                Ask::StartKept => {
                    let (job, _) = self.kept.take().expect("it said that one is kept");
                    self.start(job);
                }
                Ask::Claim(claim) => {
                    assert!(claim.most > 0 && !claim.kinds.is_empty(), "{claim:?}");
                    let jobs = self.take(&claim);
                    let first = jobs.first().map(|job| (job.kind, job.priority));
                    let answer = Answer { jobs: jobs.len(), first };
                    let again = self.admission.answered(now_us, &claim, answer, self.dice);
                    match claim.purpose {
                        Purpose::Look => self.kept = jobs.first().map(|job| (*job, now_us)),
                        _ => jobs.into_iter().for_each(|job| self.start(job)),
                    }
                    if !again {
                        return;
                    }
                }
            }
        }
        panic!("it asks for ever");
    }

    fn started_at(&self, number: usize) -> Option<u64> {
        self.started.iter().find(|(started, _)| *started == number).map(|(_, at_us)| *at_us)
    }
}

fn job(number: usize, kind: usize, took_ms: u64) -> Job {
    Job { number, kind, priority: Priority::DEFAULT, took_us: took_ms * MS }
}

#[test]
fn without_weights_or_without_a_budget_nobody_need_ask() {
    assert!(Admission::new(Budget::default(), &[weight(1_000, 1 << 30)]).is_none());
    assert!(Admission::new(budget(1_000, 1), &[Weight::NONE]).is_none());
    assert!(Admission::new(Budget { cpu_milli: Some(1), memory_bytes: None }, &[weight(0, 7)]).is_none());
}

#[test]
fn a_job_heavier_than_the_whole_budget_runs_when_nothing_else_runs_that_weighs() {
    let mut worker = Worker::new(budget(2_000, 100), &[weight(0, 1_000), weight(0, 10), Weight::NONE], 8);
    worker.waiting = vec![job(0, 1, 300), job(1, 2, 60_000)];
    worker.tick();
    worker.waiting = vec![job(2, 0, 500)];
    for _ in 0..200 {
        worker.tick();
    }
    assert_eq!(
        worker.started_at(2),
        Some(310 * MS),
        "as soon as the light one is over, beside the weightless one"
    );
}

#[test]
fn a_large_job_that_goes_elsewhere_meanwhile_holds_up_nobody_for_long() {
    let mut worker = Worker::new(budget(4_000, 0), &[weight(4_000, 0), weight(1_000, 0)], 8);
    worker.waiting = (0..3).map(|number| job(number, 1, 60_000)).collect();
    worker.tick();
    worker.waiting = vec![job(10, 0, 1_000)];
    while worker.admission.reserved().is_none() {
        worker.tick();
    }
    assert!(worker.now_us <= 3_010 * MS, "{}", worker.now_us);
    // It is kept for a second, goes back, and another worker takes it.
    while worker.kept.is_some() {
        worker.tick();
    }
    worker.waiting = vec![job(11, 1, 100)];
    let gone_us = worker.now_us;
    while worker.started_at(11).is_none() {
        worker.tick();
        assert!(worker.now_us - gone_us <= 11_000 * MS, "the room is still reserved");
    }
}

#[test]
fn what_is_more_urgent_than_the_large_job_overtakes_it_all_the_same() {
    let mut worker = Worker::new(budget(4_000, 0), &[weight(4_000, 0), weight(1_000, 0)], 8);
    worker.waiting = (0..3).map(|number| job(number, 1, 20_000)).collect();
    worker.tick();
    worker.waiting = vec![job(10, 0, 1_000)];
    while worker.admission.reserved().is_none() {
        worker.tick();
    }
    worker.waiting.push(job(11, 1, 100));
    worker.waiting.push(Job { priority: Priority::REALTIME, ..job(12, 1, 100) });
    worker.tick();
    assert_eq!((worker.started_at(11), worker.started_at(12)), (None, Some(worker.now_us)));
}

fn weights() -> impl Strategy<Value = Vec<Weight>> {
    prop::collection::vec((0..6_u32, 0..6_u64).prop_map(|(cpu, memory)| weight(cpu * 500, memory)), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_is_never_passed_and_everything_is_run(
        cpu in prop::option::of(500_u32..4_000),
        memory in prop::option::of(1_u64..8),
        weights in weights(),
        jobs in prop::collection::vec((0..5_usize, 0..3_i16, 1..400_u64, 0..200_usize), 1..60),
    ) {
        let budget = Budget { cpu_milli: cpu, memory_bytes: memory };
        prop_assume!(Admission::new(budget, &weights).is_some());
        let mut worker = Worker::new(budget, &weights, 6);
        let count = jobs.len();
        for tick in 0..20_000 {
            for (number, (kind, priority, took_ms, at)) in jobs.iter().enumerate() {
                if *at == tick {
                    let kind = kind % weights.len();
                    let priority = Priority(*priority);
                    worker.waiting.push(Job { priority, ..job(number, kind, *took_ms) });
                }
            }
            worker.tick();
            let load = worker.load();
            prop_assert!(cpu.is_none_or(|most| load.cpu_milli <= most), "{load:?} of {budget:?}");
            prop_assert!(memory.is_none_or(|most| load.memory_bytes <= most), "{load:?} of {budget:?}");
            if tick > 200 && worker.started.len() == count {
                return Ok(());
            }
        }
        prop_assert!(false, "{} of {count} jobs were run", worker.started.len());
    }

    #[test]
    fn a_large_job_is_overtaken_for_3_s_at_most_however_many_light_ones_come(
        large in 1_500_u32..6_000,
        light in 200_u32..1_000,
        took_ms in 20_u64..4_000,
        dice in 0.0..1.0_f64,
    ) {
        let mut worker = Worker::new(budget(4_000, 0), &[weight(large, 0), weight(light, 0)], 64);
        worker.dice = dice;
        let mut next = 1_000;
        let refill = |worker: &mut Worker, next: &mut usize| {
            while worker.waiting.len() < 100 {
                *next += 1;
                // They do not all end at once.
                worker.waiting.push(job(*next, 1, 1 + took_ms * (*next as u64 % 7 + 1) / 7));
            }
        };
        refill(&mut worker, &mut next);
        worker.tick();
        let number = next + 1;
        next += 1;
        worker.waiting.push(job(number, 0, 100));
        // Those that came before it are not overtaking.
        let mut asked_us = worker.now_us;
        while worker.started_at(number).is_none() {
            refill(&mut worker, &mut next);
            if worker.waiting.iter().any(|job| job.number < number) {
                asked_us = worker.now_us;
            }
            worker.tick();
            let waited_us = worker.now_us - asked_us;
            // To the look 3 s, then until the longest of those that ran has ended.
            prop_assert!(waited_us <= (3_000 + took_ms + 50) * MS, "{} ms", waited_us / MS);
        }
    }

    #[test]
    fn what_has_room_beside_a_large_job_starts_although_more_large_ones_wait(dice in 0.0..1.0_f64) {
        let mut worker = Worker::new(budget(4_000, 0), &[weight(3_000, 0), weight(1_000, 0)], 8);
        worker.dice = dice;
        worker.waiting = (0..40).map(|number| job(number, 0, 500)).collect();
        worker.waiting.push(job(100, 1, 100));
        for _ in 0..20 {
            worker.tick();
        }
        prop_assert!(worker.started_at(100).is_some());
    }
}
