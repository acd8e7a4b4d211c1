use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskwright::Backoff;
use taskwright::report::Reports;
use taskwright::service::{
    Container, Restart, Service, ServiceContext, ServiceError, ServiceOptions, ServiceState, Start, Stopped,
};
use taskwright::testing::{Sim, simulate};

use crate::failures_are_reported::Recorder;
use crate::support::{Notes, seconds};

/// Fails as often as it is to, after so long each time, and then runs until it is told to stop.
struct Failing {
    failures: AtomicU32,
    lasts: Duration,
    began_s: Notes<u64>,
}

impl Failing {
    fn times(failures: u32, lasts: Duration) -> (Self, Notes<u64>) {
        let began_s = Notes::new();
        (Self { failures: AtomicU32::new(failures), lasts, began_s: began_s.clone() }, began_s)
    }
}

impl Service for Failing {
    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        self.began_s.add(ctx.env().monotonic_us() / 1_000_000);
        if self.failures.load(Ordering::Relaxed) == 0 {
            ctx.stopped().await;
            return Ok(());
        }
        self.failures.fetch_sub(1, Ordering::Relaxed);
        ctx.sleep(self.lasts).await;
        assert!(self.failures.load(Ordering::Relaxed) % 2 == 1, "it panics every other time");
        Err("it broke".into())
    }
}

/// A back-off by the second, whatever the dice say.
fn linear() -> Backoff {
    Backoff::Linear { step: seconds(10), cap: seconds(1_000) }
}

fn container(sim: &Sim, recorder: &Recorder, restart: Restart, service: impl Service) -> Container {
    let env = sim.env();
    let options = ServiceOptions::new().restart(restart);
    Container::new(&env, Reports::new(&env).to(recorder.clone()), "failing", options, service).unwrap()
}

#[test]
fn a_service_that_fails_is_started_again_after_its_back_off() {
    simulate(1, async |sim| {
        let (recorder, (failing, began_s)) = (Recorder::new(), Failing::times(4, Duration::ZERO));
        let container = container(&sim, &recorder, Restart::OnFailure(linear()), failing);
        container.start().await.unwrap();
        let began_s = began_s.reach(5).await;
        let waits: Vec<u64> = began_s.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (wait, expected) in waits.into_iter().zip([10_u64, 20, 30, 40]) {
            assert!((expected * 4 / 5 - 1..=expected * 6 / 5).contains(&wait), "{wait} s, not {expected}");
        }
        let status = container.status();
        assert_eq!((status.state, status.restarts, status.restart_at), (ServiceState::Running, 4, None));
        assert!(status.last_error.is_some(), "the last error stays");
        sim.settle().await;
        let failures = recorder.failures();
        assert_eq!(failures.len(), 4);
        assert!(failures.iter().all(|report| !report.is_final && report.retry_at.is_some()));
        assert_eq!(failures.iter().filter(|report| report.panic.is_some()).count(), 2);
    });
}

#[test]
fn a_service_that_ran_for_long_begins_its_back_off_anew() {
    simulate(1, async |sim| {
        let (recorder, (failing, began_s)) = (Recorder::new(), Failing::times(5, Restart::STEADY_AFTER));
        let container = container(&sim, &recorder, Restart::OnFailure(linear()), failing);
        container.start().await.unwrap();
        let began_s = began_s.reach(6).await;
        for pair in began_s.windows(2) {
            assert!((60 + 7..=60 + 12).contains(&(pair[1] - pair[0])), "{began_s:?}");
        }
    });
}

#[test]
fn a_service_that_waits_to_be_started_again_says_so_and_can_be_stopped_and_started() {
    simulate(1, async |sim| {
        let (recorder, (failing, began_s)) = (Recorder::new(), Failing::times(2, Duration::ZERO));
        let container = container(&sim, &recorder, Restart::OnFailure(linear()), failing);
        container.start().await.unwrap();
        let waits = container.until(|status| status.restart_at.is_some()).await;
        assert_eq!(waits.state, ServiceState::Failed);
        assert!(waits.restart_at.unwrap() > sim.env().now() && !waits.is_at_rest());

        assert_eq!(container.stop().await, Stopped::DidNotRun);
        let status = container.over().await;
        assert_eq!((status.state, status.restart_at), (ServiceState::Stopped, None));
        sim.advance(seconds(3_600)).await;
        assert_eq!(began_s.all(), [0], "it is not started again");

        container.start().await.unwrap();
        container.until(|status| status.restart_at.is_some()).await;
        // Its owner is in more of a hurry than its policy.
        container.start().await.unwrap();
        assert_eq!((began_s.all(), container.status().restarts), (vec![0, 3_600, 3_600], 0));
        sim.advance(seconds(3_600)).await;
        assert_eq!(container.status().state, ServiceState::Running, "and the policy does nothing more");
    });
}

