//! `gc`: what is removed when it is old enough, how long it is kept, and removing it by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use taskwright::generator::{CollectorView, Collectors, Keep};
use taskwright_core::{Garbage, Timestamp};

use super::{Context, value};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
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

/// A dry run counts up to here.
const DRY_RUN_MAX: usize = 10_000;

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
                let collectors = collectors(context).await?;
                for garbage in named.garbage {
                    show(context, &collectors.get(garbage).await?)?;
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

async fn list(context: &Context) -> Result<(), Error> {
    let views = collectors(context).await?.list().await?;
    if context.output.is_json() {
        return views.iter().try_for_each(|view| context.output.json(&Listed::of(view)));
    }
    let now = context.env.now();
    let mut table = Table::new(&COLUMNS);
    for view in &views {
        let plain = |text: String| (text, Paint::Plain);
        let (word, paint) = status(view);
        let trouble = view.generator.as_ref().and_then(|view| view.record.last_error.clone());
        table.row(vec![
            plain(view.garbage.to_string()),
            plain(kept(view.keep)),
            (word.to_owned(), paint),
            plain(view.removed.to_string()),
            plain(next(view).map(|at| text::relative(at, now)).unwrap_or_default()),
            (trouble.map(|trouble| text::one_line(&trouble)).unwrap_or_default(), Paint::Bad),
        ]);
    }
    context.output.table(&mut table)
}

fn show(context: &Context, view: &CollectorView) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        return output.json(&Listed::of(view));
    }
    let now = context.env.now();
    let fact = |name: &str, value: String| {
        output.line(format!("{} {value}", output.paint(&format!("{name:<10}"), Paint::Faint)))
    };
    let (word, paint) = status(view);
    let garbage = view.garbage;
    output.line(format!("{garbage}  {}", output.paint(word, paint)))?;
    fact("what", garbage.noun().to_owned())?;
    let by = if view.set.is_some() { "set here" } else { "by the config file" };
    fact("kept", format!("{}, {by}", kept(view.keep)))?;
    fact("default", text::duration(garbage.kept_by_default()))?;
    if garbage.kept_at_least() > Duration::ZERO {
        fact("at least", text::duration(garbage.kept_at_least()))?;
    }
    fact("removed", view.removed.to_string())?;
    fact("generator", garbage.collector().to_string())?;
    if let Some(at) = next(view) {
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
        let collectors = collectors(context).await?;
        for garbage in self.named.garbage {
            collectors.set(garbage, keep).await?;
            let view = collectors.get(garbage).await?;
            if context.output.is_json() {
                context.output.json(&Listed::of(&view))?;
            } else {
                context.output.line(format!("{garbage}  kept {}", kept(view.keep)))?;
            }
        }
        Ok(())
    }
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Error> {
        let collectors = collectors(context).await?;
        for garbage in self.named.garbage {
            if self.dry_run {
                let found = collectors.dry_run(garbage, DRY_RUN_MAX).await?;
                if context.output.is_json() {
                    context.output.json(&json!({
                        "what": garbage, "would_go": found.rows, "is_cut": found.is_cut, "jobs": found.jobs,
                    }))?;
                } else {
                    let or_more = if found.is_cut { " or more" } else { "" };
                    context.output.line(format!("{garbage}  {}{or_more} would go", found.rows))?;
                }
                continue;
            }
            let removed = collectors.run(garbage).await?;
            if context.output.is_json() {
                context.output.json(&json!({ "what": garbage, "removed": removed }))?;
            } else {
                context.output.line(format!("{garbage}  {removed} removed"))?;
            }
        }
        Ok(())
    }
}

fn kept(keep: Option<Duration>) -> String {
    keep.map_or_else(|| "for ever".to_owned(), text::duration)
}

/// How a collector is, in a word, and its colour.
fn status(view: &CollectorView) -> (&'static str, Paint) {
    match view.generator.as_ref().map(|view| &view.record) {
        None => ("unknown", Paint::Faint),
        Some(record) if record.paused.is_some() => ("paused", Paint::Warn),
        Some(record) if record.failures > 0 => ("failing", Paint::Bad),
        Some(_) if view.more => ("at it", Paint::Busy),
        Some(_) => ("on", Paint::Good),
    }
}

fn next(view: &CollectorView) -> Option<Timestamp> {
    let record = view.generator.as_ref().map(|view| &view.record)?;
    record.poll_at.filter(|_| record.paused.is_none())
}

/// A collector as JSON.
#[derive(Serialize)]
struct Listed {
    what: Garbage,
    generator: String,
    status: &'static str,
    /// `null` is for ever.
    keep_s: Option<u64>,
    is_set: bool,
    default_s: u64,
    least_s: u64,
    removed: u64,
    looks_at: Option<Timestamp>,
    looked_at: Option<Timestamp>,
    error: Option<String>,
}

impl Listed {
    fn of(view: &CollectorView) -> Self {
        let record = view.generator.as_ref().map(|view| &view.record);
        Self {
            what: view.garbage,
            generator: view.garbage.collector().to_string(),
            status: status(view).0,
            keep_s: view.keep.map(|keep| keep.as_secs()),
            is_set: view.set.is_some(),
            default_s: view.garbage.kept_by_default().as_secs(),
            least_s: view.garbage.kept_at_least().as_secs(),
            removed: view.removed,
            looks_at: next(view),
            looked_at: record.and_then(|record| record.last_poll),
            error: record.and_then(|record| record.last_error.clone()),
        }
    }
}
