//! The connections of one process, and how every transaction on them is set up.
//!
//! Every session has a time limit on statements, on waiting for locks and on doing nothing inside a transaction, so that
//! no mishap of ours holds up others for long; its only schema is the store's, and its time zone is UTC.
//!
//! | | directly | behind PgBouncer in transaction mode (`pgbouncer=true`) |
//! |---|---|---|
//! | settings | with the start of the session (`options`) | `SET LOCAL` at the start of each transaction |
//! | statements | prepared once per connection, by text | unnamed, parsed each time |
//! | cost | none | one round trip more per transaction |
//!
//! PgBouncer gives each transaction a server session that others have used and will use: what is set for the session
//! would leak to them, and its start parameters beyond a few are refused. `SET LOCAL` ends with the transaction, and
//! unlike settings of the role it needs no rights and cannot be forgotten. `LISTEN` and session-level advisory
//! locks do not work there at all; what uses them (`listen`, `tether`) has a connection of its own, and does without
//! there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, IsolationLevel, Row};

use super::error::{POOLED, is_lost, open_error, pool_error, silent, store_error, unanswered};
use super::glance::Glance;
use super::listen::{channel, notify};
use super::reach::{HostByHost, LOGIN_WAIT_MAX, login_wait_max};
use super::tls;
use super::url::Settings;
use super::whereabouts::{WHO, Whereabouts, field};
use crate::error::{Area, Error};

/// The first server that we use: the oldest that is maintained.
const SERVER_MIN: u32 = 140_000;

/// How long a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a statement may wait for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a `NOTIFY` may wait for its lock. Who commits one holds it for about a flush.
const TELL_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a transaction may do nothing.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a call waits for a connection of the pool: others hold one for about a statement.
const POOL_WAIT_MAX: Duration = STATEMENT_TIMEOUT;

/// How long the server may take to answer. Its own limit on statements ends them before; but a server that is stopped, or
/// whose machine hangs, keeps its connections and never says anything.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(35);

/// The same while the schema is migrated, where statements have an hour.
const MIGRATION_WAIT_MAX: Duration = Duration::from_secs(3_605);

/// The connections of this process to one database, all set up alike. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    pool: Pool,
    /// One that is kept for workers to say that they live, however many wait for the others. It is made when it is first wanted.
    lifeline: Pool,
    settings: Settings,
    server: Server,
    whereabouts: Arc<Whereabouts>,
    types: Types,
}

/// The types of the parameters of statements, as the server has told them, by text.
type Types = Arc<Mutex<HashMap<String, Arc<[Type]>>>>;

/// What a server says about itself.
#[derive(Clone, Debug)]
struct Server {
    /// As in `14.5 (Debian 14.5-1)`.
    version: String,
    /// See [`WHO`].
    who: String,
}

