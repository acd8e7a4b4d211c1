//! `schedules`: look at schedules, add them, pause, resume, fire and remove them.

use clap::{Args, Subcommand};
use taskwright::schedule::{ScheduleView, Schedules as Client};
use taskwright_core::schedule::Origin;
use taskwright_core::{Schedule, ScheduleName};

use super::Context;
use crate::error::{Error, Exit, nearest};

mod add;
mod change;
mod flags;
mod history;
mod list;
mod next;
mod show;

pub(super) use self::history::first_after;

/// Looks at schedules and changes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules add tick --every 10s -- date
  taskwright schedules list
  taskwright schedules next tick")]
pub(super) struct Schedules {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a schedule, or change it
    Add(Box<add::Add>),
    /// List the schedules
    List(list::List),
    /// Show everything about a schedule
    Show(show::Show),
    /// Print when a schedule, or an expression, is due next
    Next(next::Next),
    /// Print what a schedule fired and skipped, the newest first
    History(history::History),
    /// Let schedules rest until they are resumed
    Pause(change::Pause),
    /// Let schedules go on, with what is due after now
    Resume(change::Resume),
    /// Make a job of a schedule now, and print its id
    Fire(change::Fire),
    /// Remove schedules; their jobs stay
    Remove(change::Remove),
}

impl Schedules {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Add(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Show(verb) => verb.run(context).await,
            Verb::Next(verb) => verb.run(context).await,
            Verb::History(verb) => verb.run(context).await,
            Verb::Pause(verb) => verb.run(context).await,
            Verb::Resume(verb) => verb.run(context).await,
            Verb::Fire(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
        }
    }
}

/// The schedules of the store, which must exist.
pub(super) async fn client(context: &Context) -> Result<Client, Error> {
    Ok(context.client().await?.schedules())
}

/// A schedule that is registered; otherwise an error that says what there is.
pub(super) async fn found(context: &Context, name: &ScheduleName) -> Result<ScheduleView, Error> {
    let client = client(context).await?;
    match client.get(&context.namespace_or_default(), name).await? {
        Some(view) => Ok(view),
        None => Err(unknown(context, name).await?),
    }
}

/// What is to be said about a schedule that is not registered.
async fn unknown(context: &Context, name: &ScheduleName) -> Result<Error, Error> {
    /// Of how many schedules one is sought that is called alike.
    const NAMES: usize = 1_000;
    let what = format!("the schedule {name}");
    if context.config.schedules.contains_key(name.as_str())
        && let Some(file) = &context.config.file
    {
        let why = format!("{} has it, and it is not registered yet", file.display());
        return Ok(Error::operational(what, why, "start `taskwright up`, which registers it"));
    }
    let namespace = context.namespace_or_default();
    let stored = context.store().await?.schedules(Some(namespace.clone()), None, NAMES).await?;
    let names: Vec<&str> = stored.iter().map(|stored| stored.name.as_str()).collect();
    let fix = match nearest(name.as_str(), names) {
        Some(meant) => format!("write `{meant}`, if that is what you meant"),
        None => "see them all with `taskwright schedules list`".to_owned(),
    };
    let why = match context.namespace {
        Some(_) => format!("there is no such schedule in the namespace {namespace}"),
        None => "there is no such schedule".to_owned(),
    };
    Ok(Error::operational(what, why, fix))
}

/// The schedule of the config file as `up` would register it.
fn configured(context: &Context, name: &str) -> Option<Schedule> {
    let mut schedule = context.config.schedules.get(name)?.clone();
    schedule.namespace = context.namespace_or_default();
    schedule.origin = context.config.origin()?;
    Some(schedule)
}

/// Warns whoever changes what a config file brings.
fn note_config(context: &Context, name: &ScheduleName, origin: &Origin, then: &str) {
    if let Origin::Config { file } = origin {
        context.output.note(format!("{file} has {name}: the next start of `up` {then}"));
    }
}

/// The schedule of the config file, if it is only there.
async fn only_configured(context: &Context, name: &ScheduleName) -> Result<Option<Schedule>, Error> {
    let Some(schedule) = configured(context, name.as_str()) else { return Ok(None) };
    if !context.has_store().await? {
        return Ok(Some(schedule));
    }
    let stored = context.store().await?.schedule(schedule.namespace.clone(), name.clone()).await?;
    Ok(stored.is_none().then_some(schedule))
}
