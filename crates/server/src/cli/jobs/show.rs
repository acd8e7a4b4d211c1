//! `jobs show`.

use clap::Args;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::name::clipped;
use taskwright_core::{Delivery, Timestamp, Usage};
use taskwright_store::{JobDetail, JobOrigin, StepView};

use crate::answer::job::Whole;
use crate::cli::select::{self, Selectors};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Column, Output, Paint, Table};
use crate::text;

/// Shows jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs show ID
  taskwright jobs show --state failed --limit 3 --json

For one job the exit code tells its state: 0 completed, 4 failed, 8 not over,
16 cancelled or dropped.")]
pub(super) struct Show {
    #[command(flatten)]
    selectors: Selectors,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.selectors.require_any("show")?;
        let mut ids = self.selectors.ids(context)?;
        let named = ids.len();
        let store = context.store().await?;
        if named == 0 || self.selectors.has_conditions() {
            let filter = self.selectors.filter(context, std::mem::take(&mut ids))?;
            let limit = self.selectors.limit().unwrap_or(usize::MAX);
            select::each(&**store, &filter, limit, false, |jobs| {
                ids.extend(jobs.iter().map(|job| job.id));
                Ok(())
            })
            .await?;
        }
        let mut unknown = Vec::new();
        let mut exit = Exit::Ok;
        for (index, id) in ids.iter().enumerate() {
            let job = store.job(*id).await?;
            let seen =
                |job: &JobDetail| context.namespace.as_ref().is_none_or(|ours| *ours == job.view.namespace);
            let Some(job) = job.filter(seen) else {
                unknown.push(*id);
                continue;
            };
            if index > 0 && !context.output.is_json() {
                context.output.line("")?;
            }
            let origin = store.origins(vec![*id]).await?.pop().flatten();
            exit = if ids.len() == 1 && named == 1 { look::exit(job.view.state) } else { Exit::Ok };
            let steps = if context.output.is_json() { Vec::new() } else { store.steps(*id).await? };
            print(context, job, origin, &steps)?;
        }
        if ids.is_empty() {
            context.output.note("no job matches");
        }
        if unknown.is_empty() { Ok(exit) } else { Err(select::unknown(&unknown)) }
    }
}

fn print(
    context: &Context,
    job: JobDetail,
    origin: Option<JobOrigin>,
    steps: &[StepView],
) -> Result<(), Error> {
    let (output, now) = (&context.output, context.env.now());
    if output.is_json() {
        return output.json(&Whole::of(job, origin)?);
    }
    facts(output, &job, origin.as_ref(), now)?;
    look::body(output, "Arguments", job.args.as_str())?;
    if let Some(result) = &job.result {
        look::body(output, "Result", result)?;
    }
    attempts(output, &job, now)?;
    self::steps(output, steps, now)?;
    timeline(output, &job, now)?;
    comments(output, &job, now)
}

fn facts(output: &Output, job: &JobDetail, origin: Option<&JobOrigin>, now: Timestamp) -> Result<(), Error> {
    let view = &job.view;
    let state = output.paint(view.state.as_str(), look::paint(view.state));
    output.line(format!("{}  {}  {state}", view.id, output.paint(view.kind.as_str(), Paint::Strong)))?;
    let fact = |name: &str, value: String| {
        output.line(format!("  {} {value}", output.paint(&format!("{name:<10}"), Paint::Faint)))
    };
    fact("next", look::next(view, now))?;
    if let Some(progress) = &view.progress {
        fact("progress", look::progress(progress))?;
    }
    if let Some(error) = &view.error {
        fact("error", text::lines(error).replace('\n', "\n             "))?;
    }
    fact("queue", format!("{}, priority {}", view.queue, view.priority))?;
    if let (Some(generator), Some(key)) = (&view.generator, &view.item_key) {
        fact("item", format!("{} of the generator {generator}", text::one_line(key)))?;
    }
    let mut tries = format!("{} of {}", view.attempt, view.max_attempts);
    if let Some(backoff) = job.backoff {
        tries.push_str(&format!(", back-off {}", backoff_in_words(&backoff)));
    }
    if let Some(timeout) = job.timeout {
        tries.push_str(&format!(", at most {} each", text::duration(timeout)));
    }
    if job.delivery == Delivery::AtMostOnce {
        tries.push_str(", at most once");
    }
    fact("attempts", tries)?;
    fact("created", text::full(view.created_at, now))?;
    if view.run_at > view.created_at {
        fact("run at", text::full(view.run_at, now))?;
    }
    if let Some(ended) = view.ended_at {
        fact("ended", text::full(ended, now))?;
    }
    if let Some(worker) = view.worker {
        fact("worker", worker.to_string())?;
    }
    if let Some(owner) = &view.owner {
        fact("owner", text::one_line(owner.as_str()))?;
    }
    if let Some(consumed) = view.consumed_at {
        fact("end read", text::full(consumed, now))?;
    }
    if view.namespace != taskwright_core::Namespace::default() {
        fact("namespace", view.namespace.to_string())?;
    }
    if let Some(JobOrigin { schedule, due, event }) = origin {
        let by = event.map_or_else(
            || format!("due {}", text::full(*due, now)),
            |event| format!("fired by event {event}"),
        );
        fact("schedule", format!("{schedule}, {by}"))?;
    }
    if let Some(key) = &job.unique {
        fact("unique", text::one_line(key))?;
    }
    Ok(())
}

