//! Going along the due times of one trigger: what has passed, and what is next.
//!
//! The work of one call is bounded whatever has piled up: a rate is arithmetic, a calendar is searched from its newest end
//! once there is too much to count, and of a program's own rule a part is taken at a time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Error;
use crate::time::Timestamp;
use crate::trigger::{CustomTriggers, Rule, Trigger, TriggerState, next_due};

/// How many due times are counted one by one before the count becomes "at least".
pub(super) const COUNT_MAX: usize = 10_000;

/// How many steps a search may take in all.
const SEARCH_STEPS_MAX: usize = 400_000;

const SECOND_US: i64 = 1_000_000;

/// A place among the due times of one trigger.
pub(super) struct Cursor<'a> {
    trigger: &'a Trigger,
    rule: Rule<'a>,
    state: TriggerState,
    now: Timestamp,
}

/// Due times that a cursor has passed, at least one.
#[derive(Debug)]
pub(super) struct Passed {
    /// The oldest.
    pub(super) from: Timestamp,
    /// The newest.
    pub(super) to: Timestamp,
    /// How many.
    pub(super) count: u64,
    /// Whether `count` is exact; otherwise there are at least so many.
    pub(super) exact: bool,
    /// The newest of them, oldest first, as many as were asked for; none of them when there is `more`.
    pub(super) newest: VecDeque<Timestamp>,
    /// Whether only a part was passed, so that the newest are still to come.
    pub(super) more: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(
        trigger: &'a Trigger,
        state: TriggerState,
        now: Timestamp,
        custom: &CustomTriggers,
    ) -> Result<Self, Error> {
        Ok(Self { trigger, rule: custom.rule(trigger)?, state, now })
    }

    /// The next due time after this place.
    pub(super) fn next(&self) -> Result<Option<Timestamp>, Error> {
        next_due(&self.rule, &self.state, self.now)
    }

    /// Goes on behind a due time.
    pub(super) fn step(&mut self, due: Timestamp) {
        self.state.last_due = Some(due);
        self.state.fired += 1;
        self.state.spent = true;
    }

    /// Whether where it goes on from is only a moment, so that a calendar can be asked about any.
    fn is_calendar(&self) -> bool {
        matches!(self.trigger, Trigger::Cron(_) | Trigger::Daily(_) | Trigger::Monthly(_))
    }

    /// Lets a calendar go on from just after any moment.
    fn stand_at(&mut self, moment: Timestamp) {
        self.state.registered_at = moment;
        self.state.last_due = None;
    }

    /// Leaves out what is due before `start`.
    pub(super) fn leave_out_before(&mut self, start: Timestamp) -> Result<(), Error> {
        let before = just_before(start);
        if before <= self.state.base() && !self.trigger.is_one_time() {
            return Ok(());
        }
        if self.is_calendar() {
            if self.next()?.is_some_and(|due| due < start) {
                self.stand_at(before);
            }
            return Ok(());
        }
        for _ in 0..SEARCH_STEPS_MAX / COUNT_MAX {
            if !self.pass(before, 0)?.is_some_and(|passed| passed.more) {
                return Ok(());
            }
        }
        Err(Error::stuck(
            "the trigger",
            format!(
                "it has more than {SEARCH_STEPS_MAX} due times before the start of the schedule's window"
            ),
            "let the rule begin later, or the window earlier",
        ))
    }

    /// Passes everything that is due up to `until`, and keeps the newest `keep` of it; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// The rule's own, when nothing is due before it. Otherwise it comes with the next call.
    pub(super) fn pass(&mut self, until: Timestamp, keep: usize) -> Result<Option<Passed>, Error> {
        if let Trigger::Every(every) = self.trigger {
            return Ok(self.pass_at_rate(every.period(), until, keep));
        }
        let begin = self.state;
        let Some(from) = self.next()?.filter(|due| *due <= until) else { return Ok(None) };
        let mut passed =
            Passed { from, to: from, count: 0, exact: true, newest: VecDeque::new(), more: false };
        let mut due = from;
        let mut part = None;
        while passed.count as usize <= COUNT_MAX + keep {
            self.step(due);
            passed.add(due, keep);
            if passed.count as usize == COUNT_MAX {
                part = Some((self.state, due));
            }
            match self.next() {
                Ok(Some(next)) if next <= until => due = next,
                _ => return Ok(Some(passed)),
            }
        }
        if self.is_calendar() && self.newest_of_many(begin.base(), until, keep, &mut passed) {
            return Ok(Some(passed));
        }
        // A part of it, so that those to keep are still ahead.
        if let Some((state, to)) = part {
            self.state = state;
            passed = Passed { to, count: COUNT_MAX as u64, newest: VecDeque::new(), more: true, ..passed };
        }
        Ok(Some(passed))
    }

