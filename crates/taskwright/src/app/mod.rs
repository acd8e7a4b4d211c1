//! A program that uses Taskwright, in one value: its store, its tasks, and everything else that it brings.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what a program says |
//! | `run.rs` | what is made of it: a client, a worker with its duties |

mod run;

pub use self::run::stop_signal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use taskwright_core::trigger::{CustomTriggers, TriggerRule};
use taskwright_core::{Error as Refused, NewJob, RuleName, Schedule, ServiceName};
use taskwright_store::SharedStore;
use tokio::sync::OnceCell;

use crate::bulk::{BulkSet, BulkType};
use crate::context::Context;
use crate::duty::DutyConfig;
use crate::env::Env;
use crate::generator::{Generator, GeneratorSet};
use crate::middleware::{self, Around, BeforeEnqueue, EnqueueMiddleware, Middleware};
use crate::registry::{Registry, TaskOptions};
use crate::report::{Reporter, Reports};
use crate::service::{Service, ServiceOptions, Services, Shared};
use crate::store_url::StoreUrl;
use crate::task::{Task, TaskError};
use crate::worker::Builder;

/// A program that uses Taskwright: its store, its tasks, and everything else that it brings. Cheap to clone.
///
/// | what is made of it | by |
/// |---|---|
/// | a client, which puts jobs into the store and runs none | [`client`](Self::client) |
/// | a worker with its duties in this process | [`run_until`](Self::run_until) |
/// | the same while this program waits for its jobs | [`run_while`](Self::run_while) |
/// | what drains the store in a test, or once | [`run_until_empty`](Self::run_until_empty) |
/// | daemon, workers, command line and dashboard with the tasks of this program | `taskwright_server::main` |
///
/// What is wrong with what it was told is reported by these.
///
/// # Example
///
/// ```
/// use taskwright::{App, TaskError, task};
///
/// struct Mailer;
///
/// #[task("email.welcome", queue = "mail", max_attempts = 3)]
/// async fn welcome(user: u64, #[state] _mailer: &Mailer) -> Result<String, TaskError> {
///     Ok(format!("welcome, user {user}"))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let app = App::new().store("memory:").state(Mailer).task::<Welcome>();
/// let job = app.client().await?.enqueue(Welcome { user: 7 }).await?;
///
/// // In a service: `app.run_until(taskwright::stop_signal())`.
/// assert_eq!(app.run_while(job.output()).await?, "welcome, user 7");
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct App {
    env: Env,
    store: StoreOf,
    run_dir: Option<PathBuf>,
    registry: Registry,
    /// What is made at the start of whoever runs jobs.
    setups: Vec<Setup>,
    schedules: Vec<Schedule>,
    /// By the kind of a task, which a schedule of it has for a name that says none: its earlier kinds.
    renamed: BTreeMap<&'static str, &'static [&'static str]>,
    triggers: CustomTriggers,
    generators: Vec<Generators>,
    bulks: BulkSet,
    /// Kinds that can be enqueued here, whoever runs them.
    kinds: BTreeSet<String>,
    /// What looks at each job before it is stored.
    before: Vec<BeforeEnqueue>,
    /// What stands around their storing.
    around: Option<Around>,
    services: Vec<AddService>,
    reporters: Vec<Arc<dyn Fn(Reports) -> Reports + Send + Sync>>,
    worker: Vec<Arc<dyn Fn(Builder) -> Builder + Send + Sync>>,
    duties: Vec<Arc<dyn Fn(DutyConfig) -> DutyConfig + Send + Sync>>,
    /// The first thing that was refused.
    refused: Option<Refused>,
    /// One handle for all clones.
    opened: Arc<OnceCell<SharedStore>>,
}

/// Where the store is.
#[derive(Clone, Default)]
enum StoreOf {
    /// Where the environment says, or at the default.
    #[default]
    Default,
    Url(StoreUrl),
    Handle(SharedStore),
}

/// Adds to a registry what has to be waited for.
type Setup = Arc<dyn Fn(Registry) -> SetUp + Send + Sync>;
type SetUp = Pin<Box<dyn Future<Output = Result<Registry, crate::Error>> + Send>>;

/// Adds generators that need the store.
type Generators =
    Arc<dyn Fn(GeneratorSet, &SharedStore, &Env) -> Result<GeneratorSet, Refused> + Send + Sync>;

/// Adds a service, each time that somebody starts them.
type AddService = Arc<dyn Fn(Services, &SharedStore, &Env) -> Result<Services, crate::Error> + Send + Sync>;

/// What an [`App`] takes for a store: a URL, the path of an SQLite file, or one that is open.
pub trait IntoStore {
    #[doc(hidden)]
    fn put_into(self, app: App) -> App;
}

impl IntoStore for &str {
    fn put_into(self, app: App) -> App {
        match StoreUrl::parse(self) {
            Ok(url) => App { store: StoreOf::Url(url), ..app },
            Err(error) => app.refuse(error),
        }
    }
}

impl IntoStore for String {
    fn put_into(self, app: App) -> App {
        self.as_str().put_into(app)
    }
}

impl IntoStore for &Path {
    fn put_into(self, app: App) -> App {
        self.to_owned().put_into(app)
    }
}

impl IntoStore for PathBuf {
    fn put_into(self, app: App) -> App {
        App { store: StoreOf::Url(StoreUrl::Sqlite(self)), ..app }
    }
}

impl IntoStore for SharedStore {
    fn put_into(self, app: App) -> App {
        App { store: StoreOf::Handle(self), ..app }
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            env: Env::system(),
            store: StoreOf::default(),
            run_dir: None,
            registry: Registry::new(),
            setups: Vec::new(),
            schedules: Vec::new(),
            renamed: BTreeMap::new(),
            triggers: CustomTriggers::default(),
            generators: Vec::new(),
            bulks: BulkSet::built_in(),
            kinds: BTreeSet::new(),
            before: Vec::new(),
            around: None,
            services: Vec::new(),
            reporters: Vec::new(),
            worker: Vec::new(),
            duties: Vec::new(),
            refused: None,
            opened: Arc::default(),
        }
    }
}

