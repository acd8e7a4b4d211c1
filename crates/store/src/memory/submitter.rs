//! Comments, and jobs whose end was read.

use taskwright_core::limit::check_comment;
use taskwright_core::{Actor, JobId, NewJob, Owner, Timestamp};

use super::MemoryStore;
use super::world::World;
use crate::submitter::{
    Comment, RequestKey, Requested, SubmitterStore, Whose, check_consume, check_count, known_since,
};
use crate::{Enqueued, Reply};

impl SubmitterStore for MemoryStore {
    fn comment(&self, now: Timestamp, job: JobId, actor: Actor, text: String) -> Reply<'_, bool> {
        self.act(|world| {
            check_comment(&text)?;
            let Some(key) = world.keys.get(&job).copied() else { return Ok(false) };
            check_count(world.jobs[&key].comments.len())?;
            world.update(key, |job| job.comments.push(Comment { at: now, actor, text }));
            Ok(true)
        })
    }

    fn consume(&self, now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Reply<'_, Vec<bool>> {
        self.act(|world| {
            check_consume(&jobs)?;
            Ok(jobs.into_iter().map(|job| world.consume(now, job, &owner)).collect())
        })
    }

    fn enqueue_once(&self, now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Reply<'_, Requested> {
        self.act(|world| {
            let since = known_since(now);
            world.requests.retain(|_, known| known.at > since);
            if let Some(known) = world.requests.get(&request.key) {
                return Ok(match known.body == request.body {
                    true => Requested::Again(known.answer.clone()),
                    false => Requested::Other,
                });
            }
            let stored = world.enqueue(now, jobs)?;
            let answer = stored.clone();
            world.requests.insert(request.key, Request { body: request.body, answer, at: now });
            Ok(Requested::Stored(stored))
        })
    }

    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>> {
        self.ask(|world| {
            let new = world.keys.get(&job).map(|key| &world.jobs[key].new);
            Ok(new.map(|new| Whose { namespace: new.namespace.clone(), owner: new.owner.clone() }))
        })
    }
}

/// A request that stored jobs, by the key that it is known by.
#[derive(Debug)]
pub(super) struct Request {
    body: [u8; 32],
    answer: Vec<Enqueued>,
    at: Timestamp,
}

impl World {
    fn consume(&mut self, now: Timestamp, job: JobId, owner: &Owner) -> bool {
        let Some(key) = self.keys.get(&job).copied() else { return false };
        self.update(key, |job| {
            let is_new =
                job.state.is_terminal() && job.new.owner.as_ref() == Some(owner) && job.consumed_at.is_none();
            if is_new {
                job.consumed_at = Some(now);
            }
            is_new
        })
    }
}
