//! A fresh store for each round, and what is in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::store::sqlite::{Options, RawLimit, SqliteStore, raw_limit};
use taskwright::{Args, Client, Env, Job};

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::{Error, in_words};
use crate::store_url::StoreUrl;

/// The task of every benchmark job: it does nothing.
pub(super) const KIND: &str = "bench.noop";

/// A directory that is removed with what is in it.
pub(super) struct Scene {
    directory: PathBuf,
    pub(super) env: Env,
}

impl Scene {
    /// A directory beside the store of `--store`: the same disk is measured.
    pub(super) fn new(context: &Context) -> Result<Self, Error> {
        let StoreUrl::Sqlite(path) = &context.store_url else {
            return Err(Error::usage(
                format!("`bench` on {}", context.store_url),
                "it measures stores in a file",
                "name one with --store sqlite:PATH",
            ));
        };
        let beside = path.parent().map(PathBuf::from).unwrap_or_default();
        let directory = beside.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::operational(
                format!("the directory {}", directory.display()),
                in_words(&error),
                "name a store on a disk that can be written with --store sqlite:PATH",
            )
        })?;
        Ok(Self { directory, env: context.env.clone() })
    }

    /// A store with nothing in it.
    pub(super) fn store(&self, name: &str) -> Result<(PathBuf, SharedStore), Error> {
        let path = self.directory.join(format!("{name}.db"));
        let store = SqliteStore::open(&path, Options { now: self.env.now() })?;
        Ok((path, Arc::new(store)))
    }

    /// What plain SQLite does with the same rows.
    pub(super) fn raw(&self, verb: &Bench, jobs: u64) -> Result<RawLimit, Error> {
        let payloads: Vec<Vec<u8>> = (0..jobs).map(|number| payload(number, verb.payload)).collect();
        let path = self.directory.join("raw.db");
        let env = self.env.clone();
        let clock = move || Duration::from_micros(env.monotonic_us());
        let limit = raw_limit(&path, &payloads, verb.batch as usize, &clock)?;
        self.clear();
        Ok(limit)
    }

    /// Removes what the round left.
    pub(super) fn clear(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            // What cannot be removed is removed with the directory, or reported by its being there.
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The arguments of a job: JSON of exactly `bytes` bytes where that is enough for its number.
pub(super) fn payload(number: u64, bytes: u32) -> Vec<u8> {
    let head = format!(r#"{{"id":{number},"data":""#);
    let fill = (bytes as usize).saturating_sub(head.len() + 2);
    let mut json = head.into_bytes();
    json.resize(json.len() + fill, b'x');
    json.extend_from_slice(b"\"}");
    json
}

/// A job.
pub(super) fn job(json: Vec<u8>) -> Job {
    // The payload is JSON by construction.
    Job::new(KIND).raw_args(Args::from_json(json).unwrap_or_default())
}

/// Stores `jobs` jobs, and gives the time it took. The payloads are made before the clock starts.
pub(super) async fn fill(env: &Env, store: &SharedStore, verb: &Bench, jobs: u64) -> Result<Duration, Error> {
    let client = Client::new(Arc::clone(store), env.clone()).batch_jobs(verb.batch as usize);
    let payloads: Vec<Vec<u8>> = (0..jobs).map(|number| payload(number, verb.payload)).collect();
    let began = env.monotonic_us();
    client.enqueue_each(payloads.into_iter().map(job), |_| ()).await?;
    Ok(Duration::from_micros(env.monotonic_us() - began))
}
