//! The schedules of the config file, registered when a process that fires them starts.

use taskwright::Client;
use taskwright::schedule::{Put, Registration};
use taskwright_core::{Schedule, ScheduleName};

use crate::cli::Context;
use crate::config::Config;
use crate::error::Error;
use crate::text;

/// Registers what the config file says, removes what it said before, and tells what that changed.
///
/// # Errors
///
/// When the store is out of order, or a newer program has registered one of them.
pub(super) async fn register(context: &Context, config: &Config) -> Result<(), Error> {
    of_the_program(context, config).await?;
    let Some(origin) = config.origin() else { return Ok(()) };
    let schedules = config.schedules.values().cloned();
    let client: Client = context.client_or_new().await?;
    let namespace = context.namespace_or_default();
    let done = client.schedules().register(&namespace, &origin, schedules).await?;
    for (name, what) in &done {
        tell(context, config, name, what);
    }
    context.warn_of_unknown_tasks_in(config);
    Ok(())
}

/// Registers the schedules that the program brings; one of the same name in the config file takes their place.
async fn of_the_program(context: &Context, config: &Config) -> Result<(), Error> {
    let is_ours = |schedule: &&Schedule| !config.schedules.contains_key(schedule.name.as_str());
    let schedules: Vec<Schedule> = context.app.schedules().iter().filter(is_ours).cloned().collect();
    if schedules.is_empty() {
        return Ok(());
    }
    let client = context.client_or_new().await?;
    let puts = context.app.register(&client.schedules(), &schedules).await?;
    for (schedule, put) in schedules.iter().zip(puts) {
        let (name, when) = (&schedule.name, text::one_line(&schedule.triggers.describe()));
        match put {
            Put::Registered => context.output.note(format!("schedule {name} registered: {when}")),
            Put::Changed => context.output.note(format!("schedule {name} changed: {when}")),
            Put::Unchanged => context.output.detail(format!("schedule {name} as before: {when}")),
        }
    }
    Ok(())
}

fn tell(context: &Context, config: &Config, name: &ScheduleName, what: &Registration) {
    let when = config.schedules.get(name.as_str());
    let when = when.map(|schedule| text::one_line(&schedule.triggers.describe())).unwrap_or_default();
    let ours = config.origin();
    match what {
        Registration::Registered => context.output.note(format!("schedule {name} registered: {when}")),
        Registration::Changed { before } if ours.as_ref() == Some(before) => {
            context.output.note(format!("schedule {name} changed: {when}"));
        }
        Registration::Changed { before } => {
            context.output.note(format!("schedule {name} changed, and no longer from {before}: {when}"));
        }
        Registration::Unchanged => context.output.detail(format!("schedule {name} as before: {when}")),
        Registration::Removed => {
            context
                .output
                .note(format!("schedule {name} removed: the config file does not have it any more"));
        }
    }
}
