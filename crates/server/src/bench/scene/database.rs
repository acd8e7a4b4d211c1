//! Rounds on PostgreSQL: in a schema that no store of anybody's has, dropped at the end.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::Env;
use taskwright::store::SharedStore;
pub(in crate::bench) use taskwright::store::postgres::{HeldSnapshot, Log, Tables};
use taskwright::store::postgres::{PostgresStore, Range};

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;
use crate::run_dir;
use crate::store_url::PostgresUrl;

/// How long the server may take to count in what sessions did that have ended (before PostgreSQL 15, twice a second).
const COUNTED_AFTER: Duration = Duration::from_millis(600);

pub(super) struct Database {
    range: Range,
    run_dir: std::path::PathBuf,
    variables: Vec<(&'static str, std::ffi::OsString)>,
}

impl Database {
    pub(super) async fn connect(context: &Context, url: &PostgresUrl) -> Result<Self, Error> {
        // Nobody else's: it is dropped with everything in it.
        let random = context.env.worker_id().to_string().replace('-', "");
        let settings = url.settings().clone().with_schema(&format!("taskwright_bench_{random}"))?;
        Ok(Self {
            range: Range::connect(settings).await?,
            run_dir: run_dir::enter(context.run_dir())?,
            variables: context.store_environment(),
        })
    }

    pub(super) async fn open(&self, env: &Env) -> Result<SharedStore, Error> {
        let settings = self.range.settings().clone();
        Ok(Arc::new(PostgresStore::open(settings, &self.run_dir, env.now()).await?))
    }

    pub(super) fn name_in(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(["--schema", self.range.settings().schema()]);
    }

    pub(super) async fn raw_insert(
        &self,
        env: &Env,
        verb: &Bench,
        payloads: &Arc<Vec<Vec<u8>>>,
    ) -> Result<Duration, Error> {
        let (batch, clients) = (verb.batch as usize, verb.clients as usize);
        let took = self.range.insert(payloads, batch, clients, &super::stopwatch(env)).await?;
        self.clear().await?;
        Ok(took)
    }

    pub(super) async fn raw_drain(
        &self,
        env: &Env,
        verb: &Bench,
        payloads: &Arc<Vec<Vec<u8>>>,
    ) -> Result<Duration, Error> {
        let (batch, stopwatch) = (verb.batch as usize, super::stopwatch(env));
        self.range.insert(payloads, batch, 1, &stopwatch).await?;
        let took = self.range.claim(batch, &stopwatch).await?;
        self.clear().await?;
        Ok(took)
    }

    pub(super) async fn tables(&self, env: &Env) -> Result<Tables, Error> {
        env.sleep(COUNTED_AFTER).await;
        Ok(self.range.tables().await?)
    }

    pub(super) async fn log(&self, env: &Env) -> Option<Log> {
        env.sleep(COUNTED_AFTER).await;
        self.range.log().await
    }

    pub(super) async fn hold_snapshot(&self) -> Result<HeldSnapshot, Error> {
        Ok(self.range.hold_snapshot().await?)
    }

    pub(super) async fn clear(&self) -> Result<(), Error> {
        Ok(self.range.clear().await?)
    }
}

/// Opens the store of another `bench`.
pub(super) async fn open_schema(
    context: &Context,
    url: &PostgresUrl,
    schema: &str,
) -> Result<SharedStore, Error> {
    let settings = url.settings().clone().with_schema(schema)?;
    let run_dir = run_dir::enter(context.run_dir())?;
    Ok(Arc::new(PostgresStore::open(settings, &run_dir, context.env.now()).await?))
}
