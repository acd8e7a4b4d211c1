//! What is made of an app: a client, a worker with its duties.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{Error as Refused, Schedule};
use taskwright_store::SharedStore;
use tokio::signal::unix::{SignalKind, signal};

use super::{App, StoreOf};
use crate::attempt::lock;
use crate::bulk::{BulkSet, Bulks};
use crate::child::{Asked, orphan_killer};
use crate::client::Client;
use crate::duty::{self, Duties, DutyConfig};
use crate::env::Env;
use crate::error::Error;
use crate::generator::GeneratorSet;
use crate::registry::Registry;
use crate::report::{LogReporter, REPORT_TIME, Reports};
use crate::service::Services;
use crate::store_url::{self, StoreUrl};
use crate::worker::{Builder, Summary, Worker};

/// How long the end may take to let another node do the duties: the 2 s in which what was asked of generators may still be answered,
/// and some for writing so.
const RESIGN_TIME: Duration = Duration::from_secs(4);

impl App {
    /// A client of the store, which opens it when it is first asked for. It puts jobs in and asks what became of them; it claims none,
    /// does no duties, and registers no schedules.
    ///
    /// # Errors
    ///
    /// When something about the app is wrong, or the store cannot be opened.
    pub async fn client(&self) -> Result<Client, Error> {
        let client = Client::new(self.open().await?, self.env.clone()).within(self.around.clone());
        Ok(self.before.iter().fold(client, |client, look| {
            let look = Arc::clone(look);
            client.before_enqueue(move |job| look(job))
        }))
    }

    /// The bulk jobs of the store, with the types of this program.
    ///
    /// # Errors
    ///
    /// As for [`client`](Self::client).
    pub async fn bulk_jobs(&self) -> Result<Bulks, Error> {
        Ok(self.client().await?.bulks(&self.bulks))
    }

    /// Runs jobs in this process, and takes part in the duties, until `shutdown` is ready, an operator says stop, or it has run for long
    /// enough ([`worker::Builder::recycle_after_jobs`](Builder::recycle_after_jobs)). Then it shuts down in good order: nothing more is
    /// claimed, what runs is told and given the grace, and another node may do the duties at once.
    ///
    /// Registers the schedules first, and starts the [services](Self::service). Jobs wait 5 s for these, and until those are over that
    /// are [to be done first](crate::service::ServiceOptions::synchronous); a service that is still starting then goes on doing so beside them. The end
    /// waits 5 s for [reporters](Self::report_to) to be told of what failed, and as long for what fails after the last job.
    ///
    /// # Errors
    ///
    /// When something about the app is wrong, the store cannot be opened, a state cannot be made, or the store refuses the worker for
    /// good. A store that is only out of order is waited for.
    pub async fn run_until(&self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        // Worker and services tell the same reporters, which are called once at a time.
        let reports = self.reports();
        let (store, worker) = self.ready(&reports).await?;
        let config = self.duty_config(&store)?;
        let services = self.ready_services(&store, &reports)?;
        let ended = self.run_beside(&services, &store, &config, worker, pin!(shutdown)).await;
        services.stop().await;
        if !services.reports().flush(REPORT_TIME).await {
            tracing::warn!("the app ends before all failures of its services were reported");
        }
        ended
    }

    /// Starts the services, and runs jobs, also beside a service that takes its time. It does not take that of `shutdown`.
    async fn run_beside(
        &self,
        services: &Services,
        store: &SharedStore,
        config: &DutyConfig,
        worker: Builder,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Summary, Error> {
        // Waited for by the start, and by the worker after it.
        let shutdown = Mutex::new(shutdown);
        let told = || poll_fn(|cx| lock(&shutdown).as_mut().poll(cx));
        let is_over = AtomicBool::new(false);
        let hurry = async {
            told().await;
            is_over.store(true, Ordering::Relaxed);
        };
        let work = async {
            if is_over.load(Ordering::Relaxed) {
                return Ok(Summary::default());
            }
            let duties = Duties::start_with(store, &self.env, config, orphan_killer(store));
            let ended = worker.run(told()).await;
            if self.env.timeout(RESIGN_TIME, duties.stop()).await.is_none() {
                tracing::debug!("another node does the duties when the lease of this one has run out");
            }
            ended
        };
        services.start_beside(hurry, work).await
    }

    /// [Runs](Self::run_until) jobs in this process while `work` is under way, and gives back what that gives: for a program that stores jobs and waits for
    /// them itself.
    ///
    /// ```
    /// # #[taskwright::task("square")]
    /// # async fn square(number: u64) -> Result<u64, taskwright::TaskError> { Ok(number * number) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), taskwright::Error> {
    /// let app = taskwright::App::new().store("memory:").task::<Square>();
    /// let job = app.client().await?.enqueue(Square { number: 12 }).await?;
    /// assert_eq!(app.run_while(job.output()).await?, 144);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the work; those of [`run_until`](Self::run_until), and when the worker ends first: an operator has stopped it, or it has run
    /// for long enough.
    pub async fn run_while<T, E: From<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut done = None;
        let ended = self.run_until(async { done = Some(work.await) }).await;
        given(done, ended)
    }

