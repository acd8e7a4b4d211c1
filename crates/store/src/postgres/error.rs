//! What PostgreSQL's errors mean to whoever has to act on them.

use std::error::Error as StdError;
use std::io;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::error::{Area, Error};

/// What an error means: its area, why it happened, and what to do.
type Meaning = (Area, String, &'static str);

/// Says what an error of the driver means. The engine's own words are the source, for `--verbose`.
pub(super) fn explain(what: impl Into<String>, error: tokio_postgres::Error) -> Error {
    let (area, why, fix) = meaning(&error);
    Error::new(area, what, why, fix).with_source(error)
}

/// The error of a call that reads or writes the store.
pub(super) fn store_error(error: tokio_postgres::Error) -> Error {
    explain("use the store", error)
}

/// Whether the transaction took no effect because it met another one, so that it may be done again.
pub(super) fn is_conflict(error: &Error) -> bool {
    has_code(error, &[SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED])
}

/// Whether the transaction took no effect because something is there already that must be there once.
pub(super) fn is_duplicate(error: &Error) -> bool {
    has_code(error, &[SqlState::UNIQUE_VIOLATION])
}

/// Whether the function `complete` took no effect because an attempt is not in its block.
pub(super) fn is_elsewhere(error: &Error) -> bool {
    has_code(error, &[SqlState::from_code("TW001")])
}

/// Whether the server refused to do this with these rows, and would do the same with others.
pub(super) fn is_about_rows(error: &Error) -> bool {
    let code = code_of(error).map(SqlState::code);
    code.is_some_and(|code| {
        // Integrity, data, limits, what SQL of ours or a trigger raised; locks and statements that took too long.
        ["22", "23", "40", "54", "P0", "TW", "XX"].contains(&&code[..2]) || ["55P03", "57014"].contains(&code)
    })
}

fn code_of(error: &Error) -> Option<&SqlState> {
    error.source()?.downcast_ref::<tokio_postgres::Error>()?.code()
}

fn has_code(error: &Error, codes: &[SqlState]) -> bool {
    code_of(error).is_some_and(|code| codes.contains(code))
}

/// The error of opening the store. A server that is not there is a setting to correct, not a moment to wait for;
/// whoever does wait for it asks again.
pub(super) fn open_error(what: &str, pgbouncer: bool, error: PoolError) -> Error {
    match error {
        PoolError::Timeout(TimeoutType::Create) if pgbouncer => Error::new(
            Area::Unreachable,
            what,
            "PgBouncer, or the server behind it, did not let us in in time",
            "see with `SHOW POOLS` whether clients wait for a server session (`cl_waiting`): then raise default_pool_size; \
             otherwise check host and port, and that PostgreSQL is running",
        ),
        PoolError::Backend(error) if io_error(&error).is_some_and(is_unresolved) => Error::new(
            Area::Unreachable,
            what,
            format!("the name of the host has no address ({})", cause_text(&error)),
            "correct the host in the URL, or look at this machine's name service (`getent hosts NAME`)",
        )
        .with_source(error),
        PoolError::Backend(error) if error.code().is_none() && io_error(&error).is_some_and(is_absence) => {
            Error::new(
                Area::Unreachable,
                what,
                "no server answers there",
                "check host and port, that PostgreSQL is running, and that no firewall is between",
            )
            .with_source(error)
        }
        PoolError::Timeout(TimeoutType::Create) => Error::new(
            Area::Unreachable,
            what,
            "no server answers there in time",
            "check host and port, that PostgreSQL is running, and that no firewall is between",
        ),
        error => pool_error(what, error),
    }
}

/// The error of taking a connection from the pool.
pub(super) fn pool_error(what: &str, error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => explain(what, error),
        PoolError::Closed => Error::closed(),
        PoolError::Timeout(TimeoutType::Wait) => Error::new(
            Area::Busy,
            what,
            "all connections of this process have been in use for too long",
            "see what the database is busy with (pg_stat_activity); \
             `pool` in the URL sets the number of connections",
        ),
        PoolError::Timeout(_) => Error::new(
            Area::Busy,
            what,
            "the server did not answer in time",
            "check the network and the load of the server, and try again",
        ),
        error @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => Error::new(
            Area::Failed,
            what,
            "the pool of connections failed",
            "this is likely a bug in taskwright: please report it with this message",
        )
        .with_source(error),
    }
}

