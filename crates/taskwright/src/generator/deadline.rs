//! A generator that makes no items, but ends or hurries jobs that take too long: one rule, and nothing beside each job.

use std::time::Duration;

use serde_json::Value;
use taskwright_core::deadline::{Action, Deadline, Facts, Watched};
use taskwright_core::generator::Definition;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::trigger::TopicPattern;
use taskwright_core::{Actor, JobId, Timestamp};
use taskwright_store::{Change, Changed, Filter, JobView, Namespaces, Page, Pattern, Seen, SharedStore};

use super::{Generator, Next, Poll, PollError, Polled};

/// Pages of jobs that one poll looks at; there are 1,000 jobs on one.
const PAGES_MAX: usize = 5;
/// The shortest and the longest time between two walks over the jobs.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A generator that holds jobs to a [`Deadline`].
///
/// It looks when the first of them may be late, and at the latest after as long as the deadline is, so that no job has anything of its
/// own for that. Which rule it was, the job's timeline says: `deadline:NAME`.
///
/// # Example
///
/// ```
/// # use taskwright::store::SharedStore;
/// use std::time::Duration;
/// use taskwright::core::deadline::{Action, Deadline, Watched};
/// use taskwright::generator::{DeadlineGenerator, GeneratorSet};
///
/// # fn example(store: &SharedStore) -> Result<(), taskwright::core::Error> {
/// let rule = Deadline { watched: Watched::Running, after: Duration::from_secs(3_600), action: Action::Fail };
/// let generators = GeneratorSet::new().with(DeadlineGenerator::new("an-hour", rule, store)?.kinds(&["report"])?)?;
/// # Ok(())
/// # }
/// ```
pub struct DeadlineGenerator {
    name: String,
    rule: Deadline,
    filter: Filter,
    store: SharedStore,
    topics: Vec<TopicPattern>,
}

/// How far a walk over the jobs has come.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Walk {
    /// It goes on behind this job.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<JobId>,
    /// When the first of those that it passed will be late.
    #[serde(skip_serializing_if = "Option::is_none")]
    soonest: Option<Timestamp>,
    /// What the rule has done since it was registered.
    late: u64,
}

impl DeadlineGenerator {
    /// A generator of this name that holds all jobs to a rule.
    ///
    /// # Errors
    ///
    /// When the rule makes no sense.
    pub fn new(name: &str, rule: Deadline, store: &SharedStore) -> Result<Self, taskwright_core::Error> {
        let rule = rule.checked()?;
        let filter = Filter { states: vec![rule.watched.state()], ..Filter::default() };
        Ok(Self { name: name.to_owned(), rule, filter, store: SharedStore::clone(store), topics: Vec::new() })
    }

    /// Only jobs that these select; which states is said by the rule.
    #[must_use]
    pub fn only(mut self, filter: Filter) -> Self {
        self.filter = Filter { states: vec![self.rule.watched.state()], ..filter };
        self
    }

    /// Events of these topics have it look at once.
    #[must_use]
    pub fn topics(mut self, topics: &[TopicPattern]) -> Self {
        self.topics = topics.to_vec();
        self
    }

    /// Only jobs of these kinds; a `*` stands for anything.
    ///
    /// # Errors
    ///
    /// When none is named: that would be no job, and would read as all of them.
    pub fn kinds(mut self, kinds: &[&str]) -> Result<Self, taskwright_core::Error> {
        self.filter.kinds = self.patterns("kinds", kinds)?;
        Ok(self)
    }

    /// Only jobs of these queues; a `*` stands for anything.
    ///
    /// # Errors
    ///
    /// As [`kinds`](Self::kinds).
    pub fn queues(mut self, queues: &[&str]) -> Result<Self, taskwright_core::Error> {
        self.filter.queues = self.patterns("queues", queues)?;
        Ok(self)
    }

    fn patterns(&self, what: &str, names: &[&str]) -> Result<Vec<Pattern>, taskwright_core::Error> {
        if names.is_empty() {
            return Err(taskwright_core::Error::invalid(
                format!("the {what} of the generator {}", self.name),
                "the list is empty, so that no job would be held to the rule",
                "name one or more, or leave it out so that the rule is for all",
            ));
        }
        Ok(names.iter().map(|name| Pattern::new(name)).collect())
    }

