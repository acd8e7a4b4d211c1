//! Bulk jobs: one parent, and as many items as there are, each made when there is room for it.
//!
//! The parent is a job that is blocked until its items are settled. What is to be done is a [`Definition`]; how far it has come
//! is a [`State`], which is the state of the generator that makes the items. Nothing of it grows with the number of items.
//! [`State::end`] is the only place that says when a bulk is over and how.

mod policy;
mod template;

use serde_json::Value;

pub use self::policy::OnFailure;
pub use self::template::fill;
use crate::authority::{Authority, Making};
use crate::error::Error;
use crate::generator::{Counts, ItemEnd};
use crate::id::JobId;
use crate::limit::BULK_PARAMS_BYTES_MAX;
use crate::name::{BulkTypeName, GeneratorName, Kind, Namespace, Owner};
use crate::permission::Permission;
use crate::state::State as JobState;

/// The kind of the jobs that are parents of bulks. No worker runs them.
pub const KIND: &str = "bulk";

/// The queue that the parents of bulks stand in.
pub const QUEUE: &str = "bulk";

/// What the names of the generators of bulks begin with.
pub const GENERATOR_PREFIX: &str = "bulk:";

/// What somebody said about a bulk. It never changes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Definition {
    /// What kind of bulk it is: who makes its items.
    #[serde(rename = "type")]
    pub kind: BulkTypeName,
    /// What the type makes its items of.
    pub params: Value,
    /// How many items there are, if that is known.
    pub size: Option<u64>,
    /// Who wants it: the owner of the parent and of the items.
    pub author: Option<Owner>,
    /// What happens when items fail.
    pub on_failure: OnFailure,
    /// By whose rights items are made; `None` for those of whoever runs Taskwright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
}

impl Definition {
    /// What somebody has to be allowed to have its items made.
    pub fn making<'a>(&'a self, namespace: &'a Namespace) -> Making<'a> {
        let kind = self.params.get("kind").and_then(Value::as_str);
        Making { permission: Permission::BulkChange, namespace, owner: self.author.as_ref(), kind }
    }

    /// The same, if it makes sense.
    ///
    /// # Errors
    ///
    /// When the parameters are too large, or a share of the items is said whose number is not known.
    pub fn checked(self) -> Result<Self, Error> {
        let bytes = self.params.to_string().len();
        if bytes > BULK_PARAMS_BYTES_MAX {
            return Err(Error::too_large(
                "the parameters of a bulk",
                format!("they have {bytes} bytes, {BULK_PARAMS_BYTES_MAX} are allowed"),
                "put what is large into a file or a table, and pass its name",
            ));
        }
        self.on_failure.check(self.size)?;
        Ok(self)
    }
}

/// What the generator of a bulk is called: `bulk:TYPE:ID`, so that only programs that know the type ask it.
///
/// # Errors
///
/// When the name of the type is too long for that.
pub fn generator_name(kind: &BulkTypeName, parent: JobId) -> Result<GeneratorName, Error> {
    GeneratorName::new(&format!("{GENERATOR_PREFIX}{kind}:{parent}"))
}

/// The parent of the bulk that a generator is of; `None` for one of no bulk.
pub fn parent_of(generator: &GeneratorName) -> Option<JobId> {
    let (_, parent) = generator.as_str().strip_prefix(GENERATOR_PREFIX)?.rsplit_once(':')?;
    parent.parse().ok()
}

/// The kind of a parent.
///
/// # Errors
///
/// Never: it is a valid name.
pub fn parent_kind() -> Result<Kind, Error> {
    Kind::new(KIND)
}

/// How far a bulk has come.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// What is to be done.
    pub definition: Definition,
    /// Where its type goes on; `null` at first.
    pub cursor: Value,
    /// Items that were made: the index of the next one.
    pub made: u64,
    /// Items that failed or were dropped, as far as they are settled.
    pub failures: u64,
    /// Whether the last item was made.
    pub is_last: bool,
    /// Why no more are made, if somebody or something stopped it.
    pub stopped: Option<String>,
    /// Whether its parent was cancelled, or is gone.
    pub cancelled: bool,
    /// Items that could not be made: counted as made, and as failed.
    #[serde(default)]
    pub refused: u64,
    /// Why the newest of these could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What becomes of the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All items were made and are settled.
    Completed,
    /// It was stopped, and what it had made is settled.
    Failed {
        /// Why it was stopped.
        reason: String,
    },
    /// Its parent is over or gone already, and what it had made is settled.
    Cancelled,
}

impl State {
    /// A bulk that has not begun.
    pub fn new(definition: Definition) -> Self {
        Self {
            definition,
            cursor: Value::Null,
            made: 0,
            failures: 0,
            is_last: false,
            stopped: None,
            cancelled: false,
            refused: 0,
            trouble: None,
        }
    }

    /// Takes in how items have ended.
    pub fn settle(&mut self, ends: impl IntoIterator<Item = ItemEnd>) {
        let failed = ends.into_iter().filter(|end| matches!(end, ItemEnd::Failed | ItemEnd::Dropped));
        self.fail(failed.count() as u64);
    }

    /// Takes in that so many items cannot be made, and why the newest of them cannot.
    pub fn refuse(&mut self, count: u64, trouble: String) {
        self.refused += count;
        self.trouble = Some(trouble);
        self.fail(count);
    }

    fn fail(&mut self, count: u64) {
        self.failures += count;
        if self.stopped.is_none()
            && let Some(reason) = self.definition.on_failure.stops(self.failures, self.definition.size)
        {
            self.stopped = Some(reason);
        }
    }

    /// Takes in the state of the parent; `None` for it is gone.
    pub fn look_at(&mut self, parent: Option<JobState>) {
        self.cancelled |= parent.is_none_or(JobState::is_terminal);
    }

