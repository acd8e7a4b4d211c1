//! Generators, and which jobs are outstanding items of theirs.

use std::collections::{BTreeMap, HashSet};

use taskwright_core::generator::ItemEnd;
use taskwright_core::limit::{GENERATOR_ANEW_AFTER, PAGE_ROWS_MAX};
use taskwright_core::{Actor, Error as Refused, GeneratorName, JobId, Namespace, Priority, State, Timestamp};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::change::Change;
use crate::error::Error;
use crate::file::KnownFile;
use crate::generator::{
    AgainItem, Effect, EndedItem, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, ItemsEnded,
    ListeningGenerator, NewGenerator, SettledItem, StoredGenerator, TakeGenerators, TakenGenerators,
    check_commit,
};
use crate::subject::{Subject, Which};
use crate::table::{RowsAfter, TableRows};

/// All generators.
#[derive(Debug, Default)]
pub(super) struct Generators {
    rows: BTreeMap<GeneratorKey, StoredGenerator>,
    /// The best priority of the items of each, and whether it listens to topics of events.
    traits: BTreeMap<GeneratorKey, (Priority, bool)>,
    /// The outstanding items, with their keys.
    items: BTreeMap<(GeneratorKey, JobId), Option<String>>,
    /// How many items of each have ended since it was taken, and after how many somebody has to look.
    ends: BTreeMap<GeneratorKey, (u32, u32)>,
    last_key: i64,
}

impl GeneratorStore for MemoryStore {
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        let about = self.about(|| Subject::of_generators(&generators));
        self.act_about(about, |world| {
            let changed = generators.into_iter().map(|new| world.generators.put(now, new)).collect();
            world.tell_news();
            Ok(changed)
        })
    }

    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators> {
        self.act(|world| Ok(world.generators.take(&take)))
    }

    fn renew_generator(&self, generator: GeneratorKey, fence: u64, until: Timestamp) -> Reply<'_, bool> {
        self.act(|world| {
            let row = world.generators.rows.get_mut(&generator);
            let row = row.filter(|row| row.fence == fence && row.lease_until.is_some());
            let Some(row) = row else { return Ok(false) };
            (row.lease_until, row.next) = (Some(until), row.next.map(|_| until));
            world.tell_news();
            Ok(true)
        })
    }

    fn commit_generator(&self, now: Timestamp, commit: GeneratorCommit) -> Reply<'_, bool> {
        self.act(|world| {
            check_commit(&commit)?;
            world.commit_generator(now, commit)
        })
    }

    fn write_generator(&self, _: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        let about = self.about(|| Subject::of_generator(write.generator));
        self.act_about(about, |world| {
            let written = world.generators.rewrite(write, None);
            if written {
                world.tell_news();
            }
            Ok(written)
        })
    }

    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        self.act(|world| {
            let found = world.generators.find(&namespace, &name).map(|row| row.key);
            let Some(key) = found else { return Ok(false) };
            world.generators.notify(now, key);
            world.tell_news();
            Ok(true)
        })
    }

    fn items_ended(&self, now: Timestamp, ended: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>> {
        self.act(|world| {
            let noted: Vec<_> = ended.iter().map(|ended| world.generators.note_ends(now, ended)).collect();
            if noted.iter().any(|(is_due, _)| *is_due) {
                world.tell_news();
            }
            Ok(noted.into_iter().map(|(_, more)| more).collect())
        })
    }

    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>> {
        self.ask(|world| {
            let items = world.generators.items.iter().filter(|((of, _), _)| *of == generator);
            let ended = items.filter_map(|((_, job), key)| world.ended_item(*job, key));
            Ok(ended.take(limit).collect())
        })
    }

    fn files_of(&self, generator: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>> {
        self.ask(|world| Ok(paths.into_iter().map(|path| world.files.of(generator, path)).collect()))
    }

    fn files(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, KnownFile)>> {
        self.ask(|world| Ok(world.files.page(generator, after, limit.min(PAGE_ROWS_MAX))))
    }

    fn rows_after(&self, rows: RowsAfter) -> Reply<'_, TableRows> {
        Box::pin(async move {
            Err(Refused::invalid(
                format!("the table {}", rows.table),
                "a store in memory has no tables beside its jobs",
                "use a file or a database, or a generator that fetches rows itself",
            )
            .into())
        })
    }

    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        self.ask(|world| {
            let is_it = |row: &&StoredGenerator| row.namespace == namespace && row.name == name;
            Ok(world.generators.rows.values().find(is_it).cloned())
        })
    }

    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        self.ask(|world| {
            let wanted = world
                .generators
                .rows
                .values()
                .filter(|row| namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace))
                .filter(|row| after.is_none_or(|after| row.key > after));
            Ok(wanted.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>> {
        self.ask(|world| {
            let Generators { rows, traits, .. } = &world.generators;
            let listening = traits.iter().filter(|(_, (_, listens))| *listens);
            let listening = listening.filter_map(|(key, _)| rows.get(key)).map(|row| ListeningGenerator {
                namespace: row.namespace.clone(),
                name: row.name.clone(),
                definition: row.definition.clone(),
            });
            Ok(listening.collect())
        })
    }

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        let about = self.about(|| Subject::of_generator(generator));
        self.act_about(about, |world| {
            world.files.forget_all(generator);
            Ok(world.generators.remove(generator))
        })
    }
}

