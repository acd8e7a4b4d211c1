//! A fresh store for each round, and what is in it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::{Args, Client, Env, Job};

use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::{Error, in_words};
use crate::store_url::StoreUrl;

#[cfg_attr(not(feature = "postgres"), path = "scene/no_database.rs")]
mod database;
mod file;

use database::Database;
pub(super) use database::{HeldSnapshot, Log, Tables};
use file::Directory;

/// The task of every benchmark job: it does nothing.
pub(super) const KIND: &str = "bench.noop";

/// Where the rounds take place.
pub(super) struct Scene {
    place: Place,
    pub(super) env: Env,
}

enum Place {
    File(Directory),
    Database(Box<Database>),
}

impl Scene {
    /// Beside the store of `--store`: the same disk or server is measured.
    pub(super) async fn new(context: &Context, verb: &Bench) -> Result<Self, Error> {
        let place = match &context.store_url {
            StoreUrl::Sqlite(path) => {
                refuse_of_a_file(verb)?;
                Place::File(Directory::beside(path)?)
            }
            StoreUrl::Postgres(url) => Place::Database(Box::new(Database::connect(context, url).await?)),
            StoreUrl::Memory => {
                return Err(Error::usage(
                    format!("`bench` on {}", context.store_url),
                    "it measures stores that last",
                    "name one with --store sqlite:PATH or postgres://USER@HOST/DATABASE",
                ));
            }
        };
        Ok(Self { place, env: context.env.clone() })
    }

    /// The store of the round, made by the first who asks; each answer has connections of its own.
    pub(super) async fn open(&self, verb: &Bench) -> Result<SharedStore, Error> {
        match &self.place {
            Place::File(directory) => directory.open(&self.env),
            Place::Database(database) => database.open(&self.env, verb).await,
        }
    }

    /// Stores what is to be drained, so that a server counts nothing of it in with the drain: its sessions are those of
    /// another handle, and have ended.
    pub(super) async fn fill(&self, store: &SharedStore, verb: &Bench, jobs: u64) -> Result<(), Error> {
        match &self.place {
            Place::File(_) => fill(&self.env, store, verb, jobs).await.map(drop),
            Place::Database(database) => {
                let filler = database.open(&self.env, verb).await?;
                fill(&self.env, &filler, verb, jobs).await?;
                Ok(filler.close().await?)
            }
        }
    }

    /// Puts in what is to lie around while the rest is measured, save the backlog. From here on nothing is analysed: plans
    /// must not hang on statistics.
    pub(super) async fn prepare(&self, store: &SharedStore, verb: &Bench) -> Result<(), Error> {
        /// As many as one call takes: this is not what is measured.
        const BATCH_JOBS: u32 = 4_000;
        if let (Place::Database(database), true) = (&self.place, verb.is_crowded()) {
            database.keep_unsettled().await?;
        }
        let quick = Bench { batch: BATCH_JOBS, ..verb.clone() };
        if verb.history > 0 {
            self.fill_history(store, &quick).await?;
        }
        if verb.scheduled > 0 {
            let client = Client::new(Arc::clone(store), self.env.clone()).batch_jobs(BATCH_JOBS as usize);
            let later = Duration::from_secs(30 * 86_400);
            let jobs = (0..verb.scheduled).map(|number| job(payload(number, verb.payload)).run_in(later));
            client.enqueue_each(jobs, |_| ()).await?;
        }
        Ok(())
    }

    /// Enqueues and drains a part of the finished jobs, has the server repeat it, and enqueues and drains the few that are
    /// then missing.
    async fn fill_history(&self, store: &SharedStore, verb: &Bench) -> Result<(), Error> {
        let times = match &self.place {
            Place::File(_) => 1,
            Place::Database(_) => Database::repetitions(verb.history),
        };
        fill(&self.env, store, verb, verb.history / times).await?;
        super::drain::empty(&self.env, store, verb).await?;
        if let (Place::Database(database), 2..) = (&self.place, times) {
            database.repeat_history(&self.env, times - 1).await?;
            fill(&self.env, store, verb, verb.history % times).await?;
            super::drain::empty(&self.env, store, verb).await?;
        }
        Ok(())
    }

    /// Says that what lies around is there, backlog included.
    pub(super) async fn filled(&self, verb: &Bench) -> Result<(), Error> {
        match &self.place {
            Place::Database(database) if verb.is_crowded() => database.filled(verb).await,
            _ => Ok(()),
        }
    }

    /// This program, to serve the store of the round.
    pub(super) fn server(&self, serve: Serve, verb: &Bench) -> Result<Command, Error> {
        let exe = std::env::current_exe().map_err(|error| {
            Error::operational(
                "finding this program's own file",
                in_words(&error),
                "start it by its full path",
            )
        })?;
        let mut command = Command::new(exe);
        command.args(["bench", "drain", "--concurrency", &verb.concurrency.to_string()]);
        if verb.typed {
            command.arg("--typed");
        }
        if verb.flood > 0 {
            command.args(["--flood", &verb.flood.to_string()]);
        }
        if let Some(hints) = verb.hints {
            command.args(["--hints", &hints.to_string()]);
        }
        command.arg("--serve");
        command.arg(match serve {
            Serve::Stay => "stay",
            Serve::Drain => "drain",
            Serve::Http => "http",
        });
        match &self.place {
            Place::File(directory) => directory.name_in(&mut command),
            Place::Database(database) => database.name_in(&mut command),
        }
        Ok(command)
    }

