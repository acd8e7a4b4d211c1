//! Moves of jobs, for who follows them.

use std::collections::BTreeMap;
use std::time::Duration;

use taskwright_core::{NewJob, State, UniqueScope};

use super::Harness;
use super::fixture::*;
use crate::{Change, MovePlace, Moves};

const LEASE: Duration = Duration::from_secs(60);

/// Somebody who follows all jobs of a process.
struct Follower<'p> {
    process: &'p Process,
    place: MovePlace,
}

impl<'p> Follower<'p> {
    async fn of(process: &'p Process) -> Self {
        process.store().listen(LEASE).await.expect("it is listened");
        Self { process, place: process.store().listen(LEASE).await.expect("it is listened still") }
    }

    async fn read(&mut self, limit: usize) -> Moves {
        let moves = self.process.store().moves(self.place.clone(), limit).await.expect("moves are read");
        self.place = moves.place.clone();
        moves
    }

    /// The states of all that moved since it was read last.
    async fn told(&mut self) -> BTreeMap<u32, State> {
        let mut told = BTreeMap::new();
        loop {
            let moves = self.read(3).await;
            assert!(!moves.missed);
            told.extend(moves.jobs.iter().map(|job| (number(job.id), job.state)));
            if moves.is_end {
                return told;
            }
        }
    }
}

fn states(told: impl IntoIterator<Item = (u32, State)>) -> BTreeMap<u32, State> {
    told.into_iter().collect()
}

pub async fn each_move_of_a_job_is_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let mut follower = Follower::of(&process).await;
    let scheduled = NewJob { run_at: Some(at(50)), ..job(2) };
    process.enqueue(0, [job(1), scheduled, NewJob { held: true, ..job(3) }]).await;
    let first = [(1, State::Available), (2, State::Scheduled), (3, State::Held)];
    assert_eq!(follower.told().await, states(first));
    let claimed = worker.take(1).await;
    assert_eq!(follower.told().await, states([(1, State::Running)]));
    worker.end(2, &claimed, failed("boom")).await;
    assert_eq!(follower.told().await, states([(1, State::Retryable)]));
    process.change(3, 1, Change::RunNow).await;
    assert_eq!(follower.told().await, states([(1, State::Available)]));
    let claimed = worker.take(4).await;
    assert_eq!(follower.told().await, states([(1, State::Running)]));
    worker.end(5, &claimed, completed()).await;
    assert_eq!(follower.told().await, states([(1, State::Completed)]));
    process.change(6, 1, Change::Redo { repeat: true }).await;
    process.change(6, 3, Change::Release).await;
    assert_eq!(follower.told().await, states([(1, State::Available), (3, State::Available)]));
    process.change(7, 1, Change::Cancel).await;
    process.promote(60).await;
    assert_eq!(follower.told().await, states([(1, State::Cancelled), (2, State::Available)]));
    let claimed = worker.claim_all(61).await;
    worker.give_back(62, &claimed[0]).await;
    let left = number(claimed[1].id);
    process.change(63, left, Change::Cancel).await;
    let told = follower.told().await;
    assert_eq!(told, states([(number(claimed[0].id), State::Available), (left, State::Running)]));
    assert_eq!(follower.told().await, states([]));
}

pub async fn what_completes_at_once_and_what_holds_a_key_is_told_too(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let keyed = NewJob { unique: unique("k", UniqueScope::Active), ..job(5) };
    process.enqueue(0, jobs(1..=4).into_iter().chain([keyed])).await;
    let mut follower = Follower::of(&process).await;
    let claimed = worker.claim_all(1).await;
    assert_eq!(follower.told().await, states((1..=5).map(|n| (n, State::Running))));
    worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
    assert_eq!(follower.told().await, states((1..=5).map(|n| (n, State::Completed))));
}

pub async fn what_happens_in_another_process_is_told_here(harness: &impl Harness) {
    let here = Process::start(harness).await;
    let there = Process::start(harness).await;
    let mut follower = Follower::of(&here).await;
    there.enqueue(0, [job(1), job(2)]).await;
    let worker = there.worker(1).await;
    let claimed = worker.take(1).await;
    worker.end(2, &claimed, completed()).await;
    assert_eq!(follower.told().await, states([(1, State::Completed), (2, State::Available)]));
}

pub async fn jobs_of_a_lost_worker_are_told(harness: &impl Harness) {
    let here = Process::start(harness).await;
    let there = Process::start(harness).await;
    here.enqueue(0, [job(1)]).await;
    let worker = there.worker(1).await;
    worker.start(1).await;
    let mut follower = Follower::of(&here).await;
    here.reclaim(LEASE_S + 2).await;
    let state = here.state(1).await;
    assert_ne!(state, State::Running);
    assert_eq!(follower.told().await, states([(1, state)]));
}

pub async fn who_goes_on_from_the_text_of_a_place_misses_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut follower = Follower::of(&process).await;
    process.enqueue(0, [job(1)]).await;
    follower.told().await;
    process.enqueue(1, [job(2)]).await;
    process.change(2, 1, Change::Cancel).await;
    let text = follower.place.to_string();
    let again = Process::start(harness).await;
    let mut other = Follower { process: &again, place: text.parse().expect("it is a place") };
    let told = other.told().await;
    assert_eq!((told.get(&1), told.get(&2)), (Some(&State::Cancelled), Some(&State::Available)));
}

pub async fn many_moves_come_a_part_at_a_time_and_none_twice(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut follower = Follower::of(&process).await;
    for n in 0..30 {
        process.enqueue(u64::from(n), jobs(n * 10 + 1..=n * 10 + 10)).await;
    }
    let (mut seen, mut parts) = (Vec::new(), 0);
    loop {
        let moves = follower.read(50).await;
        assert!(!moves.missed && moves.jobs.len() < 100, "{}", moves.jobs.len());
        seen.extend(moves.jobs.iter().map(|job| number(job.id)));
        parts += 1;
        if moves.is_end {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=300).collect::<Vec<u32>>());
    assert!(parts > 3, "{parts}");
}

pub async fn a_job_that_is_gone_is_not_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut follower = Follower::of(&process).await;
    process.enqueue(0, [job(1), job(2)]).await;
    process.change(1, 1, Change::Cancel).await;
    process.change(2, 1, Change::Delete).await;
    assert_eq!(follower.told().await, states([(2, State::Available)]));
}

pub async fn a_place_that_nobody_gave_is_missed_and_does_not_wait(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let before: MovePlace = "0-0-0".parse().expect("it has the form of one");
    let missed = process.store().moves(before, 10).await.expect("it is answered");
    assert!(missed.missed && missed.is_end && missed.jobs.is_empty(), "nobody listens");
    let mut follower = Follower::of(&process).await;
    let given = follower.place.to_string();
    let far = given.rsplit_once('-').map(|(rest, _)| format!("{rest}-7fffffffffffff00")).expect("it has parts");
    for text in ["0-0-0", "1-1-5", "7fffffffffffff-7fffffffffffff-0-0-0-0-0", &far] {
        let place: MovePlace = text.parse().expect("it has the form of one");
        let moves = process.store().moves(place, 10).await.expect("it is answered");
        assert!(moves.missed && moves.is_end && moves.jobs.is_empty(), "{text}");
        process.enqueue(1, [job(2)]).await;
        follower.place = moves.place;
        assert!(!follower.read(10).await.missed, "{text}");
    }
}
