//! The verbs that change jobs: one struct of flags each, one way for all of them.
//!
//! Ids that were named are changed in the order they were given in; others, the oldest first, and only while the selectors
//! match them. Each job is told with what became of it. More than [`UNCONFIRMED_MAX`] need `--yes`.

use std::time::Duration;

use clap::Args;
use taskwright_core::{Actor, JobId, Priority, Timestamp};
use taskwright_store::{Change, Changed, Filter, Namespaces, Seen};

use crate::answer::job::{Became, Outcome};
use crate::cli::select::{self, Selectors};
use crate::cli::{Context, context, value};
use crate::error::{Error, Exit};
use crate::output::Paint;
use crate::text;

/// Jobs that are changed without a question.
pub(in crate::cli) const UNCONFIRMED_MAX: usize = 20;
/// Jobs of one call.
const BATCH: usize = 500;
/// How often a job is looked at again that has moved on since it was, and matches still.
const TRIES_MAX: usize = 5;

/// What every change takes.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    by: By,
}

/// Who changes something, and whether they are sure.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The change")]
pub(in crate::cli) struct By {
    /// Change more than 20 jobs without a question
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,
    /// Why, for the timeline of the job
    #[arg(long, value_name = "TEXT", value_parser = value::reason)]
    reason: Option<String>,
    /// Who acts [default: the user]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

impl By {
    /// Refuses them where nothing is changed.
    pub(in crate::cli) fn check_unused(&self, needs: &str) -> Result<(), Error> {
        if !self.yes && self.reason.is_none() && self.actor.is_none() {
            return Ok(());
        }
        let fix = format!("pass {needs}, or leave them out");
        Err(Error::usage(
            "--yes, --reason and --actor",
            "they are about a change, and nothing is changed",
            fix,
        ))
    }
}

/// Ends jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs cancel ID --reason 'wrong input'
  taskwright jobs cancel --kind 'report.*' --state available,scheduled --yes

A running job is asked to stop; it ends when its handler does. Its command gets
TERM, and KILL after a grace.")]
pub(super) struct Cancel {
    #[command(flatten)]
    common: Common,
}

/// Runs jobs again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs retry ID
  taskwright jobs retry --state failed --after 2h --yes

The job keeps its id and history, and gets as many attempts as it had at first.")]
pub(super) struct Retry {
    /// Run completed jobs again, too
    #[arg(long)]
    repeat: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs jobs at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs run-now ID
  taskwright jobs run-now --state retryable --kind sync --yes")]
pub(super) struct RunNow {
    #[command(flatten)]
    common: Common,
}

/// Runs snoozed jobs at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs awaken ID
  taskwright jobs awaken --kind poll --state scheduled --yes

Only jobs whose handlers put them off are awakened. What failed and waits for its
next attempt, and what was scheduled otherwise, is for run-now.")]
pub(super) struct Awaken {
    #[command(flatten)]
    common: Common,
}

/// Lets held jobs go.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs release ID

A held job waits for its release for an hour, and is dropped then.")]
pub(super) struct Release {
    #[command(flatten)]
    common: Common,
}

/// Runs jobs later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs delay ID --in 2h
  taskwright jobs delay --queue reports --until 2026-11-24T18:30:00Z --yes")]
pub(super) struct Delay {
    /// Not before this time
    #[arg(long, value_name = "TIME", required_unless_present = "by_duration")]
    until: Option<Timestamp>,
    /// Not before this much time has passed
    #[arg(long = "in", id = "by_duration", value_name = "D", value_parser = value::duration)]
    #[arg(conflicts_with = "until", allow_hyphen_values = true)]
    by_duration: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Changes priorities.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs reprioritise ID --to realtime
  taskwright jobs reprioritise --kind sync --to 3500 --yes")]
pub(super) struct Reprioritise {
    /// realtime, high, default, bulk, idle, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    to: Priority,
    #[command(flatten)]
    common: Common,
}

/// Removes jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs delete ID
  taskwright jobs delete --state completed --before 30d --yes

What is not over must be cancelled first.")]
pub(super) struct Delete {
    #[command(flatten)]
    common: Common,
}

/// Takes running jobs from their attempts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs free ID --reason 'its handler hangs'

The job is available again at once. Whoever runs it is not stopped: for a while
it may run twice, but what the attempt that lost it writes is refused. To stop
it instead, use `taskwright jobs cancel`.")]
pub(super) struct Free {
    #[command(flatten)]
    common: Common,
}

impl Free {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        context.output.note("warning: a freed job may run twice, until whoever had it is told or done");
        self.common.run(context, Change::Free).await
    }
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Cancel).await
    }
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Redo { repeat: self.repeat }).await
    }
}

