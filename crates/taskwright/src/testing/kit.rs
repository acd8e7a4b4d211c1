//! An app under test.

use std::fmt;
use std::sync::{Arc, Mutex};

use taskwright_store::memory::MemoryStore;
#[cfg(feature = "sqlite")]
use taskwright_store::sqlite::SqliteStore;
use taskwright_store::{JobDetail, SharedStore};

use super::clock::Sim;
use super::faulty::FaultyStore;
use super::kill::KillSwitch;
use crate::app::App;
use crate::attempt::lock;
use crate::client::{Client, Running};
use crate::context::Context;
use crate::env::Spawned;
use crate::error::Error;
use crate::middleware::Next;
use crate::worker::Summary;

/// When the jobs of a [`Kit`] run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When the test says so: [`Kit::run_next`] runs one, [`Kit::drain`] all that can run.
    #[default]
    Manual,
    /// In the call that enqueues them: when [`Client::enqueue`] of the kit's client returns, what can run has run, and what that led to.
    /// What is enqueued in a transaction runs with the next, or with [`Kit::drain`]; what is scheduled for later waits.
    Inline,
    /// Beside the test, as in production: a worker and the duties run, and each job starts when it is due, while the test awaits
    /// something. What a test moves on with [`Sim::advance`] happens in order: retries, schedules, time limits.
    Drain,
}

/// An [`App`] under test, on a store of its own, on the clock of a [simulation](super::simulate). Nothing of it is shared with other
/// tests, so that they run side by side. Tasks with `process` run in the process of the test, which a crash of theirs ends, and without
/// their limits.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright::testing::{Kit, Mode, simulate};
/// use taskwright::{App, Client, Context, Job, TaskError, assert_enqueued, task};
///
/// #[task("email.welcome")]
/// async fn welcome(user: u64) -> Result<String, TaskError> {
///     Ok(format!("welcome, user {user}"))
/// }
///
/// /// The function of the program that is tested.
/// async fn sign_up(client: &Client) -> Result<(), taskwright::Error> {
///     client.enqueue(Job::of(&Welcome { user: 7 }).run_in(Duration::from_secs(3_600))).await?;
///     Ok(())
/// }
///
/// simulate(1, async |sim| {
///     let kit = Kit::of(App::new().task::<Welcome>()).start(&sim).await.unwrap();
///     sign_up(kit.client()).await.unwrap();
///     assert_enqueued!(kit.client(), Welcome { user: 7 });
///
///     assert_eq!(kit.drain().await.unwrap().completed, 0, "it waits for its time");
///     sim.advance(Duration::from_secs(3_600)).await;
///     assert_eq!(kit.drain().await.unwrap().completed, 1);
/// });
/// ```
pub struct Kit {
    app: App,
    faults: Arc<FaultyStore>,
    client: Client,
    mode: Mode,
    /// The worker of [`Mode::Drain`].
    _worker: Option<Spawned<()>>,
}

/// A [`Kit`] that is being put together.
#[must_use]
pub struct Builder {
    app: App,
    mode: Mode,
    stores: Stores,
    kill: KillSwitch,
}

impl Kit {
    /// A kit of this app, which gets a fresh store in memory instead of its own, and [`Mode::Manual`].
    pub fn of(app: App) -> Builder {
        let stores = Stores::Memory(MemoryStore::new());
        Builder { app, mode: Mode::default(), stores, kill: KillSwitch::new() }
    }

    /// A client of the store, which enqueues as the mode says.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The store, to let calls fail.
    pub fn faults(&self) -> &FaultyStore {
        &self.faults
    }

    /// Runs all that can run now, and what comes of it, and does what is due: schedules, events, generators. What waits for its time is
    /// not waited for. Gives how the attempts ended.
    ///
    /// # Errors
    ///
    /// As for [`App::run_until`].
    pub async fn drain(&self) -> Result<Summary, Error> {
        drain(&self.app).await
    }

    /// Runs one job, the most urgent of those that can run, and gives it as it is then; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As for [`App::run_until`].
    pub async fn run_next(&self) -> Result<Option<JobDetail>, Error> {
        let ran = Arc::new(Mutex::new(None));
        let note = Arc::clone(&ran);
        let app = self.app.clone().worker(|worker| worker.concurrency(1).recycle_after_jobs(1));
        let noted = app.wrap(move |ctx: Context, next: Next| {
            lock(&note).get_or_insert(ctx.job_id());
            next.run(ctx)
        });
        noted.run_until_empty().await?;
        let id = *lock(&ran);
        match id {
            Some(id) => self.client.job(id).await,
            None => Ok(None),
        }
    }
}

