//! `schedules pause`, `resume`, `fire` and `remove`.

use ::http::Method;
use clap::Args;
use taskwright_core::ScheduleName;
use taskwright_core::trigger::read_moment;

use crate::answer::schedule::{Made, Removed, Switched};
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::remote::{self, Remote};

/// Lets schedules rest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules pause tick report

It lasts through restarts and changes. What is due meanwhile is skipped.")]
pub(super) struct Pause {
    #[command(flatten)]
    named: Named,
}

/// Lets schedules go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskwright schedules resume tick report")]
pub(super) struct Resume {
    #[command(flatten)]
    named: Named,
}

/// Makes a job of a schedule now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules fire report
  taskwright schedules fire report --at 2026-11-24T08:00:00Z

Neither pause nor overlap nor the window is asked, and its next times stay.")]
pub(super) struct Fire {
    /// The schedule
    name: ScheduleName,
    /// The due time that the job is told [default: now]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at: Option<String>,
}

/// Removes schedules.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskwright schedules remove tick")]
pub(super) struct Remove {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
struct Named {
    /// The schedules
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ScheduleName>,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        switch(context, &self.named.names, true).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        switch(context, &self.named.names, false).await
    }
}

/// Each for itself: one that is unknown does not keep the others from what was asked.
async fn switch(context: &Context, names: &[ScheduleName], paused: bool) -> Result<Exit, Error> {
    let schedules = super::client(context).await?;
    let namespace = context.namespace_or_default();
    let mut unknown = Vec::new();
    for name in names {
        let changed = match paused {
            true => schedules.pause(&namespace, name).await,
            false => schedules.resume(&namespace, name).await,
        };
        match changed {
            Err(error) if error.is_not_found() => unknown.push(super::unknown(context, name).await?),
            changed => tell(context, name, paused, changed?)?,
        }
        let view = schedules.get(&namespace, name).await?;
        if !paused && view.is_some_and(|view| !view.schedule.enabled) {
            context
                .output
                .note(format!("{name} is not enabled: it does not fire until its definition says so"));
        }
    }
    end(&unknown)
}

fn tell(context: &Context, name: &ScheduleName, paused: bool, changed: bool) -> Result<(), Error> {
    if context.output.is_json() {
        return context.output.json(&Switched { changed, name: name.clone(), paused });
    }
    let word = match (paused, changed) {
        (true, true) => "paused",
        (false, true) => "resumed",
        (true, false) => "skipped  it is paused already",
        (false, false) => "skipped  it is not paused",
    };
    context.output.line(format!("{name}  {word}"))
}

fn end(unknown: &[Error]) -> Result<Exit, Error> {
    if unknown.is_empty() {
        return Ok(Exit::Ok);
    }
    let reports = unknown.iter().flat_map(|error| error.reports().to_vec()).collect();
    Err(Error::several(Exit::Operational, reports))
}

impl Fire {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if let Some(server) = context.server() {
            return self.ask(context, server).await;
        }
        let view = super::found(context, &self.name).await?;
        let zone = view.schedule.triggers.iter().find_map(|named| named.trigger.zone());
        let at = self.at.as_deref().map(|text| read_moment(text, zone)).transpose();
        let at = at.map_err(|error| Error::from(error).about("--at"))?;
        let fired = super::client(context).await?.fire(&view.schedule.namespace, &self.name, at).await;
        let job = match fired {
            Err(error) if error.is_not_found() => return Err(super::unknown(context, &self.name).await?),
            job => job?,
        };
        if context.output.is_json() {
            context.output.json(&Made { id: job, schedule: self.name })?;
        } else {
            context.output.line(job.to_string())?;
        }
        Ok(Exit::Ok)
    }
}

impl Fire {
    /// The same over HTTP: it is the server that makes the job, and its id.
    async fn ask(self, context: &Context, server: &Remote) -> Result<Exit, Error> {
        let path = format!("/api/v1/schedules/{}/fire", remote::segment(self.name.as_str()));
        let (namespace, at) = (context.namespace_or_default(), serde_json::json!({ "at": self.at }));
        let asked = server.ask(Method::POST, &path, Some(&namespace), &remote::NOTHING, Some(&at), &[]);
        let Some(made): Option<Made> = asked.await? else {
            return Err(super::unknown(context, &self.name).await?);
        };
        match context.output.is_json() {
            true => context.output.json(&made)?,
            false => context.output.line(made.id.to_string())?,
        }
        Ok(Exit::Ok)
    }
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let schedules = super::client(context).await?;
        let namespace = context.namespace_or_default();
        let mut unknown = Vec::new();
        for name in &self.named.names {
            // One that is not understood here can be removed all the same.
            let before = schedules.get(&namespace, name).await.ok().flatten();
            if !schedules.remove(&namespace, name).await? {
                unknown.push(super::unknown(context, name).await?);
                continue;
            }
            if context.output.is_json() {
                context.output.json(&Removed { name: name.clone(), removed: true })?;
            } else {
                context.output.line(format!("{name}  removed"))?;
            }
            if let Some(before) = before {
                super::note_config(context, name, &before.schedule.origin, "registers it again");
            }
        }
        end(&unknown)
    }
}
