//! `jobs comment`.

use clap::Args;
use serde_json::json;
use taskwright_core::audit::Behalf;
use taskwright_core::limit::{COMMENT_BYTES_MAX, check_comment};
use taskwright_core::{Actor, JobId, Principal};

use crate::cli::{Context, context, select};
use crate::error::{Error, Exit};

/// Comments on a job.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs comment ID 'the customer knows'
  taskwright jobs comment ID -

Whoever looks at the job sees it, with the time and the name. `-` reads the text
from standard input. It stays for as long as the job does.")]
pub(super) struct Comment {
    /// The job
    id: JobId,
    /// What is to be said, or `-`
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Who says it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

impl Comment {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let Self { id, text, actor } = self;
        let text = if text == "-" { read(context)? } else { text };
        check_comment(&text)?;
        let client = context.client().await?;
        // A job of another namespace than the one that was asked for is as one that is not there.
        let job = client.job(id).await?.filter(|job| {
            context.namespace.as_ref().is_none_or(|namespace| *namespace == job.view.namespace)
        });
        let Some(job) = job else { return Err(select::unknown(&[id])) };
        let principal = Principal::local(context::actor(actor.as_ref()));
        let behalf = Behalf::of(&principal, context.env.now(), "jobs.comment", &id.to_string())
            .within(job.view.namespace);
        if !client.on_behalf_of(behalf).comment(id, principal.name, &text).await? {
            return Err(select::unknown(&[id]));
        }
        if context.output.is_json() {
            context.output.json(&json!({ "id": id, "commented": true }))?;
        } else {
            context.output.line(format!("{id}  commented"))?;
        }
        Ok(Exit::Ok)
    }
}

/// Reads the text from standard input, without the end of its last line.
fn read(context: &Context) -> Result<String, Error> {
    let mut text = String::new();
    // One byte more than there may be, and the end of a line, so that a longer text is noticed.
    let most = COMMENT_BYTES_MAX as u64 + 3;
    let read = context
        .with_input(|input| std::io::Read::read_to_string(&mut std::io::Read::take(input, most), &mut text));
    read.map_err(|error| Error::file("reading", "the comment", &error))?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}
