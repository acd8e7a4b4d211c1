//! Opening the file: what is checked first, and how every connection is set up.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use taskwright_core::Timestamp;

use super::error::explain;
use super::schema;
use crate::error::{Area, Error};

/// The first SQLite whose WAL does not lose committed writes when several processes checkpoint it
/// (<https://www.sqlite.org/wal.html>, "the WAL-reset bug").
const SQLITE_MIN: i32 = 3_051_003;

/// Pages in the log at which a writer moves them on, however busy it is: 4 MB. An idle writer does so earlier, so
/// that a busy one seldom has to.
const CHECKPOINT_PAGES: u32 = 1_000;

/// How long a call waits for the write lock of another process: 30 s.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(30);

/// The longest pause between two looks at the lock. SQLite's own handler pauses up to 100 ms, which would be most of
/// the latency of a busy store.
const BUSY_PAUSE_MAX: Duration = Duration::from_micros(500);

/// How a store is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Now, for the record of migrations.
    pub now: Timestamp,
}

/// A file that has been checked and migrated.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) run_directory: PathBuf,
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
        let opened = Self { path, run_directory: run_directory.into() };
        let mut conn = opened.connect_writer()?;
        schema::migrate(&mut conn, options.now).map_err(|error| opened.name(error))?;
        // Last, so that a file which is refused leaves nothing behind.
        make_private(&opened.run_directory)?;
        Ok(opened)
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

    fn connect(&self, cache_kib: i32) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(&self.path, flags).map_err(|error| self.explain(error))?;
        self.set_up(&mut conn, cache_kib).map_err(|error| self.explain(error))?;
        Ok(conn)
    }

    fn set_up(&self, conn: &mut Connection, cache_kib: i32) -> rusqlite::Result<()> {
        conn.busy_handler(Some(wait_for_lock))?;
        conn.pragma_update(None, "mmap_size", 0)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        conn.pragma_update(None, "temp_store", "memory")?;
        conn.pragma_update(None, "cache_size", -cache_kib)?;
        conn.set_prepared_statement_cache_capacity(256);
        rusqlite::vtab::array::load_module(conn)
    }

    fn explain(&self, error: rusqlite::Error) -> Error {
        explain(&format!("open the store {}", self.path.display()), error)
    }

    /// Adds the path to an error that does not name it.
    fn name(&self, error: Error) -> Error {
        error.located(&self.path)
    }
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
    fn an_sqlite_that_loses_writes_is_refused() {
        assert!(check_version(3_051_002).unwrap_err().is_version());
        assert!(check_version(3_051_003).is_ok());
        assert!(check_version(rusqlite::version_number()).is_ok());
    }
}