impl App {
    /// A program without tasks of its own, on the store that the variable `TASKWRIGHT_STORE` names, or else on
    /// `sqlite:.taskwright/taskwright.db`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store: a URL (`sqlite:PATH`, `postgres://..`, `memory:`), the path of an SQLite file as a [`Path`], or one that is open. With
    /// `taskwright_server::main`, `--store`, the environment and the config file come before a URL and a path.
    #[must_use]
    pub fn store(self, store: impl IntoStore) -> Self {
        let app = store.put_into(self);
        // Clones of before stay on theirs.
        Self { opened: Arc::default(), ..app }
    }

    /// Where the workers of this machine show each other that they live, when the store is a PostgreSQL database. Default: as
    /// [`run_dir::enter`](crate::run_dir::enter).
    #[must_use]
    pub fn run_dir(self, directory: impl Into<PathBuf>) -> Self {
        Self { run_dir: Some(directory.into()), ..self }
    }

    /// Time, randomness and ids: for tests on a virtual clock. Default: those of the system.
    #[must_use]
    pub fn env(self, env: Env) -> Self {
        Self { env, ..self }
    }

    /// The same, with the tasks that have a process for each attempt as if they had none: for the kit.
    pub(crate) fn in_one_process(mut self) -> Self {
        self.registry = self.registry.in_one_process();
        self
    }

    /// Adds a task with its [schedules](Task::schedules).
    #[must_use]
    pub fn task<T: Task>(mut self) -> Self {
        self.kinds.extend([T::KIND].iter().chain(T::ALIASES).map(|kind| (*kind).to_owned()));
        self.renamed.insert(T::KIND, T::ALIASES);
        let added = self.add(|registry| registry.register::<T>());
        match T::schedules() {
            Ok(schedules) => schedules.into_iter().fold(added, Self::schedule),
            Err(error) => added.refuse(error),
        }
    }

