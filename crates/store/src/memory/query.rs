//! What can be asked.

use taskwright_core::attempt::is_last_chance;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{JobId, Namespace, QueueName, State};

use crate::claim::JobKey;
use crate::query::{Filter, JobDetail, JobView, LogChunk, Page, Paged, Pattern, QueueView, WorkerView};
use crate::worker::WorkerState;

use super::job::{Job, Running};
use super::world::World;

impl World {
    pub(super) fn detail(&self, id: JobId) -> Option<JobDetail> {
        let key = self.keys.get(&id)?;
        let mut detail = self.jobs[key].detail(self.running.get(key));
        self.name_item(&mut detail.view);
        Some(detail)
    }

    /// Notes what its generator calls an outstanding item.
    fn name_item(&self, view: &mut JobView) {
        if let Some(generator) = &view.generator
            && let Some(key) = self.generators.item_key(&view.namespace, generator, view.id)
        {
            view.item_key = Some(key);
        }
    }

    pub(super) fn list(&self, filter: &Filter, page: Page) -> Paged {
        let limit = page.limit.clamp(1, PAGE_ROWS_MAX);
        let after = page.after.and_then(|id| self.key_at(id, page.oldest_first));
        let matching = self.jobs.values().filter(|job| job.matches(filter, self.running.get(&job.key)));
        let mut views = if page.oldest_first {
            let rest = matching.filter(|job| after.is_none_or(|after| job.key > after));
            self.views(rest, limit + 1)
        } else {
            let rest = matching.rev().filter(|job| after.is_none_or(|after| job.key < after));
            self.views(rest, limit + 1)
        };
        let more = views.len() > limit;
        views.truncate(limit);
        let next = views.last().filter(|_| more).map(|view| view.id);
        Paged { jobs: views, next }
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

    pub(super) fn views<'a>(&'a self, jobs: impl Iterator<Item = &'a Job>, limit: usize) -> Vec<JobView> {
        let mut views: Vec<JobView> =
            jobs.take(limit).map(|job| job.view(self.running.get(&job.key))).collect();
        views.iter_mut().for_each(|view| self.name_item(view));
        views
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

impl Job {
    fn matches(&self, filter: &Filter, running: Option<&Running>) -> bool {
        filter.owners.include(self.new.owner.as_ref())
            && (filter.ids.is_empty() || filter.ids.contains(&self.id()))
            && filter.namespace.as_ref().is_none_or(|namespace| *namespace == self.new.namespace)
            && Pattern::any(&filter.kinds, self.new.kind.as_str())
            && Pattern::any(&filter.queues, self.new.queue.as_str())
            && (filter.states.is_empty() || filter.states.contains(&self.state))
            && (filter.workers.is_empty()
                || running.is_some_and(|running| filter.workers.contains(&running.worker)))
            && filter.created_from.is_none_or(|from| self.created_at >= from)
            && filter.created_to.is_none_or(|to| self.created_at <= to)
            && filter.includes_rank(&self.view(running))
    }
}
