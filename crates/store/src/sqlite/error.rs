//! What SQLite's errors mean to whoever has to act on them.

use rusqlite::ErrorCode;

use crate::error::{Area, Error};

/// The error of a call that reads or prepares.
pub(super) fn read_error(error: rusqlite::Error) -> Error {
    explain("use the store", error)
}

/// The error of a call that writes.
pub(super) fn write_error(error: rusqlite::Error) -> Error {
    explain("write to the store", error)
}

/// Says what an engine error means. The engine's own words are the source, for `--verbose`.
pub(super) fn explain(what: &str, error: rusqlite::Error) -> Error {
    let code = match &error {
        // The file of shared memory could not be made as large as it must be.
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE =>
        {
            Some(ErrorCode::DiskFull)
        }
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.code),
        _ => None,
    };
    let (area, why, fix) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Area::Busy,
            "another process has been holding its write lock for too long".to_owned(),
            "see who has the file open (`fuser FILE`), and try again; long transactions of your own program count too",
        ),
        Some(ErrorCode::DiskFull) => (
            Area::Full,
            "no space is left on its disk".to_owned(),
            "free some space; nothing was half-written, and work goes on by itself",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            Area::ReadOnly,
            "its file or directory may not be written".to_owned(),
            "give this user the right to write the file and its directory (SQLite keeps two files beside it)",
        ),
        Some(ErrorCode::CannotOpen) => (
            Area::Unreachable,
            "its file cannot be opened".to_owned(),
            "check that the path exists, is no directory, and may be read and written by this user",
        ),
        Some(ErrorCode::NotADatabase) => (
            Area::Damaged,
            "the file is not an SQLite database".to_owned(),
            "check the path; if it is the right file, restore it from a backup",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            Area::Damaged,
            "the file is damaged".to_owned(),
            "stop every process that uses it, keep a copy, and restore it from a backup",
        ),
        // Whatever is tried again fails again.
        Some(ErrorCode::ConstraintViolation) => (
            Area::Damaged,
            format!("rows of the store contradict each other ({error})"),
            "this is likely a bug in taskwright: please report it with this message",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            Area::Failed,
            "the disk reported an error".to_owned(),
            "look at the machine's kernel log; what was acknowledged before is safe",
        ),
        Some(ErrorCode::OutOfMemory) => {
            (Area::Failed, "no memory is left".to_owned(), "free some memory, and try again")
        }
        _ => (
            Area::Failed,
            format!("SQLite refused: {error}"),
            "this is likely a bug in taskwright: please report it with this message",
        ),
    };
    Error::new(area, what, why, fix).with_source(error)
}
