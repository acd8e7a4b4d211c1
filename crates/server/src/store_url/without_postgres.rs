//! In place of the PostgreSQL store, in a program that was built without it (feature `postgres`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::{Store, StoreInfo};

use crate::error::Error;

/// A URL that no such program can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresUrl {}

impl PostgresUrl {
    pub(super) fn parse(_text: &str) -> Result<Self, Error> {
        Err(Error::usage(
            "the URL of a PostgreSQL store",
            "this program was built without it",
            "build it with the feature `postgres`, or use an SQLite file: sqlite:PATH",
        ))
    }

    pub(super) fn weakness(&self) -> Option<String> {
        match *self {}
    }

    pub(super) fn secret(&self) -> &str {
        match *self {}
    }

    pub(super) async fn open(&self, _: Timestamp, _: Option<&Path>) -> Result<Arc<dyn Store>, Error> {
        match *self {}
    }

    pub(super) async fn migrate(&self, _: Timestamp) -> Result<StoreInfo, Error> {
        match *self {}
    }

    pub(super) async fn pending_sql(&self) -> Result<String, Error> {
        match *self {}
    }

    pub(super) async fn grant(&self, _: &str) -> Result<(), Error> {
        match *self {}
    }

    pub(super) async fn schema_version(&self) -> Result<(Option<u32>, u32), Error> {
        match *self {}
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