fn backoff_in_words(backoff: &taskwright_core::Backoff) -> String {
    use taskwright_core::Backoff as B;
    let d = text::duration;
    match *backoff {
        B::Fixed { delay } => d(delay),
        B::Linear { step, cap } => format!("{} more each time, up to {}", d(step), d(cap)),
        B::Exponential { base, cap } => format!("{}, doubled each time, up to {}", d(base), d(cap)),
    }
}

fn attempts(output: &Output, job: &JobDetail, now: Timestamp) -> Result<(), Error> {
    if job.attempts.is_empty() {
        return Ok(());
    }
    look::heading(output, "Attempts")?;
    let mut table = Table::new(&[
        Column::new("  #", 0).right(),
        Column::new("end", 0),
        Column::new("started", 2),
        Column::new("took", 1),
        Column::new("cpu", 4),
        Column::new("memory", 5),
        Column::new("read", 6).right(),
        Column::new("written", 7).right(),
        Column::new("error", 3).cut(),
    ]);
    for record in &job.attempts {
        let started = record.started_at.unwrap_or(record.claimed_at);
        let usage = |show: fn(&Usage) -> String| record.usage.as_ref().map(show).unwrap_or_default();
        let good = record.end == AttemptEnd::Completed;
        let plain = |text: String| (text, Paint::Plain);
        table.row(vec![
            plain(record.attempt.to_string()),
            (record.end.as_str().replace('_', " "), if good { Paint::Good } else { Paint::Bad }),
            plain(text::relative(started, now)),
            plain(text::measured(record.ended_at.since(started))),
            plain(usage(|usage| {
                text::measured(std::time::Duration::from_micros(usage.cpu_user_us + usage.cpu_system_us))
            })),
            plain(usage(memory)),
            plain(usage(|usage| storage(usage.read_bytes))),
            plain(usage(|usage| storage(usage.written_bytes))),
            plain(record.error.as_deref().map(text::one_line).unwrap_or_default()),
        ]);
    }
    output.table(&mut table)
}

/// The peak of the memory; a process that was too short-lived to be measured has none to tell.
fn memory(usage: &Usage) -> String {
    match usage.rss_peak_bytes {
        0 => "-".to_owned(),
        bytes => text::bytes(bytes),
    }
}

/// Bytes that went to or came from storage; most jobs are served by the memory of the system.
fn storage(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { text::bytes(bytes) }
}

fn timeline(output: &Output, job: &JobDetail, now: Timestamp) -> Result<(), Error> {
    if job.timeline.is_empty() {
        return Ok(());
    }
    look::heading(output, "Timeline")?;
    let mut table = Table::new(&[
        Column::new("  at", 0),
        Column::new("state", 0),
        Column::new("by", 1),
        Column::new("why", 2).cut(),
    ]);
    for entry in &job.timeline {
        let why = match (&entry.reason, entry.cause) {
            (Some(reason), _) => text::one_line(reason),
            (None, Some(cause)) => cause.as_str().replace('_', " "),
            (None, None) => "created".to_owned(),
        };
        let mut at = text::clock(entry.at);
        if now.since(entry.at) < std::time::Duration::from_secs(86_400) {
            // Today's moments need no day.
            at = at[11..19].to_owned();
        }
        table.row(vec![
            (format!("  {at}"), Paint::Faint),
            (entry.to.to_string(), look::paint(entry.to)),
            (actor(entry.actor.as_str()), Paint::Plain),
            (why, Paint::Plain),
        ]);
    }
    output.table(&mut table)
}

/// What people said about it, each with its time and name, and below that its lines.
fn steps(output: &Output, steps: &[StepView], now: Timestamp) -> Result<(), Error> {
    /// Characters of what a step gave.
    const RESULT_MAX: usize = 60;
    if steps.is_empty() {
        return Ok(());
    }
    look::heading(output, "Steps")?;
    for step in steps {
        let gave = clipped(&text::one_line(&step.result), RESULT_MAX);
        let head = format!("  {}  attempt {}  {}", text::full(step.at, now), step.attempt, step.name);
        output.line(format!("{}  {gave}", output.paint(&head, Paint::Faint)))?;
    }
    Ok(())
}

fn comments(output: &Output, job: &JobDetail, now: Timestamp) -> Result<(), Error> {
    if job.comments.is_empty() {
        return Ok(());
    }
    look::heading(output, "Comments")?;
    for comment in &job.comments {
        let head = format!("  {}  {}", text::full(comment.at, now), text::one_line(comment.actor.as_str()));
        output.line(output.paint(&head, Paint::Faint))?;
        for line in text::lines(&comment.text).lines() {
            output.line(format!("    {line}"))?;
        }
    }
    Ok(())
}

/// An actor, with the id of a worker cut to the end that tells workers apart.
fn actor(name: &str) -> String {
    match name.strip_prefix("worker ") {
        Some(id) if id.len() == 36 => format!("worker …{}", &id[28..]),
        _ => text::one_line(name),
    }
}
