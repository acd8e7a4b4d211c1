//! Who does the duties.

use std::time::Duration;

use super::Harness;
use super::fixture::*;
use crate::Fence;

const LEASE: Duration = Duration::from_secs(3_600);

/// Node `n` of a process asks for the lead.
async fn lead(process: &Process, now: u64, n: u8, lease: Duration) -> Option<Fence> {
    process.store().lead(monotonic_us(now), worker_id(n), lease).await.expect("the lead is decided about")
}

pub async fn the_first_who_asks_leads_and_no_other(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    assert_eq!(lead(&process, 1, 1, LEASE).await, Some(Fence(1)));
    assert_eq!(lead(&other, 2, 2, LEASE).await, None);
    assert_eq!(lead(&process, 2, 3, LEASE).await, None, "nodes lead, not processes");
}

pub async fn a_leader_that_asks_again_stays_what_it_is(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    for now in 1..=3 {
        assert_eq!(lead(&process, now, 1, LEASE).await, Some(Fence(1)));
        assert_eq!(lead(&other, now, 2, LEASE).await, None);
    }
}

pub async fn a_lease_that_ran_out_lets_another_lead_with_a_greater_fence(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    // A lease of no time is over, by whatever clock.
    assert_eq!(lead(&process, 1, 1, Duration::ZERO).await, Some(Fence(1)));
    assert_eq!(lead(&other, 2, 2, Duration::ZERO).await, Some(Fence(2)));
    assert_eq!(lead(&process, 3, 1, LEASE).await, Some(Fence(3)));
    assert_eq!(lead(&other, 4, 2, LEASE).await, None, "the deposed one is told so");
}

pub async fn a_leader_that_resigns_is_followed_at_once(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    lead(&process, 1, 1, LEASE).await;
    process.store().resign(worker_id(1)).await.expect("it resigns");
    process.store().resign(worker_id(1)).await.expect("again, which does nothing");
    assert_eq!(lead(&other, 1, 2, LEASE).await, Some(Fence(2)));
    assert_eq!(lead(&process, 1, 1, LEASE).await, None);
}

pub async fn nobody_can_resign_for_the_leader(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    other.store().resign(worker_id(2)).await.expect("nobody leads yet");
    lead(&process, 1, 1, LEASE).await;
    other.store().resign(worker_id(2)).await.expect("it does not lead");
    assert_eq!(lead(&other, 1, 2, LEASE).await, None);
}

pub async fn of_many_who_ask_at_once_one_leads(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    let asked = tokio::join!(
        lead(&process, 1, 1, LEASE),
        lead(&other, 1, 2, LEASE),
        lead(&process, 1, 3, LEASE),
        lead(&other, 1, 4, LEASE),
    );
    let fences = [asked.0, asked.1, asked.2, asked.3].into_iter().flatten();
    assert_eq!(fences.collect::<Vec<_>>(), [Fence(1)]);
}
