//! `jobs`: look at jobs, wait for them, change them.

use clap::{Args, Subcommand};

use super::Context;
use crate::error::{Error, Exit};

mod attach;
mod change;
mod comment;
mod history;
mod list;
mod logs;
mod show;
mod stats;
mod top;
mod wait;
mod watch;
mod window;

pub(super) use attach::{attach, read as read_attachment};
pub(super) use change::{By, change_seen, confirm};
pub(super) use window::{percent, time_or_dash};

/// Looks at jobs, waits for them, changes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs list --state running
  taskwright jobs show ID")]
pub(super) struct Jobs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List jobs, the newest first
    List(list::List),
    /// Show everything about jobs but their log
    Show(show::Show),
    /// Wait until jobs are over, and exit by how they ended
    Wait(wait::Wait),
    /// Watch the progress of jobs until they are over
    Watch(watch::Watch),
    /// Print what a job wrote
    Logs(logs::Logs),
    /// List what was executed, the last end first
    History(history::History),
    /// Tell how many executions succeeded, how long they took and waited
    Stats(stats::Stats),
    /// Tell who uses the machines: CPU time, memory, time, I/O
    Top(top::Top),
    /// Say something about a job
    Comment(comment::Comment),
    /// Attach files to a held job
    Attach(attach::Attach),
    /// Show what is attached to a job
    Attachments(attach::Attachments),
    /// End waiting jobs, and ask running ones to stop
    Cancel(change::Cancel),
    /// Run jobs that are over once more
    Retry(change::Retry),
    /// Run scheduled jobs, and ones that wait for a retry, at once
    RunNow(change::RunNow),
    /// Run jobs at once that their handlers snoozed
    Awaken(change::Awaken),
    /// Let held jobs go
    Release(change::Release),
    /// Run waiting jobs later
    Delay(change::Delay),
    /// Give waiting jobs another priority
    Reprioritise(change::Reprioritise),
    /// Take running jobs from their workers: they may run twice
    Free(change::Free),
    /// Remove jobs that are over, with their history
    Delete(change::Delete),
}

impl Jobs {
    /// Whether the verb looks at several namespaces, if they are named.
    pub(super) fn takes_namespaces(&self) -> bool {
        match self.verb {
            Verb::List(_)
            | Verb::Cancel(_)
            | Verb::Retry(_)
            | Verb::RunNow(_)
            | Verb::Awaken(_)
            | Verb::Release(_)
            | Verb::Delay(_)
            | Verb::Reprioritise(_)
            | Verb::Free(_)
            | Verb::Delete(_) => true,
            Verb::Show(_)
            | Verb::Wait(_)
            | Verb::Watch(_)
            | Verb::Logs(_)
            | Verb::History(_)
            | Verb::Stats(_)
            | Verb::Top(_)
            | Verb::Comment(_)
            | Verb::Attach(_)
            | Verb::Attachments(_) => false,
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List(verb) => verb.run(context).await,
            Verb::Show(verb) => verb.run(context).await,
            Verb::Wait(verb) => verb.run(context).await,
            Verb::Watch(verb) => verb.run(context).await,
            Verb::Logs(verb) => verb.run(context).await,
            Verb::History(verb) => verb.run(context).await,
            Verb::Stats(verb) => verb.run(context).await,
            Verb::Top(verb) => verb.run(context).await,
            Verb::Comment(verb) => verb.run(context).await,
            Verb::Attach(verb) => verb.run(context).await,
            Verb::Attachments(verb) => verb.run(context).await,
            Verb::Cancel(verb) => verb.run(context).await,
            Verb::Retry(verb) => verb.run(context).await,
            Verb::RunNow(verb) => verb.run(context).await,
            Verb::Awaken(verb) => verb.run(context).await,
            Verb::Release(verb) => verb.run(context).await,
            Verb::Delay(verb) => verb.run(context).await,
            Verb::Reprioritise(verb) => verb.run(context).await,
            Verb::Free(verb) => verb.run(context).await,
            Verb::Delete(verb) => verb.run(context).await,
        }
    }
}
