//! `enqueue`: stores new jobs and prints their ids, one a line, once the store has them.
//!
//! One job comes from the flags ([`one`]); many come from a file of JSON lines ([`file`]), for which the flags are
//! the defaults. Both become a [`NewJob`] in [`Defaults::job`], so that a flag and a field mean the same.

use std::collections::HashMap;
use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::{
    Args as JobArgs, Backoff, Delivery, Kind, MaxAttempts, NewJob, Owner, Priority, QueueName,
};
use taskwright_core::{Timestamp, UniqueKey, UniqueScope};
use taskwright_store::Enqueued;

use super::{Context, value};
use crate::error::{Error, Exit, in_words};
use crate::submit::Asked;

mod file;
mod one;

pub(super) use one::directory;

/// Stores new jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright enqueue exec -- convert photo.png photo.jpg
  taskwright enqueue thumbnail --args '{\"file\": \"a.png\"}' --priority bulk
  taskwright enqueue report --in 2h --max-attempts 3 --any-kind
  taskwright enqueue --from-file jobs.ndjson > ids.txt

A kind is known if the config file has [tasks.KIND], or if it is built in:
`exec` runs the command after `--` as it is, without a shell. A line of
--from-file is {\"kind\": .., \"args\": .., \"queue\": .., \"priority\": ..,
\"run_at\": ..}; what it lacks comes from the flags.")]
pub(super) struct Enqueue {
    /// The task
    #[arg(required_unless_present = "from_file")]
    kind: Option<String>,
    /// The command of `exec`, as it is
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    /// Arguments: JSON, @FILE or `-` for standard input
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Read jobs from a file of JSON lines; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["args", "command", "unique"])]
    from_file: Option<String>,
    /// Go on behind lines that are wrong, and tell about each
    #[arg(long, requires = "from_file")]
    skip_bad: bool,
    /// Attach a file, by its own name or NAME=FILE
    #[arg(long, value_name = "FILE", conflicts_with = "from_file")]
    attach: Vec<String>,
    /// Accept kinds that only another program runs
    #[arg(long)]
    any_kind: bool,
    #[command(flatten)]
    job: JobFlags,
    #[command(flatten)]
    exec: one::ExecFlags,
}

/// What can be said about a job.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The job")]
struct JobFlags {
    /// The queue it waits in
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// realtime, high, default, bulk, idle, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    priority: Option<Priority>,
    /// Not before this much time has passed, like 90s or 2h
    #[arg(long = "in", value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    #[arg(conflicts_with = "at")]
    run_in: Option<Duration>,
    /// Not before this time, like 2026-11-24T18:30:00Z
    #[arg(long, value_name = "T")]
    at: Option<Timestamp>,
    /// How often it is executed at most, or `none`
    #[arg(long, value_name = "N")]
    max_attempts: Option<MaxAttempts>,
    /// Delays after failures, like exponential:10s:1h
    #[arg(long, value_name = "B")]
    backoff: Option<Backoff>,
    /// How long one attempt may take
    #[arg(long, value_name = "D", value_parser = value::time_limit, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// At most one waiting job of this kind and key
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// The key is held until the job is over
    #[arg(long, requires = "unique")]
    unique_until_over: bool,
    /// Wait for `jobs release`
    #[arg(long)]
    hold: bool,
    /// If its worker is lost, drop it instead of running it again
    #[arg(long)]
    at_most_once: bool,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    owner: Option<Owner>,
}

impl Enqueue {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        context.find_tasks().await?;
        if let Some(kind) = &self.kind {
            check_kind(context, kind, self.any_kind)?;
        }
        if context.output.manner().verbose {
            // What the client does about a store that is out of order is its own to tell.
            crate::daemon::start_log(context);
        }
        match &self.from_file {
            Some(path) => file::run(context, &self, path).await,
            None => one::run(context, &self).await,
        }
    }

    fn defaults<'c>(&self, context: &'c Context) -> Result<Defaults<'c>, Error> {
        let mut flags = self.job.clone();
        if let Some(delay) = flags.run_in.take() {
            flags.at = Some(context.env.now().plus(delay));
        }
        let unique = flags.unique.take().map(|key| UniqueKey::new(&key)).transpose()?;
        let scope = if flags.unique_until_over { UniqueScope::Active } else { UniqueScope::Waiting };
        let unique = unique.map(|key| key.with_scope(scope));
        Ok(Defaults { context, flags, unique, any_kind: self.any_kind, kinds: HashMap::new() })
    }
}

fn check_kind(context: &Context, kind: &str, any_kind: bool) -> Result<Kind, Error> {
    let checked = Kind::new(kind)?;
    if !any_kind {
        context.check_kind(kind)?;
    }
    Ok(checked)
}

/// Prints the id that stands for a job.
fn print_id(context: &Context, answer: &Enqueued) -> Result<(), Error> {
    if context.output.is_json() {
        return context.output.json(&crate::answer::job::Stored::from(*answer));
    }
    context.output.line(answer.id.to_string())
}

/// Turns what was given into jobs: a field first, then a flag, then `[tasks.KIND]`, then the built-in default.
struct Defaults<'c> {
    context: &'c Context,
    flags: JobFlags,
    unique: Option<UniqueKey>,
    any_kind: bool,
    /// Kinds that were checked already: a file has millions of lines and few kinds.
    kinds: HashMap<String, Kind>,
}

impl Defaults<'_> {
    /// The kind, if there may be jobs of it.
    fn kind(&mut self, name: &str) -> Result<Kind, Error> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(kind.clone());
        }
        let kind = check_kind(self.context, name, self.any_kind)?;
        self.kinds.insert(name.to_owned(), kind.clone());
        Ok(kind)
    }

    /// A job with everything that the flags and the config file say about it.
    fn job(&self, kind: Kind, args: JobArgs) -> Result<NewJob, Error> {
        let flags = &self.flags;
        let asked = Asked {
            owner: flags.owner.clone(),
            queue: flags.queue.clone(),
            priority: flags.priority,
            run_at: flags.at,
            held: flags.hold,
            max_attempts: flags.max_attempts,
            backoff: flags.backoff,
            timeout: flags.timeout,
            delivery: flags.at_most_once.then_some(Delivery::AtMostOnce),
            unique: self.unique.clone(),
        };
        let (id, namespace) = (self.context.env.job_id(), self.context.namespace_or_default());
        asked.job(&self.context.app, self.context.task_config(), id, namespace, kind, args)
    }
}

/// The text of a flag: itself, `@FILE`, or `-` for standard input.
pub(super) fn text_of_flag(
    context: &Context,
    flag: &str,
    given: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    // One byte more than allowed shows that it is too long, and a file that never ends cannot fill the memory.
    let most = bytes_max as u64 + 1;
    let read = match given.strip_prefix('@') {
        _ if given == "-" => context.with_input(|input| input.take(most).read_to_end(&mut text)),
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)),
        None => {
            text = given.as_bytes().to_vec();
            Ok(0)
        }
    };
    read.map_err(|error| {
        let source = if given == "-" { "standard input" } else { &given[1..] };
        Error::usage(
            format!("{flag} {}", taskwright_core::name::shown(given)),
            format!("{source} cannot be read: {}", in_words(&error)),
            "check the path; a value that starts with @ names a file",
        )
    })?;
    Ok(text)
}

/// The arguments as JSON; none is `null`.
fn json_of_flag(context: &Context, given: Option<&str>) -> Result<JobArgs, Error> {
    match given {
        None => Ok(JobArgs::default()),
        Some(given) => Ok(JobArgs::from_json(text_of_flag(context, "--args", given, ARGS_BYTES_MAX)?)?),
    }
}