    /// What is measured against.
    pub(super) fn yardstick(&self) -> &'static str {
        match &self.place {
            Place::File(_) => "plain SQLite",
            Place::Database(_) => "plain PostgreSQL",
        }
    }

    /// How long the yardstick takes to insert the same rows.
    pub(super) async fn raw_insert(&self, verb: &Bench, jobs: u64) -> Result<Duration, Error> {
        let payloads = Arc::new(payloads(verb, jobs));
        match &self.place {
            Place::File(directory) => Ok(directory.raw(&self.env, verb, &payloads)?.insert),
            Place::Database(database) => database.raw_insert(&self.env, verb, &payloads).await,
        }
    }

    /// How long the yardstick takes to claim and finish the same rows.
    pub(super) async fn raw_drain(&self, verb: &Bench, jobs: u64) -> Result<Duration, Error> {
        let payloads = Arc::new(payloads(verb, jobs));
        match &self.place {
            Place::File(directory) => Ok(directory.raw(&self.env, verb, &payloads)?.claim_finish),
            Place::Database(database) => database.raw_drain(&self.env, verb, &payloads).await,
        }
    }

    /// What the server says of the tables; `None` for a file.
    pub(super) async fn tables(&self) -> Result<Option<Tables>, Error> {
        match &self.place {
            Place::File(_) => Ok(None),
            Place::Database(database) => database.tables(&self.env).await.map(Some),
        }
    }

    /// What the server says of its log; `None` for a file, and when it says nothing.
    pub(super) async fn log(&self) -> Option<Log> {
        match &self.place {
            Place::File(_) => None,
            Place::Database(database) => database.log(&self.env).await,
        }
    }

    /// Has another session hold a snapshot.
    pub(super) async fn hold_snapshot(&self) -> Result<HeldSnapshot, Error> {
        match &self.place {
            Place::File(_) => Err(of_a_file("--hold-snapshot")),
            Place::Database(database) => database.hold_snapshot().await,
        }
    }

    /// Removes what the round left.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        match &self.place {
            Place::File(directory) => {
                directory.clear();
                Ok(())
            }
            Place::Database(database) => database.clear().await,
        }
    }
}

/// Refuses what has no meaning for a file, before anything is measured.
fn refuse_of_a_file(verb: &Bench) -> Result<(), Error> {
    let asked = [
        ("--hold-snapshot", verb.hold_snapshot),
        ("--settled", verb.settled),
        ("--compare-hints", verb.compare_hints),
    ];
    asked.into_iter().find(|(_, asked)| *asked).map_or(Ok(()), |(flag, _)| Err(of_a_file(flag)))
}

fn of_a_file(flag: &str) -> Error {
    Error::usage(
        format!("`bench {flag}`"),
        "it is a matter of PostgreSQL; a file is measured here",
        "name a database with --store postgres://USER@HOST/DATABASE, or leave it out",
    )
}

/// Opens the store of another `bench`, as a worker process of it.
pub(super) async fn open_as_server(context: &Context, verb: &Bench) -> Result<SharedStore, Error> {
    match (&context.store_url, &verb.schema) {
        (StoreUrl::Postgres(url), Some(schema)) => database::open_schema(context, url, schema, verb).await,
        _ => Ok(Arc::clone(context.store_or_new().await?)),
    }
}

/// Monotonic time.
fn stopwatch(env: &Env) -> impl Fn() -> Duration {
    let env = env.clone();
    move || Duration::from_micros(env.monotonic_us())
}

/// The arguments of the jobs of a round.
fn payloads(verb: &Bench, jobs: u64) -> Vec<Vec<u8>> {
    (0..jobs).map(|number| payload(number, verb.payload)).collect()
}

/// The arguments of a job: JSON of exactly `bytes` bytes where that is enough for its number.
pub(super) fn payload(number: u64, bytes: u32) -> Vec<u8> {
    payload_with(&format!(r#""id":{number}"#), bytes)
}

/// The same with these fields.
pub(super) fn payload_with(fields: &str, bytes: u32) -> Vec<u8> {
    let head = format!(r#"{{{fields},"data":""#);
    let fill = (bytes as usize).saturating_sub(head.len() + 2);
    let mut json = head.into_bytes();
    json.resize(json.len() + fill, b'x');
    json.extend_from_slice(b"\"}");
    json
}

/// A job.
pub(super) fn job(json: Vec<u8>) -> Job {
    job_of(KIND, json)
}

/// A job of a kind.
pub(super) fn job_of(kind: &str, json: Vec<u8>) -> Job {
    // The payload is JSON by construction.
    Job::new(kind).raw_args(Args::from_json(json).unwrap_or_default())
}

/// Stores `jobs` jobs, and gives the time it took. The payloads are made before the clock starts.
pub(super) async fn fill(env: &Env, store: &SharedStore, verb: &Bench, jobs: u64) -> Result<Duration, Error> {
    /// What is not timed need not all be in memory at once.
    const PART_JOBS: u64 = 200_000;
    let mut took = Duration::ZERO;
    let mut first = 0;
    while first < jobs {
        let part = PART_JOBS.min(jobs - first);
        let payloads: Vec<Vec<u8>> =
            (first..first + part).map(|number| payload(number, verb.payload)).collect();
        took += store_all(env, store, verb, payloads).await?;
        first += part;
    }
    Ok(took)
}

/// Stores a job for each payload, and gives the time it took.
pub(super) async fn store_all(
    env: &Env,
    store: &SharedStore,
    verb: &Bench,
    payloads: Vec<Vec<u8>>,
) -> Result<Duration, Error> {
    let client = Client::new(Arc::clone(store), env.clone()).batch_jobs(verb.batch as usize);
    let began = env.monotonic_us();
    if verb.batch == 1 {
        for payload in payloads {
            client.enqueue(job(payload)).await?;
        }
    } else {
        client.enqueue_each(payloads.into_iter().map(job), |_| ()).await?;
    }
    Ok(Duration::from_micros(env.monotonic_us() - began))
}