impl Connections {
    /// Connects, and checks that the server is one that we can use.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses us, is older than PostgreSQL 14 ([`Error::is_version`]), is
    /// read-only ([`Error::is_read_only`]), or when the database's encoding is not UTF8.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let (pool, lifeline) = (pool(&settings, settings.connections)?, pool(&settings, 1)?);
        let what = format!("open the store {}", settings.url());
        let connection = pool.get().await.map_err(|error| open_error(&what, settings.pgbouncer, error))?;
        let inspected = timeout(LOGIN_WAIT_MAX, inspect(&connection, &settings, &what)).await;
        let server = inspected.map_err(|_| silent(&what))??;
        drop(connection);
        let whereabouts = Arc::new(Whereabouts::new(settings.clone(), server.who.clone()));
        Ok(Self { pool, lifeline, settings, server, whereabouts, types: Types::default() })
    }

    /// A connection, for as long as the value lives.
    ///
    /// # Errors
    ///
    /// [`Error::is_busy`] when all are in use for long, or the server is away; [`Error::is_closed`] after
    /// [`close`](Connections::close).
    pub async fn get(&self) -> Result<Connection, Error> {
        self.get_of(&self.pool).await
    }

    /// The connection that is kept for workers to say that they live.
    pub(super) async fn lifeline(&self) -> Result<Connection, Error> {
        self.get_of(&self.lifeline).await
    }

    async fn get_of(&self, pool: &Pool) -> Result<Connection, Error> {
        let object = pool.get().await.map_err(|error| pool_error("connect to the store", error))?;
        let local = self.settings.pgbouncer.then(|| set_local(&self.settings.schema));
        Ok(Connection {
            object: Some(object),
            state: State::default(),
            local,
            whereabouts: self.whereabouts.clone(),
            types: self.types.clone(),
        })
    }

    /// How the connections are made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the database is.
    pub(super) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// The engine and its version, for people.
    pub fn engine(&self) -> String {
        format!("PostgreSQL {}", self.server.version)
    }

    /// Closes the connections that are idle, and each other one when it is given back.
    pub fn close(&self) {
        self.pool.close();
        self.lifeline.close();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("settings", &self.settings)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// One connection, taken from the pool until it is dropped.
pub struct Connection {
    /// Taken only when this is dropped.
    object: Option<Object>,
    /// How its calls went.
    state: State,
    /// What every transaction has to set for itself, behind PgBouncer.
    local: Option<String>,
    whereabouts: Arc<Whereabouts>,
    types: Types,
}

impl Connection {
    /// Begins a transaction; it is rolled back unless it is [committed](Transaction::commit).
    ///
    /// # Errors
    ///
    /// As every call to the server.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        self.begin_as(Reads::Newest, ANSWER_WAIT_MAX).await
    }

    /// Begins a transaction that only reads, all of it on one snapshot.
    pub(super) async fn begin_snapshot(&mut self) -> Result<Transaction<'_>, Error> {
        self.begin_as(Reads::Snapshot, ANSWER_WAIT_MAX).await
    }

    /// As [`begin`](Self::begin), for a migration: the server may take an hour for each answer.
    pub(super) async fn begin_migration(&mut self) -> Result<Transaction<'_>, Error> {
        self.begin_as(Reads::Newest, MIGRATION_WAIT_MAX).await
    }

    async fn begin_as(&mut self, reads: Reads, answer_wait_max: Duration) -> Result<Transaction<'_>, Error> {
        let calls = Calls { state: &self.state, whereabouts: Some(&self.whereabouts), answer_wait_max };
        let object = self.object.as_mut().ok_or_else(Error::closed)?;
        // A claim reads what was committed while it waited for a lane: it must not keep an older snapshot, whatever the
        // role or the database has for its default.
        let begin = match reads {
            Reads::Newest => object.build_transaction().isolation_level(IsolationLevel::ReadCommitted),
            Reads::Snapshot => {
                object.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true)
            }
        };
        let begun = begin.start();
        let inner = calls.answer(begun).await?;
        let tx = Transaction { inner, calls, prepares: self.local.is_none(), types: &self.types };
        tx.run(self.local.as_deref().unwrap_or(PLAN_EACH)).await?;
        Ok(tx)
    }

    /// Runs one statement in a transaction of its own, which is committed when this returns: one message there and back.
    ///
    /// # Errors
    ///
    /// As every call to the server. When the connection is lost in the middle, it is unknown whether it took place.
    pub async fn once(&mut self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Error> {
        if self.local.is_some() {
            let tx = self.begin().await?;
            let rows = tx.query(sql, parameters).await?;
            tx.commit().await?;
            return Ok(rows);
        }
        let object = self.object.as_ref().ok_or_else(Error::closed)?;
        let (values, types): (Vec<_>, Vec<_>) = parameters.iter().cloned().unzip();
        let rows = async {
            let statement = object.prepare_typed_cached(sql, &types).await?;
            object.query(&statement, &values).await
        };
        self.calls().answer(rows).await
    }

    /// Looks whether somebody has committed anything.
    pub(super) async fn glance(&self) -> Result<Glance, Error> {
        let object = self.object.as_ref().ok_or_else(Error::closed)?;
        let mut sql = Glance::statement(self.whereabouts.settings().schema());
        if self.local.is_some() {
            // Several statements in one message are one transaction.
            sql.insert_str(0, &limits());
        }
        let messages = self.calls().answer(object.simple_query(&sql)).await?;
        Glance::of(&messages).ok_or_else(unanswered)
    }

    /// Tells everybody who listens, but those of a place that have been told. Gives up soon: `NOTIFY` waits for a lock that whoever
    /// commits one holds, also one who hangs.
    pub(super) async fn tell(&self, told: Option<&str>) -> Result<(), Error> {
        let object = self.object.as_ref().ok_or_else(Error::closed)?;
        let notify = notify(&channel(self.whereabouts.settings()), told);
        // One message is one transaction, also without a BEGIN.
        let sql = format!("SET LOCAL lock_timeout = {}; {notify}", TELL_LOCK_TIMEOUT.as_millis());
        self.calls().answer(object.batch_execute(&sql)).await
    }

    /// Sends the data of a `COPY ... FROM STDIN`, in a transaction of its own, which is committed when this returns. Not for
    /// PgBouncer: see the caller.
    ///
    /// # Errors
    ///
    /// As [`once`](Self::once).
    pub async fn copy(&mut self, sql: &str, data: Bytes) -> Result<(), Error> {
        let object = self.object.as_ref().ok_or_else(Error::closed)?;
        let copied = async {
            let statement = object.prepare_cached(sql).await?;
            send(object.copy_in(&statement).await?, data).await
        };
        self.calls().answer(copied).await
    }

    fn calls(&self) -> Calls<'_> {
        Calls { state: &self.state, whereabouts: Some(&self.whereabouts), answer_wait_max: ANSWER_WAIT_MAX }
    }
}

