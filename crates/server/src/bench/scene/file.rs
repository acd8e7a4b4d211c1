//! Rounds on SQLite: in a directory beside the store's file, removed with what is in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use taskwright::Env;
use taskwright::store::SharedStore;
use taskwright::store::sqlite::{Options, RawLimit, SqliteStore, raw_limit};

use crate::cli::bench::Bench;
use crate::error::{Error, in_words};

pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn beside(store: &Path) -> Result<Self, Error> {
        let beside = store.parent().map(PathBuf::from).unwrap_or_default();
        let directory = beside.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::operational(
                format!("the directory {}", directory.display()),
                in_words(&error),
                "name a store on a disk that can be written with --store sqlite:PATH",
            )
        })?;
        Ok(Self(directory))
    }

    pub(super) fn open(&self, env: &Env) -> Result<SharedStore, Error> {
        Ok(Arc::new(SqliteStore::open(&self.store(), Options { now: env.now() })?))
    }

    pub(super) fn name_in(&self, command: &mut Command) {
        command.arg("--store").arg(format!("sqlite:{}", self.store().display()));
    }

    /// What plain SQLite does with the same rows.
    pub(super) fn raw(&self, env: &Env, verb: &Bench, payloads: &[Vec<u8>]) -> Result<RawLimit, Error> {
        let limit = raw_limit(&self.0.join("raw.db"), payloads, verb.batch as usize, &super::stopwatch(env))?;
        self.clear();
        Ok(limit)
    }

    pub(super) fn clear(&self) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            // What cannot be removed is removed with the directory, or reported by its being there.
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }

    fn store(&self) -> PathBuf {
        self.0.join("round.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
