use std::sync::Arc;

use taskwright::core::limit::{SERVICE_SILENT_AFTER, SERVICE_TOLD_EVERY, SERVICES_MAX};
use taskwright::report::Reports;
use taskwright::service::{Restart, ServiceContext, ServiceError, ServiceOptions, ServiceState, Services};
use taskwright::store::SharedStore;
use taskwright::store::memory::MemoryStore;
use taskwright::testing::{Call, FaultyStore, When, simulate};

use crate::support::seconds;

async fn until_told(ctx: ServiceContext) -> Result<(), ServiceError> {
    ctx.stopped().await;
    Ok(())
}

/// A store that counts, and what another process sees of the same jobs.
fn stores() -> (Arc<FaultyStore>, SharedStore, SharedStore) {
    let memory = MemoryStore::new();
    let other: SharedStore = Arc::new(memory.handle());
    let faulty = FaultyStore::new(Arc::new(memory));
    let store = Arc::clone(&faulty) as SharedStore;
    (faulty, store, other)
}

#[test]
fn the_services_of_a_process_are_seen_by_others_while_they_run() {
    simulate(1, async |sim| {
        let (env, (_, store, other)) = (sim.env(), stores());
        let failing = |_| async { Err("it broke".into()) };
        let never = ServiceOptions::new().restart(Restart::Never);
        let services = Services::new(&env, Reports::new(&env)).shown_in(&store);
        let services = services.add("one", until_told).unwrap().add_with("two", never, failing).unwrap();
        services.start().await;
        sim.advance(seconds(1)).await;
        let seen = other.services(env.now()).await.unwrap();
        let states: Vec<_> = seen.iter().map(|view| (view.name.as_str(), view.state)).collect();
        assert_eq!(states, [("one", ServiceState::Running), ("two", ServiceState::Failed)]);
        assert_eq!((seen[0].pid, seen[1].last_error.as_deref()), (std::process::id(), Some("it broke")));
        assert!(seen.iter().all(|view| view.heard && view.process == seen[0].process));
        services.get("one").unwrap().stop().await;
        sim.advance(seconds(1)).await;
        assert_eq!(other.services(env.now()).await.unwrap()[0].state, ServiceState::Stopped);
        services.stop().await;
        assert_eq!(other.services(env.now()).await.unwrap(), []);
    });
}

#[test]
fn a_process_that_died_is_silent() {
    simulate(1, async |sim| {
        let (env, (_, store, other)) = (sim.env(), stores());
        let services =
            Services::new(&env, Reports::new(&env)).shown_in(&store).add("one", until_told).unwrap();
        services.start().await;
        sim.advance(seconds(3_600)).await;
        assert!(other.services(env.now()).await.unwrap()[0].heard, "it is told of now and then");
        drop(services);
        sim.advance(SERVICE_SILENT_AFTER).await;
        let seen = other.services(env.now()).await.unwrap();
        assert_eq!((seen[0].state, seen[0].heard), (ServiceState::Running, false));
    });
}

#[test]
fn services_that_do_not_change_are_told_of_seldom_and_others_at_once() {
    simulate(1, async |sim| {
        let (env, (faulty, store, other)) = (sim.env(), stores());
        let services =
            Services::new(&env, Reports::new(&env)).shown_in(&store).add("one", until_told).unwrap();
        services.start().await;
        sim.advance(seconds(1)).await;
        let before = faulty.count(Call::TellServices);
        sim.advance(SERVICE_TOLD_EVERY * 10).await;
        assert_eq!(faulty.count(Call::TellServices) - before, 10);

        // A hundred changes within a moment are a few writes.
        let before = faulty.count(Call::TellServices);
        let one = services.get("one").unwrap();
        for _ in 0..50 {
            one.stop().await;
            one.start().await.unwrap();
        }
        sim.advance(seconds(1)).await;
        assert!((1..=3).contains(&(faulty.count(Call::TellServices) - before)));
        assert_eq!(other.services(env.now()).await.unwrap()[0].state, ServiceState::Running);
    });
}

#[test]
fn a_store_that_is_away_holds_up_no_service_and_is_told_later() {
    simulate(1, async |sim| {
        let (env, (faulty, store, other)) = (sim.env(), stores());
        faulty.fail(Call::TellServices, 1..=3, When::Before);
        faulty.fail(Call::ForgetServices, 1..=1, When::Before);
        let services =
            Services::new(&env, Reports::new(&env)).shown_in(&store).add("one", until_told).unwrap();
        services.start().await;
        assert!(services.all()[0].is_running());
        sim.advance(seconds(10)).await;
        assert_eq!(other.services(env.now()).await.unwrap(), []);
        sim.advance(seconds(2)).await;
        assert_eq!(other.services(env.now()).await.unwrap().len(), 1);
        services.stop().await;
        assert_eq!(services.all()[0].status().state, ServiceState::Stopped);
    });
}

#[test]
fn a_process_has_a_bounded_number_of_services_with_names_of_their_own() {
    simulate(1, async |sim| {
        let env = sim.env();
        let mut services = Services::new(&env, Reports::new(&env));
        for n in 0..SERVICES_MAX {
            services = services.add(&format!("s{n}"), until_told).unwrap();
        }
        assert_eq!(services.statuses().len(), SERVICES_MAX);
        let error = services.add("more", until_told).unwrap_err();
        assert_eq!(error.to_string(), "the service more: this process has 100 services already");
        let error = Services::new(&env, Reports::new(&env)).add("no name", until_told).unwrap_err();
        assert!(error.is_domain(), "{error}");
    });
}
