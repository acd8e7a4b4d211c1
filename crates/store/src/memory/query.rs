//! What can be asked.

use taskwright_core::attempt::is_last_chance;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{JobId, Namespace, QueueName, State};

use crate::claim::JobKey;
use crate::query::{Filter, JobDetail, JobView, LogChunk, Page, Paged, QueueView, Searched, WorkerView};
use crate::worker::WorkerState;

use super::job::Job;
use super::world::World;

impl World {
    pub(super) fn detail(&self, id: JobId) -> Option<JobDetail> {
        let key = self.keys.get(&id)?;
        let mut detail = self.jobs[key].detail(self.running.get(key));
        self.add_names(&mut detail.view);
        Some(detail)
    }

    /// What a listing shows of a job.
    pub(super) fn view(&self, job: &Job) -> JobView {
        let mut view = job.view(self.running.get(&job.key));
        self.add_names(&mut view);
        view
    }

    /// Adds the machine of its worker, and what its generator calls an outstanding item.
    fn add_names(&self, view: &mut JobView) {
        view.host = view.worker.and_then(|worker| self.hosts.get(&worker).cloned());
        if let Some(generator) = &view.generator
            && let Some(key) = self.generators.item_key(&view.namespace, generator, view.id)
        {
            view.item_key = Some(key);
        }
    }

    pub(super) fn list(&self, filter: &Filter, page: Page) -> Paged {
        let after = page.after.and_then(|id| self.key_at(id, page.oldest_first));
        if page.oldest_first {
            let rest = self.jobs.values().filter(|job| after.is_none_or(|after| job.key > after));
            self.page(filter, page.limit, rest)
        } else {
            let rest = self.jobs.values().rev().filter(|job| after.is_none_or(|after| job.key < after));
            self.page(filter, page.limit, rest)
        }
    }

    fn page<'a>(&'a self, filter: &Filter, limit: usize, jobs: impl Iterator<Item = &'a Job>) -> Paged {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let (mut paged, mut searched) = (Paged::default(), Searched::default());
        let mut last = None;
        for job in jobs {
            let view = self.view(job);
            if !filter.matches(&view) {
                continue;
            }
            if paged.jobs.len() == limit || searched.is_enough() {
                paged.next = last;
                break;
            }
            last = Some(view.id);
            if !filter.args.is_empty() {
                searched.add(job.new.args.as_bytes().len());
            }
            if filter.args.matches(&job.new.args) {
                paged.jobs.push(view);
            }
        }
        paged
    }

    pub(super) fn logs(&self, id: JobId, from: u64, limit: usize) -> Vec<LogChunk> {
        let log = self.keys.get(&id).map(|key| &self.jobs[key].log);
        let rest = log.into_iter().flatten().filter(|chunk| chunk.number >= from);
        rest.take(limit).cloned().collect()
    }

    pub(super) fn last_chances(&self, attempts: &[(JobKey, u32)]) -> Vec<JobKey> {
        let is_last =
            |key: &JobKey| self.jobs.get(key).is_some_and(|job| is_last_chance(job.lost_in_a_row()));
        attempts.iter().map(|(key, _)| *key).filter(is_last).collect()
    }

    pub(super) fn queue_views(&self, namespace: Option<&Namespace>) -> Vec<QueueView> {
        let names =
            self.queues.iter().filter(|((of, _), _)| namespace.is_none_or(|namespace| of == namespace));
        names.map(|((namespace, name), paused)| self.queue_view(namespace, name, *paused)).collect()
    }

    pub(super) fn worker_views(&self) -> Vec<WorkerView> {
        let mut views: Vec<WorkerView> = self
            .workers
            .values()
            .map(|worker| WorkerView {
                id: worker.new.id,
                host: worker.new.host.clone(),
                pid: worker.new.pid,
                state: worker.state,
                order: worker.order,
                concurrency: worker.new.concurrency,
                queues: worker.new.queues.clone(),
                running: self.held_by(worker.new.id).len() as u64,
                started_at: worker.started_at,
                seen_at: worker.seen_at,
                remark: worker.remark.clone(),
            })
            .collect();
        views.sort_by_key(|view| (view.state != WorkerState::Alive, view.started_at, view.id));
        views
    }

    /// What listings show of these.
    pub(super) fn views<'a>(&self, jobs: impl Iterator<Item = &'a Job>) -> Vec<JobView> {
        jobs.map(|job| self.view(job)).collect()
    }

    /// The job to go on after. When it was removed since, the listing goes on at the time it was made: after the
    /// nearest id.
    fn key_at(&self, id: JobId, oldest_first: bool) -> Option<JobKey> {
        let near =
            if oldest_first { self.keys.range(..=id).next_back() } else { self.keys.range(id..).next() };
        near.map(|(_, key)| *key)
    }

    fn queue_view(&self, namespace: &Namespace, name: &QueueName, paused: bool) -> QueueView {
        let jobs =
            || self.jobs.values().filter(|job| job.new.namespace == *namespace && job.new.queue == *name);
        let count = |counts: fn(State) -> bool| jobs().filter(|job| counts(job.state)).count() as u64;
        let available = jobs().filter(|job| job.state == State::Available);
        QueueView {
            namespace: namespace.clone(),
            name: name.clone(),
            paused,
            available: count(|state| state == State::Available).min(QueueView::COUNT_MAX),
            running: count(|state| state == State::Running),
            waiting: count(|state| state.is_waiting() && state != State::Available).min(QueueView::COUNT_MAX),
            oldest_available: available.map(|job| job.run_at).min(),
        }
    }
}
