use std::sync::Arc;

use sentry_core::protocol::{Event, Level, Value};
use sentry_core::test::TestTransport;
use sentry_core::{ClientOptions, Hub};
use taskwright::report::{Reports, SentryReporter};
use taskwright::{MaxAttempts, TaskError};

use crate::support::{World, handles, job, world};

/// A reporter, and what it tells.
fn sentry() -> (SentryReporter, Arc<TestTransport>) {
    let transport = TestTransport::new();
    let options = ClientOptions::new().dsn("https://public@localhost/1").transport(transport.clone());
    let hub = Hub::new(Some(Arc::new(options.into())), Arc::default());
    (SentryReporter::on(Arc::new(hub)), transport)
}

/// Has a job of two attempts fail, and gives what this reporter told.
async fn told(world: &World, reporter: SentryReporter, transport: &TestTransport) -> Vec<Event<'static>> {
    let registry = handles(|_| async { Err::<(), _>(TaskError::retry("the disk is full")) });
    let reports = Reports::new(&world.sim.env()).to(reporter);
    let worker = world.start(world.worker(registry).reports(reports));
    world.over(world.enqueue(job().max_attempts(MaxAttempts::limited(2).unwrap())).await).await;
    worker.stop().await;
    transport.fetch_and_clear_events()
}

#[test]
fn an_attempt_that_is_tried_again_is_a_warning_and_the_last_one_an_error() {
    world(async |world| {
        let (reporter, transport) = sentry();
        let began = world.sim.env().now().as_unix_millis();
        let events = told(&world, reporter, &transport).await;
        let [first, last] = &events[..] else { panic!("{events:?}") };
        assert_eq!((first.level, last.level), (Level::Warning, Level::Error));
        assert_eq!((first.tags["final"].as_str(), last.tags["final"].as_str()), ("false", "true"));
        assert_eq!((first.tags["attempt"].as_str(), last.tags["attempt"].as_str()), ("1", "2"));
        let exception = &first.exception.values[0];
        assert_eq!((exception.ty.as_str(), exception.value.as_deref()), ("test", Some("the disk is full")));
        assert_eq!((first.tags["kind"].as_str(), first.tags["queue"].as_str()), ("test", "default"));
        assert!(matches!(first.extra["retry_at"], Value::String(_)) && !last.extra.contains_key("retry_at"));
        assert_eq!(first.fingerprint, last.fingerprint, "one issue");
        // The time of the failure, on the clock of the program.
        let at = first.timestamp.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert!(at >= u128::from(began) && at < u128::from(began) + 1_000, "{at} {began}");
    });
}

#[test]
fn of_final_failures_alone_it_is_told_once() {
    world(async |world| {
        let (reporter, transport) = sentry();
        let events = told(&world, reporter.only_final(), &transport).await;
        assert_eq!(events.iter().map(|event| event.level).collect::<Vec<_>>(), [Level::Error]);
    });
}
