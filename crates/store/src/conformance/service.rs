//! Services of processes, as a store shows them.

use taskwright_core::limit::{
    SERVICE_ERROR_BYTES_MAX, SERVICE_KEPT, SERVICE_SILENT_AFTER, SERVICES_LISTED_MAX, SERVICES_MAX,
};
use taskwright_core::{ProcessId, ServiceName, ServiceState};

use super::Harness;
use super::fixture::*;
use crate::{ProcessPlace, ServiceRecord, ServiceView};

fn place(n: u32) -> ProcessPlace {
    ProcessPlace { id: ProcessId::from_bytes(*id(n).as_bytes()), host: format!("host-{n}"), pid: n }
}

fn service(name: &str) -> ServiceRecord {
    ServiceRecord {
        name: ServiceName::new(name).expect("scenarios name services well"),
        state: ServiceState::Running,
        since: at(1),
        restarts: 0,
        restart_at: None,
        error: None,
        error_at: None,
    }
}

async fn tell(process: &Process, now: u64, of: u32, services: Vec<ServiceRecord>) {
    process.store().tell_services(at(now), place(of), services).await.expect("services are told of");
}

async fn views(process: &Process, now: u64) -> Vec<ServiceView> {
    process.store().services(at(now)).await.expect("services are listed")
}

/// Names and processes of what is shown.
async fn shown(process: &Process, now: u64) -> Vec<(String, u32)> {
    views(process, now).await.into_iter().map(|view| (view.name.to_string(), view.pid)).collect()
}

fn expected(all: &[(&str, u32)]) -> Vec<(String, u32)> {
    all.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect()
}

pub async fn what_a_process_tells_of_its_services_is_seen_by_others(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let failed = ServiceRecord {
        state: ServiceState::Failed,
        since: at(5),
        restarts: 7,
        restart_at: Some(at(9)),
        error: Some("the disk is full".to_owned()),
        error_at: Some(at(5)),
        ..service("writer")
    };
    tell(&process, 6, 1, vec![service("sampler"), failed]).await;
    let another_process = Process::start(harness).await;
    let seen = views(&another_process, 7).await;
    let plain = ServiceView {
        name: service("sampler").name,
        state: ServiceState::Running,
        since: at(1),
        restarts: 0,
        restart_at: None,
        last_error: None,
        last_error_at: None,
        process: place(1).id,
        host: "host-1".to_owned(),
        pid: 1,
        seen_at: at(6),
        heard: true,
    };
    let failed = ServiceView {
        name: service("writer").name,
        state: ServiceState::Failed,
        since: at(5),
        restarts: 7,
        restart_at: Some(at(9)),
        last_error: Some("the disk is full".to_owned()),
        last_error_at: Some(at(5)),
        ..plain.clone()
    };
    assert_eq!(seen, [plain, failed]);
}

pub async fn what_is_told_takes_the_place_of_what_was(harness: &impl Harness) {
    let process = Process::start(harness).await;
    tell(&process, 1, 1, vec![service("b"), service("a")]).await;
    tell(&process, 1, 2, vec![service("a")]).await;
    assert_eq!(shown(&process, 1).await, expected(&[("a", 1), ("a", 2), ("b", 1)]));
    let stopped = ServiceRecord { state: ServiceState::Stopped, ..service("b") };
    tell(&process, 2, 1, vec![stopped, service("c")]).await;
    assert_eq!(shown(&process, 2).await, expected(&[("a", 2), ("b", 1), ("c", 1)]));
    let seen = views(&process, 2).await;
    assert_eq!((seen[1].state, seen[1].seen_at, seen[0].seen_at), (ServiceState::Stopped, at(2), at(1)));
    tell(&process, 3, 1, Vec::new()).await;
    assert_eq!(shown(&process, 3).await, expected(&[("a", 2)]));
}

pub async fn a_process_that_ends_in_good_order_is_forgotten(harness: &impl Harness) {
    let process = Process::start(harness).await;
    tell(&process, 1, 1, vec![service("a"), service("b")]).await;
    tell(&process, 1, 2, vec![service("a")]).await;
    for _ in 0..2 {
        process.store().forget_services(place(1).id).await.expect("they are forgotten");
        assert_eq!(shown(&process, 1).await, expected(&[("a", 2)]));
    }
}

pub async fn a_process_that_is_not_heard_of_any_more_is_told_as_such_and_forgotten_after_a_day(
    harness: &impl Harness,
) {
    let process = Process::start(harness).await;
    let (silent, kept) = (SERVICE_SILENT_AFTER.as_secs(), SERVICE_KEPT.as_secs());
    tell(&process, 10, 1, vec![service("a")]).await;
    assert!(views(&process, 10 + silent).await[0].heard);
    assert!(!views(&process, 11 + silent).await[0].heard);
    tell(&process, 10 + kept, 2, vec![service("a")]).await;
    assert_eq!(shown(&process, 10 + kept).await, expected(&[("a", 1), ("a", 2)]));
    assert_eq!(shown(&process, 11 + kept).await, expected(&[("a", 2)]));
    // Not only out of sight: whoever tells next removes it.
    tell(&process, 11 + kept, 2, vec![service("a")]).await;
    assert_eq!(shown(&process, 10 + kept).await, expected(&[("a", 2)]));
    // One that was away for so long, and tells again, is there.
    tell(&process, 12 + 3 * kept, 2, vec![service("a")]).await;
    let seen = views(&process, 12 + 3 * kept).await;
    assert_eq!((seen.len(), seen[0].heard), (1, true));
}

pub async fn a_process_has_no_more_services_than_it_may(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let many = |count: usize| (0..count).map(|n| service(&format!("s{n}"))).collect::<Vec<_>>();
    tell(&process, 1, 1, many(SERVICES_MAX)).await;
    assert_eq!(views(&process, 1).await.len(), SERVICES_MAX);
    for refused in [many(SERVICES_MAX + 1), vec![service("a"), service("a")]] {
        let error = process.store().tell_services(at(2), place(1), refused).await.expect_err("it is refused");
        assert!(error.is_domain(), "{error}");
    }
    assert_eq!(views(&process, 2).await[0].seen_at, at(1));
}

pub async fn texts_of_services_are_cut_and_kept(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let error = |text: &str| ServiceRecord { error: Some(text.to_owned()), ..service("a") };
    tell(&process, 1, 1, vec![error("nul \0 and \u{1f980}")]).await;
    let seen = views(&process, 1).await;
    assert_eq!(seen[0].last_error.as_deref(), Some("nul \u{fffd} and \u{1f980}"));
    tell(&process, 2, 1, vec![error(&"\u{1f980}".repeat(SERVICE_ERROR_BYTES_MAX))]).await;
    let kept = views(&process, 2).await.remove(0).last_error.expect("it is kept");
    assert!(kept.len() <= SERVICE_ERROR_BYTES_MAX && kept.ends_with(" [cut]"), "{}", kept.len());
}

pub async fn a_listing_of_services_shows_those_last_heard_of(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let many: Vec<_> = (0..SERVICES_MAX).map(|n| service(&format!("s{n}"))).collect();
    let processes = u32::try_from(SERVICES_LISTED_MAX / SERVICES_MAX).expect("they are few");
    for of in 1..=processes + 1 {
        tell(&process, u64::from(of), of, many.clone()).await;
    }
    let seen = views(&process, u64::from(processes) + 1).await;
    assert_eq!(seen.len(), SERVICES_LISTED_MAX);
    assert!(seen.iter().all(|view| view.pid > 1), "the first to tell is not shown");
}
