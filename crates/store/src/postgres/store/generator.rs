//! The part of the store that keeps generators.

use std::sync::atomic::Ordering;

use taskwright_core::{GeneratorName, Namespace, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use super::super::schedule::page;
use super::super::session::Session;
use super::super::{file, generator, subject, table};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::file::KnownFile;
use crate::generator::{
    EndedItem, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, ItemsEnded, ListeningGenerator,
    NewGenerator, StoredGenerator, TakeGenerators, TakenGenerators, check_commit,
};
use crate::subject::Subject;
use crate::table::{RowsAfter, TableRows};

impl GeneratorStore for PostgresStore {
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            transact!(self, about Subject::of_generators(&generators), session => generator::put(session, now, &generators))
        })
    }

    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators> {
        Box::pin(async move {
            let (due, overdue) = (take.due.as_micros(), take.overdue.as_micros());
            let until = take.now.plus(take.lease).as_micros();
            let (namespaces, names) = generator::names(&take);
            let most = i64::try_from(take.limit).unwrap_or(i64::MAX);
            let worst = take.worst.map_or(i32::MAX, |worst| i32::from(worst.0));
            let values: [(&(dyn ToSql + Sync), Type); 8] = [
                (&due, Type::INT8),
                (&namespaces, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&take.prefixes, Type::TEXT_ARRAY),
                (&worst, Type::INT4),
                (&until, Type::INT8),
                (&most, Type::INT8),
                (&overdue, Type::INT8),
            ];
            let (is_due, next) = generator::read_next(&self.look(generator::NEXT, &values[..5]).await?)?;
            if !is_due {
                return Ok(TakenGenerators { generators: Vec::new(), next });
            }
            let rows = self.once(&generator::take_due(), &values).await?;
            Ok(TakenGenerators { generators: generator::read_taken(&rows)?, next })
        })
    }

    fn renew_generator(&self, generator: GeneratorKey, fence: u64, until: Timestamp) -> Reply<'_, bool> {
        Box::pin(
            async move { transact!(self, session => generator::renew(session, generator, fence, until)) },
        )
    }

    fn commit_generator(&self, now: Timestamp, commit: GeneratorCommit) -> Reply<'_, bool> {
        Box::pin(async move {
            check_commit(&commit)?;
            transact!(self, session => generator::commit(session, now, &commit))
        })
    }

    fn write_generator(&self, _: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::of_generator(write.generator), session => generator::write(session, &write))
        })
    }

    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        Box::pin(
            async move { transact!(self, session => generator::notify(session, now, &namespace, &name)) },
        )
    }

    fn items_ended(&self, now: Timestamp, ended: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>> {
        Box::pin(async move {
            let mut wanted = Vec::with_capacity(ended.len());
            // A transaction for each, so that nobody waits for another generator while holding one.
            for told in &ended {
                let (namespace, name) = (told.namespace.as_str(), told.name.as_str());
                let (count, now) = (i64::from(told.count), now.as_micros());
                let values: [(&(dyn ToSql + Sync), Type); 4] =
                    [(&namespace, Type::TEXT), (&name, Type::TEXT), (&count, Type::INT8), (&now, Type::INT8)];
                let noted = self.once(generator::NOTE_ENDS, &values).await?;
                let (is_due, more) = generator::read_noted(&noted)?;
                if is_due {
                    self.ring();
                }
                wanted.push(more);
            }
            Ok(wanted)
        })
    }

    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>> {
        Box::pin(async move { snapshot!(self, session => generator::ended(session, generator, limit)) })
    }

    fn files_of(&self, generator: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>> {
        Box::pin(async move { snapshot!(self, session => file::of(session, generator, &paths)) })
    }

    fn files(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, KnownFile)>> {
        let limit = page(limit);
        Box::pin(async move {
            snapshot!(self, session => file::page(session, generator, after.as_deref(), limit))
        })
    }

    fn rows_after(&self, wanted: RowsAfter) -> Reply<'_, TableRows> {
        Box::pin(async move { transact!(self, session => table::rows(session, &wanted)) })
    }

    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        Box::pin(async move { snapshot!(self, session => generator::find(session, &namespace, &name)) })
    }

    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        Box::pin(async move {
            snapshot!(self, session => generator::list(session, namespace.as_ref(), after, limit))
        })
    }

    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>> {
        Box::pin(async move { snapshot!(self, session => generator::listening(session)) })
    }

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::of_generator(generator), session => generator::forget(session, generator))
        })
    }
}
