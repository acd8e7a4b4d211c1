//! What every verb has at hand: config, store, namespace, streams, clock.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::Method;
use taskwright_core::{Actor, Namespace, NodeName, Timestamp};
use taskwright_store::{Namespaces, Store};

use super::Typed;
use super::deed::Deed;
use crate::App;
use crate::answer::principal::WhoAmI;
use crate::answer::task::Known;
use crate::config::{Config, DEFAULT_FILE};
use crate::error::{Error, nearest};
use crate::output::Output;
use crate::profile::{self, Profile, Profiles};
use crate::remote::{NO_BODY, NOTHING, Remote, RemoteStore, SERVER_VARIABLE};
use crate::store_url::{self, StoreUrl};
use taskwright::{Client, Env};

/// The variables that say what `--store` and `--run-dir` would.
pub(super) const STORE_VARIABLE: &str = "TASKWRIGHT_STORE";
pub(super) const RUN_DIR_VARIABLE: &str = "TASKWRIGHT_RUN_DIR";
/// The variable that says what `--profile` would.
pub(super) const PROFILE_VARIABLE: &str = "TASKWRIGHT_PROFILE";

/// What a command was started with, before anything was looked at.
pub(super) struct Settings {
    pub(crate) app: App,
    pub(crate) given: Given,
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) namespaces: Vec<Namespace>,
    pub open_store: Option<Arc<dyn Store>>,
    /// What the command does.
    pub(super) deed: Option<Deed>,
    /// Whether the verb looks after profiles, and asks no server.
    pub(crate) is_about_profiles: bool,
    /// Whether the verb answers requests of others.
    pub(crate) answers: bool,
    /// Whether the verb is about nothing that a config file says, so that a mistake in one does not stop it.
    pub(crate) needs_no_file: bool,
}

/// Where to look, as flags and the environment say.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) typed: Typed,
    pub(crate) store_url: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) profile: Option<String>,
    /// Whether the verb is about no server.
    pub(crate) asks_none: bool,
}

/// The server that is asked in the place of a store.
struct Asked {
    server: Remote,
    namespace: Option<Namespace>,
}

impl Given {
    /// The server that is meant, if one is: one that was typed, then a profile that was, then those of the environment, then a
    /// store that was named, and then the profile in use.
    fn server(&self) -> Result<Option<Asked>, Error> {
        let is_typed = self.typed.server || self.typed.profile;
        if self.typed.store && is_typed && !self.asks_none {
            let flag = if self.typed.server { "--server" } else { "--profile" };
            let why = "one asks the store itself, the other a server in its place";
            return Err(Error::usage(format!("--store together with {flag}"), why, "pass one of the two"));
        }
        if self.typed.store && !is_typed {
            return Ok(None);
        }
        match (&self.server, &self.profile) {
            (Some(server), None) => Ok(Some(self.of_url(server, None)?)),
            (Some(server), Some(_)) if !self.is_by_profile() => {
                Ok(Some(self.of_url(server, self.find(&self.profile)?)?))
            }
            (_, Some(_)) => {
                let profile = self.find(&self.profile)?;
                Ok(profile.map(|profile| self.of_profile(&profile, self.typed_token())).transpose()?)
            }
            (None, None) if self.store_url.is_some() || self.asks_none => Ok(None),
            (None, None) => {
                let Some(path) = profile::path() else { return Ok(None) };
                let seen = Profiles::look(&path)?;
                // Whoever uses none needs nothing from the file, whoever may read it.
                let Some(name) = seen.profiles.in_use.clone() else { return Ok(None) };
                Ok(Some(self.of_profile(seen.trusted()?.get(&name)?, self.typed_token())?))
            }
        }
    }

    /// Whether a profile that was named says which server, and not a URL.
    fn is_by_profile(&self) -> bool {
        self.profile.is_some() && (self.server.is_none() || (self.typed.profile && !self.typed.server))
    }

    /// By which flag a server is named, and by which variable it might be.
    pub(super) fn way_to_server(&self) -> (&'static str, &'static str) {
        match self.is_by_profile() {
            true => ("--profile", PROFILE_VARIABLE),
            false => ("--server", SERVER_VARIABLE),
        }
    }

