//! Attachments of jobs.

use std::sync::Arc;

use taskwright_core::attachment::Room;
use taskwright_core::limit::ATTACHMENT_PIECE_BYTES;
use taskwright_core::{Attachment, AttachmentName, JobId, Owner, State, Timestamp};

use super::MemoryStore;
use super::job::Job;
use super::world::World;
use crate::Reply;
use crate::attachment::{Attached, AttachmentStore, AttachmentView};
use crate::error::Error;

/// Something that is attached, and since when.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    attachment: Attachment,
    at: Timestamp,
}

impl AttachmentStore for MemoryStore {
    fn attach(&self, now: Timestamp, job: JobId, attachment: Attachment) -> Reply<'_, Attached> {
        self.act(|world| world.attach(now, job, attachment))
    }

    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>> {
        self.ask(|world| {
            let kept = world.keys.get(&job).map(|key| &world.jobs[key].attachments);
            let view = |kept: &Kept| AttachmentView {
                name: kept.attachment.name().clone(),
                bytes: kept.attachment.bytes().len() as u64,
                sum: kept.attachment.sum(),
                at: kept.at,
            };
            Ok(kept.into_iter().flat_map(|kept| kept.values().map(view)).collect())
        })
    }

    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>> {
        self.ask(|world| {
            let kept = world.keys.get(&job).and_then(|key| world.jobs[key].attachments.get(&name));
            let bytes = kept.map(|kept| Arc::clone(kept.attachment.bytes()));
            let mut pieces = bytes.iter().flat_map(|bytes| bytes.chunks(ATTACHMENT_PIECE_BYTES));
            Ok(pieces.nth(number as usize).map(<[u8]>::to_vec))
        })
    }
}

impl World {
    fn attach(&mut self, now: Timestamp, id: JobId, attachment: Attachment) -> Result<Attached, Error> {
        let Some(key) = self.keys.get(&id).copied() else { return Ok(Attached::Unknown) };
        let job = &self.jobs[&key];
        if job.state != State::Held {
            return Ok(Attached::NotHeld(job.state));
        }
        self.room(job, attachment.name()).check(attachment.bytes().len())?;
        self.update(key, |job| {
            job.attachments.insert(attachment.name().clone(), Kept { attachment, at: now })
        });
        Ok(Attached::Done)
    }

    fn room(&self, job: &Job, without: &AttachmentName) -> Room {
        let bytes = |job: &Job| {
            job.attachments.values().map(|kept| kept.attachment.bytes().len() as u64).sum::<u64>()
        };
        let replaced = job.attachments.get(without).map_or(0, |kept| kept.attachment.bytes().len() as u64);
        let of = |owner: &Owner| {
            let theirs = |one: &&Job| one.state == State::Held && one.new.owner.as_ref() == Some(owner);
            self.jobs.values().filter(theirs).map(bytes).sum::<u64>() - replaced
        };
        let count = job.attachments.keys().filter(|name| *name != without).count();
        Room { count, bytes: bytes(job) - replaced, held_bytes: job.new.owner.as_ref().map_or(0, of) }
    }
}