impl RunNow {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::RunNow).await
    }
}

impl Awaken {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Awaken).await
    }
}

impl Release {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Release).await
    }
}

impl Delay {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let after = self.by_duration.map(|duration| context.env.now().plus(duration));
        // One of the two is there, or clap would have refused the command.
        let until = self.until.or(after).unwrap_or_else(|| context.env.now());
        self.common.run(context, Change::Delay { until }).await
    }
}

impl Reprioritise {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Reprioritise { priority: self.to }).await
    }
}

impl Delete {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.common.run(context, Change::Delete).await
    }
}

impl Common {
    async fn run(self, context: &Context, change: Change) -> Result<Exit, Error> {
        let Self { selectors, by } = self;
        selectors.require_any(change.as_str())?;
        let named = selectors.ids(context)?;
        if selectors.names_ids() && (named.is_empty() || !selectors.has_conditions()) {
            return change_named(context, &by, &named, change).await;
        }
        let filter = selectors.filter(context, named.clone())?;
        let limit = selectors.limit().unwrap_or(usize::MAX);
        let seen = seen(context, &filter, limit).await?;
        let chosen: Vec<JobId> = seen.iter().map(|seen| seen.id).collect();
        let others = strangers(context, &named, &chosen).await?;
        change_seen(context, &by, &filter, seen, others, change).await
    }
}

/// Changes jobs that were named by their ids, wherever they are.
async fn change_named(context: &Context, by: &By, ids: &[JobId], change: Change) -> Result<Exit, Error> {
    if !is_wanted(context, by, change, ids.len())? {
        return Ok(Exit::Ok);
    }
    let actor = context::actor(by.actor.as_ref());
    let mut tally = Tally::default();
    for batch in ids.chunks(BATCH) {
        let foreign = foreign(context, batch).await?;
        let ours: Vec<JobId> = batch.iter().copied().filter(|id| !foreign.contains(id)).collect();
        let (now, reason) = (context.env.now(), by.reason.clone());
        let answers = context.store().await?.change(now, ours.clone(), change, actor.clone(), reason).await?;
        for (id, changed) in ours.into_iter().zip(answers) {
            tally.tell(context, id, changed)?;
        }
        foreign.into_iter().try_for_each(|id| tally.tell(context, id, Changed::Unknown))?;
        context.output.flush()?;
    }
    tally.end(context)
}

/// Whether there is anything to change, and somebody is sure about it.
fn is_wanted(context: &Context, by: &By, change: Change, count: usize) -> Result<bool, Error> {
    if count == 0 {
        context.output.note("no job matches");
    } else if !by.yes {
        confirm(context, change.as_str(), "job", count)?;
    }
    Ok(count > 0)
}

/// The jobs that match, where they are now, the oldest first.
pub(in crate::cli) async fn seen(
    context: &Context,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    select::each(&**context.store().await?, filter, limit, true, |jobs| {
        seen.extend(jobs.iter().map(Seen::from));
        Ok(())
    })
    .await?;
    Ok(seen)
}

/// Changes jobs that a filter matched where they were seen, and no others: one that has moved on since is looked at again, and
/// left alone if it is none of these any more. `others` are told after them.
pub(in crate::cli) async fn change_seen(
    context: &Context,
    by: &By,
    filter: &Filter,
    seen: Vec<Seen>,
    others: Vec<(JobId, Changed)>,
    change: Change,
) -> Result<Exit, Error> {
    if !is_wanted(context, by, change, seen.len())? {
        return Ok(Exit::Ok);
    }
    let actor = context::actor(by.actor.as_ref());
    let mut tally = Tally::default();
    for batch in seen.chunks(BATCH) {
        for (id, changed) in change_batch(context, filter, batch, change, &actor, &by.reason).await? {
            tally.tell(context, id, changed)?;
        }
        context.output.flush()?;
    }
    for (id, changed) in others {
        tally.tell(context, id, changed)?;
    }
    context.output.flush()?;
    tally.end(context)
}

