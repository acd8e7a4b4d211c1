//! Looks at what somebody's call is about, before it and after it. See [`subject`](crate::subject).
//!
//! Before, it is locked in the order in which the call does that: what is told of is what the call found.

use std::any::Any;

use taskwright_core::{GeneratorName, JobId, ScheduleName};

use super::change;
use super::generator::{self, read_generator};
use super::identity::{self, read_policy, read_token, read_user};
use super::list::list;
use super::schedule;
use super::session::{Session, Uuid, get};
use super::webhook;
use crate::error::Error;
use crate::generator::{GeneratorKey, StoredGenerator};
use crate::query::{Filter, Page};
use crate::schedule::ScheduleKey;
use crate::subject::{
    self, JOBS_AT_ONCE, Looks, Subject, Which, difference, of_generator, of_policy, of_queue, of_schedule,
    of_token, of_user,
};

/// What it was, if there is anything to look at.
pub(super) async fn before(session: &mut Session<'_>, about: Option<&Subject>) -> Result<Looks, Error> {
    let Some(about) = about else { return Ok(Looks::new()) };
    lock(session, about).await?;
    look(session, about).await
}

/// Notes for the entry what it was and what it is now.
pub(super) async fn after(
    session: &mut Session<'_>,
    about: Option<&Subject>,
    before: Looks,
    answer: &(dyn Any + Sync),
) -> Result<(), Error> {
    if let Some(about) = about {
        session.difference = difference(&before, &look(session, about).await?, answer);
    }
    Ok(())
}

async fn lock(session: &mut Session<'_>, about: &Subject) -> Result<(), Error> {
    match about {
        Subject::Jobs(ids, change) => change::lock(session, ids, *change).await.map(drop),
        Subject::Queue(namespace, name) => {
            session.execute(LOCK_QUEUE, &[&namespace.as_str(), &name.as_str()]).await.map(drop)
        }
        Subject::Schedules(which) => {
            session.execute(LOCK_SCHEDULES, &[&stored(which, |key| key.0)]).await.map(drop)
        }
        Subject::Generators(which) => {
            session.execute(webhook::LOCK, &[&stored(which, |key| key.0)]).await?;
            let (namespaces, names): (Vec<&str>, Vec<&str>) = which
                .iter()
                .filter_map(|which| match which {
                    Which::Named(namespace, name) => Some((namespace.as_str(), name.as_str())),
                    Which::Stored(_) => None,
                })
                .unzip();
            session.execute(LOCK_NAMED, &[&namespaces, &names]).await.map(drop)
        }
        Subject::Token(_) | Subject::User(_) | Subject::Policy(_) => {
            session.execute(identity::LOCK, &[]).await.map(drop)
        }
    }
}

fn stored<K: Copy, N>(which: &[Which<K, N>], number: fn(K) -> i64) -> Vec<i64> {
    which
        .iter()
        .filter_map(|which| match which {
            Which::Stored(key) => Some(number(*key)),
            Which::Named(..) => None,
        })
        .collect()
}

async fn look(session: &mut Session<'_>, about: &Subject) -> Result<Looks, Error> {
    match about {
        Subject::Jobs(ids, _) => jobs(session, ids).await,
        Subject::Queue(namespace, name) => {
            let row = session.first(PAUSED, &[&namespace.as_str(), &name.as_str()]).await?;
            let paused = row.map_or(Ok(false), |row| get(&row, 0))?;
            Ok(vec![Some(of_queue(namespace, name, paused))])
        }
        Subject::Schedules(which) => {
            let mut looks = Vec::with_capacity(which.len());
            for which in which {
                looks.push(one_schedule(session, which).await?);
            }
            Ok(looks)
        }
        Subject::Generators(which) => {
            let mut looks = Vec::with_capacity(which.len());
            for which in which {
                looks.push(one_generator(session, which).await?);
            }
            Ok(looks)
        }
        Subject::Token(id) => {
            let row = session.first(&identity::by_id(), &[&Uuid::from(*id)]).await?;
            Ok(vec![row.as_ref().map(read_token).transpose()?.as_ref().map(of_token)])
        }
        Subject::User(name) => {
            let row = session.first(&identity::by_name(), &[&name.as_str()]).await?;
            Ok(vec![row.as_ref().map(|row| read_user(row, 0)).transpose()?.as_ref().map(of_user)])
        }
        Subject::Policy(namespace) => {
            let row = session.first(identity::POLICY, &[&namespace.as_str()]).await?;
            Ok(vec![Some(of_policy(namespace, read_policy(row.as_ref())?))])
        }
    }
}

async fn jobs(session: &mut Session<'_>, ids: &[JobId]) -> Result<Looks, Error> {
    let mut looks = Vec::with_capacity(ids.len());
    for ids in ids.chunks(JOBS_AT_ONCE) {
        let filter = Filter { ids: ids.to_vec(), ..Filter::default() };
        let page = Page { after: None, limit: ids.len(), oldest_first: true };
        looks.extend(subject::of_jobs(ids, &list(session, &filter, &page).await?.jobs));
    }
    Ok(looks)
}

async fn one_schedule(
    session: &mut Session<'_>,
    which: &Which<ScheduleKey, ScheduleName>,
) -> Result<Option<String>, Error> {
    let found = match which {
        Which::Stored(key) => schedule::by_key(session, *key).await?,
        Which::Named(namespace, name) => {
            schedule::by_names(session, &[(namespace.clone(), name.clone())]).await?.pop().flatten()
        }
    };
    Ok(found.as_ref().map(of_schedule))
}

async fn one_generator(
    session: &mut Session<'_>,
    which: &Which<GeneratorKey, GeneratorName>,
) -> Result<Option<String>, Error> {
    let found: Option<StoredGenerator> = match which {
        Which::Stored(key) => {
            session.first(&generator::by_key(), &[&key.0]).await?.as_ref().map(read_generator).transpose()?
        }
        Which::Named(namespace, name) => generator::find(session, namespace, name).await?,
    };
    let Some(stored) = found else { return Ok(None) };
    let row = session.first(webhook::ENDPOINT, &[&stored.key.0]).await?;
    let endpoint: Option<String> = row.map(|row| get(&row, 0)).transpose()?;
    Ok(Some(of_generator(&stored, endpoint.as_deref())))
}

const PAUSED: &str = "SELECT paused FROM queue WHERE namespace = $1 AND name = $2 ORDER BY queue LIMIT 1";
const LOCK_QUEUE: &str =
    "SELECT FROM queue WHERE namespace = $1 AND name = $2 ORDER BY queue FOR NO KEY UPDATE";
const LOCK_SCHEDULES: &str =
    "SELECT FROM schedule WHERE schedule = ANY($1::bigint[]) ORDER BY schedule FOR UPDATE";
const LOCK_NAMED: &str = "SELECT FROM generator g
    WHERE (g.namespace, g.name) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY g.namespace, g.name FOR UPDATE";