    /// The token of the environment is for the server that is named by its URL, and not for that of whichever profile.
    fn typed_token(&self) -> Option<String> {
        self.token.clone().filter(|_| self.typed.token)
    }

    fn find(&self, name: &Option<String>) -> Result<Option<Profile>, Error> {
        let Some(name) = name else { return Ok(None) };
        let profiles = profile::path().map(|path| Profiles::load(&path)).transpose()?.unwrap_or_default();
        profiles.get(name).cloned().map(Some)
    }

    /// A profile's token is for its own server, and for no other.
    fn of_url(&self, server: &str, profile: Option<Profile>) -> Result<Asked, Error> {
        match profile.filter(|profile| profile.server.trim_end_matches('/') == server.trim_end_matches('/')) {
            Some(profile) => self.of_profile(&profile, self.token.clone()),
            None => {
                let server = Remote::new(server, self.token.clone(), self.ca.as_deref())?;
                Ok(Asked { server, namespace: None })
            }
        }
    }

    fn of_profile(&self, profile: &Profile, token: Option<String>) -> Result<Asked, Error> {
        let token = token.or_else(|| profile.token.clone());
        let ca = self.ca.as_deref().or(profile.ca.as_deref());
        Ok(Asked { server: Remote::new(&profile.server, token, ca)?, namespace: profile.namespace.clone() })
    }
}

/// How often it is looked for jobs of tasks that nobody runs.
const UNKNOWN_KINDS_EVERY: Duration = Duration::from_secs(60);

/// What every verb has at hand.
pub(crate) struct Context {
    /// Where to look, as it was said.
    pub(super) given: Given,
    /// The program's own tasks.
    pub(crate) app: App,
    /// The config file, or the defaults when there is none.
    pub(crate) config: Config,
    /// Which store.
    pub(crate) store_url: StoreUrl,
    /// Whether the program brought a store of its own, which may be another one.
    brings_store: bool,
    /// The server that is asked instead.
    server: Option<Remote>,
    /// Where the workers of this machine show their presence, if somebody said so.
    run_dir: Option<PathBuf>,
    /// The namespace that was asked for; `None` is all when looking, and the default one when storing.
    pub(crate) namespace: Option<Namespace>,
    /// The same for what looks at several: none of them is in `namespace` then.
    pub(super) namespaces: Namespaces,
    pub(crate) output: Output,
    pub(crate) env: Env,
    input: Mutex<Box<dyn BufRead + Send>>,
    store: OnceLock<Arc<dyn Store>>,
    /// The namespace that whoever asks a server means who has one alone.
    home: OnceLock<Namespace>,
    /// What jobs get that do not say it, where a server knows that.
    tasks: OnceLock<Config>,
    /// What the command does: whatever it changes in the store is told in the audit.
    deed: Option<Deed>,
    runtime: tokio::runtime::Runtime,
}