    /// Finds the newest due times of a calendar, from the end back. Gives whether that took no more than its share of steps.
    fn newest_of_many(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        keep: usize,
        passed: &mut Passed,
    ) -> bool {
        let low = from.as_micros().div_euclid(SECOND_US);
        let mut high = until.as_micros().div_euclid(SECOND_US);
        let mut newest = VecDeque::new();
        let mut gap = 1;
        let mut steps = SEARCH_STEPS_MAX;
        while newest.len() < keep.max(1) {
            match self.last_up_to(low, high, gap, &mut steps) {
                Some(due) => {
                    newest.push_front(Timestamp::from_micros(due * SECOND_US));
                    gap = high - due + 1;
                    high = due - 1;
                }
                None if steps > 0 => break,
                None => return false,
            }
        }
        let Some(last) = newest.back().copied() else { return false };
        self.stand_at(last);
        passed.to = last;
        passed.newest = if keep == 0 { VecDeque::new() } else { newest };
        passed.exact = false;
        true
    }

    /// The last second after `low` and up to `high` at which a calendar is due: looks back twice as far until something
    /// is there, from `guess` seconds on, and halves what is left.
    fn last_up_to(&mut self, low: i64, high: i64, guess: i64, steps: &mut usize) -> Option<i64> {
        let mut span = guess.max(1);
        let mut after = high + 1;
        let mut due = loop {
            let start = high.saturating_sub(span).saturating_add(1).max(low + 1);
            match self.first_from(start, steps).filter(|due| *due <= high) {
                Some(due) => break due,
                None if start <= low + 1 || *steps == 0 => return None,
                None => after = start,
            }
            span = span.saturating_mul(2);
        };
        while due + 1 < after && *steps > 0 {
            let middle = due + 1 + (after - due - 1) / 2;
            match self.first_from(middle, steps).filter(|due| *due <= high) {
                Some(later) => due = later,
                None => after = middle,
            }
        }
        (*steps > 0).then_some(due)
    }

    /// The first second, from this one on, at which a calendar is due. Its due times are whole seconds.
    fn first_from(&mut self, second: i64, steps: &mut usize) -> Option<i64> {
        *steps = steps.saturating_sub(1);
        self.stand_at(just_before(Timestamp::from_micros(second.saturating_mul(SECOND_US))));
        Some(self.next().ok()??.as_micros() / SECOND_US)
    }

    fn pass_at_rate(&mut self, period: Duration, until: Timestamp, keep: usize) -> Option<Passed> {
        let base_us = self.state.base().as_micros();
        let period_us = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
        let count = until.min(Timestamp::MAX).as_micros().saturating_sub(base_us) / period_us;
        if count <= 0 {
            return None;
        }
        // No product is beyond `until`.
        let due = |k: i64| Timestamp::from_micros(base_us + k * period_us);
        let kept = i64::try_from(keep).unwrap_or(i64::MAX).min(count);
        let newest = (count - kept + 1..=count).map(due).collect();
        self.state.last_due = Some(due(count));
        let count_unsigned = count.unsigned_abs();
        self.state.fired = self.state.fired.saturating_add(count_unsigned);
        Some(Passed { from: due(1), to: due(count), count: count_unsigned, exact: true, newest, more: false })
    }
}

impl Passed {
    fn add(&mut self, due: Timestamp, keep: usize) {
        self.count += 1;
        self.to = due;
        if keep > 0 {
            self.newest.push_back(due);
            if self.newest.len() > keep {
                self.newest.pop_front();
            }
        }
    }
}

/// The last moment before another one.
pub(super) fn just_before(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros().saturating_sub(1))
}