impl World {
    /// An item as it ended; `None` while it has not.
    fn ended_item(&self, job: JobId, key: &Option<String>) -> Option<EndedItem> {
        let found = self.keys.get(&job).map(|key| self.jobs[key].view(self.running.get(key)));
        ItemEnd::of(found.as_ref().map(|view| view.state))?;
        let attempts = found.as_ref().map_or(0, |view| view.attempt);
        let state = found.as_ref().map(|view| view.state);
        Some(EndedItem { job, key: key.clone(), state, attempts, error: found.and_then(|view| view.error) })
    }

    fn commit_generator(&mut self, now: Timestamp, commit: GeneratorCommit) -> Result<bool, Error> {
        let GeneratorCommit { generator, items, settled, again, .. } = &commit;
        let is_failed = |item: &AgainItem| {
            self.keys.get(&item.job).is_some_and(|key| self.jobs[key].state == State::Failed)
        };
        let is_settled =
            settled.iter().all(|item| self.is_settled_so(*generator, item)) && again.iter().all(is_failed);
        let fits = commit.effects.iter().all(|effect| self.fits(effect));
        let Some(row) = self.generators.rows.get_mut(generator).filter(|row| row.fence == commit.fence)
        else {
            return Ok(false);
        };
        if row.version != commit.version || !is_settled || !fits {
            // Who took it lets go, and it is asked anew.
            if row.lease_until.take().is_some() {
                row.next = row.next.map(|_| now.plus(GENERATOR_ANEW_AFTER));
            }
            self.tell_news();
            return Ok(false);
        }
        for item in settled {
            let called = self.generators.items.remove(&(*generator, item.job)).flatten();
            if let Some(job) = self.keys.get(&item.job).filter(|_| item.end.keeps_job())
                && let Some(job) = self.jobs.get_mut(job)
            {
                job.item_key = called.or(job.item_key.take());
            }
            if let Some(key) = self.keys.get(&item.job).filter(|_| !item.end.keeps_job()) {
                self.remove(*key);
            }
        }
        for item in items {
            let stored = self.enqueue(now, vec![item.job.clone()])?[0];
            self.generators.items.insert((*generator, stored.id), item.key.clone());
        }
        for item in again {
            self.change(now, item.job, Change::Redo { repeat: false }, &Actor::system(), &None)?;
            self.generators.items.insert((*generator, item.job), item.key.clone());
        }
        for effect in &commit.effects {
            self.apply(now, effect)?;
        }
        let (ended, look_after) = self.generators.ends.entry(*generator).or_default();
        *look_after = commit.look_after;
        let is_due = *look_after > 0 && ended >= look_after;
        if commit.effects.iter().any(Effect::ends_generator) {
            self.generators.remove(*generator);
        } else if let Some(row) = self.generators.rows.get_mut(generator) {
            // It was there above.
            row.write(now, commit, is_due);
        }
        Ok(true)
    }

