//! Rounds on PostgreSQL: in a schema that no store of anybody's has, dropped at the end.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::Env;
use taskwright::store::SharedStore;
pub(in crate::bench) use taskwright::store::postgres::{HeldSnapshot, Log, Tables};
use taskwright::store::postgres::{Leftover, PostgresStore, Range, Settings};

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;
use crate::store_url::PostgresUrl;
use taskwright::run_dir;

/// How long the server may take to count in what sessions did that have ended (before PostgreSQL 15, twice a second).
const COUNTED_AFTER: Duration = Duration::from_millis(600);

/// Finished jobs that are really enqueued and drained. More are copies of these, which takes the server a third of the time.
const DRAINED_MAX: u64 = 10_000;

pub(super) struct Database {
    range: Range,
    run_dir: std::path::PathBuf,
    variables: Vec<(&'static str, std::ffi::OsString)>,
}

impl Database {
    pub(super) async fn connect(context: &Context, url: &PostgresUrl) -> Result<Self, Error> {
        // Nobody else's: it is dropped with everything in it.
        let random = context.env.worker_id().to_string().replace('-', "");
        let range = Range::connect(url.settings().clone(), &random).await?;
        for Leftover { schema, dropped } in range.clear_leftovers().await? {
            context.output.note(match dropped {
                Ok(()) => {
                    format!("dropped the schema {schema}, which a bench that was killed had left behind")
                }
                Err(error) => {
                    format!("a bench that was killed left the schema {schema} behind, and it stays: {error}")
                }
            });
        }
        Ok(Self {
            range,
            run_dir: run_dir::enter(context.run_dir())?,
            variables: context.store_environment(),
        })
    }

    pub(super) async fn open(&self, env: &Env, verb: &Bench) -> Result<SharedStore, Error> {
        let settings = with_hints(self.range.settings().clone(), verb);
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

    /// How often finished jobs are made a part of, to be repeated.
    pub(super) fn repetitions(history: u64) -> u64 {
        history.div_ceil(DRAINED_MAX).max(1)
    }

    /// Repeats the finished jobs so many times.
    pub(super) async fn repeat_history(&self, env: &Env, times: u64) -> Result<(), Error> {
        Ok(self.range.repeat_history(times, &super::stopwatch(env)).await?)
    }

    /// What is filled in from now on is left as it is.
    pub(super) async fn keep_unsettled(&self) -> Result<(), Error> {
        Ok(self.range.keep_unsettled().await?)
    }

    /// Nothing of what was filled in is on its way to the disk when this returns, where the role may ask for that.
    pub(super) async fn filled(&self, verb: &Bench) -> Result<(), Error> {
        if verb.settled {
            self.range.settle().await?;
        }
        self.range.checkpoint().await;
        Ok(())
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
    verb: &Bench,
) -> Result<SharedStore, Error> {
    let settings = with_hints(url.settings().clone().with_schema(schema)?, verb);
    let run_dir = run_dir::enter(context.run_dir())?;
    Ok(Arc::new(PostgresStore::open(settings, &run_dir, context.env.now()).await?))
}

fn with_hints(settings: Settings, verb: &Bench) -> Settings {
    match verb.hints {
        Some(hints) => settings.with_notify(hints),
        None => settings,
    }
}