#[test]
fn a_service_that_is_always_started_again_is_also_when_nothing_was_wrong() {
    simulate(1, async |sim| {
        let (recorder, runs) = (Recorder::new(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&runs);
        let brief = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        };
        let fixed = Backoff::Fixed { delay: seconds(10) };
        let container = container(&sim, &recorder, Restart::Always(fixed), brief);
        container.start().await.unwrap();
        sim.advance(seconds(100)).await;
        assert!((8..=13).contains(&runs.load(Ordering::Relaxed)), "{runs:?}");
        assert_eq!(container.status().state, ServiceState::Finished);
        assert_eq!(recorder.failures().len(), 0);
        container.stop().await;
        assert_eq!(container.status().state, ServiceState::Stopped);
    });
}

#[test]
fn a_service_that_finished_is_not_started_again_when_only_failures_are() {
    simulate(1, async |sim| {
        let (recorder, brief) = (Recorder::new(), |_| std::future::ready(Ok(())));
        let container = container(&sim, &recorder, Restart::OnFailure(linear()), brief);
        container.start().await.unwrap();
        assert_eq!(container.over().await.state, ServiceState::Finished);
    });
}

#[test]
fn a_start_that_fails_is_told_to_the_caller_reported_and_tried_again() {
    /// Cannot start the first time.
    struct Late(AtomicU32);
    impl Service for Late {
        async fn start(&self) -> Result<Start, ServiceError> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err("the port is taken".into()),
                _ => Ok(Start::Go),
            }
        }

        async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
            ctx.stopped().await;
            Ok(())
        }
    }
    simulate(1, async |sim| {
        let recorder = Recorder::new();
        let container = container(&sim, &recorder, Restart::OnFailure(linear()), Late(AtomicU32::new(0)));
        let error = container.start().await.unwrap_err();
        assert_eq!(error.to_string(), "starting the service failing: the port is taken");
        assert!(!error.is_already_started());
        let status = container.until(|status| status.state == ServiceState::Running).await;
        assert_eq!(status.restarts, 1);
        assert_eq!(recorder.failures().len(), 1);
    });
}

#[test]
fn what_is_dropped_by_its_owner_ends() {
    /// Says when it is dropped.
    struct Felt(Notes<&'static str>);
    impl Drop for Felt {
        fn drop(&mut self) {
            self.0.add("dropped");
        }
    }
    simulate(1, async |sim| {
        let notes = Notes::new();
        let felt = notes.clone();
        let service = move |ctx: ServiceContext| {
            let felt = Felt(felt.clone());
            async move {
                let _felt = felt;
                ctx.stopped().await;
                std::future::pending().await
            }
        };
        let recorder = Recorder::new();
        let container = container(&sim, &recorder, Restart::default(), service);
        container.start().await.unwrap();
        sim.settle().await;
        let other = container.clone();
        drop(container);
        sim.advance(seconds(60)).await;
        assert!(other.is_running());
        drop(other);
        sim.settle().await;
        assert_eq!(notes.all(), ["dropped"]);
    });
}

#[test]
fn the_nearest_limit_of_those_who_stop_counts_and_all_hear_the_same() {
    simulate(1, async |sim| {
        let (recorder, env) = (Recorder::new(), sim.env());
        let stubborn = |_| std::future::pending();
        let container = container(&sim, &recorder, Restart::default(), stubborn);
        container.start().await.unwrap();
        let stops: Vec<_> = [60, 5, 30]
            .map(|limit| {
                let container = container.clone();
                env.spawn("stop", async move { container.stop_within(seconds(limit)).await })
            })
            .into_iter()
            .collect();
        for stop in stops {
            assert_eq!(stop.await.unwrap(), Stopped::Dropped);
        }
        assert_eq!((env.monotonic_us(), recorder.failures().len()), (5_000_000, 1));
    });
}
