//! The definition of a schedule, checked as a whole.

use std::num::NonZeroU64;
use std::time::Duration;

use super::origin::Origin;
use super::policy::{Misfire, Overlap};
use super::template::ArgsTemplate;
use crate::authority::Making;
use crate::error::Error;
use crate::job::Delivery;
use crate::limit::{SCHEDULE_SPAN_MAX, TRIGGERS_MAX};
use crate::name::{Kind, Namespace, Owner, QueueName, ScheduleName, TriggerId};
use crate::permission::Permission;
use crate::priority::Priority;
use crate::retry::{Backoff, MaxAttempts};
use crate::text;
use crate::time::Timestamp;
use crate::trigger::Trigger;
use crate::unique::{UniqueKey, UniqueScope};

/// A durable rule that makes jobs: one task, its triggers, its policies.
///
/// Everything in it has been checked: by its type, or by [`ScheduleBuilder::build`] where two fields have to fit.
///
/// # Example
///
/// ```
/// use taskwright_core::schedule::{Misfire, Schedule};
/// use taskwright_core::trigger::Trigger;
///
/// let weekdays = Trigger::read("cron", "0 8 * * 1-5", Some("Europe/Berlin".parse()?))?;
/// let schedule = Schedule::builder("reports.daily".parse()?, "report".parse()?)
///     .trigger(weekdays)
///     .args(serde_json::json!({"day": "{due}", "since": "{previous_due}"}))
///     .misfire(Misfire::all(10)?)
///     .build()?;
/// assert_eq!(schedule.triggers.describe(), "every weekday at 08:00 Europe/Berlin");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Form", into = "Form")]
#[non_exhaustive]
pub struct Schedule {
    /// The tenant it belongs to; its jobs belong to the same.
    pub namespace: Namespace,
    /// Its name, unique in the namespace.
    pub name: ScheduleName,
    /// Who its jobs belong to within the namespace.
    pub owner: Option<Owner>,
    /// The task that its jobs are of.
    pub kind: Kind,
    /// What its jobs are given.
    pub args: ArgsTemplate,
    /// When it fires.
    pub triggers: Triggers,
    /// The lane its jobs wait in.
    pub queue: QueueName,
    /// How urgent its jobs are.
    pub priority: Priority,
    /// How many executions each job gets; `None` leaves it to the task.
    pub max_attempts: Option<MaxAttempts>,
    /// How long a job waits after a failure; `None` leaves it to the task.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take; `None` leaves it to the task.
    pub timeout: Option<Duration>,
    /// What happens to a job whose worker is lost; `None` leaves it to the task.
    pub delivery: Option<Delivery>,
    /// Whether it fires at all. An operator's pause is kept beside it, in the state.
    pub enabled: bool,
    /// What is made up for after a time without anything to fire it.
    pub misfire: Misfire,
    /// What happens when a job of an earlier firing is not over.
    pub overlap: Overlap,
    /// By how much at most the start of a job is put off, always by the same for one due time; zero for not at all.
    pub jitter: Duration,
    /// Between which moments it fires.
    pub window: Window,
    /// How many firings it has in its life, all triggers together, those by hand not counted; `None` for no limit.
    pub max_firings: Option<NonZeroU64>,
    /// Who registered it.
    pub origin: Origin,
}

/// Between which moments a schedule fires: from the start, until before the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

/// One trigger of a schedule, with the name by which an edit finds it again.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NamedTrigger {
    /// Its name within the schedule.
    pub id: TriggerId,
    /// When it fires.
    pub trigger: Trigger,
}

/// The triggers of a schedule: 1 to [`TRIGGERS_MAX`], each with a name of its own.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<NamedTrigger>", into = "Vec<NamedTrigger>")]
pub struct Triggers(Vec<NamedTrigger>);

/// Puts a [`Schedule`] together. What is not said is the default.
#[derive(Clone, Debug)]
pub struct ScheduleBuilder {
    form: Form,
    triggers: Vec<(Option<TriggerId>, Trigger)>,
    args: serde_json::Value,
    args_text: Option<String>,
    window: (Option<Timestamp>, Option<Timestamp>),
}

impl Schedule {
    /// A schedule of this name that makes jobs of this task.
    pub fn builder(name: ScheduleName, kind: Kind) -> ScheduleBuilder {
        ScheduleBuilder::new(name, kind)
    }

