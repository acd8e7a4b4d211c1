//! What a call is about that somebody makes: looked at before and after, so that the entry of the audit tells by hashes what it changed.
//!
//! Only for calls on behalf of somebody ([`Store::on_behalf_of`](crate::Store::on_behalf_of)): others pay nothing. What is looked at is
//! what people decide about a thing, and not what it does by itself meanwhile, such as firing: so whoever reads the audit finds behind one
//! entry what stood before the next one, or knows that something changed without an entry.

use std::any::Any;

use serde::Serialize;
use taskwright_core::audit::StateHash;
use taskwright_core::{
    CancelPolicy, GeneratorName, JobId, Namespace, Priority, QueueName, ScheduleName, ScheduleState, State,
    Timestamp, TokenId, UserName,
};

use crate::change::{Change, Changed};
use crate::generator::{GeneratorKey, NewGenerator, StoredGenerator};
use crate::identity::{StoredToken, StoredUser};
use crate::query::JobView;
use crate::schedule::{ScheduleKey, ScheduleWrite, StoredSchedule, Target};

/// What a call is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Jobs, and what is done to them.
    Jobs(
        Vec<JobId>,
        #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only there it is locked for"))]
        Change,
    ),
    /// Whether a queue is paused.
    Queue(Namespace, QueueName),
    /// Schedules.
    Schedules(Vec<Which<ScheduleKey, ScheduleName>>),
    /// Generators, with the endpoints that they deliver to.
    Generators(Vec<Which<GeneratorKey, GeneratorName>>),
    /// A token.
    Token(TokenId),
    /// A user.
    User(UserName),
    /// Who may cancel in a namespace.
    Policy(Namespace),
}

/// Which thing.
#[derive(Clone, Debug)]
pub(crate) enum Which<K, N> {
    /// The one with this key.
    Stored(K),
    /// The one that has this name, if there is one.
    Named(Namespace, N),
}

/// Jobs that are looked at in one question.
pub(crate) const JOBS_AT_ONCE: usize = 500;

/// What the things that a call is about are, each as a text; `None` for what there is not.
pub(crate) type Looks = Vec<Option<String>>;

impl Subject {
    /// What is written.
    pub(crate) fn of_schedules(writes: &[ScheduleWrite]) -> Self {
        let which = |write: &ScheduleWrite| match &write.target {
            Target::New { namespace, name } => Which::Named(namespace.clone(), name.clone()),
            Target::Stored { key, .. } => Which::Stored(*key),
        };
        Self::Schedules(writes.iter().map(which).collect())
    }

    /// What is made known.
    pub(crate) fn of_generators<'n>(new: impl IntoIterator<Item = &'n NewGenerator>) -> Self {
        let which = |new: &NewGenerator| Which::Named(new.namespace.clone(), new.name.clone());
        Self::Generators(new.into_iter().map(which).collect())
    }

    /// The generator with this key.
    pub(crate) fn of_generator(key: GeneratorKey) -> Self {
        Self::Generators(vec![Which::Stored(key)])
    }
}

/// Hashes over what was before and over what is now, of the things that are not what they were. What the answer passed over has
/// changed by itself, if it has: a worker may claim a job between the look and the change.
pub(crate) fn difference(
    before: &Looks,
    after: &Looks,
    answer: &dyn Any,
) -> (Option<StateHash>, Option<StateHash>) {
    let answers = answer.downcast_ref::<Vec<Changed>>();
    let is_its_own = |nth: usize| {
        let told = answers.and_then(|answers| answers.get(nth));
        told.is_none_or(|told| matches!(told, Changed::Done | Changed::Requested))
    };
    let both = || before.iter().zip(after).enumerate();
    let changed =
        || both().filter(|(nth, (before, after))| before != after && is_its_own(*nth)).map(|(_, both)| both);
    (
        StateHash::of(changed().filter_map(|(before, _)| before.as_deref())),
        StateHash::of(changed().filter_map(|(_, after)| after.as_deref())),
    )
}

fn text(look: &impl Serialize) -> String {
    // Names, numbers and texts: it can be written.
    serde_json::to_string(look).unwrap_or_default()
}

/// The jobs of a page in the order of these ids.
pub(crate) fn of_jobs(ids: &[JobId], page: &[JobView]) -> Looks {
    #[derive(Serialize)]
    struct Look<'l> {
        job: JobId,
        state: State,
        attempt: u32,
        run_at: Timestamp,
        priority: Priority,
        cancel_requested: bool,
        queue: &'l QueueName,
    }
    let look = |id: &JobId| {
        let JobView { id, state, attempt, run_at, priority, cancel_requested, queue, .. } =
            page.iter().find(|job| job.id == *id)?;
        let (job, state, attempt, run_at) = (*id, *state, *attempt, *run_at);
        let (priority, cancel_requested) = (*priority, *cancel_requested);
        Some(text(&Look { job, state, attempt, run_at, priority, cancel_requested, queue }))
    };
    ids.iter().map(look).collect()
}

