//! Which jobs a worker may take on, when its tasks have weights and it has a budget.
//!
//! A worker never claims a job that it has no room for: what it does not claim stays with the store, where workers that
//! have room find it. So the question is not what to start of what waits here, but **what to ask the store for**, and
//! [`Admission::ask`] answers it: which kinds, and how many.
//!
//! # Large jobs are not starved
//!
//! A kind that has no room is left out of the claims, and lighter jobs overtake it. That lasts
//! [2 s, give or take half](OVERTAKEN): then the worker looks whether one of those jobs waits, by claiming one. If so, room
//! is *reserved* for it: nothing more is taken on that would be in its way, but for jobs that are more urgent. When what
//! runs has ended, it starts. The worker keeps the job itself for a second at most; after that it goes back, and may start
//! anywhere else, while the reservation stays. Whether it is still worth it is looked up again after 10 s, then after twice
//! that, and so on.
//!
//! A job that is heavier than the whole budget counts as all of it: it runs when nothing else runs that weighs anything.
//! What weighs nothing is always taken on.

use std::fmt;
use std::time::Duration;

use crate::priority::Priority;
use crate::size::Bytes;

/// How long lighter jobs may overtake one that has no room: 2 s, spread by half to both sides, so that not every worker of
/// a machine makes room for the same job.
pub const OVERTAKEN: Duration = Duration::from_secs(2);

/// The first and the longest time between two looks whether a job still waits that room is reserved for.
pub const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// What one job counts while it runs. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Weight {
    /// Thousandths of a CPU.
    pub cpu_milli: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl Weight {
    /// Nothing.
    pub const NONE: Self = Self { cpu_milli: 0, memory_bytes: 0 };

    /// Whether it is nothing.
    pub const fn is_none(&self) -> bool {
        self.cpu_milli == 0 && self.memory_bytes == 0
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    /// What is left without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CPU, {}", Cpus(self.cpu_milli), Bytes(self.memory_bytes))
    }
}

/// Thousandths of a CPU as CPUs: `2`, `0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus(pub u32);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1_000.0)
    }
}

/// How much the jobs that a worker runs may weigh together. The default limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Budget {
    /// Thousandths of a CPU; `None` is no limit.
    pub cpu_milli: Option<u32>,
    /// Memory, in bytes; `None` is no limit.
    pub memory_bytes: Option<u64>,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cpu_milli.map(Cpus), self.memory_bytes.map(Bytes)) {
            (None, None) => f.write_str("no limit"),
            (Some(cpus), None) => write!(f, "{cpus} CPU"),
            (None, Some(bytes)) => bytes.fmt(f),
            (Some(cpus), Some(bytes)) => write!(f, "{cpus} CPU, {bytes}"),
        }
    }
}

impl Budget {
    /// What a weight counts here: no more than all there is, and nothing where there is no limit.
    pub fn counted(&self, weight: Weight) -> Weight {
        Weight {
            cpu_milli: self.cpu_milli.map_or(0, |most| weight.cpu_milli.min(most)),
            memory_bytes: self.memory_bytes.map_or(0, |most| weight.memory_bytes.min(most)),
        }
    }

    /// Whether a weight is more than all there is.
    pub fn is_passed_by(&self, weight: Weight) -> bool {
        self.cpu_milli.is_some_and(|most| weight.cpu_milli > most)
            || self.memory_bytes.is_some_and(|most| weight.memory_bytes > most)
    }

    /// How many jobs of this weight there is room for beside a load; `None` is any number.
    pub fn room_for(&self, weight: Weight, load: Weight) -> Option<u64> {
        let weight = self.counted(weight);
        let fit = |most: u64, load: u64, weight: u64| {
            (weight > 0).then(|| most.saturating_sub(load).checked_div(weight).unwrap_or(0))
        };
        let cpu = fit(self.cpu_milli.unwrap_or(0).into(), load.cpu_milli.into(), weight.cpu_milli.into());
        let memory = fit(self.memory_bytes.unwrap_or(0), load.memory_bytes, weight.memory_bytes);
        cpu.into_iter().chain(memory).min()
    }

