//! What a schedule is: one task, its triggers and its policies.
//!
//! | part | question it answers |
//! |---|---|
//! | [`Schedule`] | what was registered |
//! | [`ScheduleState`] | what it has done so far |
//! | [`plan`](fn@plan) | what it does now: the one decision |
//! | [`Misfire`], [`overlap`] | what becomes of firings that come too late or too early |
//! | [`ArgsTemplate`] | what the jobs are given |
//!
//! The store keeps definition and state in one row, asks [`plan`](fn@plan) when the row's `next` has passed, and writes
//! jobs, skipped occurrences and new state in one transaction.

mod backlog;
mod definition;
mod origin;
mod outlook;
mod plan;
mod policy;
mod state;
mod template;

pub use definition::{NamedTrigger, Schedule, ScheduleBuilder, Triggers, Window};
pub use origin::Origin;
pub use plan::{
    Fault, Firing, FiringKind, LATE_AFTER, ON_TIME_MAX, Plan, PlanLimits, SkipReason, Skipped, fire_by_hand,
    fire_for_event, plan, upcoming,
};
pub use policy::{Misfire, OpenJobs, Overlap, OverlapDecision, overlap};
pub use state::{OPEN_JOBS_MAX, Off, ScheduleState};
pub use template::{ArgsTemplate, EventValues, FiringValues};