    /// What somebody has to be allowed to have it fire.
    pub fn making(&self) -> Making<'_> {
        let Self { namespace, owner, kind, .. } = self;
        let (permission, kind) = (Permission::SchedulesChange, Some(kind.as_str()));
        Making { permission, namespace, owner: owner.as_ref(), kind }
    }

    /// Whether any trigger is fired by events.
    pub fn has_event_trigger(&self) -> bool {
        self.triggers.iter().any(|named| named.trigger.is_event())
    }

    /// By how much the start of the job of this due time is put off: a stable hash of namespace, name and due time,
    /// within the jitter. The same on every machine and in every version.
    pub fn jitter_of(&self, due: Timestamp) -> Duration {
        let span_us = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        if span_us == 0 {
            return Duration::ZERO;
        }
        let mut hasher = blake3::Hasher::new();
        for part in [self.namespace.as_str(), self.name.as_str()] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&due.as_micros().to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Duration::from_micros(u64::from_le_bytes(bytes) % span_us.saturating_add(1).max(1))
    }

    /// The unique key of a job that merges events of this key, so that those of one key wait as one job.
    ///
    /// # Errors
    ///
    /// Never for a name and a key of any length: what is kept is a hash of them.
    pub fn coalescing_key(&self, key: &str) -> Result<UniqueKey, Error> {
        let mut hasher = blake3::Hasher::new();
        for part in [self.namespace.as_str(), self.name.as_str(), key] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let key = UniqueKey::new(&format!("schedule:{}", hasher.finalize().to_hex()))?;
        Ok(key.with_scope(UniqueScope::Waiting))
    }

    /// Whether it matters for the next firing which of its jobs are not over. It does not where they may overlap, nor, with
    /// [`Overlap::Skip`], for events.
    pub fn minds_open_jobs(&self) -> bool {
        match self.overlap {
            Overlap::Allow => false,
            Overlap::Skip => !self.triggers.iter().all(|named| named.trigger.is_event()),
            Overlap::QueueOne | Overlap::CancelPrevious => true,
        }
    }

    /// Checks what no type of one field can.
    fn check(self) -> Result<Self, Error> {
        if self.args.needs_event() && !self.has_event_trigger() {
            return Err(Error::invalid(
                format!("the arguments of the schedule {:?}", self.name.as_str()),
                "they use {event...}, and no trigger of the schedule is fired by an event",
                "add an event trigger, or take the placeholder out",
            ));
        }
        check_span("jitter", self.jitter)?;
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "the time limit 0s",
                "nothing can end within no time at all",
                "write a longer one like 30s, or leave it out for no limit",
            ));
        }
        Ok(self)
    }
}

fn check_span(what: &str, span: Duration) -> Result<(), Error> {
    if span <= SCHEDULE_SPAN_MAX {
        return Ok(());
    }
    Err(Error::too_large(
        format!("the {what} {}", crate::time::format_duration(span)),
        format!("it is longer than {}", crate::time::format_duration(SCHEDULE_SPAN_MAX)),
        format!("choose a shorter {what}"),
    ))
}

impl Window {
    /// From `start` on and until before `end`, each only if given.
    ///
    /// # Errors
    ///
    /// When the end is not later than the start.
    pub fn new(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Self, Error> {
        match (start, end) {
            (Some(from), Some(to)) if to <= from => Err(Error::invalid(
                format!("the window from {from} to {to}"),
                "its end is not later than its start",
                "put the end after the start, or leave one of them out",
            )),
            _ => Ok(Self { start, end }),
        }
    }

    /// The first moment inside.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The first moment after it.
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }

    /// Whether a due time lies before the window.
    pub fn is_before_start(&self, due: Timestamp) -> bool {
        self.start.is_some_and(|start| due < start)
    }

    /// Whether a due time lies after the window.
    pub fn is_over(&self, due: Timestamp) -> bool {
        self.end.is_some_and(|end| due >= end)
    }
}

