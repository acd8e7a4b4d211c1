//! Opening the file: what is checked first, and how every connection is set up.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use taskwright_core::Timestamp;

use super::error::explain;
use super::flush::CHECKPOINT_PAGES;
use super::schema;
use crate::error::{Area, Error};

/// The first SQLite whose WAL does not lose committed writes when several processes checkpoint it
/// (<https://www.sqlite.org/wal.html>, "the WAL-reset bug").
const SQLITE_MIN: i32 = 3_051_003;

/// How long a call waits for the write lock of another process: 30 s.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(30);

/// The longest pause between two looks at the lock. SQLite's own handler pauses up to 100 ms, which would be most of
/// the latency of a busy store.
const BUSY_PAUSE_MAX: Duration = Duration::from_micros(500);

/// What stands before the name of a database in memory where a file has its path, which is absolute.
const MEMORY: &str = ":memory:";

/// How a store is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Now, for the record of migrations.
    pub now: Timestamp,
}

/// A file that has been checked and migrated; or a database in memory.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) run_directory: PathBuf,
    /// The version of its schema, which may be newer than ours.
    pub(super) schema: u32,
    /// What goes with it, if it is no file.
    _memory: Option<Arc<Memory>>,
}

/// A database in memory: there as long as anything in this process is connected to it.
#[derive(Debug)]
struct Memory {
    /// What a file has beside it, which this has in the directory for temporary files.
    run_directory: PathBuf,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.run_directory);
    }
}

/// The name of a database in memory, and its directory, which nobody else has.
fn new_memory() -> Result<(u32, String, PathBuf), Error> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taskwright-memory-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(format!("{name}-run"));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok((number, name, directory)),
            // Left behind by a process that was killed, or somebody else's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_make(&directory, &error)),
        }
    }
}

impl Opened {
    pub(super) fn prepare(path: &Path, options: Options) -> Result<Self, Error> {
        check_version(rusqlite::version_number())?;
        let path = std::path::absolute(path).map_err(|error| cannot_make(path, &error))?;
        if let Some(parent) = path.parent() {
            make_private(parent)?;
        }
        if path.is_dir() {
            return Err(Error::new(
                Area::Unreachable,
                format!("the store {}", path.display()),
                "it is a directory",
                "name a file in it, for instance --store sqlite:DIRECTORY/taskwright.db",
            ));
        }
        let mut run_directory = path.clone().into_os_string();
        run_directory.push("-run");
        let run_directory = run_directory.into();
        let mut opened = Self { path, run_directory, schema: schema::VERSION, _memory: None };
        opened.make_file_private();
        opened.migrate(options)?;
        // Last, so that a file which is refused leaves nothing behind.
        make_private(&opened.run_directory)?;
        Ok(opened)
    }

    /// A new database in memory, and a connection that keeps it.
    pub(super) fn in_memory(options: Options) -> Result<(Self, Connection), Error> {
        check_version(rusqlite::version_number())?;
        let (number, name, run_directory) = new_memory()?;
        let memory = Some(Arc::new(Memory { run_directory: run_directory.clone() }));
        // SQLite shares databases in memory whose names begin with a slash.
        let path = format!("{MEMORY}/{name}").into();
        let mut opened = Self { path, run_directory, schema: schema::VERSION, _memory: memory };
        let conn = opened.migrate(options)?;
        // By this a connection to it is known, which has no path.
        conn.pragma_update(None, "application_id", number).map_err(|error| opened.explain(error))?;
        Ok((opened, conn))
    }

    fn migrate(&mut self, options: Options) -> Result<Connection, Error> {
        let mut conn = self.connect_writer()?;
        let before = schema::migrate(&mut conn, options.now).map_err(|error| self.name(error))?;
        self.schema = before.max(schema::VERSION);
        Ok(conn)
    }

    /// Makes a new file that only its owner can read: arguments and logs may hold what is nobody else's business. SQLite
    /// gives its two files beside it the same mode. What cannot be made is explained when SQLite fails to open it.
    fn make_file_private(&self) {
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
    }

    /// A connection that may write.
    pub(super) fn connect_writer(&self) -> Result<Connection, Error> {
        self.connect(16_000)
    }

    /// A connection for reading. It is opened for writing all the same, since a reader may be the one to recover a log.
    pub(super) fn connect_reader(&self) -> Result<Connection, Error> {
        let conn = self.connect(4_000)?;
        conn.pragma_update(None, "query_only", true).map_err(|error| self.explain(error))?;
        Ok(conn)
    }

    pub(super) fn connect(&self, cache_kib: i32) -> Result<Connection, Error> {
        connect_to(&self.path, OpenFlags::SQLITE_OPEN_CREATE, cache_kib)
    }

