//! All schedules of one origin at once: what a config file, or a program, brings at its start.

use std::collections::BTreeSet;

use taskwright_core::schedule::Origin;
use taskwright_core::{Namespace, Schedule, ScheduleName};
use taskwright_store::{StoredSchedule, Target, Written};

use super::{PAGE, Put, ScheduleView, Schedules, TRIES_MAX, contended, write_of};
use crate::error::Error;

/// What a registration of all schedules of one origin did about one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is new.
    Registered,
    /// It was registered before, with another definition or by somebody else.
    Changed {
        /// Who registered it before.
        before: Origin,
    },
    /// It was registered before just so.
    Unchanged,
    /// The same origin registered it before, and does not any more: it was removed. Its jobs stay.
    Removed,
}

impl Schedules {
    /// Registers all schedules of one origin in a namespace: each of these is [put](Self::put), and what the same origin
    /// registered there before and does not any more is removed. What others registered stays, unless it has the name of one of
    /// these, which takes its place.
    ///
    /// Says what it did, by name. Done again it does nothing; who stops halfway has done a part.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn register(
        &self,
        namespace: &Namespace,
        origin: &Origin,
        schedules: impl IntoIterator<Item = Schedule>,
    ) -> Result<Vec<(ScheduleName, Registration)>, Error> {
        let (mut all, mut before) = (Vec::new(), Vec::new());
        for mut schedule in schedules {
            schedule.namespace.clone_from(namespace);
            schedule.origin.clone_from(origin);
            before.push(self.get(namespace, &schedule.name).await?.map(|before| before.schedule.origin));
            all.push(schedule);
        }
        let puts = self.put_all(&all).await?;
        let mut done = Vec::new();
        for ((schedule, put), before) in all.iter().zip(puts).zip(before) {
            let registration = match put {
                Put::Registered => Registration::Registered,
                // Without an origin somebody registered it just now.
                Put::Changed => Registration::Changed { before: before.unwrap_or_default() },
                Put::Unchanged => Registration::Unchanged,
            };
            done.push((schedule.name.clone(), registration));
        }
        let names: BTreeSet<&ScheduleName> = all.iter().map(|schedule| &schedule.name).collect();
        for stored in self.of_origin(namespace, origin).await? {
            if !names.contains(&stored.name) && self.store.remove_schedule(stored.key).await? {
                done.push((stored.name, Registration::Removed));
            }
        }
        Ok(done)
    }

    /// Has a schedule take the place of one that the same origin has registered under another name, for the task of that name: it goes on
    /// where that one was, paused or not, and that one is removed. `false` when there is none; what somebody else registered stays.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn succeed(&self, former: &ScheduleName, schedule: &Schedule) -> Result<bool, Error> {
        let (namespace, now) = (&schedule.namespace, self.env.now());
        for _ in 0..TRIES_MAX {
            let both = [former, &schedule.name].map(|name| (namespace.clone(), name.clone()));
            let stored = self.store.schedules_named(both.to_vec()).await?;
            let Ok([Some(former), ours]) = <[_; 2]>::try_from(stored) else { return Ok(false) };
            let before = ScheduleView::read(&former)?;
            let is_its_former = before.schedule.origin == schedule.origin
                && before.schedule.kind.as_str() == before.schedule.name.as_str();
            if !is_its_former {
                return Ok(false);
            }
            let is_there = match ours {
                Some(_) => true,
                None => {
                    let state = before.state.edited(Some(&before.schedule), schedule, now);
                    let target = Target::New { namespace: namespace.clone(), name: schedule.name.clone() };
                    let written =
                        self.store.write_schedules(now, vec![write_of(schedule, target, &state, now)?]);
                    matches!(written.await?[..], [Written::Done(_)])
                }
            };
            // Whoever is killed here finds both at the next start, and removes the other then.
            if is_there {
                return Ok(self.store.remove_schedule(former.key).await?);
            }
        }
        Err(contended(&schedule.name))
    }

    /// The schedules that an origin has registered in a namespace. What is not understood here is of somebody else: a newer
    /// program.
    async fn of_origin(&self, namespace: &Namespace, origin: &Origin) -> Result<Vec<StoredSchedule>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.schedules(Some(namespace.clone()), after, PAGE).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
            let is_of = |stored: &StoredSchedule| {
                ScheduleView::read(stored).is_ok_and(|view| view.schedule.origin == *origin)
            };
            found.extend(page.into_iter().filter(is_of));
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_core::Trigger;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::{Client, Env};

    fn schedule(name: &str, every: &str) -> Schedule {
        let trigger = Trigger::read("every", every, None).unwrap();
        Schedule::builder(name.parse().unwrap(), "t".parse().unwrap()).trigger(trigger).build().unwrap()
    }

    #[tokio::test]
    async fn what_an_origin_brings_no_more_is_removed_and_nothing_of_another() {
        let schedules = Client::new(Arc::new(MemoryStore::new()), Env::system()).schedules();
        let (namespace, file) = (Namespace::default(), |name: &str| Origin::Config { file: name.into() });
        schedules.put(&schedule("by-code", "1m")).await.unwrap();
        let register = async |origin: &Origin, all: Vec<Schedule>| {
            let done = schedules.register(&namespace, origin, all).await.unwrap();
            done.into_iter().map(|(name, what)| (name.to_string(), what)).collect::<Vec<_>>()
        };
        let named = |name: &str, what| (name.to_owned(), what);
        assert_eq!(
            register(&file("b"), vec![schedule("b", "1m")]).await,
            [named("b", Registration::Registered)]
        );

        let all = || vec![schedule("by-code", "1m"), schedule("a", "1m")];
        let done = register(&file("a"), all()).await;
        let changed = Registration::Changed { before: Origin::Code };
        assert_eq!(done, [named("by-code", changed), named("a", Registration::Registered)]);
        let done = register(&file("a"), all()).await;
        assert!(done.iter().all(|(_, what)| *what == Registration::Unchanged), "{done:?}");

        let done = register(&file("a"), vec![schedule("a", "2m")]).await;
        let changed = Registration::Changed { before: file("a") };
        assert_eq!(done, [named("a", changed), named("by-code", Registration::Removed)]);
        assert_eq!(register(&file("a"), vec![]).await, [named("a", Registration::Removed)]);
        let left: Vec<_> =
            schedules.list(None).await.unwrap().iter().map(|view| view.schedule.name.to_string()).collect();
        assert_eq!(left, ["b"]);

        let other = Namespace::new("other").unwrap();
        assert_eq!(schedules.register(&other, &file("b"), []).await.unwrap(), []);
    }
}