/// A queue; one that nobody has used is not paused.
pub(crate) fn of_queue(namespace: &Namespace, name: &QueueName, paused: bool) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        queue: &'l QueueName,
        namespace: &'l Namespace,
        paused: bool,
    }
    text(&Look { queue: name, namespace, paused })
}

/// A schedule: what was registered, and whether it is paused.
pub(crate) fn of_schedule(stored: &StoredSchedule) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        schedule: &'l ScheduleName,
        namespace: &'l Namespace,
        definition: &'l str,
        paused: bool,
    }
    let StoredSchedule { name, namespace, definition, state, .. } = stored;
    let paused = serde_json::from_str::<ScheduleState>(state).is_ok_and(|state| state.paused);
    text(&Look { schedule: name, namespace, definition, paused })
}

/// A generator: what was registered, whether it is paused, and the endpoint if it delivers to one.
pub(crate) fn of_generator(stored: &StoredGenerator, endpoint: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        generator: &'l GeneratorName,
        namespace: &'l Namespace,
        definition: &'l str,
        paused: bool,
        endpoint: Option<&'l str>,
    }
    let StoredGenerator { name, namespace, definition, paused, .. } = stored;
    text(&Look { generator: name, namespace, definition, paused: *paused, endpoint })
}

/// A token, with what its secret is known by.
pub(crate) fn of_token(stored: &StoredToken) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        token: String,
        hash: &'l [u8],
        namespace: Option<&'l Namespace>,
        role: Option<u8>,
        scopes: Option<String>,
        expires_at: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
    }
    let token = &stored.token;
    text(&Look {
        token: token.name.to_string(),
        hash: token.hash.as_bytes(),
        namespace: token.rank.namespace(),
        role: token.rank.role().map(taskwright_core::Role::code),
        scopes: token.scopes.to_text(),
        expires_at: token.expires_at,
        revoked_at: stored.revoked_at,
    })
}

/// A user, with what argon2id made of its password, which has a salt: nobody can guess at it.
pub(crate) fn of_user(stored: &StoredUser) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        user: &'l str,
        password: &'l str,
        superuser: bool,
        roles: Vec<(&'l Namespace, u8)>,
        disabled: bool,
    }
    let user = &stored.user;
    text(&Look {
        user: user.name.as_str(),
        password: &user.password,
        superuser: user.grants.superuser,
        roles: user.grants.roles.iter().map(|(namespace, role)| (namespace, role.code())).collect(),
        disabled: stored.disabled,
    })
}

/// Who may cancel.
pub(crate) fn of_policy(namespace: &Namespace, policy: CancelPolicy) -> String {
    #[derive(Serialize)]
    struct Look<'l> {
        namespace: &'l Namespace,
        policy: u8,
    }
    text(&Look { namespace, policy: policy.code() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_hashed_and_what_there_is_not_has_no_hash() {
        let looks =
            |texts: &[Option<&str>]| texts.iter().map(|text| text.map(str::to_owned)).collect::<Looks>();
        let difference = |before: &Looks, after: &Looks| difference(before, after, &true);
        let (before, after) = difference(&looks(&[Some("a"), Some("b")]), &looks(&[Some("a"), Some("c")]));
        assert_eq!((before, after), (StateHash::of(["b"]), StateHash::of(["c"])));
        assert_eq!(difference(&looks(&[Some("a")]), &looks(&[Some("a")])), (None, None));
        assert_eq!(difference(&looks(&[None]), &looks(&[Some("a")])), (None, StateHash::of(["a"])));
        assert_eq!(difference(&looks(&[Some("a")]), &looks(&[None])), (StateHash::of(["a"]), None));
        assert_ne!(StateHash::of(["ab"]), StateHash::of(["a", "b"]), "where one ends is hashed, too");
    }

    #[test]
    fn what_was_passed_over_and_went_its_own_way_meanwhile_is_not_hashed() {
        let looks = |text: &str| ["1", "2", "3"].map(|job| Some(format!("{job} {text}"))).to_vec();
        let answers = vec![Changed::Done, Changed::Skipped("it is running".to_owned()), Changed::Requested];
        let expected = (StateHash::of(["1 was", "3 was"]), StateHash::of(["1 is", "3 is"]));
        assert_eq!(difference(&looks("was"), &looks("is"), &answers), expected);
    }
}