    /// Takes in that its authority may not have items made any more.
    pub fn forbid(&mut self, authority: &Authority) {
        if self.goes_on() {
            self.stopped = Some(format!("{authority} created it, and may not have this done any more"));
        }
    }

    /// Whether more items are to be made.
    pub fn goes_on(&self) -> bool {
        !self.is_last && self.stopped.is_none() && !self.cancelled
    }

    /// What becomes of the parent, once nothing is made any more and nothing is outstanding.
    pub fn end(&self, counts: &Counts) -> Option<End> {
        if self.goes_on() || counts.outstanding() > 0 {
            return None;
        }
        Some(match &self.stopped {
            _ if self.cancelled => End::Cancelled,
            Some(reason) => End::Failed { reason: reason.clone() },
            None => End::Completed,
        })
    }
}

/// How the items of a bulk have ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tally {
    /// How many there are, if that is known.
    pub size: Option<u64>,
    /// How many were made, those that could not be made among them.
    pub made: u64,
    /// How many completed.
    pub completed: u64,
    /// How many failed for good.
    pub failed: u64,
    /// How many of those that failed could not be made, and so have no job.
    #[serde(default)]
    pub refused: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many were dropped.
    pub dropped: u64,
    /// How many were removed before anybody saw how they ended.
    pub removed: u64,
}

impl Tally {
    /// What the counters of the generator say.
    pub fn of(state: &State, counts: &Counts) -> Self {
        let Counts { polls: _, made, completed, failed, cancelled, dropped, removed } = *counts;
        let refused = state.refused;
        let size = state.definition.size.or(state.is_last.then_some(state.made + refused));
        let (made, failed) = (made + refused, failed + refused);
        Self { size, made, completed, failed, refused, cancelled, dropped, removed }
    }

    /// Items that were made and have ended.
    pub fn settled(&self) -> u64 {
        self.completed + self.failed + self.cancelled + self.dropped + self.removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(on_failure: OnFailure) -> Definition {
        let kind = BulkTypeName::new("count").unwrap();
        Definition { kind, params: Value::Null, size: Some(10), author: None, on_failure, authority: None }
    }

    fn counts(made: u64, completed: u64, failed: u64) -> Counts {
        Counts { made, completed, failed, ..Counts::default() }
    }

    #[test]
    fn a_bulk_completes_once_all_was_made_and_is_settled() {
        let mut state = State::new(definition(OnFailure::Continue));
        assert_eq!(state.end(&counts(0, 0, 0)), None);
        assert_eq!(state.end(&counts(5, 5, 0)), None, "more is to be made");
        (state.made, state.is_last) = (10, true);
        state.settle([ItemEnd::Failed, ItemEnd::Completed]);
        assert_eq!(state.end(&counts(10, 8, 1)), None, "one is outstanding");
        assert_eq!(state.end(&counts(10, 8, 2)), Some(End::Completed), "failures do not matter to it");
    }

    #[test]
    fn a_bulk_that_fails_too_often_makes_no_more_and_fails_once_what_it_made_is_settled() {
        let mut state = State::new(definition(OnFailure::StopAbove(1)));
        state.settle([ItemEnd::Failed, ItemEnd::Cancelled, ItemEnd::Removed]);
        assert!(state.goes_on(), "one failure is allowed; what was cancelled or removed is none");
        state.settle([ItemEnd::Dropped]);
        assert!(!state.goes_on());
        assert_eq!(state.end(&counts(5, 1, 2)), None);
        let Some(End::Failed { reason }) = state.end(&counts(5, 3, 2)) else { panic!("it failed") };
        assert_eq!(reason, "2 items failed or dropped, and more than 1 stop it");
    }

    #[test]
    fn a_failure_among_the_last_items_counts_as_well() {
        let mut state = State::new(definition(OnFailure::StopAbove(0)));
        (state.made, state.is_last) = (10, true);
        state.settle([ItemEnd::Failed]);
        assert!(matches!(state.end(&counts(10, 9, 1)), Some(End::Failed { .. })));
    }

    #[test]
    fn an_item_that_cannot_be_made_counts_as_one_that_failed() {
        let mut state = State::new(Definition { size: None, ..definition(OnFailure::StopAbove(2)) });
        state.refuse(2, "line 7".to_owned());
        (state.made, state.is_last) = (5, true);
        let tally = Tally::of(&state, &counts(5, 5, 0));
        assert_eq!((tally.made, tally.failed, tally.refused, tally.settled()), (7, 2, 2, 7));
        assert_eq!((tally.size, state.end(&counts(5, 5, 0))), (Some(7), Some(End::Completed)));
        state.settle([ItemEnd::Failed]);
        assert!(matches!(state.end(&counts(5, 4, 1)), Some(End::Failed { .. })), "three failed");
    }

    #[test]
    fn a_bulk_whose_parent_is_over_or_gone_only_waits_for_what_it_made() {
        for parent in [None, Some(JobState::Cancelled)] {
            let mut state = State::new(definition(OnFailure::Continue));
            state.look_at(Some(JobState::Blocked));
            assert!(state.goes_on());
            state.look_at(parent);
            assert!(!state.goes_on());
            assert_eq!(state.end(&counts(3, 2, 0)), None);
            assert_eq!(state.end(&counts(3, 3, 0)), Some(End::Cancelled));
        }
    }

    #[test]
    fn parameters_over_the_limit_are_refused() {
        let params = Value::String("x".repeat(BULK_PARAMS_BYTES_MAX));
        let error = Definition { params, ..definition(OnFailure::Continue) }.checked().unwrap_err();
        assert!(error.is_too_large());
    }
}