impl Context {
    /// Reads the config file and finds out which store is meant; opens nothing.
    pub(super) fn new(
        settings: Settings,
        input: Box<dyn BufRead + Send>,
        output: Output,
    ) -> Result<Self, (Error, Output)> {
        let prepared = prepare(&settings);
        let (config, store_url, runtime) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err((error, output)),
        };
        // A program that brings its own store means that one, whatever the environment says; and what is about profiles is
        // about no server yet.
        let is_meant = settings.open_store.is_none() && !settings.is_about_profiles;
        let asked = if is_meant { settings.given.server() } else { Ok(None) };
        let (server, namespace) = match asked {
            Ok(asked) => asked.map_or((None, None), |asked| (Some(asked.server), asked.namespace)),
            Err(error) => return Err((error, output)),
        };
        let mut namespaces = settings.namespaces;
        namespaces.sort_unstable();
        namespaces.dedup();
        let (namespace, namespaces) = match namespaces.len() {
            0 => (namespace.clone(), Namespaces::from(namespace)),
            1 => (namespaces.first().cloned(), Namespaces::Of(namespaces)),
            _ => (None, Namespaces::Of(namespaces)),
        };
        let (env, store) = (Env::system(), OnceLock::new());
        let (deed, brings_store) = (settings.deed, settings.open_store.is_some());
        if let Some(open) = settings.open_store {
            // A fresh cell takes its first value.
            let _ = store.set(told(open, deed.as_ref(), env.now(), namespace.as_ref()));
        }
        let run_dir = settings.run_dir.or_else(|| config.run_dir.clone());
        Ok(Self {
            given: settings.given,
            app: settings.app,
            config,
            run_dir,
            server,
            store_url,
            brings_store,
            namespace,
            namespaces,
            output,
            env,
            input: Mutex::new(input),
            store,
            home: OnceLock::new(),
            tasks: OnceLock::new(),
            deed,
            runtime,
        })
    }

    /// The store, which must exist; opened when first asked for.
    ///
    /// # Errors
    ///
    /// When it does not exist, or cannot be opened.
    pub(crate) async fn store(&self) -> Result<&Arc<dyn Store>, Error> {
        if self.store.get().is_none() && self.server.is_none() {
            self.store_url.check_exists().await?;
        }
        self.store_or_new().await
    }

    /// The store, made if it does not exist; opened when first asked for.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or made.
    pub(crate) async fn store_or_new(&self) -> Result<&Arc<dyn Store>, Error> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        if let Some(server) = &self.server {
            self.output.detail(format!("asking {}", server.url()));
            return Ok(self
                .store
                .get_or_init(|| Arc::new(RemoteStore::new(server.clone(), self.namespace.clone()))));
        }
        self.output.detail(format!("opening {}", self.store_url));
        if let Some(weakness) = self.store_url.weakness() {
            self.output.note(format!("warning: {weakness}"));
        }
        let store = self.store_url.open(self.env.now(), self.run_dir.as_deref()).await?;
        self.env.follow(&*store).await?;
        let (deed, now) = (self.deed.as_ref(), self.env.now());
        Ok(self.store.get_or_init(|| told(store, deed, now, self.namespace.as_ref())))
    }

    /// Whether the store exists.
    ///
    /// # Errors
    ///
    /// When that cannot be found out.
    pub(super) async fn has_store(&self) -> Result<bool, Error> {
        if self.store.get().is_some() || self.server.is_some() {
            Ok(true)
        } else {
            self.store_url.exists().await
        }
    }

    /// A client of the store, which must exist.
    ///
    /// # Errors
    ///
    /// When it does not exist, or cannot be opened.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(Arc::clone(self.store().await?), self.env.clone()))
    }

    /// A client of the store, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// When the store cannot be opened or made.
    pub(crate) async fn client_or_new(&self) -> Result<Client, Error> {
        Ok(Client::new(Arc::clone(self.store_or_new().await?), self.env.clone()))
    }

    /// The server that is asked instead of a store.
    pub(crate) fn server(&self) -> Option<&Remote> {
        self.server.as_ref()
    }

    /// Where the store is that is opened here; `None` where a server is asked, or the program brings one.
    pub(crate) fn opened_url(&self) -> Option<&StoreUrl> {
        (!self.brings_store && self.server.is_none()).then_some(&self.store_url)
    }

    /// Where things are looked for, in words: the server, or the store.
    pub(super) fn place(&self) -> String {
        match (&self.server, self.store.get()) {
            (Some(server), _) => format!("the server {}", server.url()),
            (None, Some(store)) if self.brings_store => format!("the store {}", store.info().url),
            (None, _) => format!("the store {}", self.store_url),
        }
    }

    /// The store, if it is open already: a program may have brought its own.
    pub(super) fn open_store(&self) -> Option<&Arc<dyn Store>> {
        self.store.get()
    }

    /// Whether more than one namespace was asked for.
    pub(super) fn namespaces_are_several(&self) -> bool {
        matches!(&self.namespaces, Namespaces::Of(names) if names.len() > 1)
    }

    /// The namespace of what is stored or changed by name.
    pub(crate) fn namespace_or_default(&self) -> Namespace {
        self.namespace.as_ref().or(self.home.get()).cloned().unwrap_or_default()
    }

    /// Finds out which namespace is meant by who names none and asks a server: the one in which they have a role, if there is one
    /// alone. Whatever stands in the way is told by what is asked for next.
    pub(super) async fn find_home(&self) {
        let Some(server) = self.server.as_ref().filter(|_| self.namespace.is_none()) else { return };
        let who: Result<Option<WhoAmI>, _> =
            server.ask(Method::GET, "/api/v1/whoami", None, &NOTHING, NO_BODY, &[]).await;
        if let Ok(Some(who)) = who
            && !who.superuser
            && let [only] = who.roles.keys().collect::<Vec<_>>()[..]
        {
            // It is found once.
            let _ = self.home.set(only.clone());
        }
    }

    /// Finds out which tasks the server knows that is asked, so that jobs are stored by its settings and not by a file here.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses.
    pub(crate) async fn find_tasks(&self) -> Result<(), Error> {
        let Some(server) = &self.server else { return Ok(()) };
        let known: Vec<Known> = server.items("/api/v1/tasks", None).await?;
        let tasks = known.into_iter().filter_map(Known::into_config).collect();
        // It is asked once.
        let _ = self.tasks.set(Config { tasks, ..Config::default() });
        Ok(())
    }

    /// What jobs get that do not say it: from the config file here, or from the server that is asked.
    pub(crate) fn task_config(&self) -> &Config {
        self.tasks.get().unwrap_or(&self.config)
    }

    /// Checks that somebody can run jobs of this kind.
    ///
    /// # Errors
    ///
    /// When neither the program, the config file nor the binary knows it; the nearest kind is named.
    pub(crate) fn check_kind(&self, kind: &str) -> Result<(), Error> {
        match (&self.server, self.tasks.get()) {
            (Some(server), Some(known)) => crate::submit::check_kind_there(known, kind, server.url()),
            _ => crate::submit::check_kind(&self.app, &self.config, kind, "--any-kind"),
        }
    }

    /// Warns of schedules in the config file whose task nobody here runs: their jobs would wait. Another program may run
    /// them, so this is no error.
    pub(crate) fn warn_of_unknown_tasks(&self) {
        self.warn_of_unknown_tasks_in(&self.config);
    }

    /// The same of another file.
    pub(crate) fn warn_of_unknown_tasks_in(&self, config: &Config) {
        let known = crate::submit::kinds(&self.app, config);
        for (name, schedule) in &config.schedules {
            let kind = schedule.kind.as_str();
            if known.contains(kind) {
                continue;
            }
            let meant = nearest(kind, known.iter().copied());
            let meant = meant.map(|meant| format!("; is `{meant}` meant?")).unwrap_or_default();
            self.output.note(format!(
                "warning: schedule {name}: nobody here runs the task {kind}, its jobs wait for another program{meant}"
            ));
        }
    }

    /// Warns of jobs that wait for a task which nobody here runs, once of each task: now, and every minute of those that came since. A store that
    /// cannot be read at this moment is no reason to end.
    pub(crate) async fn warn_of_unknown_kinds(&self, store: &Arc<dyn Store>) -> Infallible {
        let client = Client::new(Arc::clone(store), self.env.clone());
        let known = self.kinds();
        let mut told = BTreeSet::new();
        loop {
            let waiting = client.kinds_waiting(None).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "it could not be seen whether jobs wait for unknown tasks");
                BTreeSet::new()
            });
            for kind in waiting.into_iter().filter(|kind| !known.contains(kind.as_str())) {
                if told.insert(kind.clone()) {
                    self.output.note(format!(
                        "warning: jobs wait for the task {kind}, which nobody here runs: start a program that does, or cancel them \
                         (taskwright jobs cancel --kind {kind})"
                    ));
                }
            }
            self.env.sleep(UNKNOWN_KINDS_EVERY).await;
        }
    }

    /// Where the workers of this machine show their presence, if somebody said so.
    pub(crate) fn run_dir(&self) -> Option<&Path> {
        self.run_dir.as_deref()
    }

    /// What the environment of a process must say that is to open the same store. The URL goes this way because it may
    /// hold a password, and the arguments of a process can be read by everybody.
    pub(crate) fn store_environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![(STORE_VARIABLE, self.store_url.secret().into())];
        variables.extend(self.run_dir.clone().map(|directory| (RUN_DIR_VARIABLE, directory.into())));
        variables
    }

    /// How to start a worker process that serves the same store with the same config, beside its
    /// [environment](Self::store_environment).
    pub(crate) fn worker_arguments(
        &self,
        file: Option<&Path>,
        concurrency: u32,
        reserve: u32,
        grace: Duration,
        lease: Option<Duration>,
        node: Option<&NodeName>,
    ) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(file) = file {
            args.extend(["--config".into(), file.into()]);
        }
        if let Some(namespace) = &self.namespace {
            args.extend(["--namespace".into(), namespace.as_str().into()]);
        }
        args.extend(self.output.manner().arguments().map(Into::into));
        args.extend(["worker".into(), "--supervised".into()]);
        args.extend(["--concurrency".into(), concurrency.to_string().into()]);
        args.extend(["--reserve".into(), reserve.to_string().into()]);
        let us = |duration: Duration| format!("{}us", duration.as_micros());
        args.extend(["--grace".into(), us(grace).into()]);
        if let Some(lease) = lease {
            args.extend(["--lease".into(), us(lease).into()]);
        }
        if let Some(node) = node {
            args.extend(["--node".into(), node.as_str().into()]);
        }
        args
    }

    /// The kinds that can be run here.
    pub(crate) fn kinds(&self) -> BTreeSet<&str> {
        crate::submit::kinds(&self.app, &self.config)
    }

    /// Runs asynchronous work to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Reads standard input.
    pub(crate) fn with_input<T>(&self, read: impl FnOnce(&mut dyn BufRead) -> T) -> T {
        read(&mut **self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a question to the person, and reads the answer.
    pub(super) fn ask(&self, question: &str) -> Result<String, Error> {
        const ANSWER_BYTES_MAX: u64 = 100;
        self.output.flush()?;
        self.output.question(question);
        let mut answer = String::new();
        let read = self.with_input(|input| input.take(ANSWER_BYTES_MAX).read_line(&mut answer));
        read.map_err(|error| Error::file("reading", "the answer", &error))?;
        Ok(answer)
    }

    /// Finishes what the store still does. What was acknowledged is safe already, so an error here changes nothing.
    pub(super) fn close(&self) {
        if let Some(store) = self.store.get()
            && let Err(error) = self.block_on(store.close())
        {
            self.output.detail(format!("closing the store: {error}"));
        }
    }
}

/// A handle on a store through which whatever is changed is told in the audit, for a command that does something.
fn told(
    store: Arc<dyn Store>,
    deed: Option<&Deed>,
    now: Timestamp,
    namespace: Option<&Namespace>,
) -> Arc<dyn Store> {
    match deed {
        Some(deed) => store.on_behalf_of(deed.behalf(now, namespace)),
        None => store,
    }
}

/// Threads that answer requests, unless the config file says how many.
fn threads() -> usize {
    const MOST: usize = 4;
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST)
}