    /// Writes what a generator of ours writes besides.
    fn apply(&mut self, now: Timestamp, effect: &Effect) -> Result<(), Error> {
        match effect {
            Effect::Files(generator, write) => self.files.write(*generator, write),
            Effect::Bulk(write) => return self.write_bulk(now, write),
            Effect::Webhook(turn) => self.write_webhook_turn(now, turn),
        }
        Ok(())
    }

    /// Whether it may be written.
    fn fits(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Bulk(write) => self.bulk_fits(write),
            Effect::Files(..) | Effect::Webhook(_) => true,
        }
    }

    /// Whether an item is outstanding, and has ended as somebody saw.
    fn is_settled_so(&self, generator: GeneratorKey, item: &SettledItem) -> bool {
        let state = self.keys.get(&item.job).map(|key| self.jobs[key].state);
        self.generators.items.contains_key(&(generator, item.job)) && ItemEnd::of(state) == Some(item.end)
    }
}

impl StoredGenerator {
    fn write(&mut self, now: Timestamp, commit: GeneratorCommit, is_due: bool) {
        self.version += 1;
        (self.record, self.paused, self.lease_until) = (commit.record, commit.paused, None);
        if let Some(state) = commit.state {
            self.state = state;
        }
        let has_notice = self.notices != commit.notices && !commit.paused;
        let next = commit.next.map(|next| if is_due { next.min(now) } else { next });
        self.next = if has_notice { Some(now) } else { next };
    }
}

impl Generators {
    fn find(&mut self, namespace: &Namespace, name: &GeneratorName) -> Option<&mut StoredGenerator> {
        self.rows.values_mut().find(|row| row.namespace == *namespace && row.name == *name)
    }

    /// What a generator calls one of its outstanding items.
    pub(super) fn item_key(&self, namespace: &Namespace, name: &GeneratorName, job: JobId) -> Option<String> {
        let row = self.rows.values().find(|row| row.namespace == *namespace && row.name == *name)?;
        self.items.get(&(row.key, job)).cloned().flatten()
    }

    /// Counts ends of items; whether the generator is due by that, and after how many more it will be.
    fn note_ends(&mut self, now: Timestamp, told: &ItemsEnded) -> (bool, u32) {
        let Some(row) = self.find(&told.namespace, &told.name) else { return (false, 0) };
        let (key, next) = (row.key, row.next.filter(|_| row.lease_until.is_none_or(|until| until <= now)));
        let (ended, look_after) = self.ends.entry(key).or_default();
        *ended += told.count;
        let is_due = *look_after > 0 && ended >= look_after;
        let more = look_after.saturating_sub(*ended);
        let (Some(next), true) = (next, is_due) else { return (false, more) };
        if let Some(row) = self.rows.get_mut(&key) {
            row.next = Some(next.min(now));
        }
        (true, more)
    }

    pub(super) fn get(&self, key: GeneratorKey) -> Option<&StoredGenerator> {
        self.rows.get(&key)
    }

    /// The one that is meant.
    pub(super) fn which(&self, which: &Which<GeneratorKey, GeneratorName>) -> Option<&StoredGenerator> {
        match which {
            Which::Stored(key) => self.get(*key),
            Which::Named(namespace, name) => {
                self.rows.values().find(|row| row.namespace == *namespace && row.name == *name)
            }
        }
    }

    /// Writes what somebody changed; `false` when the version is another.
    pub(super) fn rewrite(&mut self, write: GeneratorWrite, state: Option<String>) -> bool {
        let row = self.rows.get_mut(&write.generator);
        let Some(row) = row.filter(|row| row.version == write.version) else { return false };
        row.version += 1;
        (row.record, row.paused) = (write.record, write.paused);
        row.next = write.next.map(|next| row.lease_until.map_or(next, |until| until.max(next)));
        if let Some(state) = state.or(write.state) {
            row.state = state;
        }
        true
    }