async fn send(sink: CopyInSink<Bytes>, data: Bytes) -> Result<(), tokio_postgres::Error> {
    let mut sink = std::pin::pin!(sink);
    sink.send(data).await?;
    sink.finish().await.map(drop)
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && !self.state.is_sound()
        {
            // Those that are idle are of the same server: each would be found out in its turn, however long that takes.
            if let Some(pool) = Object::pool(&object) {
                pool.retain(|_, _| false);
            }
            // Closes it, and makes room in the pool for another.
            drop(Object::take(object));
        }
    }
}

/// How the calls on one connection went.
#[derive(Default)]
struct State {
    /// Whether it was found lost. The pool may learn of that only later.
    lost: AtomicBool,
    /// Calls that are not answered. When whoever asked has given up, the next one would wait for the same answer.
    unanswered: AtomicUsize,
}

impl State {
    /// Whether others may use the connection.
    fn is_sound(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && self.unanswered.load(Ordering::Relaxed) == 0
    }
}

/// The calls on one connection.
#[derive(Clone, Copy)]
struct Calls<'a> {
    state: &'a State,
    whereabouts: Option<&'a Whereabouts>,
    answer_wait_max: Duration,
}

impl Calls<'_> {
    /// Waits for the server's answer. Says what an error means, and remembers when it means that the connection is lost.
    async fn answer<T>(
        self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        self.state.unanswered.fetch_add(1, Ordering::Relaxed);
        let moved = async {
            match self.whereabouts {
                Some(whereabouts) => whereabouts.moved().await,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            tokio::select! {
                biased;
                answer = call => Some(answer),
                () = moved => None,
            }
        };
        let Ok(Some(answer)) = tokio::time::timeout(self.answer_wait_max, answer).await else {
            return Err(unanswered());
        };
        self.state.unanswered.fetch_sub(1, Ordering::Relaxed);
        answer.map_err(|error| {
            if is_lost(&error) {
                self.state.lost.store(true, Ordering::Relaxed);
            }
            store_error(error)
        })
    }
}

/// What the statements of a transaction see.
enum Reads {
    /// Each what is committed when it begins.
    Newest,
    /// All what was committed when the first began; nothing is written.
    Snapshot,
}

/// A transaction on a [`Connection`]: the only way to the data, so that each one is set up.
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    calls: Calls<'a>,
    prepares: bool,
    types: &'a Types,
}

/// The parameters of a statement: values, with the types that the statement gives them.
pub type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

impl Transaction<'_> {
    /// Runs a statement with typed parameters, and gives its rows.
    ///
    /// # Errors
    ///
    /// As every call to the server; the transaction can then only be rolled back.
    pub async fn query(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Error> {
        let rows = async {
            if !self.prepares {
                return self.inner.query_typed(sql, parameters).await;
            }
            let (values, types): (Vec<_>, Vec<_>) = parameters.iter().cloned().unzip();
            let statement = self.inner.prepare_typed_cached(sql, &types).await?;
            self.inner.query(&statement, &values).await
        };
        self.calls.answer(rows).await
    }

    /// Runs a statement with typed parameters, and gives the number of rows that it touched.
    ///
    /// # Errors
    ///
    /// As [`query`](Transaction::query).
    pub async fn execute(&self, sql: &str, parameters: &Parameters<'_>) -> Result<u64, Error> {
        let count = async {
            if !self.prepares {
                return self.inner.execute_typed(sql, parameters).await;
            }
            let (values, types): (Vec<_>, Vec<_>) = parameters.iter().cloned().unzip();
            let statement = self.inner.prepare_typed_cached(sql, &types).await?;
            self.inner.execute(&statement, &values).await
        };
        self.calls.answer(count).await
    }

    /// As [`query`](Transaction::query), with the types that the server finds for the parameters.
    pub(super) async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let types = self.types_of(sql).await?;
        self.query(sql, &typed(values, &types)).await
    }

    /// As [`execute`](Transaction::execute), with the types that the server finds for the parameters.
    pub(super) async fn touch(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let types = self.types_of(sql).await?;
        self.execute(sql, &typed(values, &types)).await
    }

    /// The types of a statement's parameters. Asking prepares it under a name; that is given up before the transaction
    /// ends, so that it never meets the same name of another client on the same server session.
    async fn types_of(&self, sql: &str) -> Result<Arc<[Type]>, Error> {
        if let Some(types) = known(self.types).get(sql) {
            return Ok(types.clone());
        }
        let statement = self.calls.answer(self.inner.prepare(sql)).await?;
        let types: Arc<[Type]> = statement.params().into();
        drop(statement);
        known(self.types).insert(sql.to_owned(), types.clone());
        Ok(types)
    }

    /// Sends the data of a `COPY ... FROM STDIN`. Not for PgBouncer, as [`Connection::copy`].
    ///
    /// # Errors
    ///
    /// As [`query`](Transaction::query).
    pub(super) async fn copy(&self, sql: &str, data: Bytes) -> Result<(), Error> {
        let copied = async {
            let statement = self.inner.prepare_cached(sql).await?;
            send(self.inner.copy_in(&statement).await?, data).await
        };
        self.calls.answer(copied).await
    }

    /// Runs SQL text of ours, which may hold several statements.
    ///
    /// # Errors
    ///
    /// As [`query`](Transaction::query).
    pub async fn run(&self, sql: &str) -> Result<(), Error> {
        self.calls.answer(self.inner.batch_execute(sql)).await
    }

    /// Makes what the transaction did durable and visible.
    ///
    /// # Errors
    ///
    /// As every call to the server. When the connection is lost in the middle, it is unknown whether it took place.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { inner, calls, .. } = self;
        calls.answer(inner.commit()).await
    }
}

