//! `generators`: look at generators, pause, resume, notify and remove them, and deal with their dead letters.

use clap::{Args, Subcommand};
use serde::Serialize;
use taskwright::generator::{Counts, GeneratorView, Generators as Client};
use taskwright_core::{GeneratorName, Namespace, Timestamp};

use super::Context;
use crate::error::{Error, Exit, nearest};
use crate::output::Paint;

mod change;
mod dead;
mod list;
mod remove;
mod show;

/// Looks at generators and changes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators list
  taskwright generators show invoices
  taskwright generators dead invoices

A generator makes its jobs when there is room for them, in the queue
generator:NAME. Programs bring them; see `Generators` in the guide.")]
pub(super) struct Generators {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the generators
    List(list::List),
    /// Show everything about a generator
    Show(show::Show),
    /// Let generators rest until they are resumed
    Pause(change::Pause),
    /// Let generators go on, and forgive their errors
    Resume(change::Resume),
    /// Have generators asked at once, whatever they said
    Poll(change::Poll),
    /// List the dead letters of a generator, items that failed for good; or run them again, or drop them
    Dead(dead::Dead),
    /// Remove generators that no program brings any more
    Remove(remove::Remove),
}

impl Generators {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List(verb) => verb.run(context).await,
            Verb::Show(verb) => verb.run(context).await,
            Verb::Pause(verb) => verb.run(context).await,
            Verb::Resume(verb) => verb.run(context).await,
            Verb::Poll(verb) => verb.run(context).await,
            Verb::Dead(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
        }
    }
}

/// The generators of the store, which must exist.
async fn client(context: &Context) -> Result<Client, Error> {
    Ok(context.client().await?.generators())
}

/// A generator that is registered; otherwise an error that says what there is.
async fn found(context: &Context, name: &GeneratorName) -> Result<GeneratorView, Error> {
    match client(context).await?.get(&context.namespace_or_default(), name).await? {
        Some(view) => Ok(view),
        None => Err(unknown(context, name).await?),
    }
}

/// What is to be said about a generator that is not registered.
async fn unknown(context: &Context, name: &GeneratorName) -> Result<Error, Error> {
    /// Of how many generators one is sought that is called alike.
    const NAMES: usize = 1_000;
    let namespace = context.namespace_or_default();
    let stored = context.store().await?.generators(Some(namespace.clone()), None, NAMES).await?;
    let names: Vec<&str> = stored.iter().map(|stored| stored.name.as_str()).collect();
    let fix = match nearest(name.as_str(), names) {
        Some(meant) => format!("write `{meant}`, if that is what you meant"),
        None => {
            "see them all with `taskwright generators list`; programs register theirs when they start".into()
        }
    };
    let why = match context.namespace {
        Some(_) => format!("there is no such generator in the namespace {namespace}"),
        None => "there is no such generator".to_owned(),
    };
    Ok(Error::operational(format!("the generator {name}"), why, fix))
}

/// How a generator is, in a word, and its colour.
fn status(view: &GeneratorView) -> (&'static str, Paint) {
    let record = &view.record;
    if record.paused.is_some() {
        ("paused", Paint::Warn)
    } else if record.failures > 0 {
        ("failing", Paint::Bad)
    } else if record.counts.outstanding() >= u64::from(view.definition.window) {
        ("full", Paint::Good)
    } else {
        ("on", Paint::Good)
    }
}

/// When it is asked next, as far as its own word goes; `None` while it rests, or until it is notified.
fn next_poll(view: &GeneratorView) -> Option<Timestamp> {
    view.record.poll_at.filter(|_| view.record.paused.is_none())
}

/// A generator as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a GeneratorName,
    namespace: &'a Namespace,
    status: &'a str,
    window: u32,
    outstanding: u64,
    #[serde(flatten)]
    counts: &'a Counts,
    failures: u32,
    error: Option<&'a str>,
    next_poll: Option<Timestamp>,
    last_poll: Option<Timestamp>,
    last_found: Option<Timestamp>,
}

impl<'a> Listed<'a> {
    fn of(view: &'a GeneratorView) -> Self {
        let (definition, record) = (&view.definition, &view.record);
        Self {
            name: &definition.name,
            namespace: &definition.namespace,
            status: status(view).0,
            window: definition.window,
            outstanding: record.counts.outstanding(),
            counts: &record.counts,
            failures: record.failures,
            error: record.last_error.as_deref(),
            next_poll: next_poll(view),
            last_poll: record.last_poll,
            last_found: record.last_found,
        }
    }
}