    /// Adds a closure as the handler of a kind, with the default options.
    #[must_use]
    pub fn handler<F, R, O>(self, kind: &str, run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Serialize + 'static,
    {
        self.handler_with(kind, TaskOptions::default(), run)
    }

    /// Adds a closure as the handler of a kind.
    #[must_use]
    pub fn handler_with<F, R, O>(mut self, kind: &str, options: TaskOptions, run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Serialize + 'static,
    {
        self.kinds.insert(kind.to_owned());
        self.add(|registry| registry.handler_with(kind, options, run))
    }

    /// Shares a value with every handler, which finds it by its type.
    #[must_use]
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> Self {
        self.add(|registry| Ok(registry.state(state)))
    }

    /// The same for a value that has to be waited for, or that needs the runtime of whoever runs jobs: a pool of connections. It is made
    /// when a worker starts, in each process that is one, and not where jobs are only enqueued or looked at.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::App;
    ///
    /// struct Words(Vec<String>);
    ///
    /// async fn words() -> Result<Words, std::io::Error> {
    ///     Ok(Words(vec!["one".to_owned()]))
    /// }
    /// let app = App::new().state_from(words);
    /// ```
    #[must_use]
    pub fn state_from<S, E, F, R>(mut self, make: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<S, E>> + Send + 'static,
        S: Send + Sync + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.setups.push(Arc::new(move |registry| {
            let state = make();
            Box::pin(async move {
                let name = std::any::type_name::<S>();
                Ok(registry.state(state.await.map_err(|error| crate::Error::no_state(name, error))?))
            })
        }));
        self
    }

    /// Puts something around every handler, those that are added later included. What is put first is outermost.
    #[must_use]
    pub fn wrap(self, middleware: impl Middleware) -> Self {
        self.add(|registry| Ok(registry.wrap(middleware)))
    }

    /// Lets `look` see each job before a [client](Self::client) of the app stores it ([`Client::before_enqueue`](crate::Client::before_enqueue)).
    #[must_use]
    pub fn before_enqueue(
        mut self,
        look: impl Fn(&mut NewJob) -> Result<(), Refused> + Send + Sync + 'static,
    ) -> Self {
        self.before.push(Arc::new(look));
        self
    }

    /// Puts something around the storing of jobs by a [client](Self::client) of the app
    /// ([`Client::around_enqueue`](crate::Client::around_enqueue)). What is put first is outermost.
    #[must_use]
    pub fn around_enqueue(mut self, by: impl EnqueueMiddleware) -> Self {
        self.around = Some(middleware::with(self.around.as_ref(), by));
        self
    }

    /// Adds a schedule, which is registered by whoever runs jobs. One that is added no more stays in the store until somebody removes
    /// it: another program may have it.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        let is_twice =
            |other: &Schedule| other.name == schedule.name && other.namespace == schedule.namespace;
        if self.schedules.iter().any(is_twice) {
            return self.refuse(Refused::invalid(
                format!("the schedule {}", schedule.name),
                "it is added twice",
                "add each schedule once, or give one of the two another name",
            ));
        }
        self.schedules.push(schedule);
        self
    }

    /// Adds a generator. Of several nodes with the same one, one asks it at a time.
    #[must_use]
    pub fn generator(mut self, generator: impl Generator + Clone) -> Self {
        self.generators.push(Arc::new(move |set, _, _| set.with(generator.clone())));
        self
    }

    /// Adds generators that need the store, or families of them.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::App;
    /// use taskwright::generator::{Cursor, CursorGenerator, Item, PollError, Row};
    ///
    /// async fn pages(after: Option<Cursor>, limit: usize) -> Result<Vec<Row>, PollError> {
    ///     let first = match after {
    ///         Some(Cursor::Key(page)) => page.as_u64().unwrap_or_default() + 1,
    ///         _ => 0,
    ///     };
    ///     let row = |page: u64| Ok(Row::new(Cursor::key(page), Item::new("page.render").args(&page)?));
    ///     (first..100).take(limit).map(row).collect()
    /// }
    /// let app = App::new().generators(|set, _store, _env| set.with(CursorGenerator::new("pages", pages)));
    /// ```
    #[must_use]
    pub fn generators(
        mut self,
        add: impl Fn(GeneratorSet, &SharedStore, &Env) -> Result<GeneratorSet, Refused> + Send + Sync + 'static,
    ) -> Self {
        self.generators.push(Arc::new(add));
        self
    }

    /// Adds a [service](crate::service): a loop that lives as long as the process does. It is started with
    /// [`run_until`](Self::run_until), or by `up` with `taskwright_server::main`, before any job is run, and stopped when no job runs any
    /// more; `taskwright services list` shows it.
    ///
    /// Its [start](Service::start) may take [30 s](ServiceOptions::start_within). `run_until` lets jobs run after 5 s of waiting for it,
    /// unless it is one that is [to be done first](ServiceOptions::synchronous), and ends without it when it is to.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskwright::App;
    /// use taskwright::service::{ServiceContext, ServiceError};
    ///
    /// async fn inbox(ctx: ServiceContext) -> Result<(), ServiceError> {
    ///     while ctx.sleep(Duration::from_secs(60)).await {
    ///         // look for mails
    ///     }
    ///     Ok(())
    /// }
    /// let app = App::new().service("inbox", inbox);
    /// ```
    #[must_use]
    pub fn service(self, name: &str, service: impl Service) -> Self {
        self.service_with(name, ServiceOptions::new(), service)
    }

    /// The same with options: when it is started again, how long it may take to stop.
    #[must_use]
    pub fn service_with(self, name: &str, options: ServiceOptions, service: impl Service) -> Self {
        let (named, service) = (name.to_owned(), Shared::new(service));
        self.bring_services(name, move |services, _, _| services.add_with(&named, options, service.clone()))
    }

    /// The same for a service that needs the store: a sampler.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskwright::App;
    /// use taskwright::service::{MetricsSampler, ServiceOptions};
    ///
    /// let app = App::new().service_on_store("sampler", ServiceOptions::new(), |store, _env| {
    ///     MetricsSampler::new(store, Duration::from_secs(15)).on_sample(|sample| println!("{} workers", sample.workers))
    /// });
    /// ```
    #[must_use]
    pub fn service_on_store<S: Service>(
        self,
        name: &str,
        options: ServiceOptions,
        make: impl Fn(&SharedStore, &Env) -> S + Send + Sync + 'static,
    ) -> Self {
        let named = name.to_owned();
        self.bring_services(name, move |services, store, env| {
            services.add_with(&named, options, make(store, env))
        })
    }

    fn bring_services(
        mut self,
        name: &str,
        add: impl Fn(Services, &SharedStore, &Env) -> Result<Services, crate::Error> + Send + Sync + 'static,
    ) -> Self {
        if let Err(error) = ServiceName::new(name) {
            return self.refuse(error);
        }
        self.services.push(Arc::new(add));
        self
    }

    /// Tells somebody of each failure, of an attempt or of a service, when it happens, and apart from that of a job that has failed for
    /// good. The log is told anyway. See [`report`](crate::report).
    #[must_use]
    pub fn report_to(mut self, reporter: impl Reporter) -> Self {
        let reporter = Arc::new(reporter);
        self.reporters.push(Arc::new(move |reports| reports.with_shared(Arc::clone(&reporter))));
        self
    }

    /// Adds a type of bulk, beside `count` and `lines`.
    #[must_use]
    pub fn bulk(mut self, kind: impl BulkType) -> Self {
        match self.bulks.clone().with(kind) {
            Ok(bulks) => self.bulks = bulks,
            Err(error) => return self.refuse(error),
        }
        self
    }

    /// Brings a trigger rule of the program's own: schedules whose trigger names it fire by it, and the verbs know when. `make`
    /// reads what such a trigger says (its `spec`) and refuses what it does not understand.
    #[must_use]
    pub fn with_trigger(
        mut self,
        name: RuleName,
        make: impl Fn(&serde_json::Value) -> Result<Arc<dyn TriggerRule>, Refused> + Send + Sync + 'static,
    ) -> Self {
        self.triggers.register(name, make);
        self
    }

    /// Makes kinds known that another program runs, so that they can be enqueued by name.
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = String>) -> Self {
        self.kinds.extend(kinds);
        self
    }