fn meaning(error: &tokio_postgres::Error) -> Meaning {
    if let Some(code) = error.code() {
        return of_code(code, error);
    }
    if let Some(cause) = io_error(error) {
        return of_io(cause);
    }
    if error.is_closed() {
        return connection_lost();
    }
    if is_tls(error) {
        return (
            Area::Unreachable,
            format!("no protected connection can be made ({})", cause_text(error)),
            "check sslmode and sslrootcert in the URL, and that the server has TLS and a certificate for this host",
        );
    }
    if ["invalid configuration", "authentication error"].contains(&error.to_string().as_str()) {
        return (
            Area::Unreachable,
            format!("the server and we do not agree on how to log in ({})", cause_text(error)),
            "give the password in the URL, and check channel_binding there and the server's pg_hba.conf",
        );
    }
    (Area::Failed, format!("the driver refused: {}", cause_text(error)), REPORT)
}

/// What to do where a PgBouncer is not known to be one.
pub(super) const POOLED: &str =
    "behind a PgBouncer, write `pgbouncer=true` in the URL, whatever its pool_mode is";

const REPORT: &str = "this is likely a bug in taskwright: please report it with this message";

fn of_code(code: &SqlState, error: &tokio_postgres::Error) -> Meaning {
    let message = || error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
    match code.code() {
        "40001" | "40P01" => (
            Area::Busy,
            "another transaction changed the same rows at the same moment".to_owned(),
            "try again; the transaction took no effect",
        ),
        "55P03" => (
            Area::Busy,
            "another transaction has been holding a lock for too long".to_owned(),
            "see who holds it (pg_locks, pg_stat_activity), and try again",
        ),
        "57014" => (
            Area::Busy,
            "the statement took too long, or an operator cancelled it".to_owned(),
            "see what the database is busy with (pg_stat_activity), and try again",
        ),
        "25P03" => (
            Area::Busy,
            "the transaction was idle for too long, and the server ended it".to_owned(),
            "try again; this process may have been starved or paused",
        ),
        "53300" => (
            Area::Busy,
            "the server has no connection left for us".to_owned(),
            "lower `pool` in the URL, or raise max_connections (or the role's CONNECTION LIMIT)",
        ),
        "53100" => (
            Area::Full,
            "no space is left on the server's disk".to_owned(),
            "free some space there; nothing was half-written, and work goes on by itself",
        ),
        "53200" => (
            Area::Full,
            "the server has no memory left".to_owned(),
            "free some memory there (see work_mem and max_connections); nothing was half-written",
        ),
        "25006" => (
            Area::ReadOnly,
            "the server takes no writes: it is a standby, or set read-only".to_owned(),
            "name the primary in the URL, or several hosts with commas between; see default_transaction_read_only",
        ),
        // The server's word for who may make a schema there.
        "42501" if message().contains("for database") => (
            Area::ReadOnly,
            format!("there is no such schema, and the role may not make one ({})", message()),
            "correct `schema` in the URL; or run `taskwright migrate` as a role that may make it \
             (GRANT CREATE ON DATABASE ... TO ...)",
        ),
        "42501" => (
            Area::ReadOnly,
            format!("the role may not do that ({})", message()),
            "run `taskwright migrate --grant ROLE` as the owner of the schema",
        ),
        "28P01" => (
            Area::Unreachable,
            "the server does not accept this user and password".to_owned(),
            "check user and password in the URL; special characters of a password are written as %XX",
        ),
        "3D000" => (
            Area::Unreachable,
            format!("there is no such database ({})", message()),
            "make it with `createdb NAME`, or correct the name in the URL",
        ),
        "3F000" | "42P01" => (
            Area::Version,
            format!("a part of the schema is missing ({})", message()),
            "run `taskwright migrate --grant ROLE` as the owner of the schema",
        ),
        code if code.starts_with("28") => (
            Area::Unreachable,
            format!("the server refuses the connection ({})", message()),
            "check user and database in the URL, and the server's pg_hba.conf",
        ),
        "57P03" => (
            Area::Busy,
            "the server is starting up or shutting down".to_owned(),
            "wait until it is ready, and try again",
        ),
        "08P01" if message().contains("startup parameter") => (
            Area::Unreachable,
            format!("what stands between us and the server refuses our settings ({})", message()),
            POOLED,
        ),
        code if code.starts_with("08") || code.starts_with("57P") => connection_lost(),
        code if code.starts_with("53") => (
            Area::Busy,
            format!("the server lacks a resource ({})", message()),
            "look at the server's log, and try again",
        ),
        "XX001" | "XX002" => (
            Area::Damaged,
            "the server found its data damaged".to_owned(),
            "stop every process that uses it, keep a copy, and restore it from a backup",
        ),
        // Nothing else does this, however often it is tried: whoever asks for much at once asks for less.
        code if code.starts_with("23") => {
            (Area::Damaged, format!("rows of the store contradict each other ({})", message()), REPORT)
        }
        code if code.starts_with("22") || code.starts_with("54") => {
            (Area::Domain, format!("PostgreSQL refused: {} ({code})", message()), REPORT)
        }
        code if code.starts_with("58") => (
            Area::Failed,
            format!("the server's system failed ({})", message()),
            "look at the server's log and the machine's kernel log; what was acknowledged before is safe",
        ),
        code => (Area::Failed, format!("PostgreSQL refused: {} ({code})", message()), REPORT),
    }
}

