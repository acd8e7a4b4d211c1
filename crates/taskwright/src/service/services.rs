//! The services of a process.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::limit::SERVICES_MAX;
use taskwright_core::{Error as Refusal, ProcessId, ServiceName};
use taskwright_store::SharedStore;
use tokio::sync::Notify;

use super::{Container, Service, ServiceOptions, Status, Stopped, teller};
use crate::attempt::lock;
use crate::env::{Env, Spawned};
use crate::error::Error;
use crate::report::Reports;

/// How long what runs beside them waits for services to start: 5 s.
const START_TIME: Duration = Duration::from_secs(5);

/// How long the end may take to tell the store that the services are gone: 2 s.
const FORGET_TIME: Duration = Duration::from_secs(2);

/// The services of a process: started and stopped together, and shown in a store.
///
/// Its owner decides how long they live: dropping it drops them, without a word to them.
pub struct Services {
    env: Env,
    reports: Reports,
    containers: Vec<Container>,
    /// Told when anything about any of them changes.
    changed: Arc<Notify>,
    store: Option<SharedStore>,
    process: ProcessId,
    /// The task that shows them in the store.
    teller: Mutex<Option<Spawned<()>>>,
}

impl Services {
    /// None yet, whose failures are told to these reporters.
    pub fn new(env: &Env, reports: Reports) -> Self {
        Self {
            env: env.clone(),
            reports,
            containers: Vec::new(),
            changed: Arc::default(),
            store: None,
            process: env.process_id(),
            teller: Mutex::default(),
        }
    }

    /// Adds a service with the default [options](ServiceOptions).
    ///
    /// # Errors
    ///
    /// When the name is none, or another service of this process has it, or there are 100 of them.
    pub fn add(self, name: &str, service: impl Service) -> Result<Self, Error> {
        self.add_with(name, ServiceOptions::new(), service)
    }

    /// The same with other options.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_with(
        mut self,
        name: &str,
        options: ServiceOptions,
        service: impl Service,
    ) -> Result<Self, Error> {
        let name = ServiceName::new(name)?;
        let refuse = |why: String, fix| Err(Refusal::invalid(format!("the service {name}"), why, fix).into());
        if self.get(name.as_str()).is_some() {
            return refuse("another service of this process has that name".to_owned(), "give it another");
        }
        if self.containers.len() >= SERVICES_MAX {
            return refuse(
                format!("this process has {SERVICES_MAX} services already"),
                "let one service do the work of several",
            );
        }
        let (reports, changed) = (self.reports.clone(), Arc::clone(&self.changed));
        self.containers.push(Container::of(&self.env, reports, name, options, service, changed));
        Ok(self)
    }

    /// Shows them in this store while they run, for `taskwright services list` and the HTTP API: when something changes, and every
    /// 30 s, so that others can see that the process is there.
    #[must_use]
    pub fn shown_in(mut self, store: &SharedStore) -> Self {
        self.store = Some(Arc::clone(store));
        self
    }

    /// The service of this name.
    pub fn get(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name().as_str() == name)
    }

    /// All of them, in the order in which they were added.
    pub fn all(&self) -> &[Container] {
        &self.containers
    }

    /// How they are.
    pub fn statuses(&self) -> Vec<Status> {
        self.containers.iter().map(Container::status).collect()
    }

    /// Starts those that do not run, one after the other in the order in which they were added. One that fails is reported, and
    /// holds up nobody: its status says so, and its restart policy holds. One whose start does not end holds up those after it for as
    /// long as it [may](ServiceOptions::start_within) take.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(&self) -> &Self {
        self.start_first().await;
        self.start_others().await;
        self
    }

    /// Starts them as [`start`](Self::start) does, and then does `work`, which waits for those that are to be
    /// [done first](ServiceOptions::synchronous), and for the others 5 s: what is still starting then goes on beside it. Once `hurry` has
    /// ended, as when the process is told to stop, it waits for none, and what has not been started is not.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start_beside<T>(&self, hurry: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
        let mut others = pin!(self.start_others());
        let start = async {
            self.start_first().await;
            self.env.timeout(START_TIME, others.as_mut()).await.is_some()
        };
        let goes_on = tokio::select! {
            biased;
            () = hurry => false,
            are_started = start => !are_started,
        };
        let mut work = pin!(work);
        tokio::select! {
            biased;
            ended = work.as_mut() => ended,
            () = others, if goes_on => work.await,
        }
    }

    /// Starts those up to the last one that is to be done before anything else runs, which has ended then.
    async fn start_first(&self) {
        if let Some(store) = &self.store {
            let told = teller::tell(
                self.env.clone(),
                Arc::clone(store),
                self.process,
                self.containers.clone(),
                Arc::clone(&self.changed),
            );
            let mut teller = lock(&self.teller);
            if teller.as_ref().is_none_or(Spawned::is_finished) {
                *teller = Some(self.env.spawn("services teller", told));
            }
        }
        start_each(self.parts().0).await;
    }

    /// Starts the others.
    async fn start_others(&self) {
        start_each(self.parts().1).await;
    }

    /// Those up to the last one that is to be done before anything else runs, and those after it.
    fn parts(&self) -> (&[Container], &[Container]) {
        let last = self.containers.iter().rposition(Container::is_synchronous);
        self.containers.split_at(last.map_or(0, |last| last + 1))
    }

    /// Where failures of the services are told. A process that ends [flushes](Reports::flush) them after it has stopped the services.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Stops all at once, each within the time that it [may](ServiceOptions::stop_within) take, and says how each came to stop, in the
    /// order in which they were added. They are no longer shown in the store then.
    pub async fn stop(&self) -> Vec<Stopped> {
        self.stop_each(Container::tell).await
    }

    /// The same, with a limit for all of them.
    pub async fn stop_within(&self, limit: Duration) -> Vec<Stopped> {
        self.stop_each(|container| container.tell_within(limit)).await
    }

    async fn stop_each(&self, tell: impl Fn(&Container) -> Option<u64>) -> Vec<Stopped> {
        // All are told before any is waited for.
        let told: Vec<Option<u64>> = self.containers.iter().map(tell).collect();
        let mut stopped = Vec::with_capacity(told.len());
        for (container, life) in self.containers.iter().zip(told) {
            stopped.push(container.ended(life).await);
        }
        self.forget().await;
        stopped
    }

    /// Starts them, and stops them when `shutdown` is ready.
    pub async fn run_until(&self, shutdown: impl Future<Output = ()>) -> Vec<Stopped> {
        self.start().await;
        shutdown.await;
        self.stop().await
    }

    async fn forget(&self) {
        let teller = lock(&self.teller).take();
        let (Some(store), Some(teller)) = (&self.store, teller) else { return };
        // What it was writing comes before what is written now.
        teller.abort();
        let _ = teller.await;
        let forgotten = self.env.timeout(FORGET_TIME, store.forget_services(self.process)).await;
        if !matches!(forgotten, Some(Ok(()))) {
            let error = forgotten.and_then(Result::err).map(|error| error.to_string());
            tracing::debug!(error, "the store shows services that are gone until they are taken for silent");
        }
    }
}

async fn start_each(containers: &[Container]) {
    for container in containers {
        // Who runs may go on, and who failed is reported.
        let _ = container.start().await;
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("services", &self.containers).finish_non_exhaustive()
    }
}
