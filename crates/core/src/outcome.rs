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

/// Refuses the topics that ends of jobs are told under: whoever waits for them has to be able to believe them.
///
/// # Errors
///
/// When it is `job.completed`, `job.failed`, `job.cancelled` or `job.dropped`.
pub fn check_emitted(topic: &Topic) -> Result<(), Error> {
    let is_told_by_us = |state: &State| topic.as_str().strip_prefix("job.") == Some(state.as_str());
    if State::ALL.iter().filter(|state| state.is_terminal()).any(is_told_by_us) {
        return Err(Error::invalid(
            format!("the topic {topic}"),
            "Taskwright itself tells it, when a job ends, and schedules wait for that",
            "choose another topic, such as one that begins with the name of your program",
        ));
    }
    Ok(())
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

/// Ends of jobs that some schedule waits for, and that are told as events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interest {
    /// Of this task; `None` stands for any.
    pub kind: Option<Kind>,
    /// In this terminal state.
    pub state: State,
}

impl Schedule {
    /// The ends of jobs that may fire the schedule.
    pub fn outcome_interests(&self) -> Vec<Interest> {
        let mut interests = Vec::new();
        for named in &self.triggers {
            let Trigger::Event(on) = &named.trigger else { continue };
            let kinds = kinds_of(on);
            for state in outcomes_of(on) {
                for kind in &kinds {
                    let interest = Interest { kind: kind.clone(), state };
                    if !interests.contains(&interest) {
                        interests.push(interest);
                    }
                }
            }
        }
        interests
    }

    /// Whether a trigger leaves alone that a job has ended.
    ///
    /// It does if the schedule made the job, which would fire itself for ever; and so that alarms do not set off each other, if a
    /// schedule made it that waits for ends of jobs, too, unless the trigger names that very task, and it is another than
    /// that of its own jobs. `waits` says which schedules wait for ends of jobs.
    pub fn ignores_outcome(
        &self,
        on: &OnEvent,
        topic: &Topic,
        payload: &serde_json::Value,
        waits: impl FnOnce(&str) -> bool,
    ) -> bool {
        let made_by = payload.get("schedule").and_then(serde_json::Value::as_str);
        let Some(made_by) = made_by.filter(|_| is_outcome(topic)) else { return false };
        let is_named = kinds_of(on).iter().all(|kind| kind.as_ref().is_some_and(|kind| *kind != self.kind));
        made_by == self.name.as_str() || (!is_named && waits(made_by))
    }
}

fn is_outcome(topic: &Topic) -> bool {
    State::ALL.into_iter().any(|state| state.is_terminal() && topic.as_str() == format!("job.{state}"))
}

/// The terminal states that the topics are about.
fn outcomes_of(on: &OnEvent) -> impl Iterator<Item = State> {
    let topic = |state: State| Topic::new(&format!("job.{state}")).ok();
    let is_matched = move |state: &State| topic(*state).is_some_and(|topic| on.topic.matches(&topic));
    State::ALL.into_iter().filter(|state| state.is_terminal()).filter(is_matched)
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
        let interests = schedule(kind, event).outcome_interests();
        let kind = |one: &Interest| one.kind.as_ref().map_or("any".to_owned(), Kind::to_string);
        interests.iter().map(|one| format!("{} {}", kind(one), one.state)).collect()
    }

    #[test]
    fn a_schedule_is_interested_in_the_ends_that_it_names() {
        assert_eq!(interests("mail", "job.completed"), ["any completed"]);
        assert_eq!(interests("mail", "job.failed where kind = \"import\""), ["import failed"]);
        assert_eq!(interests("mail", "order.created"), [""; 0]);
        let ends = ["completed", "failed", "cancelled", "dropped"];
        assert_eq!(interests("mail", "job.* where kind = \"mail\""), ends.map(|end| format!("mail {end}")));
        assert_eq!(interests("mail", "**"), ends.map(|end| format!("any {end}")));
    }

    #[test]
    fn a_schedule_leaves_the_outcomes_of_its_own_jobs_alone() {
        let ignores = |event: &str, topic: &str, made_by: Option<&str>| {
            let schedule = schedule("mail", event);
            let trigger = schedule.triggers.iter().next().unwrap();
            let Trigger::Event(on) = &trigger.trigger else { panic!("an event") };
            let payload = serde_json::json!({"kind": "any", "schedule": made_by});
            schedule.ignores_outcome(on, &topic.parse().unwrap(), &payload, |name| name == "alarm")
        };
        assert!(ignores("job.**", "job.completed", Some("s")));
        assert!(!ignores("job.**", "job.completed", Some("nightly")));
        assert!(!ignores("job.**", "job.completed", None));
        assert!(!ignores("job.**", "job.posted", Some("s")));
        // Alarms leave alarms alone, unless one is told to look after the other's task.
        assert!(ignores("job.failed", "job.failed", Some("alarm")));
        assert!(ignores("job.failed where kind = \"mail\"", "job.failed", Some("alarm")));
        assert!(!ignores("job.failed where kind = \"import\"", "job.failed", Some("alarm")));
        assert!(ignores("job.failed where kind = \"import\"", "job.failed", Some("s")));
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
