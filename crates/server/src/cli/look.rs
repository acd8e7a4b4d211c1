//! How a job looks to people: the colour of its state, and what there is to say about it in one line; and the parts of a
//! page about one thing.

use taskwright_core::{State, Timestamp, bulk};
use taskwright_store::{JobView, Progress};

use crate::error::{Error, Exit};
use crate::output::{Output, Paint};
use crate::text;

/// The colour of a state.
pub(super) const fn paint(state: State) -> Paint {
    match state {
        State::Completed => Paint::Good,
        State::Failed | State::Dropped => Paint::Bad,
        State::Retryable => Paint::Warn,
        State::Running => Paint::Busy,
        State::Held | State::Blocked | State::Scheduled | State::Cancelled => Paint::Faint,
        State::Available => Paint::Plain,
    }
}

/// The exit code that a state stands for.
pub(super) const fn exit(state: State) -> Exit {
    match state {
        State::Completed => Exit::Ok,
        State::Failed => Exit::Failed,
        State::Cancelled | State::Dropped => Exit::Stopped,
        _ => Exit::Unfinished,
    }
}

/// The worse of two ends: failed, then stopped, then not over.
pub(super) fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::Ok => 0,
        Exit::Unfinished => 1,
        Exit::Stopped => 2,
        Exit::Failed => 3,
        Exit::Usage | Exit::Operational | Exit::Recycled | Exit::Signal(_) => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// The most telling thing about a job, for a column.
pub(super) fn gist(job: &JobView, now: Timestamp) -> String {
    let error = || job.error.as_deref().map(text::one_line);
    match job.state {
        State::Running => match (&job.progress, job.cancel_requested) {
            (_, true) => "cancel requested".to_owned(),
            (Some(progress), _) => self::progress(progress),
            (None, _) => {
                job.claimed_at.map_or(String::new(), |at| format!("for {}", text::duration(now.since(at))))
            }
        },
        State::Retryable => match error() {
            Some(error) => format!("{}: {error}", text::relative(job.run_at, now)),
            None => text::relative(job.run_at, now),
        },
        State::Scheduled => text::relative(job.run_at, now),
        _ => error().unwrap_or_default(),
    }
}

/// Progress in one line: `40% (2 of 5) resizing`.
pub(super) fn progress(progress: &Progress) -> String {
    let share = match progress.total {
        Some(total) if total > 0 => {
            let percent = u128::from(progress.done) * 100 / u128::from(total);
            format!("{percent}% ({} of {total})", progress.done)
        }
        _ => format!("{} done", progress.done),
    };
    match &progress.message {
        Some(message) => format!("{share} {}", text::one_line(message)),
        None => share,
    }
}

/// What happens next to a job that is not over, and what somebody can do about one that is.
pub(super) fn next(job: &JobView, now: Timestamp) -> String {
    let when = text::relative(job.run_at, now);
    match job.state {
        State::Held => format!("waits for `taskwright jobs release {}`", job.id),
        State::Blocked if job.kind.as_str() == bulk::KIND => "waits for its items".to_owned(),
        State::Blocked => "waits for other jobs".to_owned(),
        State::Scheduled => format!("runs {when}"),
        State::Available => "runs when a worker that knows its task is free".to_owned(),
        State::Running if job.cancel_requested => "ends when its handler has stopped".to_owned(),
        State::Running => "runs to its end".to_owned(),
        State::Retryable => {
            let number = job.attempt + 1;
            format!("retry {when}, attempt {number} of {}", job.max_attempts)
        }
        State::Completed => "nothing: it is done".to_owned(),
        State::Failed | State::Cancelled | State::Dropped if job.kind.as_str() == bulk::KIND => {
            format!("nothing; `taskwright bulk retry {}` runs again what failed of it", job.id)
        }
        State::Failed | State::Cancelled | State::Dropped => {
            format!("nothing, unless you run `taskwright jobs retry {}`", job.id)
        }
    }
}

/// JSON, indented if it is short enough to be read that way.
pub(super) fn body(output: &Output, title: &str, json: &str) -> Result<(), Error> {
    const SHOWN_BYTES_MAX: usize = 4 << 10;
    if json == "null" {
        return Ok(());
    }
    heading(output, title)?;
    let pretty = serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned());
    let shown = taskwright_core::name::clipped(&pretty, SHOWN_BYTES_MAX);
    for line in shown.lines() {
        output.line(format!("  {}", text::lines(line)))?;
    }
    if shown.len() < pretty.len() {
        output.note(format!("{title} cut at {}; --json has all", text::bytes(SHOWN_BYTES_MAX as u64)));
    }
    Ok(())
}

/// The title of a part of a page.
pub(super) fn heading(output: &Output, title: &str) -> Result<(), Error> {
    output.line(format!("\n{}", output.paint(title, Paint::Strong)))
}