type Prepared = (Config, StoreUrl, tokio::runtime::Runtime);

fn prepare(settings: &Settings) -> Result<Prepared, Error> {
    let Settings { app, config: file, answers, .. } = settings;
    app.check()?;
    let config = match file {
        _ if settings.needs_no_file => Config::default(),
        Some(file) => Config::load(file)?,
        None if Path::new(DEFAULT_FILE).exists() => Config::load(Path::new(DEFAULT_FILE))?,
        None => Config::default(),
    };
    let url = match (settings.given.store_url.as_deref(), &config.store_url, app.store_url()) {
        (Some(text), _, _) => StoreUrl::parse(text)?,
        (None, Some(url), _) => url.clone(),
        (None, None, Some(url)) => StoreUrl::of(url)?,
        (None, None, None) => StoreUrl::parse(store_url::DEFAULT)?,
    };
    let mut builder = match *answers {
        // A large request must not hold up all the others, nor the supervisor.
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    if *answers {
        builder.worker_threads(config.server.threads.map_or_else(threads, |threads| threads as usize));
    }
    let runtime = builder.enable_all().build().map_err(|error| {
        Error::operational(
            "starting",
            crate::error::in_words(&error),
            "look at this user's limits: ulimit -a",
        )
    })?;
    Ok((config, url, runtime))
}

/// Who acts: what `--actor` says, or the user who is logged in.
pub(super) fn actor(given: Option<&Actor>) -> Actor {
    let named = || ["USER", "LOGNAME"].iter().find_map(|name| Actor::new(&std::env::var(name).ok()?).ok());
    let numbered = || Actor::new(&format!("uid {}", rustix::process::getuid().as_raw())).ok();
    given.cloned().or_else(named).or_else(numbered).unwrap_or_else(Actor::system)
}