fn typed<'a>(values: &[&'a (dyn ToSql + Sync)], types: &[Type]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    values.iter().copied().zip(types.iter().cloned()).collect()
}

fn known(types: &Types) -> MutexGuard<'_, HashMap<String, Arc<[Type]>>> {
    // Each change is complete in itself.
    types.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver's settings, with options of ours for the start of a session. Later options win over earlier ones, so the
/// URL's cannot undo ours.
pub(super) fn config_with(settings: &Settings, options: &str) -> tokio_postgres::Config {
    let mut config = settings.config.clone();
    let own = config.get_options().unwrap_or_default();
    let options = format!("{own} {options}");
    config.options(options.trim_start());
    config
}

fn pool(settings: &Settings, size: usize) -> Result<Pool, Error> {
    let config = if settings.pgbouncer {
        settings.config.clone()
    } else {
        config_with(settings, &session_options(&settings.schema))
    };
    let create_wait_max = login_wait_max(&config);
    let manager = Manager::from_connect(
        config,
        HostByHost::new(tls::connector(settings)?),
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    Pool::builder(manager)
        .max_size(size)
        // The one that was used last: its process on the server is still warm.
        .queue_mode(QueueMode::Lifo)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(POOL_WAIT_MAX),
            create: Some(create_wait_max),
            recycle: Some(LOGIN_WAIT_MAX),
        })
        .build()
        .map_err(|error| Error::unavailable("the pool of connections", error.to_string()))
}

/// A plan that was made while a table was empty, and kept, is wrong once the table is full, until the next ANALYZE: seconds
/// for a list. So what a transaction asks is planned by the size that the tables have now. What goes without one
/// ([`Connection::once`]) has only one way to be done, and its plan is kept: making it takes as long as doing it.
const PLAN_EACH: &str = "SET LOCAL plan_cache_mode = force_custom_plan";

/// Every setting of ours, by name. The schema needs no quotes: its name has been checked when it was parsed, and a
/// value of a setting knows no keywords.
///
/// The last ones hold the planner to the indexes that every statement of ours is made for: neither whole tables nor sorts
/// of what an index gives in order are considered where there is an index, nor whole indexes, side by side (a merge join looks
/// cheap to statistics that were taken before a large fill was committed). Compiling and starting processes take longer
/// than our reads. See [`PLAN_EACH`], too.
fn session_settings(schema: &str) -> [(&'static str, String); 11] {
    let millis = |limit: Duration| limit.as_millis().to_string();
    [
        ("search_path", schema.to_owned()),
        ("statement_timeout", millis(STATEMENT_TIMEOUT)),
        ("lock_timeout", millis(LOCK_TIMEOUT)),
        ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION_TIMEOUT)),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("TimeZone", "UTC".to_owned()),
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        ("jit", "off".to_owned()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
    ]
}

fn session_options(schema: &str) -> String {
    let set = |(name, value): (&str, String)| format!("-c {name}={}", value.replace(' ', "\\ "));
    let settings = session_settings(schema).map(set).join(" ");
    format!("{settings} {CLIENT_IS_GONE}")
}

