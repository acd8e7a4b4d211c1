//! Outcomes of jobs as events: `job.completed`, `job.failed`, `job.cancelled`, `job.dropped`.
//!
//! An event is made for an outcome only when a schedule is interested in the job's kind: outcomes are many, and most
//! interest nobody.

use crate::error::Error;
use crate::id::{EventId, JobId};
use crate::name::{Kind, Namespace, QueueName, ScheduleName, Topic};
use crate::schedule::Schedule;
use crate::state::State;
use crate::time::Timestamp;
use crate::trigger::{Comparison, OnEvent, Trigger};

/// How a job ended, as far as events tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOutcome {
    /// The job.
    pub job: JobId,
    /// Its tenant.
    pub namespace: Namespace,
    /// Its task.
    pub kind: Kind,
    /// Its queue.
    pub queue: QueueName,
    /// The terminal state.
    pub state: State,
    /// Attempts used.
    pub attempts: u32,
    /// The schedule that made it.
    pub schedule: Option<ScheduleName>,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl JobOutcome {
    /// What the event is about: `job.` and the state.
    ///
    /// # Errors
    ///
    /// Never: states are words.
    pub fn topic(&self) -> Result<Topic, Error> {
        Topic::new(&format!("job.{}", self.state))
    }

    /// What the event carries: `job`, `kind`, `queue`, `state`, `attempts`, and the name of the `schedule` that made
    /// it, or null. The rest is asked of the job itself.
    pub fn payload(&self) -> serde_json::Value {
        serde_json::json!({
            "job": self.job, "kind": self.kind, "queue": self.queue, "state": self.state, "attempts": self.attempts,
            "schedule": self.schedule,
        })
    }

    /// The event's id: always the same for this end of this job, so that telling it twice stores one event.
    pub fn event_id(&self) -> EventId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"outcome");
        hasher.update(self.job.as_bytes());
        hasher.update(&[self.state.code()]);
        hasher.update(&self.attempts.to_le_bytes());
        hasher.update(&self.ended_at.as_micros().to_le_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
        EventId::from_parts(self.ended_at.as_unix_millis(), random)
    }
}

impl Schedule {
    /// The kinds whose outcomes may fire the schedule; `None` stands for any.
    pub fn outcome_interests(&self) -> Vec<Option<Kind>> {
        let on_events = self.triggers.iter().filter_map(|named| match &named.trigger {
            Trigger::Event(on) if is_about_outcomes(on) => Some(on),
            _ => None,
        });
        let mut kinds: Vec<Option<Kind>> = on_events.flat_map(kinds_of).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// Whether the outcome is that of a job which the schedule made, and is left alone: it would fire itself for ever.
    pub fn ignores_outcome_of(&self, topic: &Topic, payload: &serde_json::Value) -> bool {
        let made_by = payload.get("schedule").and_then(serde_json::Value::as_str);
        is_outcome(topic) && made_by == Some(self.name.as_str())
    }
}

fn is_outcome(topic: &Topic) -> bool {
    State::ALL.into_iter().any(|state| state.is_terminal() && topic.as_str() == format!("job.{state}"))
}

fn is_about_outcomes(on: &OnEvent) -> bool {
    let topic = |state: State| Topic::new(&format!("job.{state}")).ok();
    let mut topics = State::ALL.into_iter().filter(|state| state.is_terminal()).filter_map(topic);
    topics.any(|topic| on.topic.matches(&topic))
}

/// The kinds that the filter names; any, if it names none.
fn kinds_of(on: &OnEvent) -> Vec<Option<Kind>> {
    let named = |value: &serde_json::Value| value.as_str().and_then(|kind| Kind::new(kind).ok()).map(Some);
    for condition in on.filter.conditions().iter().filter(|condition| condition.path.to_string() == "kind") {
        match &condition.is {
            Comparison::Equals(value) => return named(value).into_iter().collect(),
            Comparison::OneOf(values) => return values.iter().filter_map(named).collect(),
            _ => {}
        }
    }
    vec![None]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: &str, event: &str) -> Schedule {
        let trigger = Trigger::read("event", event, None).unwrap();
        Schedule::builder("s".parse().unwrap(), kind.parse().unwrap()).trigger(trigger).build().unwrap()
    }

    fn interests(kind: &str, event: &str) -> Vec<String> {
        let kinds = schedule(kind, event).outcome_interests();
        kinds.iter().map(|kind| kind.as_ref().map_or("any".to_owned(), Kind::to_string)).collect()
    }

    #[test]
    fn a_schedule_is_interested_in_the_kinds_that_it_names() {
        assert_eq!(interests("mail", "job.completed"), ["any"]);
        assert_eq!(interests("mail", "job.* where kind = \"import\""), ["import"]);
        assert_eq!(interests("mail", "job.* where kind = \"mail\""), ["mail"]);
        assert_eq!(interests("mail", "order.created"), [""; 0]);
        assert_eq!(interests("mail", "**"), ["any"]);
    }

    #[test]
    fn a_schedule_leaves_the_outcomes_of_its_own_jobs_alone() {
        let schedule = schedule("mail", "job.**");
        let payload = |schedule| serde_json::json!({"kind": "mail", "schedule": schedule});
        let topic: Topic = "job.completed".parse().unwrap();
        assert!(schedule.ignores_outcome_of(&topic, &payload(Some("s"))));
        assert!(!schedule.ignores_outcome_of(&topic, &payload(Some("another"))));
        assert!(!schedule.ignores_outcome_of(&topic, &payload(None)));
        assert!(!schedule.ignores_outcome_of(&"job.posted".parse().unwrap(), &payload(Some("s"))));
    }

    #[test]
    fn one_end_of_one_job_is_one_event() {
        let outcome = JobOutcome {
            job: JobId::from_parts(1, [1; 10]),
            namespace: Namespace::default(),
            kind: "import".parse().unwrap(),
            queue: QueueName::default(),
            state: State::Failed,
            attempts: 3,
            schedule: Some("nightly".parse().unwrap()),
            ended_at: Timestamp::from_micros(5_000_000),
        };
        assert_eq!(outcome.event_id(), outcome.event_id());
        assert_ne!(outcome.event_id(), JobOutcome { attempts: 4, ..outcome.clone() }.event_id());
        assert_eq!(outcome.topic().unwrap().as_str(), "job.failed");
        assert_eq!(outcome.payload()["kind"], "import");
        assert_eq!(outcome.payload()["schedule"], "nightly");
    }
}
