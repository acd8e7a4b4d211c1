//! The URL of a store: which kind, and where.

use std::path::PathBuf;
use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::Store;
use taskwright_store::memory::MemoryStore;
use taskwright_store::sqlite::{self, Options, SqliteStore};

use crate::error::Error;

/// The store that is used when none is named.
pub const DEFAULT: &str = "sqlite:.taskwright/taskwright.db";

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: a file.
    Sqlite(PathBuf),
    /// `memory:`: jobs that end with the process. For tests.
    Memory,
}

impl StoreUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// When it has no scheme, one that is not known, or one that this version does not have.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str, fix: String| Err(Error::usage(subject(text), why, fix));
        let Some((scheme, rest)) = text.split_once(':') else {
            let path = if text.trim().is_empty() { "PATH" } else { text };
            return refuse("it does not say what kind of store it is", format!("write sqlite:{path}"));
        };
        match scheme {
            "sqlite" if rest.trim_start_matches('/').is_empty() => {
                refuse("the path is missing", "write sqlite:PATH, for instance sqlite:jobs.db".to_owned())
            }
            "sqlite" if rest.trim_start_matches('/').starts_with(":memory:") => refuse(
                "a database in memory is seen by no other process and ends with its own",
                "name a file: sqlite:PATH; for tests there is memory:".to_owned(),
            ),
            // sqlite:a.db, sqlite:/abs/a.db, and the form with an empty host: sqlite:///abs/a.db
            "sqlite" => Ok(Self::Sqlite(PathBuf::from(match rest.strip_prefix("///") {
                Some(path) => format!("/{path}"),
                None => rest.to_owned(),
            }))),
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "postgres" | "postgresql" => refuse(
                "this version has no PostgreSQL store yet",
                "use an SQLite file: sqlite:PATH".to_owned(),
            ),
            _ => refuse("there is no such kind of store", "use an SQLite file: sqlite:PATH".to_owned()),
        }
    }

    /// Opens the store, and creates or migrates it as needed.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(&self, now: Timestamp) -> Result<Arc<dyn Store>, Error> {
        match self {
            Self::Sqlite(path) => Ok(Arc::new(SqliteStore::open(path, Options { now })?)),
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
        }
    }

    /// The schema version of the store, and the one that it should have; `None` when there is no store yet. Looks only:
    /// nothing is made or migrated.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is newer than this program.
    pub fn schema_version(&self) -> Result<(Option<u32>, u32), Error> {
        match self {
            Self::Sqlite(path) => Ok((sqlite::schema_version(path)?, sqlite::SCHEMA_VERSION)),
            // It is always as new as the program.
            Self::Memory => Ok((Some(0), 0)),
        }
    }

    /// Refuses a store that does not exist yet: looking at jobs must not leave an empty store behind in whatever
    /// directory somebody happens to be.
    ///
    /// # Errors
    ///
    /// When there is no such file, or this user may not look for it.
    pub fn check_exists(&self) -> Result<(), Error> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::operational(
                format!("the store {self}"),
                "there is no such file here yet",
                "name the right one with --store, or create it with `taskwright up` or `taskwright migrate`",
            )),
            Err(error) => Err(Error::file("looking for the store", &path.display().to_string(), &error)),
        }
    }
}

/// The URL without a password in it.
fn subject(text: &str) -> String {
    let shown = match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}://...{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    };
    format!("the store URL {:?}", taskwright_core::name::shown(&shown))
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_in_three_ways() {
        for (url, path) in
            [("sqlite:a.db", "a.db"), ("sqlite:/var/a.db", "/var/a.db"), ("sqlite:///var/a.db", "/var/a.db")]
        {
            assert_eq!(StoreUrl::parse(url).unwrap(), StoreUrl::Sqlite(path.into()));
        }
    }

    #[test]
    fn a_bare_path_is_refused_with_the_url_it_should_be() {
        let error = StoreUrl::parse("jobs.db").unwrap_err();
        assert_eq!(error.reports()[0].fix, "write sqlite:jobs.db");
    }

    #[test]
    fn the_memory_of_sqlite_is_refused_rather_than_taken_for_a_file() {
        for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite::memory:?cache=shared"] {
            assert!(StoreUrl::parse(url).unwrap_err().reports()[0].fix.contains("memory:"), "{url}");
        }
    }

    #[test]
    fn a_password_is_never_repeated() {
        let error = StoreUrl::parse("postgres://me:secret@host/db").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
