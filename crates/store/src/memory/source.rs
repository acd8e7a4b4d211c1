//! Event sources, and what they have seen.

use std::collections::BTreeMap;
use std::ops::Bound;

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Fingerprint, Namespace, Timestamp};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::source::{Sighting, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView, check};

/// All sources.
#[derive(Debug, Default)]
pub(super) struct Sources {
    rows: BTreeMap<SourceKey, SourceView>,
    seen: BTreeMap<(SourceKey, String), Fingerprint>,
    last_key: i64,
}

impl SourceStore for MemoryStore {
    fn open_source(&self, now: Timestamp, place: SourcePlace) -> Reply<'_, SourceKey> {
        self.act(|world| {
            let sources = &mut world.sources;
            if let Some(row) = sources.rows.values_mut().find(|row| row.place == place) {
                row.noted_at = now;
                return Ok(row.key);
            }
            sources.last_key += 1;
            let key = SourceKey(sources.last_key);
            sources.rows.insert(key, SourceView { key, place, noted_at: now, note: None });
            Ok(key)
        })
    }

    fn seen_of(&self, source: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>> {
        self.ask(|world| {
            check(paths.len())?;
            Ok(paths.into_iter().map(|path| world.sources.seen.get(&(source, path)).copied()).collect())
        })
    }

    fn seen(
        &self,
        source: SourceKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, Fingerprint)>> {
        self.ask(|world| {
            let from = match after {
                Some(path) => Bound::Excluded((source, path)),
                None => Bound::Included((source, String::new())),
            };
            let files = world.sources.seen.range((from, Bound::Unbounded));
            let files = files.take_while(|((of, _), _)| *of == source);
            Ok(files
                .map(|((_, path), print)| (path.clone(), *print))
                .take(limit.min(PAGE_ROWS_MAX))
                .collect())
        })
    }

    fn see(&self, now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>> {
        self.act(|world| {
            check(sightings.len())?;
            Ok(sightings.into_iter().map(|sighting| world.see(now, source, sighting)).collect())
        })
    }

    fn note_source(&self, now: Timestamp, source: SourceKey, note: SourceNote) -> Reply<'_, bool> {
        self.act(|world| {
            let Some(row) = world.sources.rows.get_mut(&source) else { return Ok(false) };
            row.noted_at = now;
            row.note = Some(note);
            Ok(true)
        })
    }

    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        self.ask(|world| {
            let wanted = |row: &&SourceView| namespace.as_ref().is_none_or(|of| *of == row.place.namespace);
            let mut found: Vec<_> = world.sources.rows.values().filter(wanted).cloned().collect();
            found.sort_by(|one, other| one.place.cmp(&other.place));
            Ok(found)
        })
    }
}

impl World {
    fn see(&mut self, now: Timestamp, source: SourceKey, sighting: Sighting) -> bool {
        let Sighting { path, before, after, event } = sighting;
        let file = (source, path);
        let known = self.sources.seen.get(&file).copied();
        if known != before || !self.sources.rows.contains_key(&source) {
            return false;
        }
        match after {
            Some(print) => self.sources.seen.insert(file, print),
            None => self.sources.seen.remove(&file),
        };
        if let Some(event) = event {
            self.emit(now, event);
        }
        true
    }

    pub(super) fn collect_sources(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let sources = &mut self.sources;
        let is_old = |key: SourceKey| sources.rows.get(&key).is_none_or(|row| row.noted_at < before);
        let old = sources.seen.keys().filter(|(key, _)| is_old(*key));
        let old: Vec<_> = old.take(limit).cloned().collect();
        if dry_run {
            return old.len();
        }
        for file in &old {
            sources.seen.remove(file);
        }
        let Sources { rows, seen, .. } = sources;
        let is_empty = |key| seen.range((key, String::new())..).next().is_none_or(|((of, _), _)| *of != key);
        let empty = rows.values().filter(|row| row.noted_at < before && is_empty(row.key)).map(|row| row.key);
        let empty: Vec<_> = empty.take(limit - old.len()).collect();
        for key in &empty {
            rows.remove(key);
        }
        old.len() + empty.len()
    }
}