    /// Does what the rule says about jobs that are late; about how many it did something.
    async fn deal_with(&self, now: Timestamp, late: Vec<JobView>) -> Result<u64, PollError> {
        if late.is_empty() {
            return Ok(0);
        }
        let change = match self.rule.action {
            Action::Fail => Change::Fail,
            Action::Cancel => Change::Cancel,
            Action::Drop => Change::Drop,
            Action::Escalate(priority) => Change::Reprioritise { priority },
        };
        let what = match self.rule.watched {
            Watched::Running => "ran",
            Watched::Waiting => "waited",
        };
        let reason = format!("it {what} for more than {:?}", self.rule.after);
        let actor = Actor::new(&format!("deadline:{}", self.name))?;
        let seen = late.iter().map(Seen::from).collect();
        let changed = self.store.change_seen(now, seen, change, actor, Some(reason)).await?;
        let done = |changed: &&Changed| matches!(changed, Changed::Done | Changed::Requested);
        Ok(changed.iter().filter(done).count() as u64)
    }

    /// The rule in words.
    fn about(&self) -> String {
        let what = match self.rule.action {
            Action::Fail => "fail".to_owned(),
            Action::Cancel => "cancel".to_owned(),
            Action::Drop => "drop".to_owned(),
            Action::Escalate(priority) => format!("give the priority {priority} to"),
        };
        let state = match self.rule.watched {
            Watched::Running => "running",
            Watched::Waiting => "waiting",
        };
        let some = |noun: &str, patterns: &[Pattern]| match patterns {
            [] => String::new(),
            patterns => format!(
                " of the {noun} {}",
                patterns.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
            ),
        };
        let (kinds, queues) = (some("task", &self.filter.kinds), some("queue", &self.filter.queues));
        format!("{what} {state} jobs{kinds}{queues} after {:?}", self.rule.after)
    }

    fn facts(job: &JobView) -> Facts {
        Facts {
            state: job.state,
            run_at: job.run_at,
            claimed_at: job.claimed_at,
            priority: job.priority,
            cancel_requested: job.cancel_requested,
        }
    }
}

impl Generator for DeadlineGenerator {
    fn name(&self) -> &str {
        &self.name
    }

    fn options(&self, defaults: Definition) -> Definition {
        let namespace = match &self.filter.namespaces {
            Namespaces::Of(names) if names.len() == 1 => names[0].clone(),
            Namespaces::Of(_) | Namespaces::Any => defaults.namespace,
        };
        Definition { namespace, about: Some(self.about()), topics: self.topics.clone(), ..defaults }
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let now = poll.now;
        let mut walk: Walk = match poll.state {
            Value::Null => Walk::default(),
            state => serde_json::from_value(state)?,
        };
        for _ in 0..PAGES_MAX {
            let page = Page { after: walk.after, limit: PAGE_ROWS_MAX, oldest_first: true };
            let paged = self.store.list(self.filter.clone(), page).await?;
            let (mut late, mut is_over) = (Vec::new(), paged.next.is_none());
            for job in paged.jobs {
                // Whoever waits became available after it was stored, and so did those behind it.
                let is_young = job.created_at.plus(self.rule.after) > now;
                match self.rule.due_at(&Self::facts(&job)) {
                    Some(due) if due <= now => late.push(job),
                    Some(due) => walk.soonest = Some(walk.soonest.map_or(due, |soonest| soonest.min(due))),
                    None => {}
                }
                if is_young && self.rule.watched == Watched::Waiting {
                    is_over = true;
                    break;
                }
            }
            walk.late += self.deal_with(now, late).await?;
            walk.after = paged.next.filter(|_| !is_over);
            if is_over {
                // What is not there yet is late after as much time as the rule has.
                let (least, most) = (now.plus(LOOK_EVERY.0), now.plus(LOOK_EVERY.1.min(self.rule.after)));
                let next = walk.soonest.take().map_or(most, |soonest| soonest.min(most)).max(least);
                return Ok(Polled::new(Vec::new(), serde_json::to_value(&walk)?, Next::At(next)));
            }
        }
        Ok(Polled::new(Vec::new(), serde_json::to_value(&walk)?, Next::Now))
    }
}