    /// Says how the worker of [`run_until`](Self::run_until) behaves. With `taskwright_server::main` flags and the config file do.
    ///
    /// # Example
    ///
    /// ```
    /// let app = taskwright::App::new().worker(|worker| worker.concurrency(16).poll(std::time::Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn worker(mut self, change: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.worker.push(Arc::new(change));
        self
    }

    /// Says how the duties of [`run_until`](Self::run_until) are done: how long what is over is kept, which event sources there are.
    /// With `taskwright_server::main` the config file does.
    #[must_use]
    pub fn duties(mut self, change: impl Fn(DutyConfig) -> DutyConfig + Send + Sync + 'static) -> Self {
        self.duties.push(Arc::new(change));
        self
    }

    fn add(mut self, add: impl FnOnce(Registry) -> Result<Registry, Refused>) -> Self {
        match add(self.registry.clone()) {
            Ok(registry) => self.registry = registry,
            Err(error) => return self.refuse(error),
        }
        self
    }

    fn refuse(mut self, error: Refused) -> Self {
        self.refused.get_or_insert(error);
        self
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schedules: Vec<_> = self.schedules.iter().map(|schedule| &schedule.name).collect();
        f.debug_struct("App")
            .field("kinds", &self.kinds)
            .field("schedules", &schedules)
            .field("triggers", &self.triggers)
            .field("bulks", &self.bulks)
            .finish_non_exhaustive()
    }
}