    /// Does what is due, runs what can run now, and ends: once from a shell, or in a test. What waits for its time is not waited for, and
    /// services are not started.
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_until_empty(&self) -> Result<Summary, Error> {
        let (store, worker) = self.ready(&self.reports()).await?;
        duty::run_once(&store, &self.env, &self.duty_config(&store)?, orphan_killer(&store)).await?;
        worker.until_empty().run(std::future::pending()).await
    }

    /// Runs one attempt and ends the process, if it is a [child](crate::child) that was started for that; returns otherwise.
    ///
    /// [`run_until`](Self::run_until) and `taskwright_server::main` begin with it. A program that does much before these may call it
    /// first.
    ///
    /// # Errors
    ///
    /// When something about the app is wrong, a state cannot be made, or what the worker says is not understood.
    pub async fn serve_attempt(&self) -> Result<(), Error> {
        if self.env.is_simulated() {
            // It is a test, whose program must not be started by a worker in it.
            return Ok(());
        }
        let Some(asked) = Asked::of_process() else { return Ok(()) };
        self.check()?;
        match asked.serve(self.ready_registry().await?, &self.env).await? {}
    }

    /// The store, with the schedules in it, and the worker.
    async fn ready(&self, reports: &Reports) -> Result<(SharedStore, Builder), Error> {
        self.serve_attempt().await?;
        let store = self.open().await?;
        let registry = self.ready_registry().await?;
        let client = Client::new(Arc::clone(&store), self.env.clone());
        self.register(&client.schedules(), &self.schedules).await?;
        warn_of_unknown_kinds(&client, &registry).await;
        let worker = Worker::builder(Arc::clone(&store), registry, self.env.clone()).reports(reports.clone());
        Ok((store, self.worker.iter().fold(worker, |worker, change| change(worker))))
    }

    async fn open(&self) -> Result<SharedStore, Error> {
        self.check()?;
        let open = async || {
            let named =
                || std::env::var(store_url::VARIABLE).unwrap_or_else(|_| store_url::DEFAULT.to_owned());
            let store = match &self.store {
                StoreOf::Handle(store) => Arc::clone(store),
                StoreOf::Url(url) => url.open(&self.env, self.run_dir.as_deref()).await?,
                StoreOf::Default => {
                    StoreUrl::parse(&named())?.open(&self.env, self.run_dir.as_deref()).await?
                }
            };
            self.env.follow(&*store).await?;
            Ok::<_, Error>(store)
        };
        self.opened.get_or_try_init(open).await.cloned()
    }

    fn duty_config(&self, store: &SharedStore) -> Result<DutyConfig, Refused> {
        let generators =
            self.add_generators(GeneratorSet::new(), store, &self.env)?.with_bulks(&self.bulks)?;
        let config =
            DutyConfig { triggers: Arc::new(self.triggers.clone()), generators, ..DutyConfig::default() };
        Ok(self.duties.iter().fold(config, |config, change| change(config)))
    }
}

/// What some work gave; or why it gave nothing. Once it has given something, what becomes of the worker takes nothing from it.
fn given<T, E: From<Error>>(done: Option<Result<T, E>>, ended: Result<Summary, Error>) -> Result<T, E> {
    let Some(done) = done else {
        return Err(ended.err().unwrap_or_else(Error::worker_ended).into());
    };
    if let Err(error) = ended {
        tracing::warn!(%error, "the work is done, and the worker that ran beside it did not end well");
    }
    done
}

/// Says which of the oldest available jobs nobody here runs: they wait for another program, or for ever.
async fn warn_of_unknown_kinds(client: &Client, registry: &Registry) {
    let waiting = match client.kinds_waiting(None).await {
        Ok(waiting) => waiting,
        // A store that cannot be read at this moment is waited for by the worker.
        Err(error) => {
            return tracing::warn!(%error, "it could not be seen whether jobs wait for unknown tasks");
        }
    };
    for kind in waiting.iter().filter(|kind| !registry.knows(kind)) {
        tracing::warn!(%kind, "jobs wait for a task that nobody here runs: they stay until a program runs it, or are cancelled");
    }
}

