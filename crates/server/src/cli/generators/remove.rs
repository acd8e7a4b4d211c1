//! `generators remove`.

use clap::Args;
use serde_json::json;
use taskwright_core::GeneratorName;

use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::text;

/// Removes generators that no program brings any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators remove old-feed
  taskwright generators remove old-feed older-feed --yes

What is removed is how far it has come, and its counts. The jobs that it made stay
in their queue, and run on. A program that still brings it registers it anew at its
next start, from its beginning.")]
pub(super) struct Remove {
    /// The generators
    #[arg(required = true, value_name = "NAME")]
    names: Vec<GeneratorName>,
    /// Do it without a question
    #[arg(long, short)]
    yes: bool,
}

impl Remove {
    /// Each for itself: one that is unknown does not keep the others from what was asked. One that is not to be removed so does,
    /// before anything is.
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        for name in &self.names {
            crate::generator::check_removable(&context.config, &context.namespace_or_default(), name)?;
        }
        let (generators, namespace) = (super::client(context).await?, context.namespace_or_default());
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for name in &self.names {
            match generators.get(&namespace, name).await? {
                Some(view) => known.push((name, view.record.counts.outstanding())),
                None => unknown.push(super::unknown(context, name).await?),
            }
        }
        if !known.is_empty() && !self.yes {
            confirm(context, &known)?;
        }
        for (name, outstanding) in known {
            let removed = generators.remove(&namespace, name).await?;
            if context.output.is_json() {
                context
                    .output
                    .json(&json!({ "name": name, "removed": removed, "items_left": outstanding }))?;
            } else {
                let word = if removed { "removed" } else { "skipped  somebody has removed it" };
                context.output.line(format!("{name}  {word}"))?;
            }
        }
        if unknown.is_empty() {
            return Ok(Exit::Ok);
        }
        let reports = unknown.iter().flat_map(|error| error.reports().to_vec()).collect();
        Err(Error::several(Exit::Operational, reports))
    }
}

/// Asks, where somebody can answer; refuses where nobody can.
fn confirm(context: &Context, known: &[(&GeneratorName, u64)]) -> Result<(), Error> {
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let what = format!("remove {}", names.join(", "));
    let outstanding = known.iter().map(|(_, count)| *count).sum::<u64>();
    let items = text::count(usize::try_from(outstanding).unwrap_or(usize::MAX), "job");
    let refused = |why: &str| {
        Err(Error::usage(
            what.clone(),
            why,
            "look at them with `taskwright generators show NAME`, and pass --yes",
        ))
    };
    if !context.output.can_ask() {
        return refused(
            "how far they have come is lost, which needs a confirmation, and nobody is there to give it",
        );
    }
    let answer =
        context.ask(&format!("{what}, and forget how far they have come? {items} of theirs stay. [y/N] "))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { refused("it was not confirmed") }
}
