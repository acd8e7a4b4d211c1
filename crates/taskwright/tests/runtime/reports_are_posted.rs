//! The reporter that posts what failed to a URL.

use std::time::Duration;

use serde_json::Value;
use taskwright::core::webhook::{Endpoint, Secret};
use taskwright::report::{Reports, WebhookReporter};
use taskwright::{MaxAttempts, TaskError};

use crate::support::{World, handles, job, seconds, world};
use crate::webhooks::{Receivers, Sent, url};

fn secret() -> Secret {
    Secret::from_bytes(&[7; 32]).unwrap()
}

fn reporter(world: &World, receivers: &Receivers) -> WebhookReporter<Receivers> {
    let endpoint = Endpoint::new(url("pager"), secret());
    WebhookReporter::new(&world.sim.env(), endpoint, receivers.clone()).unwrap()
}

/// Runs a job that fails at each of its attempts.
async fn fail(world: &World, attempts: u32, reporter: WebhookReporter<Receivers>) {
    let registry = handles(|_| async { Err::<(), _>(TaskError::retry("the disk is full")) });
    let reports = Reports::new(&world.sim.env()).to(reporter);
    let worker = world.start(world.worker(registry).reports(reports.clone()));
    let id = world.enqueue(job().max_attempts(MaxAttempts::limited(attempts).unwrap())).await;
    world.over(id).await;
    assert!(reports.flush(seconds(60)).await);
    worker.stop().await;
}

fn body(sent: &Sent) -> Value {
    serde_json::from_slice(&sent.message.body).unwrap()
}

#[test]
fn each_failure_is_posted_signed_and_with_the_whole_report() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (204, Duration::ZERO));
        fail(&world, 2, reporter(&world, &receivers)).await;

        let sent = receivers.sent.all();
        let told: Vec<_> = sent.iter().map(|sent| body(sent)["data"]["final"].clone()).collect();
        assert_eq!(told, [false, true]);
        let (first, message) = (body(&sent[0]), &sent[0].message);
        assert_eq!((&first["type"], &first["namespace"]), (&"attempt.failed".into(), &"default".into()));
        assert_eq!((&first["data"]["error"], &first["data"]["attempt"]), (&"the disk is full".into(), &1.into()));
        assert_eq!((&first["id"], &first["timestamp"]), (&message.id.clone().into(), &first["data"]["at"]));
        assert_ne!(sent[0].id, sent[1].id);
        assert_eq!(message.signature, secret().sign(&message.id, message.unix_s, &message.body));
        assert_eq!((message.timeout, message.allow_private), (seconds(7), false));
    });
}

#[test]
fn a_pager_is_posted_only_what_is_not_tried_again() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, Duration::ZERO));
        fail(&world, 3, reporter(&world, &receivers).only_final()).await;
        let sent = receivers.sent.all();
        assert_eq!((sent.len(), &body(&sent[0])["data"]["attempt"]), (1, &3.into()));
    });
}

#[test]
fn a_receiver_that_does_not_take_it_is_asked_three_times_by_one_id() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (500, seconds(1)));
        fail(&world, 1, reporter(&world, &receivers)).await;
        let sent = receivers.sent.all();
        let first = sent[0].ms;
        assert_eq!(sent.iter().map(|sent| sent.ms - first).collect::<Vec<_>>(), [0, 2_000, 7_000]);
        assert!(sent.iter().all(|other| other.id == sent[0].id));
    });
}

#[test]
fn a_receiver_that_wants_to_hear_no_more_is_not_asked_again() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (410, Duration::ZERO));
        fail(&world, 1, reporter(&world, &receivers)).await;
        assert_eq!(receivers.sent.all().len(), 1);
    });
}

#[test]
fn an_endpoint_that_makes_no_sense_is_refused() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, Duration::ZERO));
        for url in ["ftp://example.org/", "http://127.0.0.1/hook"] {
            let endpoint = Endpoint::new(url, secret());
            assert!(WebhookReporter::new(&world.sim.env(), endpoint, receivers.clone()).is_err(), "{url}");
        }
    });
}