    fn explain(&self, error: rusqlite::Error) -> Error {
        explain_open(&self.path, error)
    }

    /// Adds the path to an error that does not name it.
    fn name(&self, error: Error) -> Error {
        error.located(&self.path)
    }
}

/// The schema version of the store in this file; `None` when there is no file, or no store in it. Nothing is made,
/// migrated or written.
///
/// # Errors
///
/// As [`SqliteStore::open`](super::SqliteStore::open); [`Error::is_version`] when it is newer than this program and says
/// that it needs a newer one.
pub fn schema_version(path: &Path) -> Result<Option<u32>, Error> {
    let refuse = |error| explain_open(path, error);
    if !path.try_exists().map_err(|error| cannot_look(path, &error))? {
        return Ok(None);
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    #[allow(unused_mut, reason = "older versions of rusqlite, in our range, take it as it is")]
    let mut conn = Connection::open_with_flags(reading_url(path), flags).map_err(refuse)?;
    conn.busy_handler(Some(wait_for_lock)).map_err(refuse)?;
    schema::applied(&conn).map_err(|error| error.located(path))
}

/// The SQL that opening the file would run to migrate it, ready for `sqlite3`; empty when there is nothing to do. Looks
/// only: nothing is made or migrated.
///
/// # Errors
///
/// As [`schema_version`].
pub fn pending_sql(path: &Path) -> Result<String, Error> {
    Ok(schema::pending_sql(schema_version(path)?))
}

/// The URL by which SQLite reads the file and makes none beside it.
fn reading_url(path: &Path) -> String {
    let mut url = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte));
            }
            byte => url.push_str(&format!("%{byte:02x}")),
        }
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Without a log all is in the file, and nobody has it open: SQLite need not share memory with anybody. With one,
    // the newest pages may be in it.
    let has_log = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    url.push_str(if has_log { "?mode=ro" } else { "?immutable=1" });
    url
}

/// Refuses an SQLite that loses committed writes.
fn check_version(number: i32) -> Result<(), Error> {
    if number >= SQLITE_MIN {
        return Ok(());
    }
    Err(Error::new(
        Area::Version,
        format!("the SQLite {} that this program was built with", rusqlite::version()),
        "before 3.51.3 it can lose committed writes when several processes share a file",
        "build with the bundled SQLite (feature `bundled` of rusqlite)",
    ))
}

/// Makes a directory that only its owner can enter, if it is missing.
fn make_private(directory: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| cannot_make(directory, &error))
}

/// Says why the store cannot be opened. SQLite's own answer to most of what a system refuses is that it cannot open the
/// file, or that the disk failed; so the system is asked again.
fn explain_open(path: &Path, error: rusqlite::Error) -> Error {
    let what = format!("open the store {}", path.display());
    let code = error.sqlite_error_code();
    if !matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly)) {
        return explain(&what, error);
    }
    let (area, why, fix) = match try_to_write(path).map_err(|error| error.kind()) {
        Err(io::ErrorKind::PermissionDenied) => (
            Area::ReadOnly,
            "this user may not write the file, or not into its directory",
            "give this user the right to: SQLite keeps two files beside the store, even to read it",
        ),
        Err(io::ErrorKind::ReadOnlyFilesystem) => (
            Area::ReadOnly,
            "its file system is mounted read-only",
            "mount it writable: SQLite keeps two files beside the store, even to read it",
        ),
        Err(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => (
            Area::Full,
            "no space is left on its disk, or no file more can be made there",
            "free some space (`df` and `df -i` tell which is short), and try again; nothing was half-written",
        ),
        _ => return explain(&what, error),
    };
    Error::new(area, what, why, fix).with_source(error)
}

/// Does what SQLite does at first: opens the file for writing, and makes a file of 32 KiB beside it.
fn try_to_write(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!("-probe-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&beside);
    let written = made.and_then(|mut file| file.write_all(&[0; 32 << 10]));
    // Without it there is nothing to remove.
    let _ = std::fs::remove_file(&beside);
    written
}

fn cannot_make(directory: &Path, error: &io::Error) -> Error {
    let (area, why, fix) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (Area::ReadOnly, "this user may not write there", "choose another place with --store sqlite:PATH")
        }
        io::ErrorKind::ReadOnlyFilesystem => (
            Area::ReadOnly,
            "the file system is mounted read-only",
            "choose another place with --store sqlite:PATH",
        ),
        io::ErrorKind::StorageFull => (Area::Full, "no space is left on its disk", "free some space"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (Area::Unreachable, "a file is in the way", "choose another place with --store sqlite:PATH")
        }
        _ => (Area::Unreachable, "the system refused", "choose another place with --store sqlite:PATH"),
    };
    Error::new(area, format!("the directory {}", directory.display()), why, fix)
}

