//! Looks at what somebody's call is about, before it and after it. See [`subject`](crate::subject).

use rusqlite::Row;
use taskwright_core::{CancelPolicy, GeneratorName, JobId, Namespace, ScheduleName};

use super::generator::{self, read_generator};
use super::identity::{self, read_token, read_user};
use super::list::list;
use super::schedule::{self, read_schedule};
use super::session::Session;
use super::webhook;
use crate::error::Error;
use crate::generator::GeneratorKey;
use crate::query::{Filter, Page};
use crate::schedule::ScheduleKey;
use crate::subject::{
    self, JOBS_AT_ONCE, Looks, Subject, Which, of_generator, of_policy, of_queue, of_schedule, of_token,
    of_user,
};

/// What the things are that a call is about.
pub(super) fn look(session: &mut Session<'_>, subject: &Subject) -> Result<Looks, Error> {
    let one = |look: Option<String>| Ok(vec![look]);
    match subject {
        Subject::Jobs(ids, _) => jobs(session, ids),
        Subject::Queue(namespace, name) => {
            let paused = session.first(PAUSED, (namespace.as_str(), name.as_str()), |row| row.get(0))?;
            one(Some(of_queue(namespace, name, paused.unwrap_or(false))))
        }
        Subject::Schedules(which) => which.iter().map(|which| one_schedule(session, which)).collect(),
        Subject::Generators(which) => which.iter().map(|which| one_generator(session, which)).collect(),
        Subject::Token(id) => {
            one(session.first(&identity::by_id(), [id.as_bytes()], read_token)?.as_ref().map(of_token))
        }
        Subject::User(name) => {
            let stored = session.first(&identity::by_name(), [name.as_str()], |row| read_user(row, 0))?;
            one(stored.as_ref().map(of_user))
        }
        Subject::Policy(namespace) => {
            let code = session.first(identity::POLICY, [namespace.as_str()], |row| row.get(0))?;
            let policy = code.map_or_else(CancelPolicy::default, CancelPolicy::from_code);
            one(Some(of_policy(namespace, policy)))
        }
    }
}

fn jobs(session: &mut Session<'_>, ids: &[JobId]) -> Result<Looks, Error> {
    let mut looks = Vec::with_capacity(ids.len());
    for ids in ids.chunks(JOBS_AT_ONCE) {
        let filter = Filter { ids: ids.to_vec(), ..Filter::default() };
        let page = Page { after: None, limit: ids.len(), oldest_first: true };
        looks.extend(subject::of_jobs(ids, &list(session.conn(), &filter, &page)?.jobs));
    }
    Ok(looks)
}

fn one_schedule(
    session: &mut Session<'_>,
    which: &Which<ScheduleKey, ScheduleName>,
) -> Result<Option<String>, Error> {
    let found = match which {
        Which::Stored(key) => session.first(schedule::BY_KEY, [key.0], read_schedule)?,
        Which::Named(namespace, name) => {
            session.first(schedule::BY_NAME, (namespace.as_str(), name.as_str()), read_schedule)?
        }
    };
    Ok(found.as_ref().map(of_schedule))
}

fn one_generator(
    session: &mut Session<'_>,
    which: &Which<GeneratorKey, GeneratorName>,
) -> Result<Option<String>, Error> {
    let found = match which {
        Which::Stored(key) => session.first(&generator::by_key(), [key.0], read_generator)?,
        Which::Named(namespace, name) => {
            session.first(&generator::by_name(), names(namespace, name), read_generator)?
        }
    };
    let Some(stored) = found else { return Ok(None) };
    let endpoint =
        session.first(webhook::ENDPOINT, [stored.key.0], |row: &Row<'_>| row.get::<_, String>(0))?;
    Ok(Some(of_generator(&stored, endpoint.as_deref())))
}

fn names<'n>(namespace: &'n Namespace, name: &'n GeneratorName) -> (&'n str, &'n str) {
    (namespace.as_str(), name.as_str())
}

const PAUSED: &str = "SELECT paused FROM taskwright_queue WHERE namespace = ?1 AND name = ?2";