impl Triggers {
    /// Names what has no name yet by its kind and its place among its kind: `cron`, `cron-2`, ...
    ///
    /// So a trigger that stays of its kind and in its place among its kind keeps what it has done.
    ///
    /// # Errors
    ///
    /// When there is none or more than [`TRIGGERS_MAX`], or two have the same name.
    pub fn new(triggers: impl IntoIterator<Item = (Option<TriggerId>, Trigger)>) -> Result<Self, Error> {
        let mut named: Vec<NamedTrigger> = Vec::new();
        let mut of_kind = std::collections::BTreeMap::new();
        for (id, trigger) in triggers {
            let place: &mut u32 = of_kind.entry(trigger.kind()).or_default();
            *place += 1;
            let id = match id {
                Some(id) => id,
                None if *place == 1 => TriggerId::new(trigger.kind())?,
                None => TriggerId::new(&format!("{}-{place}", trigger.kind()))?,
            };
            named.push(NamedTrigger { id, trigger });
        }
        Self::try_from(named)
    }

    /// Each with its name, in the order they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, NamedTrigger> {
        self.0.iter()
    }

    /// The one of this name.
    pub fn get(&self, id: &TriggerId) -> Option<&Trigger> {
        self.0.iter().find(|named| named.id == *id).map(|named| &named.trigger)
    }

    /// All of them in plain words.
    pub fn describe(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|named| named.trigger.describe()).collect();
        texts.join("; ")
    }
}

impl<'a> IntoIterator for &'a Triggers {
    type Item = &'a NamedTrigger;
    type IntoIter = std::slice::Iter<'a, NamedTrigger>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<NamedTrigger>> for Triggers {
    type Error = Error;

    fn try_from(named: Vec<NamedTrigger>) -> Result<Self, Error> {
        if named.is_empty() || named.len() > TRIGGERS_MAX {
            return Err(Error::invalid(
                "the triggers of the schedule",
                format!("there are {}, a schedule has 1 to {TRIGGERS_MAX}", named.len()),
                "say when it fires with every, cron, at, after, daily, monthly or event; split what has more",
            ));
        }
        let ids: std::collections::BTreeSet<_> = named.iter().map(|named| &named.id).collect();
        if ids.len() != named.len() {
            return Err(Error::invalid(
                "the triggers of the schedule",
                "two of them have the same name",
                "give each a name of its own, or none",
            ));
        }
        Ok(Self(named))
    }
}

impl From<Triggers> for Vec<NamedTrigger> {
    fn from(triggers: Triggers) -> Self {
        triggers.0
    }
}

impl ScheduleBuilder {
    fn new(name: ScheduleName, kind: Kind) -> Self {
        Self {
            form: Form::new(name, kind),
            triggers: Vec::new(),
            args: serde_json::Value::Null,
            args_text: None,
            window: (None, None),
        }
    }

    /// Adds a trigger, which gets a [name](Triggers::new) by its kind.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.triggers.push((None, trigger));
        self
    }

    /// Adds a trigger under a name, by which a later edit finds it again.
    #[must_use]
    pub fn named_trigger(mut self, id: TriggerId, trigger: Trigger) -> Self {
        self.triggers.push((Some(id), trigger));
        self
    }

    /// What the jobs are given; see [`ArgsTemplate`] for the placeholders. `null` unless said.
    #[must_use]
    pub fn args(mut self, template: serde_json::Value) -> Self {
        (self.args, self.args_text) = (template, None);
        self
    }

    /// The same from JSON text, which is kept to the byte when it has no placeholders.
    #[must_use]
    pub fn args_json(mut self, template: impl Into<String>) -> Self {
        self.args_text = Some(template.into());
        self
    }

    /// The tenant; `default` unless said.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.form.namespace = namespace;
        self
    }

    /// Who the jobs belong to.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.form.owner = Some(owner);
        self
    }

    /// The lane of the jobs; `default` unless said.
    #[must_use]
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.form.queue = queue;
        self
    }

    /// How urgent the jobs are.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.form.priority = priority;
        self
    }

    /// How many executions each job gets.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: MaxAttempts) -> Self {
        self.form.max_attempts = Some(max_attempts);
        self
    }

    /// How long a job waits after a failure.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.form.backoff = Some(backoff);
        self
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.form.timeout = Some(timeout);
        self
    }

    /// What happens to a job whose worker is lost.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.form.delivery = Some(delivery);
        self
    }

    /// Whether it fires at all; it does unless said.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.form.enabled = enabled;
        self
    }

    /// What is made up for after a time without anything to fire it.
    #[must_use]
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.form.misfire = misfire;
        self
    }

    /// What happens when a job of an earlier firing is not over.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.form.overlap = overlap;
        self
    }

    /// By how much at most the start of a job is put off.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.form.jitter = jitter;
        self
    }

    /// Fires nothing that is due before this.
    #[must_use]
    pub fn starts_at(mut self, start: Timestamp) -> Self {
        self.window.0 = Some(start);
        self
    }

    /// Fires nothing that is due at this or later.
    #[must_use]
    pub fn ends_at(mut self, end: Timestamp) -> Self {
        self.window.1 = Some(end);
        self
    }

    /// How many firings it has in its life.
    #[must_use]
    pub fn max_firings(mut self, max_firings: NonZeroU64) -> Self {
        self.form.max_firings = Some(max_firings);
        self
    }

    /// Who registers it; a program unless said.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.form.origin = origin;
        self
    }

    /// Checks it all.
    ///
    /// # Errors
    ///
    /// When it has no trigger or too many, the template has a placeholder that does not exist or cannot be filled, the
    /// window is empty, or a span is too long.
    pub fn build(self) -> Result<Schedule, Error> {
        let mut form = self.form;
        form.args = match self.args_text {
            Some(text) => ArgsTemplate::from_json(text)?,
            None => ArgsTemplate::of(&self.args)?,
        };
        (form.start, form.end) = self.window;
        form.into_schedule(Triggers::new(self.triggers)?)
    }
}