    /// Gives a notice: it is due at once, unless it rests or somebody has it.
    pub(super) fn notify(&mut self, now: Timestamp, key: GeneratorKey) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.notices += 1;
        if !row.paused && row.lease_until.is_none_or(|until| until <= now) {
            row.next = Some(now);
        }
    }

    /// Gives a notice to one that is being committed.
    pub(super) fn note(&mut self, key: GeneratorKey) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.notices += 1;
        }
    }

    pub(super) fn remove(&mut self, key: GeneratorKey) -> bool {
        self.items.retain(|(of, _), _| *of != key);
        self.ends.remove(&key);
        self.traits.remove(&key);
        self.rows.remove(&key).is_some()
    }

    /// Makes a generator known, and gives its key.
    pub(super) fn put_and_find(&mut self, now: Timestamp, new: NewGenerator) -> GeneratorKey {
        let (namespace, name) = (new.namespace.clone(), new.name.clone());
        self.put(now, new);
        // It was just put there.
        self.find(&namespace, &name).map_or(GeneratorKey(0), |row| row.key)
    }

    /// Has a generator asked at once, even if it rests.
    pub(super) fn wake(&mut self, now: Timestamp, generator: GeneratorKey) {
        if let Some(row) = self.rows.get_mut(&generator) {
            row.notices += 1;
            if row.lease_until.is_none_or(|until| until <= now) {
                row.next = Some(now);
            }
        }
    }

    fn put(&mut self, now: Timestamp, new: NewGenerator) -> bool {
        if let Some(row) = self.find(&new.namespace, &new.name) {
            let (key, is_other) = (row.key, row.definition != new.definition);
            if is_other {
                (row.definition, row.changed_at) = (new.definition, now);
                self.traits.insert(key, (new.best, new.listens));
            }
            return is_other;
        }
        self.add(now, new).is_some()
    }

    /// Adds one; `None` when the name is taken.
    pub(super) fn add(&mut self, now: Timestamp, new: NewGenerator) -> Option<GeneratorKey> {
        let NewGenerator { namespace, name, definition, record, state, next, best, listens } = new;
        if self.find(&namespace, &name).is_some() {
            return None;
        }
        self.last_key += 1;
        let key = GeneratorKey(self.last_key);
        let stored = StoredGenerator {
            key,
            namespace,
            name,
            definition,
            record,
            state,
            paused: false,
            next,
            lease_until: None,
            notices: 0,
            fence: 0,
            version: 1,
            created_at: now,
            changed_at: now,
        };
        self.rows.insert(key, stored);
        self.traits.insert(key, (best, listens));
        Some(key)
    }

    fn take(&mut self, take: &TakeGenerators) -> TakenGenerators {
        let names: HashSet<_> = take.names.iter().map(|(namespace, name)| (namespace, name)).collect();
        let next = self.rows.values().filter_map(|row| row.next).filter(|next| *next > take.due).min();
        let Self { rows, traits, ends, .. } = self;
        let best = |key: GeneratorKey| traits.get(&key).map_or(Priority::IDLE, |(best, _)| *best);
        let mut due: Vec<&mut StoredGenerator> = rows
            .values_mut()
            .filter(|row| row.next.is_some_and(|next| next <= take.due))
            .filter(|row| {
                let begins_with = |prefix: &String| row.name.as_str().starts_with(prefix);
                let is_wanted = take.prefixes.iter().any(begins_with)
                    && take.worst.is_none_or(|worst| best(row.key) <= worst);
                is_wanted || names.contains(&(&row.namespace, &row.name))
            })
            .collect();
        due.sort_by_key(|row| {
            let is_overdue = row.next.is_some_and(|next| next <= take.overdue);
            ((!is_overdue).then(|| best(row.key)), row.next, row.key)
        });
        let until = take.now.plus(take.lease);
        let taken = due.into_iter().take(take.limit).map(|row| {
            row.fence += 1;
            (row.lease_until, row.next) = (Some(until), Some(until));
            if let Some((ended, _)) = ends.get_mut(&row.key) {
                *ended = 0;
            }
            row.clone()
        });
        TakenGenerators { generators: taken.collect(), next }
    }
}
