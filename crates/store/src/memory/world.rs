//! All that a store in memory knows, and the ways in which it is changed.

use std::collections::{BTreeMap, BTreeSet};

use taskwright_core::outcome::JobOutcome;
use taskwright_core::{JobId, Kind, Namespace, NewJob, Priority, QueueName, Timestamp, UniqueKey, WorkerId};

use crate::claim::JobKey;
use crate::outcome;

use super::audit::Audit;
use super::event::Events;
use super::file::Files;
use super::generator::Generators;
use super::identity::Identities;
use super::job::{Job, Place, Running};
use super::lead::Leader;
use super::moves::Trail;
use super::rollup::RollUps;
use super::schedule::Schedules;
use super::source::Sources;
use super::webhook::Webhooks;
use super::worker::Worker;

/// One handle: what stands for a process here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId(u64);

/// A unique key is unique among these.
pub(super) type UniqueScopeKey = (Namespace, Kind, String);

/// All jobs, workers and queues.
#[derive(Debug, Default)]
pub(super) struct World {
    /// In the order of their insertion.
    pub(super) jobs: BTreeMap<JobKey, Job>,
    pub(super) keys: BTreeMap<JobId, JobKey>,
    pub(super) running: BTreeMap<JobKey, Running>,
    /// The available jobs of each priority, in the order in which they are claimed.
    pub(super) available: BTreeMap<Priority, BTreeSet<(Timestamp, JobKey)>>,
    /// What [`promote`](World::promote) will look at, in the order of due time.
    pub(super) due: BTreeSet<(Timestamp, JobKey)>,
    pub(super) unique: BTreeMap<UniqueScopeKey, JobKey>,
    /// Every queue that had a job or was paused, and whether it is paused.
    pub(super) queues: BTreeMap<(Namespace, QueueName), bool>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// The machine of every worker that there was.
    pub(super) hosts: BTreeMap<WorkerId, String>,
    pub(super) leader: Option<Leader>,
    pub(super) schedules: Schedules,
    pub(super) events: Events,
    pub(super) sources: Sources,
    pub(super) generators: Generators,
    pub(super) files: Files,
    pub(super) roll_ups: RollUps,
    pub(super) webhooks: Webhooks,
    pub(super) identities: Identities,
    pub(super) requests: std::collections::HashMap<[u8; 32], super::submitter::Request>,
    pub(super) audit: Audit,
    pub(super) trail: Trail,
    pub(super) services: super::service::Services,
    /// The processes that live.
    processes: BTreeSet<ProcessId>,
    last_process: ProcessId,
    last_key: i64,
    news: bool,
}

impl World {
    pub(super) fn start_process(&mut self) -> ProcessId {
        self.last_process.0 += 1;
        self.processes.insert(self.last_process);
        self.last_process
    }

    pub(super) fn end_process(&mut self, process: ProcessId) {
        self.processes.remove(&process);
    }

    pub(super) fn is_present(&self, process: ProcessId) -> bool {
        self.processes.contains(&process)
    }

    /// There is something to claim, to promote or to be told.
    pub(super) fn tell_news(&mut self) {
        self.news = true;
    }

    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// A key that no job ever had.
    pub(super) fn next_key(&mut self) -> JobKey {
        self.last_key += 1;
        JobKey(self.last_key)
    }

    pub(super) fn insert(&mut self, job: Job) {
        self.keys.insert(job.id(), job.key);
        self.queues.entry((job.new.namespace.clone(), job.new.queue.clone())).or_default();
        self.put_in_place(job.key, job.place());
        let key = job.key;
        self.jobs.insert(key, job);
        self.trail.note(key);
        self.take_unique(key);
    }

    /// Removes a job with all about it.
    pub(super) fn remove(&mut self, key: JobKey) {
        self.release_unique(key);
        if let Some(job) = self.jobs.remove(&key) {
            self.keys.remove(&job.id());
            self.take_out_of_place(key, job.place());
        }
    }

    /// Changes a job and moves it to the place where it belongs afterwards; the unique key of one that is over is
    /// free. The only way in which a stored job is changed.
    pub(super) fn update<T>(&mut self, key: JobKey, change: impl FnOnce(&mut Job) -> T) -> T {
        let job = self.jobs.get_mut(&key).expect("callers take the key from the world itself");
        let (before, was_over) = (job.place(), job.state.is_terminal());
        let answer = change(job);
        self.trail.note(key);
        let (after, over) = (job.place(), job.state.is_terminal());
        if before != after {
            self.take_out_of_place(key, before);
            self.put_in_place(key, after);
        }
        if over {
            self.release_unique(key);
        }
        if over && !was_over {
            self.tell_outcome(key);
        }
        answer
    }

    /// Makes an event of the end of a job, if that interests a schedule or an endpoint.
    fn tell_outcome(&mut self, key: JobKey) {
        let job = &self.jobs[&key];
        let NewJob { namespace, kind, .. } = &job.new;
        let is_wanted = self.interests_outcome(namespace, kind, job.state)
            || self.interests_webhook(namespace, kind, job.state);
        if !is_wanted {
            return;
        }
        let ended_at = job.ended_at.unwrap_or(job.created_at);
        let outcome = JobOutcome {
            job: job.id(),
            namespace: job.new.namespace.clone(),
            kind: job.new.kind.clone(),
            queue: job.new.queue.clone(),
            state: job.state,
            attempts: job.attempts_used,
            schedule: self.schedules.origin(job.id()).map(|origin| origin.schedule),
            ended_at,
        };
        // What makes it up are names that were checked, and small.
        if let Ok(event) = outcome::event(&outcome) {
            self.emit(ended_at, event);
        }
    }

    /// Who holds the unique key that a job was given, be it the job itself.
    pub(super) fn holder(&self, job: &Job) -> Option<JobId> {
        let wanted = unique_scope_key(job, job.new.unique.as_ref()?);
        self.unique.get(&wanted).map(|holder| self.jobs[holder].id())
    }

    /// Keeps others from the unique key that a job holds.
    pub(super) fn take_unique(&mut self, key: JobKey) {
        let job = &self.jobs[&key];
        if let Some(unique) = &job.unique {
            self.unique.insert(unique_scope_key(job, unique), key);
        }
    }

    /// Lets others have the unique key that a job holds.
    pub(super) fn release_unique(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if let Some(unique) = job.unique.take() {
            let unique = unique_scope_key(job, &unique);
            self.unique.remove(&unique);
        }
    }

    fn put_in_place(&mut self, key: JobKey, place: Place) {
        match place {
            Place::Available(priority, since) => {
                self.available.entry(priority).or_default().insert((since, key));
            }
            Place::Due(at) => {
                self.due.insert((at, key));
            }
            Place::Nowhere => return,
        }
        self.news = true;
    }

    fn take_out_of_place(&mut self, key: JobKey, place: Place) {
        match place {
            Place::Available(priority, since) => {
                if let Some(jobs) = self.available.get_mut(&priority) {
                    jobs.remove(&(since, key));
                }
            }
            Place::Due(at) => {
                self.due.remove(&(at, key));
            }
            Place::Nowhere => {}
        }
    }
}

/// What the unique key of a job is unique among.
pub(super) fn unique_scope_key(job: &Job, unique: &UniqueKey) -> UniqueScopeKey {
    (job.new.namespace.clone(), job.new.kind.clone(), unique.as_str().to_owned())
}