/// Runs passes until one finds nothing to do: what a job led to may be due only after the duties have seen it.
async fn drain(app: &App) -> Result<Summary, Error> {
    let mut all = Summary::default();
    loop {
        let pass = app.run_until_empty().await?;
        if pass == Summary::default() {
            return Ok(all);
        }
        all = all.and(pass);
    }
}

impl Builder {
    /// When jobs run.
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// SQLite in the place of the store in memory, for tests of programs that enqueue in transactions of theirs: a database in memory
    /// ([`SqliteStore::in_memory`]), or a file of the test's own. What time does is said at [`store`](Self::store).
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::store::sqlite::{Options, SqliteStore};
    /// use taskwright::testing::{Kit, simulate};
    /// use taskwright::{App, Job, assert_enqueued};
    ///
    /// simulate(1, async |sim| {
    ///     let sqlite = SqliteStore::in_memory(Options { now: sim.env().now() }).unwrap();
    ///     let mut shop = sqlite.connect().unwrap();
    ///     let kit = Kit::of(App::new()).sqlite(sqlite).start(&sim).await.unwrap();
    ///
    ///     let tx = shop.transaction().unwrap();
    ///     kit.client().enqueue_in(&tx, Job::new("mail.receipt")).unwrap();
    ///     tx.commit().unwrap();
    ///     assert_enqueued!(kit.client(), "mail.receipt");
    /// });
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite(self, store: SqliteStore) -> Self {
        Self { stores: Stores::Sqlite(store), ..self }
    }

    /// Another store than one in memory, whichever. All workers share it, so that one that is killed is found to be lost by its lease only. Time stands still while one of its calls is under way. Its
    /// threads tell each other of news in real time, so that moments are exact to the [poll](crate::worker::Builder::poll) of the
    /// worker only.
    pub fn store(self, store: SharedStore) -> Self {
        Self { stores: Stores::One(store), ..self }
    }

    /// What kills the worker of [`Mode::Drain`], which is then started again.
    pub fn killed_by(self, kill: &KillSwitch) -> Self {
        Self { kill: kill.clone(), ..self }
    }

    /// Puts the kit to work.
    ///
    /// # Errors
    ///
    /// When something about the app is wrong, or the store refuses it.
    pub async fn start(self, sim: &Sim) -> Result<Kit, Error> {
        let Self { app, mode, stores, kill } = self;
        let app = app.env(sim.env()).in_one_process();
        let faults = sim.hold(stores.handle()?);
        let tested = app.clone().store(Arc::clone(&faults) as SharedStore);
        let client = tested.client().await?;
        let (client, worker) = match mode {
            Mode::Manual => (client, None),
            Mode::Inline => {
                let tested = tested.clone();
                let run = move || {
                    let tested = tested.clone();
                    Box::pin(async move { drain(&tested).await.map(drop) }) as Running
                };
                (client.after_enqueue(Arc::new(run)), None)
            }
            Mode::Drain => {
                // A handle of its own each time, as each process has, which is gone when that is.
                let (app, faults) = (app, Arc::clone(&faults));
                let started = move || {
                    let store = stores.handle()?;
                    Ok::<_, Error>(app.clone().store(faults.over(store) as SharedStore))
                };
                let working = async move {
                    loop {
                        let life = async { started()?.run_until(std::future::pending::<()>()).await };
                        match kill.run(life).await {
                            None => {}
                            Some(Ok(_)) => return,
                            // As when the process of a worker ends with an error.
                            Some(Err(error)) => {
                                tracing::error!(%error, "the worker of the kit ended");
                                return;
                            }
                        }
                    }
                };
                (client, Some(sim.env().spawn("kit", working)))
            }
        };
        Ok(Kit { app: tested, faults, client, mode, _worker: worker })
    }
}

/// The store, as each process sees it.
enum Stores {
    Memory(MemoryStore),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    One(SharedStore),
}

impl Stores {
    fn handle(&self) -> Result<SharedStore, Error> {
        Ok(match self {
            Self::Memory(memory) => Arc::new(memory.handle()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Arc::new(store.handle()?),
            Self::One(store) => Arc::clone(store),
        })
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("app", &self.app).field("mode", &self.mode).finish_non_exhaustive()
    }
}