    fn has_room(&self, weight: Weight, load: Weight) -> bool {
        self.room_for(weight, load) != Some(0)
    }
}

/// What a worker is to ask the store for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: there is no room for anything that it knows.
    Nothing,
    /// Nothing: the job that is kept here has room now, and starts.
    StartKept,
    /// For jobs.
    Claim(Claim),
}

/// What to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Why; to be given back with the [answer](Admission::answered).
    pub purpose: Purpose,
    /// These kinds, by their number.
    pub kinds: Vec<usize>,
    /// So many jobs at most: as many as have room, whichever kinds they are of.
    pub most: usize,
    /// Only jobs of this priority or better.
    pub priority_max: Option<Priority>,
}

/// Why something is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run what has room.
    Run,
    /// To run what is more urgent than the job that room is reserved for.
    RunUrgent,
    /// To run the job that room was reserved for.
    RunReserved,
    /// To see whether a job waits that has no room. It is kept here for a moment, and not run before it has room.
    Look,
}

/// What a claim was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many jobs came.
    pub jobs: usize,
    /// Kind and priority of the first.
    pub first: Option<(usize, Priority)>,
}

/// What a worker knows about weights. It is told the load each time and keeps only what it has reserved.
#[derive(Clone, Debug)]
pub struct Admission {
    budget: Budget,
    weights: Vec<Weight>,
    reserved: Option<Reserved>,
    /// By kind, when (microseconds) to look whether one of its jobs waits; `None` while it is asked for like any other.
    look_at_us: Vec<Option<u64>>,
    /// What has room was asked for and did not suffice: what is more urgent comes next.
    urgent_next: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reserved {
    kind: usize,
    priority: Priority,
    since_us: u64,
    look_again_us: u64,
    pause: Duration,
}

impl Admission {
    /// For kinds of these weights. `None` when nothing is ever refused, so that nobody need ask.
    pub fn new(budget: Budget, weights: &[Weight]) -> Option<Self> {
        let weights: Vec<Weight> = weights.iter().map(|weight| budget.counted(*weight)).collect();
        let matters = weights.iter().any(|weight| !weight.is_none());
        let look_at_us = vec![None; weights.len()];
        matters.then_some(Self { budget, weights, reserved: None, look_at_us, urgent_next: false })
    }

    /// What a job of a kind counts.
    pub fn weight(&self, kind: usize) -> Weight {
        self.weights[kind]
    }

    /// What to ask for, given the weight of all that was taken on and has not ended, and whether a job is
    /// [kept](Purpose::Look). `want` is how many jobs could start; `dice` is from [0, 1).
    pub fn ask(&mut self, now_us: u64, load: Weight, keeps: bool, want: usize, dice: f64) -> Ask {
        if let Some(reserved) = self.reserved {
            if self.budget.has_room(self.weights[reserved.kind], load) {
                return if keeps {
                    self.reserved = None;
                    self.look_at_us[reserved.kind] = None;
                    Ask::StartKept
                } else {
                    Ask::Claim(Claim::one(Purpose::RunReserved, vec![reserved.kind]))
                };
            }
            if !keeps && now_us >= reserved.look_again_us {
                return Ask::Claim(Claim::one(Purpose::Look, vec![reserved.kind]));
            }
        } else {
            let passed_over = self.passed_over(now_us, load, dice);
            if !passed_over.is_empty() {
                return Ask::Claim(Claim::one(Purpose::Look, passed_over));
            }
        }
        self.ask_for_what_has_room(now_us, load, want)
    }

    /// The kinds that have no room and have not been asked for for so long that it is time to look.
    fn passed_over(&mut self, now_us: u64, load: Weight, dice: f64) -> Vec<usize> {
        let due_us = now_us + spread(OVERTAKEN, dice);
        let shut = self.kinds(|weight| !self.budget.has_room(weight, load));
        shut.into_iter().filter(|kind| now_us >= *self.look_at_us[*kind].get_or_insert(due_us)).collect()
    }

