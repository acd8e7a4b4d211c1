//! The schedules of the config file, registered when a process that fires them starts.

use taskwright::Client;
use taskwright::schedule::Registration;
use taskwright_core::ScheduleName;

use crate::cli::Context;
use crate::error::Error;
use crate::text;

/// Registers what the config file says, removes what it said before, and tells what that changed.
///
/// # Errors
///
/// When the store is out of order, or a newer program has registered one of them.
pub(super) async fn register(context: &Context) -> Result<(), Error> {
    let Some(origin) = context.config.origin() else { return Ok(()) };
    let schedules = context.config.schedules.values().cloned();
    let client: Client = context.client_or_new().await?;
    let namespace = context.namespace_or_default();
    let done = client.schedules().register(&namespace, &origin, schedules).await?;
    for (name, what) in &done {
        tell(context, name, what);
    }
    context.warn_of_unknown_tasks();
    Ok(())
}

fn tell(context: &Context, name: &ScheduleName, what: &Registration) {
    let when = context.config.schedules.get(name.as_str());
    let when = when.map(|schedule| text::one_line(&schedule.triggers.describe())).unwrap_or_default();
    let ours = context.config.origin();
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
