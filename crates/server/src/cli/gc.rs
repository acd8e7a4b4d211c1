//! `gc`: what is removed when it is old enough, how long it is kept, and removing it by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use taskwright::generator::{Collectors, Keep};
use taskwright_core::audit::Behalf;
use taskwright_core::{Garbage, Principal};

use super::{Context, value};
use crate::answer::gc::{Listed, Removed, WouldGo};
use crate::error::{Error, Exit};
use crate::http::gc;
use crate::output::{Column, Paint, Table};
use crate::remote::{NO_BODY, NOTHING, Remote};
use crate::text;

/// Looks at what is removed when it is old, and how long it is kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright gc list
  taskwright gc set completed --keep 3d
  taskwright gc run completed --dry-run

Each sort has a collector, a generator called gc:NAME, which `up` asks now and
then; it can be paused and polled as any generator.")]
pub(super) struct Gc {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is removed, and how long it is kept
    #[command(after_help = "Examples:\n  taskwright gc list\n  taskwright gc list --json")]
    List,
    /// Show everything about some of it
    #[command(after_help = "Examples:\n  taskwright gc show completed")]
    Show(Named),
    /// Set how long it is kept, whatever the config files of the nodes say
    Set(Set),
    /// Remove what is old enough, now and here
    Run(Run),
}

#[derive(Debug, Args)]
struct Named {
    /// What: completed, failed, cancelled, dropped, consumed, firings, events, deliveries, sources, workers, minutes, hours, audit
    #[arg(required = true, value_name = "WHAT")]
    garbage: Vec<Garbage>,
}

/// Sets a retention.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright gc set completed --keep 3d
  taskwright gc set failed --forever
  taskwright gc set completed --default

It holds on every node at once, and through restarts, until --default.")]
struct Set {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// For this long
    #[arg(long, value_name = "D", value_parser = value::duration)]
    keep: Option<Duration>,
    /// For ever
    #[arg(long)]
    forever: bool,
    /// For as long as the config file says
    #[arg(long)]
    default: bool,
}

/// Removes what is old enough.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright gc run completed --dry-run
  taskwright gc run completed failed

While another node is at it, it is waited for. A dry run counts up to 10,000,
and with --json it names up to 1,000 jobs.")]
struct Run {
    #[command(flatten)]
    named: Named,
    /// Remove nothing, tell what would go
    #[arg(long)]
    dry_run: bool,
}

const COLUMNS: [Column; 6] = [
    Column::new("what", 0),
    Column::new("kept", 0),
    Column::new("state", 1),
    Column::new("removed", 2).right(),
    Column::new("looks", 3),
    Column::new("trouble", 0).cut(),
];

impl Gc {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List => list(context).await?,
            Verb::Show(named) => {
                for garbage in named.garbage {
                    show(context, &one(context, garbage).await?)?;
                }
            }
            Verb::Set(verb) => verb.run(context).await?,
            Verb::Run(verb) => verb.run(context).await?,
        }
        context.output.flush()?;
        Ok(Exit::Ok)
    }
}

async fn collectors(context: &Context) -> Result<Collectors, Error> {
    Ok(context.client().await?.collectors(context.config.retention))
}

/// Where a server has a collector.
fn path(garbage: Garbage) -> String {
    format!("/api/v1/gc/{garbage}")
}

/// One collector as it is.
async fn one(context: &Context, garbage: Garbage) -> Result<Listed, Error> {
    match context.server() {
        Some(server) => asked(server, Method::GET, &path(garbage), NO_BODY).await,
        None => Ok(Listed::of(&collectors(context).await?.get(garbage).await?)),
    }
}