/// The JSON form, before it is checked as a whole.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    namespace: Namespace,
    name: ScheduleName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    kind: Kind,
    #[serde(default)]
    args: ArgsTemplate,
    #[serde(default)]
    triggers: Vec<NamedTrigger>,
    #[serde(default)]
    queue: QueueName,
    #[serde(default)]
    priority: Priority,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    max_attempts: Option<MaxAttempts>,
    #[serde(default, with = "text::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    backoff: Option<Backoff>,
    #[serde(default, with = "text::option_span", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default, with = "text::one")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    misfire: Misfire,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default, with = "text::span")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    jitter: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_firings: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Origin::is_code")]
    origin: Origin,
}

fn yes() -> bool {
    true
}

impl Form {
    fn new(name: ScheduleName, kind: Kind) -> Self {
        Self {
            namespace: Namespace::default(),
            name,
            owner: None,
            kind,
            args: ArgsTemplate::default(),
            triggers: Vec::new(),
            queue: QueueName::default(),
            priority: Priority::default(),
            max_attempts: None,
            backoff: None,
            timeout: None,
            delivery: None,
            enabled: true,
            misfire: Misfire::default(),
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            start: None,
            end: None,
            max_firings: None,
            origin: Origin::default(),
        }
    }

    fn into_schedule(self, triggers: Triggers) -> Result<Schedule, Error> {
        let schedule = Schedule {
            window: Window::new(self.start, self.end)?,
            triggers,
            namespace: self.namespace,
            name: self.name,
            owner: self.owner,
            kind: self.kind,
            args: self.args,
            queue: self.queue,
            priority: self.priority,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            timeout: self.timeout,
            delivery: self.delivery,
            enabled: self.enabled,
            misfire: self.misfire,
            overlap: self.overlap,
            jitter: self.jitter,
            max_firings: self.max_firings,
            origin: self.origin,
        };
        schedule.check()
    }
}

impl TryFrom<Form> for Schedule {
    type Error = Error;

    fn try_from(mut form: Form) -> Result<Self, Error> {
        let triggers = Triggers::try_from(std::mem::take(&mut form.triggers))?;
        form.into_schedule(triggers)
    }
}

impl From<Schedule> for Form {
    fn from(schedule: Schedule) -> Self {
        Self {
            namespace: schedule.namespace,
            name: schedule.name,
            owner: schedule.owner,
            kind: schedule.kind,
            args: schedule.args,
            triggers: schedule.triggers.into(),
            queue: schedule.queue,
            priority: schedule.priority,
            max_attempts: schedule.max_attempts,
            backoff: schedule.backoff,
            timeout: schedule.timeout,
            delivery: schedule.delivery,
            enabled: schedule.enabled,
            misfire: schedule.misfire,
            overlap: schedule.overlap,
            jitter: schedule.jitter,
            start: schedule.window.start,
            end: schedule.window.end,
            max_firings: schedule.max_firings,
            origin: schedule.origin,
        }
    }
}