fn of_io(error: &io::Error) -> Meaning {
    match error.kind() {
        // The driver's answer to a server that is read-only while we asked for another.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => (
            Area::ReadOnly,
            "the server takes no writes: it is a standby, or set read-only".to_owned(),
            "name the primary in the URL, or several hosts with commas between; see default_transaction_read_only",
        ),
        io::ErrorKind::PermissionDenied => (
            Area::Unreachable,
            "this user may not use the server's socket".to_owned(),
            "give this user the right to its directory, or connect by host and port",
        ),
        _ => connection_lost(),
    }
}

fn connection_lost() -> Meaning {
    (
        Area::Busy,
        "the connection to the server was lost, or cannot be made".to_owned(),
        "check that PostgreSQL is running and can be reached, and try again",
    )
}

/// Whether nothing more can be asked on the connection that gave this error.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    // A code may come from SQL that raises it on a sound connection; a connection too many is replaced then.
    let told = error.code().map(SqlState::code);
    told.is_some_and(|code| code.starts_with("08") || code.starts_with("57P") || code == "25P03")
        // The server became a standby; another one can be written, or will be soon.
        || told == Some("25006")
        || error.is_closed()
        || io_error(error).is_some()
}

/// Whether a server said this, or the driver about what a server said, rather than that there is none.
pub(super) fn is_answer(error: &tokio_postgres::Error) -> bool {
    !io_error(error).is_some_and(is_absence)
}

/// The system's error, if that is the cause. A failure of TLS comes wrapped in one and is not.
fn io_error(error: &tokio_postgres::Error) -> Option<&io::Error> {
    if is_tls(error) {
        return None;
    }
    error.source()?.downcast_ref()
}

/// Whether nobody was there to answer.
fn is_absence(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::PermissionDenied)
}

/// Whether the host's name could not be resolved. Only the words of the standard library tell.
fn is_unresolved(error: &io::Error) -> bool {
    error.to_string().contains("failed to lookup address")
}

/// The error of a call that the server has not answered for longer than its own limits allow.
/// The server has let us in, and then says nothing.
pub(super) fn silent(what: &str) -> Error {
    Error::new(
        Area::Unreachable,
        what,
        "the server lets us in, and then does not answer: it is stopped, or hangs",
        "look at the server: `psql` with the same URL should hang, too",
    )
}

pub(super) fn unanswered() -> Error {
    Error::new(
        Area::Busy,
        "use the store",
        "the server did not answer in time: it is stopped, or hangs",
        "look at the server, and try again: each host of the URL is asked",
    )
}

/// The driver tells the kind of an error only by its words.
fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

fn cause_text(error: &tokio_postgres::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
