//! A store in a PostgreSQL database: what its URL leads to.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::postgres::{self, Connections, PostgresStore, Protection, Settings};
use taskwright_store::{Store, StoreInfo};

use crate::error::Error;
use taskwright::run_dir;

/// A parsed `postgres://` URL. Neither `Debug` nor `Display` shows a password.
#[derive(Clone)]
pub struct PostgresUrl {
    text: String,
    settings: Settings,
}

impl PostgresUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let settings =
            Settings::parse(text).map_err(|error| Error::usage(error.what(), error.why(), error.fix()))?;
        Ok(Self { text: text.to_owned(), settings })
    }

    /// What it says.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn secret(&self) -> &str {
        &self.text
    }

    pub(crate) fn weakness(&self) -> Option<String> {
        let mode = self.settings.protection();
        (!self.settings.is_local() && mode < Protection::VerifyFull).then(|| {
            format!(
                "who stands between here and the database can read or change what is said (sslmode={mode}); \
                 sslmode=verify-full in the URL prevents that"
            )
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connections, Error> {
        Ok(Connections::open(self.settings.clone()).await?)
    }

    pub(super) async fn open(&self, now: Timestamp, run_dir: Option<&Path>) -> Result<Arc<dyn Store>, Error> {
        let run_dir = run_dir::enter(run_dir)?;
        Ok(Arc::new(PostgresStore::open(self.settings.clone(), &run_dir, now).await?))
    }

    pub(super) async fn migrate(&self, now: Timestamp) -> Result<StoreInfo, Error> {
        let connections = self.connect().await?;
        let before = postgres::migrate(&connections, now).await?;
        Ok(StoreInfo {
            kind: "postgres",
            url: self.settings.url(),
            engine: connections.engine(),
            schema: before.max(postgres::SCHEMA_VERSION),
        })
    }

    pub(super) async fn pending_sql(&self) -> Result<String, Error> {
        Ok(postgres::pending_sql(&self.connect().await?).await?)
    }

    pub(super) async fn grant(&self, role: &str) -> Result<(), Error> {
        Ok(postgres::grant(&self.connect().await?, role).await?)
    }

    pub(super) async fn schema_version(&self) -> Result<(Option<u32>, u32), Error> {
        let applied = postgres::applied(&self.connect().await?).await?;
        Ok((applied, postgres::SCHEMA_VERSION))
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PostgresUrl {}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.url())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