/// What a server answers, which has to have that.
async fn asked<T: DeserializeOwned>(
    server: &Remote,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, Error> {
    let told = server.ask(method, path, None, &NOTHING, body, &[]).await?;
    Ok(told.ok_or_else(|| server.lacks(path))?)
}

async fn list(context: &Context) -> Result<(), Error> {
    let all: Vec<Listed> = match context.server() {
        Some(server) => server.items("/api/v1/gc", None).await?,
        None => collectors(context).await?.list().await?.iter().map(Listed::of).collect(),
    };
    if context.output.is_json() {
        return all.iter().try_for_each(|one| context.output.json(one));
    }
    let now = context.env.now();
    let mut table = Table::new(&COLUMNS);
    for one in &all {
        let plain = |text: String| (text, Paint::Plain);
        table.row(vec![
            plain(one.what.to_string()),
            plain(kept(one.keep_s)),
            (text::one_line(&one.status), paint(&one.status)),
            plain(one.removed.to_string()),
            plain(one.looks_at.map(|at| text::relative(at, now)).unwrap_or_default()),
            (one.error.as_deref().map(text::one_line).unwrap_or_default(), Paint::Bad),
        ]);
    }
    context.output.table(&mut table)
}

fn show(context: &Context, one: &Listed) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        return output.json(one);
    }
    let now = context.env.now();
    let fact = |name: &str, value: String| {
        output.line(format!("{} {value}", output.paint(&format!("{name:<10}"), Paint::Faint)))
    };
    output.line(format!(
        "{}  {}",
        one.what,
        output.paint(&text::one_line(&one.status), paint(&one.status))
    ))?;
    fact("what", one.what.noun().to_owned())?;
    let by = if one.is_set { "set here" } else { "by the config file" };
    fact("kept", format!("{}, {by}", kept(one.keep_s)))?;
    fact("default", kept(Some(one.default_s)))?;
    if one.least_s > 0 {
        fact("at least", kept(Some(one.least_s)))?;
    }
    fact("removed", one.removed.to_string())?;
    fact("generator", text::one_line(&one.generator))?;
    if let Some(at) = one.looks_at {
        fact("looks", text::full(at, now))?;
    }
    Ok(())
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Error> {
        let keep = match (self.to.keep, self.to.forever) {
            (Some(keep), _) => Some(Keep::For(keep)),
            (None, true) => Some(Keep::Forever),
            (None, false) => None,
        };
        // All or none: what is refused is refused before anything is set.
        for garbage in &self.named.garbage {
            keep.map_or(Ok(()), |keep| garbage.check(keep.duration()))?;
        }
        for garbage in self.named.garbage {
            let set = match context.server() {
                Some(server) => {
                    let keep = match keep {
                        None => gc::DEFAULT.to_owned(),
                        Some(Keep::Forever) => gc::FOREVER.to_owned(),
                        Some(Keep::For(keep)) => format!("{}us", keep.as_micros()),
                    };
                    asked(server, Method::PUT, &path(garbage), Some(&gc::Retention { keep })).await?
                }
                None => {
                    let principal = Principal::local(super::context::actor(None));
                    let behalf =
                        Behalf::of(&principal, context.env.now(), "gc.set", &gc::deed(garbage, keep));
                    let client = context.client().await?.on_behalf_of(behalf);
                    let collectors = client.collectors(context.config.retention);
                    collectors.set(garbage, keep).await?;
                    Listed::of(&collectors.get(garbage).await?)
                }
            };
            if context.output.is_json() {
                context.output.json(&set)?;
            } else {
                context.output.line(format!("{garbage}  kept {}", kept(set.keep_s)))?;
            }
        }
        Ok(())
    }
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Error> {
        for garbage in self.named.garbage {
            if self.dry_run {
                let found: WouldGo = match context.server() {
                    Some(server) => {
                        asked(server, Method::GET, &format!("{}/dry-run", path(garbage)), NO_BODY).await?
                    }
                    None => {
                        let found = collectors(context).await?.dry_run(garbage, gc::DRY_RUN_MAX).await?;
                        WouldGo::of(garbage, found)
                    }
                };
                if context.output.is_json() {
                    context.output.json(&found)?;
                } else {
                    let or_more = if found.is_cut { " or more" } else { "" };
                    context.output.line(format!("{garbage}  {}{or_more} would go", found.would_go))?;
                }
                continue;
            }
            let removed = match context.server() {
                Some(server) => run_there(context, server, garbage).await?,
                None => collectors(context).await?.run(garbage).await?,
            };
            if context.output.is_json() {
                context.output.json(&json!({ "what": garbage, "removed": removed }))?;
            } else {
                context.output.line(format!("{garbage}  {removed} removed"))?;
            }
        }
        Ok(())
    }
}

/// Has a server remove what is old enough, some seconds at a time.
async fn run_there(context: &Context, server: &Remote, garbage: Garbage) -> Result<u64, Error> {
    /// How long another node is waited for that is at it all the time.
    const PATIENCE_US: u64 = 60_000_000;
    let path = format!("{}/run", path(garbage));
    let (mut all, mut waited_us) = (0, context.env.monotonic_us());
    loop {
        let Removed { removed, more, .. } = asked(server, Method::POST, &path, NO_BODY).await?;
        all += removed;
        if !more {
            return Ok(all);
        }
        if removed > 0 {
            waited_us = context.env.monotonic_us();
        } else if context.env.monotonic_us() - waited_us > PATIENCE_US {
            return Err(Error::operational(
                format!("the collector {}", garbage.collector()),
                "other nodes were at it all the time",
                "try again",
            ));
        }
    }
}

fn kept(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "for ever".to_owned(), |seconds| text::duration(Duration::from_secs(seconds)))
}

/// The colour of how a collector is.
fn paint(status: &str) -> Paint {
    match status {
        "paused" => Paint::Warn,
        "failing" => Paint::Bad,
        "at it" => Paint::Busy,
        "on" => Paint::Good,
        _ => Paint::Faint,
    }
}
