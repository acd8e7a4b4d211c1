//! In place of rounds on PostgreSQL, in a program that was built without it (feature `postgres`).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::Env;
use taskwright::store::SharedStore;

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;
use crate::store_url::PostgresUrl;

pub(super) enum Database {}
pub(in crate::bench) enum HeldSnapshot {}

#[derive(Clone, Copy)]
pub(in crate::bench) struct Tables {
    pub(in crate::bench) dead_rows: u64,
    pub(in crate::bench) bytes: u64,
}

#[derive(Clone, Copy)]
pub(in crate::bench) struct Log {
    pub(in crate::bench) bytes: u64,
    pub(in crate::bench) flushes: Option<u64>,
}

impl Database {
    pub(super) async fn connect(_: &Context, url: &PostgresUrl) -> Result<Self, Error> {
        match *url {}
    }

    pub(super) async fn open(&self, _: &Env, _: &Bench) -> Result<SharedStore, Error> {
        match *self {}
    }

    pub(super) fn name_in(&self, _: &mut Command) {
        match *self {}
    }

    pub(super) async fn raw_insert(
        &self,
        _: &Env,
        _: &Bench,
        _: &Arc<Vec<Vec<u8>>>,
    ) -> Result<Duration, Error> {
        match *self {}
    }

    pub(super) async fn raw_drain(
        &self,
        _: &Env,
        _: &Bench,
        _: &Arc<Vec<Vec<u8>>>,
    ) -> Result<Duration, Error> {
        match *self {}
    }

    pub(super) fn repetitions(_: u64) -> u64 {
        1
    }

    pub(super) async fn repeat_history(&self, _: &Env, _: u64) -> Result<(), Error> {
        match *self {}
    }

    pub(super) async fn keep_unsettled(&self) -> Result<(), Error> {
        match *self {}
    }

    pub(super) async fn filled(&self, _: &Bench) -> Result<(), Error> {
        match *self {}
    }

    pub(super) async fn tables(&self, _: &Env) -> Result<Tables, Error> {
        match *self {}
    }

    pub(super) async fn log(&self, _: &Env) -> Option<Log> {
        match *self {}
    }

    pub(super) async fn hold_snapshot(&self) -> Result<HeldSnapshot, Error> {
        match *self {}
    }

    pub(super) async fn clear(&self) -> Result<(), Error> {
        match *self {}
    }
}

pub(super) async fn open_schema(
    _: &Context,
    url: &PostgresUrl,
    _: &str,
    _: &Bench,
) -> Result<SharedStore, Error> {
    match *url {}
}
