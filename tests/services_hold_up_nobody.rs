//! A service that has not started yet (`examples/standby.rs`) holds up neither the jobs of `up` nor its end, and does not run after that.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use taskwright::service::ServiceState;

use crate::support::Site;

/// The program, in the place of the binary.
fn standby<const N: usize>(site: &Site, args: [&str; N]) -> Command {
    site.program("standby", args)
}

/// What the service waits for, in the hands of somebody else.
fn taken(site: &Site) -> File {
    let lock = File::create(site.path().join("taskwright-standby.lock")).unwrap();
    lock.try_lock().unwrap();
    lock
}

/// How the service is, as everybody is told.
fn state(site: &Site) -> Option<ServiceState> {
    let services = site.ask(async |store| store.services(taskwright::Env::system().now()).await.unwrap());
    services.into_iter().find(|service| service.name.as_str() == "alone").map(|service| service.state)
}

fn wait_until(site: &Site, wanted: ServiceState) {
    site.wait_until("the service", Duration::from_secs(20), || state(site) == Some(wanted));
}

#[test]
fn jobs_run_beside_a_service_that_waits_for_its_turn_and_it_has_its_turn() {
    let site = Site::new();
    let lock = taken(&site);
    let up = site.start(&mut standby(&site, ["up", "--workers", "1"]));
    let id = standby(&site, ["enqueue", "greet", "--args", r#"{"name": "Ada"}"#]).output().unwrap();
    let id = String::from_utf8(id.stdout).unwrap().trim().parse().unwrap();
    site.wait_until("the job", Duration::from_secs(30), || site.job(id).view.state.is_terminal());
    assert_eq!(site.job(id).result.as_deref(), Some("\"Hello, Ada\""));
    wait_until(&site, ServiceState::Starting);

    drop(lock);
    up.wait_for_line("nobody else does it now");
    wait_until(&site, ServiceState::Running);
    assert!(up.stop().success());
    taken(&site);
    assert_eq!(state(&site), None, "it went with its process");
}

#[test]
fn a_stop_waits_for_no_service_that_starts() {
    let site = Site::new();
    let _lock = taken(&site);
    let up = site.start(&mut standby(&site, ["up", "--workers", "1"]));
    wait_until(&site, ServiceState::Starting);
    site.wait_until("its worker", Duration::from_secs(30), || !site.workers().is_empty());
    let said = up.stop_and_read();
    assert!(!said.iter().any(|line| line.contains("nobody else does it now")), "{said:?}");
    assert_eq!(state(&site), None, "it went with its process");
}

#[test]
fn a_stop_in_the_first_moment_starts_no_worker() {
    let site = Site::new();
    let _lock = taken(&site);
    let up = site.start(&mut standby(&site, ["up", "--workers", "1"]));
    assert!(up.stop().success());
    assert!(site.workers().is_empty(), "{:?}", site.workers());
    assert_eq!(state(&site), None, "it went with its process");
}
