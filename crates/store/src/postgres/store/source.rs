//! The part of the store that keeps event sources.

use taskwright_core::{Fingerprint, Namespace, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use super::super::schedule::page;
use super::super::source::{self, Columns};
use super::PostgresStore;
use crate::Reply;
use crate::source::{Sighting, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView, check};

impl SourceStore for PostgresStore {
    fn open_source(&self, now: Timestamp, place: SourcePlace) -> Reply<'_, SourceKey> {
        Box::pin(async move {
            let (namespace, name) = (place.namespace.as_str(), place.name.as_str());
            let at = now.as_micros();
            let values: [(&(dyn ToSql + Sync), Type); 5] = [
                (&namespace, Type::TEXT),
                (&name, Type::TEXT),
                (&place.host, Type::TEXT),
                (&place.path, Type::TEXT),
                (&at, Type::INT8),
            ];
            source::read_key(&self.once(source::OPEN, &values).await?)
        })
    }

    fn seen_of(&self, source: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>> {
        Box::pin(async move {
            check(paths.len())?;
            let values = [(&source.0 as &(dyn ToSql + Sync), Type::INT8), (&paths, Type::TEXT_ARRAY)];
            let rows = self.look(source::SEEN_OF, &values).await?;
            rows.iter().map(|row| source::read_print(row, 0)).collect()
        })
    }

    fn seen(
        &self,
        source: SourceKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, Fingerprint)>> {
        Box::pin(async move {
            // No file has the empty path.
            let (after, most) = (after.unwrap_or_default(), page(limit));
            let values =
                [(&source.0 as &(dyn ToSql + Sync), Type::INT8), (&after, Type::TEXT), (&most, Type::INT8)];
            let rows = self.look(source::SEEN, &values).await?;
            rows.iter().map(source::read_seen).collect()
        })
    }

    fn see(&self, now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            check(sightings.len())?;
            let columns = Columns::of(now, source, &sightings);
            let rows = self.once(source::SEE, &columns.parameters()).await?;
            if sightings.iter().any(|sighting| sighting.event.is_some()) {
                self.bell.ring(&self.connections);
            }
            source::read_done(&rows, sightings.len())
        })
    }

    fn note_source(&self, now: Timestamp, source: SourceKey, note: SourceNote) -> Reply<'_, bool> {
        Box::pin(async move {
            let (at, scanned_at) = (now.as_micros(), note.scanned_at.map(Timestamp::as_micros));
            let files = i64::try_from(note.files).unwrap_or(i64::MAX);
            let values: [(&(dyn ToSql + Sync), Type); 6] = [
                (&source.0, Type::INT8),
                (&at, Type::INT8),
                (&note.mode, Type::TEXT),
                (&scanned_at, Type::INT8),
                (&files, Type::INT8),
                (&note.error, Type::TEXT),
            ];
            Ok(!self.once(source::NOTE, &values).await?.is_empty())
        })
    }

    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        Box::pin(async move {
            let namespace = namespace.as_ref().map(Namespace::as_str);
            let rows = self.look(source::SOURCES, &[(&namespace, Type::TEXT)]).await?;
            rows.iter().map(source::read_view).collect()
        })
    }
}