    fn ask_for_what_has_room(&mut self, now_us: u64, load: Weight, want: usize) -> Ask {
        let kept_free = self.reserved.map_or(Weight::NONE, |reserved| self.weights[reserved.kind]);
        let beside = load.plus(kept_free);
        if let Some(reserved) = self.reserved.filter(|_| std::mem::take(&mut self.urgent_next)) {
            let urgent = self
                .kinds(|weight| self.budget.has_room(weight, load) && !self.budget.has_room(weight, beside));
            return match reserved.better(now_us) {
                Some(worst) => self.claim(Purpose::RunUrgent, urgent, load, want, Some(worst)),
                None => Ask::Nothing,
            };
        }
        let open = self.kinds(|weight| self.budget.has_room(weight, beside));
        if open.is_empty() && self.reserved.is_some() {
            self.urgent_next = true;
            return self.ask_for_what_has_room(now_us, load, want);
        }
        self.claim(Purpose::Run, open, beside, want, None)
    }

    /// As many jobs of these kinds as have room in any case.
    fn claim(
        &self,
        purpose: Purpose,
        kinds: Vec<usize>,
        load: Weight,
        want: usize,
        priority_max: Option<Priority>,
    ) -> Ask {
        if kinds.is_empty() {
            return Ask::Nothing;
        }
        let heaviest = kinds.iter().fold(Weight::NONE, |most, kind| Weight {
            cpu_milli: most.cpu_milli.max(self.weights[*kind].cpu_milli),
            memory_bytes: most.memory_bytes.max(self.weights[*kind].memory_bytes),
        });
        let fit =
            self.budget.room_for(heaviest, load).map_or(want, |fit| usize::try_from(fit).unwrap_or(want));
        Ask::Claim(Claim { purpose, kinds, most: want.min(fit), priority_max })
    }

    /// Notes what a claim was answered with. Whether it is worth asking again before anything has happened.
    pub fn answered(&mut self, now_us: u64, claim: &Claim, answer: Answer, dice: f64) -> bool {
        match (claim.purpose, answer.first) {
            (Purpose::Run, _) => {
                // Whichever of these is the first in the order of the store was given.
                claim.kinds.iter().for_each(|kind| self.look_at_us[*kind] = None);
                self.urgent_next = self.reserved.is_some() && answer.jobs < claim.most;
                self.urgent_next || answer.jobs == claim.most
            }
            (Purpose::RunUrgent, _) => answer.jobs == claim.most,
            (Purpose::RunReserved, _) | (Purpose::Look, None) => {
                self.reserved = None;
                let due_us = now_us + spread(OVERTAKEN, dice);
                claim.kinds.iter().for_each(|kind| self.look_at_us[*kind] = Some(due_us));
                true
            }
            (Purpose::Look, Some((kind, priority))) => {
                let pause = self.reserved.map_or(LOOK_AGAIN.0, |before| (2 * before.pause).min(LOOK_AGAIN.1));
                let since_us = self.reserved.map_or(now_us, |before| before.since_us);
                let look_again_us = now_us + micros(pause);
                self.reserved = Some(Reserved { kind, priority, since_us, look_again_us, pause });
                true
            }
        }
    }

    /// The kind that room is reserved for.
    pub fn reserved(&self) -> Option<usize> {
        self.reserved.map(|reserved| reserved.kind)
    }

    fn kinds(&self, which: impl Fn(Weight) -> bool) -> Vec<usize> {
        (0..self.weights.len()).filter(|kind| which(self.weights[*kind])).collect()
    }
}

impl Reserved {
    /// The worst priority that is better than that of the job, which ages while it waits; `None` when there is none.
    fn better(&self, now_us: u64) -> Option<Priority> {
        let waited = Duration::from_micros(now_us.saturating_sub(self.since_us));
        i16::try_from(self.priority.aged(waited).saturating_sub(1)).ok().map(Priority)
    }
}

impl Claim {
    fn one(purpose: Purpose, kinds: Vec<usize>) -> Self {
        Self { purpose, kinds, most: 1, priority_max: None }
    }
}

/// A duration in microseconds, spread by half to both sides.
fn spread(duration: Duration, dice: f64) -> u64 {
    micros(duration.mul_f64(0.5 + dice.clamp(0.0, 1.0)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
