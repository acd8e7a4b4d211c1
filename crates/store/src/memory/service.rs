//! Services of processes.

use std::collections::BTreeMap;

use taskwright_core::limit::{SERVICE_KEPT, SERVICES_LISTED_MAX};
use taskwright_core::{ProcessId, ServiceName, Timestamp};

use super::MemoryStore;
use crate::Reply;
use crate::service::{ProcessPlace, ServiceRecord, ServiceStore, ServiceView, arranged, checked};

/// All services, by process and name, with when they were heard of.
pub(super) type Services = BTreeMap<(ProcessId, ServiceName), (ProcessPlace, Timestamp, ServiceRecord)>;

/// How many are forgotten at once.
const FORGET_MAX: usize = 100;

impl ServiceStore for MemoryStore {
    fn tell_services(
        &self,
        now: Timestamp,
        process: ProcessPlace,
        services: Vec<ServiceRecord>,
    ) -> Reply<'_, ()> {
        self.act(|world| {
            let (process, services) = checked(process, services)?;
            let known = &mut world.services;
            let is_old = |seen_at: Timestamp| now.since(seen_at) > SERVICE_KEPT;
            let old = known.iter().filter(|((of, _), (_, seen_at, _))| *of != process.id && is_old(*seen_at));
            let mut old: Vec<_> = old.map(|(key, (_, seen_at, _))| (*seen_at, key.clone())).collect();
            old.sort();
            for (_, key) in old.into_iter().take(FORGET_MAX) {
                known.remove(&key);
            }
            known.retain(|(of, _), _| *of != process.id);
            for service in services {
                known.insert((process.id, service.name.clone()), (process.clone(), now, service));
            }
            Ok(())
        })
    }

    fn forget_services(&self, process: ProcessId) -> Reply<'_, ()> {
        self.act(|world| {
            world.services.retain(|(of, _), _| *of != process);
            Ok(())
        })
    }

    fn services(&self, now: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        self.ask(|world| {
            let kept = |seen_at: &Timestamp| now.since(*seen_at) <= SERVICE_KEPT;
            let mut all: Vec<_> = world.services.values().filter(|(_, seen_at, _)| kept(seen_at)).collect();
            all.sort_by_key(|(_, seen_at, _)| std::cmp::Reverse(*seen_at));
            let all = all.into_iter().take(SERVICES_LISTED_MAX);
            let view = |(process, seen_at, record): &(_, _, ServiceRecord)| {
                ServiceView::of(now, process, *seen_at, record.clone())
            };
            Ok(arranged(all.map(view).collect()))
        })
    }
}