fn cannot_look(path: &Path, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "this user may not look there",
        io::ErrorKind::NotADirectory => "a part of its path is not a directory",
        _ => "the system refused",
    };
    let fix = "check the path and the rights of this user";
    Error::new(Area::Unreachable, format!("the store {}", path.display()), why, fix)
}

/// A connection of the caller's own to the file of a store, with the settings that the store's have: it waits up to 30 s for the
/// write lock, and what it commits survives a power cut.
///
/// # Errors
///
/// When there is no such file, or it cannot be opened.
pub fn connect(path: &Path) -> Result<Connection, Error> {
    connect_to(path, OpenFlags::empty(), 4_000)
}

/// Whether this is a connection to the database in memory that a store of this process calls so.
pub fn is_in_memory(conn: &Connection, place: &str) -> bool {
    let number = place.strip_prefix(MEMORY).and_then(|name| name.rsplit('-').next()?.parse().ok());
    let id = conn.pragma_query_value(None, "application_id", |row| row.get::<_, u32>(0)).ok();
    number.is_some() && number == id && conn.path().is_none_or(str::is_empty)
}

fn connect_to(path: &Path, more: OpenFlags, cache_kib: i32) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let explain = |error| explain_open(path, error);
    let in_memory = path.to_str().and_then(|path| path.strip_prefix(MEMORY));
    let opened = match in_memory {
        None => Connection::open_with_flags(path, flags),
        Some(name) => {
            let flags = flags | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("file:{name}?vfs=memdb"), flags)
        }
    };
    let mut conn = opened.map_err(explain)?;
    // Nothing in memory has a log.
    let journal = if in_memory.is_some() { "memory" } else { "wal" };
    set_up(&mut conn, journal, cache_kib).map_err(explain)?;
    Ok(conn)
}

fn set_up(conn: &mut Connection, journal: &str, cache_kib: i32) -> rusqlite::Result<()> {
    conn.busy_handler(Some(wait_for_lock))?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.set_prepared_statement_cache_capacity(256);
    // A plan does not depend on what is bound: without this, a table with a partial index has its statements prepared again for each
    // value.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    rusqlite::vtab::array::load_module(conn)
}

/// What SQLite calls when the file is locked: pauses, a little longer each time, up to [`BUSY_WAIT_MAX`] in all.
fn wait_for_lock(tries: i32) -> bool {
    let pause = Duration::from_micros(50 * u64::from(tries.unsigned_abs() + 1)).min(BUSY_PAUSE_MAX);
    if BUSY_PAUSE_MAX * tries.unsigned_abs() > BUSY_WAIT_MAX {
        return false;
    }
    // No clock of ours governs another process's lock; parking is a pause that needs none.
    std::thread::park_timeout(pause);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_version_is_told_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("what? 50%#.db");
        assert_eq!(schema_version(&path).unwrap(), None);
        assert_eq!(files(directory.path()), 0);

        let opened = Opened::prepare(&path, Options::default()).unwrap();
        assert_eq!(schema_version(&path).unwrap(), Some(schema::VERSION));
        let before = files(directory.path());
        let other = opened.connect_writer().unwrap();
        assert_eq!(schema_version(&path).unwrap(), Some(schema::VERSION), "while others have it open");
        other.execute("DELETE FROM taskwright_migration", []).unwrap();
        assert_eq!(schema_version(&path).unwrap(), None, "what stands in the log is seen");
        other.execute("INSERT INTO taskwright_migration VALUES (9, 'later', 'x', 0, 9)", []).unwrap();
        assert!(schema_version(&path).unwrap_err().is_version());
        drop(other);
        assert_eq!(files(directory.path()), before);
    }

    #[test]
    fn the_pending_sql_run_by_hand_is_a_migration_and_nothing_is_pending_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.db");
        let sql = pending_sql(&path).unwrap();
        assert_eq!(files(directory.path()), 0);
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        assert_eq!(schema_version(&path).unwrap(), Some(schema::VERSION));
        assert_eq!(pending_sql(&path).unwrap(), "");
        Opened::prepare(&path, Options::default()).unwrap();
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn an_sqlite_that_loses_writes_is_refused() {
        assert!(check_version(3_051_002).unwrap_err().is_version());
        assert!(check_version(3_051_003).is_ok());
        assert!(check_version(rusqlite::version_number()).is_ok());
    }
}