/// Is ready when this process is asked to stop, by TERM or INT: what a service gives to [`App::run_until`].
///
/// # Example
///
/// ```no_run
/// # async fn example(app: taskwright::App) -> Result<(), taskwright::Error> {
/// app.run_until(taskwright::stop_signal()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn stop_signal() {
    let listen = |kind| match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::error!(%error, "a signal cannot be listened to: it ends this process at once");
            None
        }
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        Some(()) = async { terminate.as_mut()?.recv().await } => {}
        Some(()) = async { interrupt.as_mut()?.recv().await } => {}
        else => std::future::pending().await,
    }
}

/// What `taskwright_server` asks.
impl App {
    /// Says what is wrong with what the app was told, if anything is.
    ///
    /// # Errors
    ///
    /// The first thing that was refused.
    pub fn check(&self) -> Result<(), Refused> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// The kinds that can be enqueued: those of the program's tasks, and those that it knows of others.
    pub fn kinds(&self) -> &BTreeSet<String> {
        &self.kinds
    }

    /// The tasks, with the state that needs no waiting for.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The tasks, with all of the state; made anew by each call.
    ///
    /// # Errors
    ///
    /// When a state cannot be made.
    pub async fn ready_registry(&self) -> Result<Registry, Error> {
        let mut registry = self.registry.clone();
        for set_up in &self.setups {
            registry = set_up(registry).await?;
        }
        Ok(registry)
    }

    /// The URL of the store, if the program said one.
    pub fn store_url(&self) -> Option<&StoreUrl> {
        match &self.store {
            StoreOf::Url(url) => Some(url),
            StoreOf::Default | StoreOf::Handle(_) => None,
        }
    }

    /// The store, if the program brought one that is open.
    pub fn store_handle(&self) -> Option<&SharedStore> {
        match &self.store {
            StoreOf::Handle(store) => Some(store),
            StoreOf::Default | StoreOf::Url(_) => None,
        }
    }

    /// Registers schedules of the program, and answers in their order. Those of a task that was renamed take the place of those that it had.
    ///
    /// # Errors
    ///
    /// As [`Schedules::put_all`](crate::schedule::Schedules::put_all).
    pub async fn register(
        &self,
        registry: &crate::schedule::Schedules,
        schedules: &[Schedule],
    ) -> Result<Vec<crate::schedule::Put>, Error> {
        for schedule in schedules {
            let former = self.renamed.get(schedule.name.as_str()).copied().unwrap_or_default();
            for former in former.iter().filter(|_| schedule.name.as_str() == schedule.kind.as_str()) {
                registry.succeed(&former.parse()?, schedule).await?;
            }
        }
        registry.put_all(schedules).await
    }

    /// The schedules.
    pub fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    /// The trigger rules of the program's own.
    pub fn triggers(&self) -> &CustomTriggers {
        &self.triggers
    }

    /// The types of bulk: those of the program, and those that are always there.
    pub fn bulks(&self) -> &BulkSet {
        &self.bulks
    }

    /// Those who are told of failures; made anew by each call. Whoever runs workers and services in one process gives them clones of
    /// one, so that a reporter is called once at a time.
    pub fn reports(&self) -> Reports {
        self.reporters.iter().fold(Reports::new(&self.env), |reports, add| add(reports))
    }

    /// Adds the program's services to others.
    ///
    /// # Errors
    ///
    /// When two have one name.
    pub fn add_services(
        &self,
        services: Services,
        store: &SharedStore,
        env: &Env,
    ) -> Result<Services, Error> {
        self.services.iter().try_fold(services, |services, add| add(services, store, env))
    }

    /// The services, shown in the store; with none, nothing is.
    fn ready_services(&self, store: &SharedStore, reports: &Reports) -> Result<Services, Error> {
        let services = Services::new(&self.env, reports.clone().to(LogReporter));
        if self.services.is_empty() {
            return Ok(services);
        }
        self.add_services(services.shown_in(store), store, &self.env)
    }

    /// Adds the program's generators to others.
    ///
    /// # Errors
    ///
    /// When two have one name, or one makes no sense.
    pub fn add_generators(
        &self,
        set: GeneratorSet,
        store: &SharedStore,
        env: &Env,
    ) -> Result<GeneratorSet, Refused> {
        self.generators.iter().try_fold(set, |set, add| add(set, store, env))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_work_gave_outlives_the_end_of_its_worker() {
        let refused = || Err(Error::worker_ended());
        assert_eq!(given::<_, Error>(Some(Ok(7)), refused()).unwrap(), 7);
        assert_eq!(given::<_, Error>(Some(Ok(7)), Ok(Summary::default())).unwrap(), 7);
        assert!(given::<u8, Error>(None, refused()).is_err());
        assert!(given::<u8, Error>(None, Ok(Summary::default())).is_err(), "the worker ended first");
    }
}
