//! One trigger's part of a plan: which of its due times fire and which are skipped, before the limits of the schedule.

use super::backlog::{Cursor, just_before};
use super::definition::Schedule;
use super::plan::{FiringKind, ON_TIME_MAX, PlanLimits, SkipReason};
use crate::error::Error;
use crate::time::Timestamp;
use crate::trigger::{Trigger, TriggerState};

/// One trigger, seen from now.
pub(super) struct Outlook<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) trigger: &'a Trigger,
    /// Its place among the triggers of the schedule.
    pub(super) place: usize,
    pub(super) state: TriggerState,
    /// Until when the schedule was off, when that has not been accounted for.
    pub(super) off_until: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// A due time that fires, or several in a row that do not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The place of the trigger.
    pub(super) place: usize,
    /// The due time; the last of several.
    pub(super) due: Timestamp,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Fire(FiringKind),
    Skip { from: Timestamp, count: u64, exact: bool, reason: SkipReason },
}

impl Outlook<'_> {
    /// Adds the trigger's steps, oldest first, and gives the due time after them.
    ///
    /// # Errors
    ///
    /// The trigger's own. Steps that came before it have been added.
    pub(super) fn look(
        &self,
        limits: &PlanLimits<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<Option<Timestamp>, Error> {
        let mut cursor = Cursor::new(self.trigger, self.state, self.now, limits.custom)?;
        if let Some(start) = self.schedule.window.start() {
            cursor.leave_out_before(start)?;
        }
        let all_passed = self.skip_while_off(&mut cursor, steps)?
            && self.fire_what_was_edited(&mut cursor, steps)?
            && self.fire_or_skip_backlog(&mut cursor, limits, steps)?;
        let next = cursor.next()?.filter(|due| !self.schedule.window.is_over(*due));
        debug_assert!(!all_passed || next.is_none_or(|next| next > self.now), "what is due has been passed");
        Ok(next)
    }

    /// The end of what can be due: `until`, or the window's end.
    fn up_to(&self, until: Timestamp) -> Timestamp {
        self.schedule.window.end().map_or(until, |end| until.min(just_before(end)))
    }

    fn skip_while_off(&self, cursor: &mut Cursor<'_>, steps: &mut Vec<Step>) -> Result<bool, Error> {
        let Some(until) = self.off_until else { return Ok(true) };
        let Some(passed) = cursor.pass(self.up_to(until.min(self.now)), 0)? else { return Ok(true) };
        steps.push(self.skip(passed.from, passed.to, passed.count, passed.exact, SkipReason::Off));
        Ok(!passed.more)
    }

    /// What was due already when the trigger was changed, or a one-time trigger registered: the newest fires for all.
    fn fire_what_was_edited(&self, cursor: &mut Cursor<'_>, steps: &mut Vec<Step>) -> Result<bool, Error> {
        let until = self.up_to(self.state.changed_at.min(self.now));
        let Some(passed) = cursor.pass(until, 2)? else { return Ok(true) };
        if passed.more {
            steps.push(self.skip(passed.from, passed.to, passed.count, passed.exact, SkipReason::Edited));
            return Ok(false);
        }
        if let (Some(to), true) = (passed.newest.front(), passed.count > 1) {
            steps.push(self.skip(passed.from, *to, passed.count - 1, passed.exact, SkipReason::Edited));
        }
        steps.push(self.fire(passed.to, FiringKind::OnTime));
        Ok(true)
    }

    fn fire_or_skip_backlog(
        &self,
        cursor: &mut Cursor<'_>,
        limits: &PlanLimits<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<bool, Error> {
        let made_up_for = self.schedule.misfire.keeps();
        let keep = (made_up_for + 1).max(ON_TIME_MAX);
        let Some(passed) = cursor.pass(self.up_to(self.now), keep)? else { return Ok(true) };
        let reason = SkipReason::Misfire;
        if passed.more {
            steps.push(self.skip(passed.from, passed.to, passed.count, passed.exact, reason));
            return Ok(false);
        }
        let is_on_time = passed.exact
            && passed.count <= ON_TIME_MAX as u64
            && self.now.since(passed.from) <= limits.late_after;
        if is_on_time {
            steps.extend(passed.newest.iter().map(|due| self.fire(*due, FiringKind::OnTime)));
            return Ok(true);
        }
        let fires = made_up_for.min(passed.newest.len());
        let first = passed.newest.len() - fires;
        if let Some(to) = first.checked_sub(1).and_then(|last| passed.newest.get(last)) {
            steps.push(self.skip(passed.from, *to, passed.count - fires as u64, passed.exact, reason));
        }
        steps.extend(passed.newest.range(first..).map(|due| self.fire(*due, FiringKind::Misfired)));
        Ok(true)
    }

    fn fire(&self, due: Timestamp, kind: FiringKind) -> Step {
        Step { place: self.place, due, what: What::Fire(kind) }
    }

    fn skip(&self, from: Timestamp, to: Timestamp, count: u64, exact: bool, reason: SkipReason) -> Step {
        Step { place: self.place, due: to, what: What::Skip { from, count, exact, reason } }
    }
}
