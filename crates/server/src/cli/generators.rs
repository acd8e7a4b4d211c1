//! `generators`: look at generators, pause, resume, notify and remove them, and deal with their dead letters.

use clap::{Args, Subcommand};
use taskwright::generator::{GeneratorView, Generators as Client};
use taskwright_core::GeneratorName;

use super::Context;
use crate::answer::generator as answer;
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
    let word = answer::status(view);
    let paint = match word {
        "paused" => Paint::Warn,
        "failing" => Paint::Bad,
        _ => Paint::Good,
    };
    (word, paint)
}
