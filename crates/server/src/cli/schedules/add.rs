//! `schedules add`.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use taskwright::schedule::ScheduleStatus;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::schedule::{Misfire, NamedTrigger, Origin, Overlap};
use taskwright_core::{
    Backoff, Kind, MaxAttempts, Owner, Priority, QueueName, Schedule, ScheduleName, Trigger,
};

use super::flags::TriggerFlags;
use crate::answer::schedule::Registered;
use crate::cli::{Context, enqueue, value};
use crate::error::{Error, Exit};
use crate::schedule::{JobSettings, check_args};
use crate::{exec, text};

/// Registers a schedule, or changes the one of that name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules add tick --every 10s -- date
  taskwright schedules add a --task mail --any-kind --args '{\"day\": \"{due}\"}'

{due} and other placeholders are filled at each firing; {{ is a brace.")]
pub(super) struct Add {
    /// Its name
    name: ScheduleName,
    /// The command of `exec`, as it is but for placeholders
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    /// The task of its jobs [default with a CMD: exec]
    #[arg(long, value_name = "KIND", required_unless_present = "command")]
    task: Option<String>,
    /// What they are given: JSON, @FILE or `-`
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Accept a task that only another program runs
    #[arg(long)]
    any_kind: bool,
    #[command(flatten)]
    triggers: TriggerFlags,
    #[command(flatten)]
    policies: PolicyFlags,
    #[command(flatten)]
    job: JobFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Policies")]
struct PolicyFlags {
    /// Missed: skip, once (default), all, 'all up to N'
    #[arg(long, value_name = "M", default_value_t, hide_default_value = true)]
    misfire: Misfire,
    /// skip (default), `queue_one`, allow, `cancel_previous`
    #[arg(long, value_name = "O", default_value_t, hide_default_value = true)]
    overlap: Overlap,
    /// Put off the start of each job by up to this much
    #[arg(long, value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    jitter: Option<Duration>,
    /// Fire nothing that is due before
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    start: Option<String>,
    /// Fire nothing that is due then or later
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    end: Option<String>,
    /// How often it fires in its life
    #[arg(long, value_name = "N")]
    max_firings: Option<NonZeroU64>,
    /// Merge events of one key while their job waits
    #[arg(long)]
    coalesce: bool,
    /// Register it, and fire nothing
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Its jobs")]
struct JobFlags {
    /// The queue they wait in
    #[arg(long, value_name = "NAME")]
    queue: Option<QueueName>,
    /// realtime, high, default, bulk, idle, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    priority: Option<Priority>,
    /// How often each is executed at most, or `none`
    #[arg(long, value_name = "N")]
    max_attempts: Option<MaxAttempts>,
    /// Delays after failures, like exponential:10s:1h
    #[arg(long, value_name = "B")]
    backoff: Option<Backoff>,
    /// How long one attempt may take
    #[arg(long, value_name = "D", value_parser = value::time_limit, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Whose they are
    #[arg(long, value_name = "NAME")]
    owner: Option<Owner>,
}

/// Whether it waits for something that is called as the ends of jobs are, and is none.
fn names_no_end(schedule: &Schedule) -> bool {
    let is_like_one = |named: &NamedTrigger| match &named.trigger {
        Trigger::Event(on) => on.topic.to_string().starts_with("job."),
        _ => false,
    };
    schedule.triggers.iter().any(is_like_one) && schedule.outcome_interests().is_empty()
}

/// Says so if it was somebody's who is asked for rights at each firing: from now on nobody is.
fn note_takeover(context: &Context, name: &ScheduleName, origin: &Origin) {
    if let Origin::Principal { by } = origin
        && context.server().is_none()
    {
        context.output.note(format!(
            "{name} was {by}'s, and fired as long as they might have such jobs; it is this machine's now, and nobody is asked any more"
        ));
    }
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        context.find_tasks().await?;
        let schedule = self.schedule(context)?;
        let schedules = context.client_or_new().await?.schedules();
        let before = schedules.get(&schedule.namespace, &schedule.name).await?;
        let put = schedules.put(&schedule).await?;
        let told = Registered::of(&schedule, put);
        if context.output.is_json() {
            context.output.json(&told)?;
        } else {
            let (word, when) = (&told.change, text::one_line(&told.when));
            context.output.line(format!("{}  {word}  {when}", schedule.name))?;
        }
        if let Some(before) = before {
            super::note_config(context, &schedule.name, &before.schedule.origin, "puts that back");
            note_takeover(context, &schedule.name, &before.schedule.origin);
        }
        if names_no_end(&schedule) {
            context.output.note(
                "no job ends like that: the ends are job.completed, job.failed, job.cancelled and job.dropped",
            );
        }
        self.note_what_keeps_it(context, &schedule).await?;
        Ok(Exit::Ok)
    }

    /// Says why it will not fire, if it will not.
    async fn note_what_keeps_it(&self, context: &Context, schedule: &Schedule) -> Result<(), Error> {
        let name = &schedule.name;
        let view = super::found(context, name).await?;
        match view.status(context.env.now(), context.app.triggers()) {
            ScheduleStatus::Done => context.output.note(format!(
                "{name} is done: nothing will be due; what fires once has fired, or its time is over"
            )),
            ScheduleStatus::Paused => {
                context.output.note(format!("{name} is paused: `taskwright schedules resume {name}`"));
            }
            ScheduleStatus::Disabled | ScheduleStatus::On => {}
        }
        Ok(())
    }

    fn schedule(&self, context: &Context) -> Result<Schedule, Error> {
        let (kind, args) = self.task(context)?;
        let (policies, job) = (&self.policies, &self.job);
        let mut triggers = self.triggers.read()?;
        coalesce(&mut triggers, policies.coalesce)?;
        let task = context.task_config().tasks.get(kind.as_str());
        let form = context.app.registry().form(&kind).cloned();
        check_args(kind.as_str(), &args, task)
            .map_err(|error| error.with_fix("give what it lacks with --args JSON"))?;
        let mut builder = Schedule::builder(self.name.clone(), kind)
            .namespace(context.namespace_or_default())
            .args_json(args)
            .misfire(policies.misfire)
            .overlap(policies.overlap)
            .jitter(policies.jitter.unwrap_or_default())
            .enabled(!policies.disabled)
            .origin(Origin::Cli);
        for trigger in triggers {
            builder = builder.trigger(trigger);
        }
        if let Some(start) = &policies.start {
            builder = builder.starts_at(self.triggers.moment("--start", start)?);
        }
        if let Some(end) = &policies.end {
            builder = builder.ends_at(self.triggers.moment("--end", end)?);
        }
        if let Some(max) = policies.max_firings {
            builder = builder.max_firings(max);
        }
        if let Some(owner) = &job.owner {
            builder = builder.owner(owner.clone());
        }
        let settings = JobSettings {
            queue: job.queue.clone(),
            priority: job.priority,
            max_attempts: job.max_attempts,
            backoff: job.backoff,
            timeout: job.timeout,
        };
        Ok(settings.or_of(task).or_of_program(form).apply(builder).build()?)
    }

    /// The task, and the template of its arguments as JSON.
    fn task(&self, context: &Context) -> Result<(Kind, String), Error> {
        let kind = self.task.as_deref().unwrap_or(exec::KIND);
        let checked = Kind::new(kind)?;
        if !self.any_kind {
            context.check_kind(kind)?;
        }
        if self.command.is_empty() {
            let args = match &self.args {
                None => "null".to_owned(),
                Some(given) => {
                    let bytes = enqueue::text_of_flag(context, "--args", given, ARGS_BYTES_MAX)?;
                    taskwright_core::Args::from_json(bytes)?.as_str().to_owned()
                }
            };
            return Ok((checked, args));
        }
        let refused = match (kind, &self.args) {
            (exec::KIND, None) => None,
            (exec::KIND, Some(_)) => Some("--args together with a command"),
            _ => Some("a command after `--`"),
        };
        if let Some(what) = refused {
            let fix = "leave the command out, or `--task` and `--args`";
            return Err(Error::usage(what, "only `exec` takes a command, and without --args", fix));
        }
        let args = exec::ExecArgs {
            command: self.command.clone(),
            cwd: enqueue::directory(None)?.map(|cwd| cwd.replace('{', "{{").replace('}', "}}")),
            ..exec::ExecArgs::default()
        };
        args.check()?;
        let args = taskwright_core::Args::of(&args)?;
        Ok((checked, args.as_str().to_owned()))
    }
}

fn coalesce(triggers: &mut [Trigger], wanted: bool) -> Result<(), Error> {
    let mut events = 0;
    for trigger in triggers.iter_mut() {
        if let Trigger::Event(event) = trigger {
            event.coalesce = wanted;
            events += 1;
        }
    }
    if wanted && events == 0 {
        let why = "only events have keys by which they are merged, and no --event was given";
        return Err(Error::usage("--coalesce", why, "add an --event, or leave it out"));
    }
    Ok(())
}