/// How the server finds out that a client's machine is gone without a word: after 7 s, when the transaction that it had
/// open is rolled back and its locks are free. The default is two hours, in which nobody could take a lost worker's jobs
/// if it was cut off in the middle of a claim. Nothing is changed where there is no TCP.
const CLIENT_IS_GONE: &str = "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=2 \
                              -c tcp_user_timeout=5000";

/// The limits of one message behind PgBouncer, which is a transaction if it has several statements.
fn limits() -> String {
    let (statement, lock) = (STATEMENT_TIMEOUT.as_millis(), LOCK_TIMEOUT.as_millis());
    format!("SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; ")
}

fn set_local(schema: &str) -> String {
    let set = |(name, value): (&str, String)| format!("SET LOCAL {name} = '{value}'; ");
    session_settings(schema).map(set).concat() + PLAN_EACH
}

/// Asks the server what it is, and refuses what we cannot use.
async fn inspect(connection: &Object, settings: &Settings, what: &str) -> Result<Server, Error> {
    // The simple protocol, as it works through everything that may stand between.
    let ask =
        async |sql| connection.simple_query(sql).await.map_err(|error| super::error::explain(what, error));
    let server = ask("SELECT current_setting('server_version_num'), current_setting('server_version'), \
         current_setting('server_encoding'), current_setting('search_path')")
    .await?;
    check_version(what, field(&server, 0), field(&server, 1))?;
    check_encoding(what, field(&server, 2))?;
    if !settings.pgbouncer {
        check_settings(what, settings.schema(), field(&server, 3))?;
    }
    let who = field(&ask(WHO).await?, 0).to_owned();
    Ok(Server { version: field(&server, 1).to_owned(), who })
}

fn check_version(what: &str, number: &str, version: &str) -> Result<(), Error> {
    if number.parse::<u32>().is_ok_and(|number| number >= SERVER_MIN) {
        return Ok(());
    }
    Err(Error::new(
        Area::Version,
        what,
        format!("the server is PostgreSQL {version}, and we use nothing older than 14"),
        "upgrade the server (https://www.postgresql.org/support/versioning/), or choose another",
    ))
}

fn check_encoding(what: &str, encoding: &str) -> Result<(), Error> {
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::new(
        Area::Unreachable,
        what,
        format!("the database keeps text as {encoding}, which cannot hold all that jobs may say"),
        "make a database with `createdb --encoding=UTF8 --template=template0 NAME`",
    ))
}

/// Whether the session has what we asked for at its start.
fn check_settings(what: &str, schema: &str, search_path: &str) -> Result<(), Error> {
    if search_path == schema {
        return Ok(());
    }
    Err(Error::new(
        Area::Unreachable,
        what,
        format!("what stands between us and the server drops our settings (search_path is {search_path:?})"),
        POOLED,
    ))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up_after_its_own_limit() {
        let state = State::default();
        let calls = Calls { state: &state, whereabouts: None, answer_wait_max: ANSWER_WAIT_MAX };
        let asked = tokio::time::Instant::now();
        let error = calls.answer(pending::<Result<(), tokio_postgres::Error>>()).await.unwrap_err();
        assert!(error.is_busy() && !state.is_sound(), "{error}");
        assert!(asked.elapsed() > STATEMENT_TIMEOUT, "the server's own error says more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_given_to_no_other_while_an_answer_is_out() {
        let state = State::default();
        let calls = Calls { state: &state, whereabouts: None, answer_wait_max: ANSWER_WAIT_MAX };
        calls.answer(async { Ok(()) }).await.unwrap();
        assert!(state.is_sound());
        let given_up = calls.answer(pending::<Result<(), tokio_postgres::Error>>());
        tokio::time::timeout(Duration::from_secs(1), given_up).await.unwrap_err();
        calls.answer(async { Ok(()) }).await.unwrap();
        assert!(!state.is_sound());
    }

    #[test]
    fn a_server_before_14_is_refused() {
        let error = check_version("open", "130014", "13.14").unwrap_err();
        assert!(error.is_version());
        assert!(error.to_string().contains("13.14"), "{error}");
        assert!(check_version("open", "", "").is_err());
        assert!(check_version("open", "140000", "14.0").is_ok());
        assert!(check_version("open", "180001", "18.1").is_ok());
    }

    #[test]
    fn a_database_that_is_not_utf8_is_refused() {
        assert!(check_encoding("open", "UTF8").is_ok());
        for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP", ""] {
            assert!(check_encoding("open", encoding).is_err());
        }
    }
}
