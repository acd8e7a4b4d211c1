//! The URL of a store: which kind, and where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use taskwright_core::Error as Refused;
use taskwright_core::name::{shown, without_secrets};
use taskwright_store::SharedStore;
use taskwright_store::memory::MemoryStore;

use crate::env::Env;
use crate::error::Error;

/// The store that is used when none is named.
pub const DEFAULT: &str = "sqlite:.taskwright/taskwright.db";

/// The variable of the environment that names one.
pub const VARIABLE: &str = "TASKWRIGHT_STORE";

/// What to do where a URL is wrong.
const FORMS: &str = "write sqlite:PATH, or postgres://USER@HOST/DATABASE";

/// A parsed URL. It is shown without a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: a file.
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`: a schema of a database. As it was written, password included.
    Postgres(String),
    /// `memory:`: jobs that end with the process. For tests.
    Memory,
}

impl StoreUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// When it has no scheme, or one that is not known.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refuse = |why: &str, fix: String| Err(Refused::invalid(subject(text), why.to_owned(), fix));
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
            "postgres" | "postgresql" => Ok(Self::Postgres(text.to_owned())),
            _ => refuse("there is no such kind of store", FORMS.to_owned()),
        }
    }

    /// Opens the store, and creates or migrates it as needed. The workers of this machine show their presence in `run_dir`, if the
    /// store is not a file; a [default](crate::run_dir::enter) is used for `None`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or this program was built without that kind of store.
    pub async fn open(&self, env: &Env, run_dir: Option<&Path>) -> Result<SharedStore, Error> {
        match self {
            Self::Sqlite(path) => open_sqlite(path.clone(), env).await,
            Self::Postgres(text) => open_postgres(text, env, run_dir).await,
            Self::Memory => Ok(Arc::new(MemoryStore::new())),
        }
    }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: PathBuf, env: &Env) -> Result<SharedStore, Error> {
    use taskwright_store::sqlite::{Options, SqliteStore};
    let now = env.now();
    Ok(Arc::new(env.blocking(move || SqliteStore::open(&path, Options { now })).await?))
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(_: PathBuf, _: &Env) -> Result<SharedStore, Error> {
    Err(not_built("the URL of an SQLite store", "sqlite"))
}

#[cfg(feature = "postgres")]
async fn open_postgres(text: &str, env: &Env, run_dir: Option<&Path>) -> Result<SharedStore, Error> {
    use taskwright_store::postgres::{PostgresStore, Settings};
    let settings = Settings::parse(text)?;
    let run_dir = crate::run_dir::enter(run_dir)?;
    Ok(Arc::new(PostgresStore::open(settings, &run_dir, env.now()).await?))
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str, _: &Env, _: Option<&Path>) -> Result<SharedStore, Error> {
    Err(not_built("the URL of a PostgreSQL store", "postgres"))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn not_built(what: &str, feature: &str) -> Error {
    let fix = format!("build taskwright with the feature `{feature}`");
    Refused::invalid(what.to_owned(), "this program was built without it", fix).into()
}

/// The URL without a password in it.
fn subject(text: &str) -> String {
    let safe = without_secrets(text);
    format!("the store URL {:?}", shown(&safe))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(text) => f.write_str(&without_secrets(text)),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
