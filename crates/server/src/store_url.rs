//! The URL of a store: which kind, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use taskwright_core::Timestamp;
use taskwright_store::memory::MemoryStore;
use taskwright_store::sqlite::{self, Options, SqliteStore};
use taskwright_store::{Store, StoreInfo};

use crate::error::Error;

#[cfg_attr(not(feature = "postgres"), path = "store_url/without_postgres.rs")]
mod postgres;

pub use postgres::PostgresUrl;

pub use taskwright::store_url::DEFAULT;

/// A parsed URL. Neither `Debug` nor `Display` nor serialising it shows a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: a file.
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`: a schema of a database.
    Postgres(Box<PostgresUrl>),
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
        Self::of(&taskwright::StoreUrl::parse(text)?)
    }

    /// The same of a URL that was parsed.
    ///
    /// # Errors
    ///
    /// When what it says about a database makes no sense, or this program was built without that kind of store.
    pub fn of(url: &taskwright::StoreUrl) -> Result<Self, Error> {
        Ok(match url {
            taskwright::StoreUrl::Sqlite(path) => Self::Sqlite(path.clone()),
            taskwright::StoreUrl::Postgres(text) => Self::Postgres(Box::new(PostgresUrl::parse(text)?)),
            taskwright::StoreUrl::Memory => Self::Memory,
        })
    }

    /// Opens the store, and creates or migrates it as needed. The workers of this machine show their presence in
    /// `run_dir`, if the store is not a file; a default is used for `None`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub async fn open(&self, now: Timestamp, run_dir: Option<&Path>) -> Result<Arc<dyn Store>, Error> {
        match self {
            Self::Sqlite(path) => Ok(Arc::new(SqliteStore::open(path, Options { now })?)),
            Self::Postgres(url) => url.open(now, run_dir).await,
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
        }
    }

    /// Creates or migrates the store and does nothing else; what it is then.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or this user or role may not change it.
    pub async fn migrate(&self, now: Timestamp) -> Result<StoreInfo, Error> {
        match self {
            Self::Postgres(url) => url.migrate(now).await,
            Self::Sqlite(_) | Self::Memory => {
                let store = self.open(now, None).await?;
                let info = store.info();
                store.close().await?;
                Ok(info)
            }
        }
    }

    /// The SQL that [`migrate`](Self::migrate) would run now; empty when there is nothing to do. Looks only.
    ///
    /// # Errors
    ///
    /// As [`schema_version`](Self::schema_version).
    pub async fn pending_sql(&self) -> Result<String, Error> {
        match self {
            Self::Sqlite(path) => Ok(sqlite::pending_sql(path)?),
            Self::Postgres(url) => url.pending_sql().await,
            Self::Memory => Ok(String::new()),
        }
    }

    /// Gives a role of the database what a worker needs, and no more.
    ///
    /// # Errors
    ///
    /// When the store has no roles, there is no such role, or ours may not grant.
    pub async fn grant(&self, role: &str) -> Result<(), Error> {
        match self {
            Self::Postgres(url) => url.grant(role).await,
            Self::Sqlite(_) | Self::Memory => Err(Error::usage(
                format!("grants on the store {self}"),
                "only a PostgreSQL store has roles; a file has an owner and rights",
                "leave out --grant; use chown and chmod on the file and its directory",
            )),
        }
    }

    /// The schema version of the store, and the one that it should have; `None` when there is no store yet. Looks only:
    /// nothing is made or migrated.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is newer than this program and needs a newer one.
    pub async fn schema_version(&self) -> Result<(Option<u32>, u32), Error> {
        match self {
            Self::Sqlite(path) => Ok((sqlite::schema_version(path)?, sqlite::SCHEMA_VERSION)),
            Self::Postgres(url) => url.schema_version().await,
            // It is always as new as the program.
            Self::Memory => Ok((Some(0), 0)),
        }
    }

    /// Refuses a store that does not exist yet: looking at jobs must not leave an empty store behind in whatever
    /// directory or database somebody happens to have named.
    ///
    /// # Errors
    ///
    /// When there is no such file or schema, or this user may not look for it.
    pub async fn check_exists(&self) -> Result<(), Error> {
        let missing = |why| {
            Err(Error::operational(
                format!("the store {self}"),
                why,
                "name the right one with --store, or create it with `taskwright up` or `taskwright migrate`",
            ))
        };
        match self {
            _ if self.exists().await? => Ok(()),
            Self::Postgres(_) => missing("the database has no such schema yet"),
            Self::Sqlite(_) | Self::Memory => missing("there is no such file here yet"),
        }
    }

    /// Whether the store exists.
    ///
    /// # Errors
    ///
    /// When that cannot be found out.
    pub async fn exists(&self) -> Result<bool, Error> {
        match self {
            Self::Memory => Ok(true),
            Self::Sqlite(path) => path
                .try_exists()
                .map_err(|error| Error::file("looking for the store", &path.display().to_string(), &error)),
            Self::Postgres(url) => Ok(url.schema_version().await?.0.is_some()),
        }
    }

    /// Whether the store is not a file of this machine but behind a server, which may be away for a while.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// What is wrong with how the store is reached, if anything is.
    pub(crate) fn weakness(&self) -> Option<String> {
        match self {
            Self::Postgres(url) => url.weakness(),
            Self::Sqlite(_) | Self::Memory => None,
        }
    }

    /// The URL with its password, for a process of ours that is to open the same store. It must not be shown, and not
    /// be an argument either: those can be read by everybody.
    pub(crate) fn secret(&self) -> String {
        match self {
            Self::Postgres(url) => url.secret().to_owned(),
            Self::Sqlite(_) | Self::Memory => self.to_string(),
        }
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
        for url in ["mysql://me:secret@host/db", "mysql://host/db?user=me&password=secret"] {
            let error = StoreUrl::parse(url).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_database_is_shown_without_its_password_and_opened_with_it() {
        let text = "postgresql://me:secret@localhost/jobs";
        let url = StoreUrl::parse(text).unwrap();
        let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
        assert!(!shown.contains("secret") && shown.contains("localhost"), "{shown}");
        assert_eq!(url.secret(), text);
        let error = StoreUrl::parse("postgres://me:secret@localhost/jobs?shcema=a").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