/// What became of each of these, in their order.
async fn change_batch(
    context: &Context,
    filter: &Filter,
    batch: &[Seen],
    change: Change,
    actor: &Actor,
    reason: &Option<String>,
) -> Result<Vec<(JobId, Changed)>, Error> {
    let has_moved = |changed: &Changed| matches!(changed, Changed::Skipped(why) if why == Seen::MOVED);
    let mut became: Vec<(JobId, Changed)> =
        batch.iter().map(|seen| (seen.id, Changed::Skipped(Seen::MOVED.to_owned()))).collect();
    let mut left = batch.to_vec();
    for _ in 0..TRIES_MAX {
        let now = context.env.now();
        let store = context.store().await?;
        let answers = store.change_seen(now, left.clone(), change, actor.clone(), reason.clone()).await?;
        let mut moved = Vec::new();
        for (seen, changed) in left.iter().zip(answers) {
            if has_moved(&changed) {
                moved.push(seen.id);
            } else if let Some(place) = became.iter_mut().find(|(id, _)| *id == seen.id) {
                place.1 = changed;
            }
        }
        if moved.is_empty() {
            break;
        }
        left = seen(context, &Filter { ids: moved, ..filter.clone() }, usize::MAX).await?;
        if left.is_empty() {
            break;
        }
    }
    Ok(became)
}

/// What to say about ids that were named and that the other selectors leave out.
async fn strangers(
    context: &Context,
    named: &[JobId],
    chosen: &[JobId],
) -> Result<Vec<(JobId, Changed)>, Error> {
    let mut strangers = Vec::new();
    for id in named.iter().filter(|id| !chosen.contains(id)) {
        let changed = match context.store().await?.job(*id).await? {
            Some(_) => Changed::Skipped("the other selectors leave it out".to_owned()),
            None => Changed::Unknown,
        };
        strangers.push((*id, changed));
    }
    Ok(strangers)
}

/// The jobs among these that belong to other namespaces than those that were asked for: they look unknown.
async fn foreign(context: &Context, ids: &[JobId]) -> Result<Vec<JobId>, Error> {
    if context.namespaces == Namespaces::Any {
        return Ok(Vec::new());
    }
    let mut foreign = ids.to_vec();
    let filter = Filter { ids: ids.to_vec(), namespaces: context.namespaces.clone(), ..Filter::default() };
    select::each(&**context.store().await?, &filter, usize::MAX, true, |jobs| {
        foreign.retain(|id| jobs.iter().all(|job| job.id != *id));
        Ok(())
    })
    .await?;
    Ok(foreign)
}

/// Asks before much is changed, where somebody can answer; refuses where nobody can.
pub(in crate::cli) fn confirm(context: &Context, verb: &str, noun: &str, count: usize) -> Result<(), Error> {
    if count <= UNCONFIRMED_MAX {
        return Ok(());
    }
    let jobs = text::count(count, noun);
    let look = match noun {
        "event" => "see how many with `taskwright webhooks show`, and pass --yes",
        _ => "look at them with `taskwright jobs list`, and pass --yes",
    };
    let refused = |why: &str| Error::usage(format!("{verb} {jobs}"), why, look);
    if !context.output.can_ask() {
        return Err(refused("more than 20 need a confirmation, and nobody is there to give it"));
    }
    let answer = context.ask(&format!("{verb} {jobs}? [y/N] "))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("it was not confirmed")) }
}

/// What became of the jobs.
#[derive(Default)]
struct Tally {
    done: usize,
    requested: usize,
    skipped: usize,
    unknown: Vec<JobId>,
}

impl Tally {
    fn tell(&mut self, context: &Context, id: JobId, changed: Changed) -> Result<(), Error> {
        let became = Became::of(id, changed);
        let paint = match became.result {
            Outcome::Done => {
                self.done += 1;
                Paint::Good
            }
            Outcome::Requested => {
                self.requested += 1;
                Paint::Busy
            }
            Outcome::Skipped => {
                self.skipped += 1;
                Paint::Warn
            }
            Outcome::Unknown => {
                self.unknown.push(id);
                Paint::Bad
            }
        };
        if context.output.is_json() {
            return context.output.json(&became);
        }
        let word = context.output.paint(&format!("{:<9}", became.result.as_str()), paint);
        context.output.line(format!("{id}  {word}  {}", became.reason.unwrap_or_default()).trim_end())
    }

    fn end(self, context: &Context) -> Result<Exit, Error> {
        if self.done + self.requested + self.skipped + self.unknown.len() > 1 {
            let mut parts = vec![format!("{} done", self.done)];
            for (count, word) in
                [(self.requested, "requested"), (self.skipped, "skipped"), (self.unknown.len(), "unknown")]
            {
                if count > 0 {
                    parts.push(format!("{count} {word}"));
                }
            }
            context.output.note(parts.join(", "));
        }
        if self.unknown.is_empty() { Ok(Exit::Ok) } else { Err(select::unknown(&self.unknown)) }
    }
}
