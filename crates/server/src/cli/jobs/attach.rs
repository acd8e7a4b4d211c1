//! `jobs attach` and `jobs attachments`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use taskwright::Client;
use taskwright_core::audit::Behalf;
use taskwright_core::limit::ATTACHMENT_BYTES_MAX;
use taskwright_core::{Actor, Attachment, AttachmentName, JobId, Namespace, Principal};
use taskwright_store::Attached;

use crate::answer::attachment::{Added, Listed};
use crate::cli::{Context, context, select};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Attaches files to a held job.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs attach ID rows.csv
  taskwright jobs attach ID rows.csv=/data/2026-11.csv photo.png
  taskwright jobs release ID

For jobs of `enqueue --hold`, until they are released: up to 16 files of
16 MiB each, 64 MiB in all. A command finds them in the directory
$TASKWRIGHT_ATTACHMENTS, by their names. The same name again takes the place
of the first.")]
pub(super) struct Attach {
    /// The job
    id: JobId,
    /// A file, called as it is or by NAME
    #[arg(required = true, value_name = "[NAME=]FILE")]
    files: Vec<String>,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

impl Attach {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let files = self.files.iter().map(|given| read(given)).collect::<Result<Vec<_>, _>>()?;
        let client = context.client().await?;
        let namespace = namespace_of(context, &client, self.id).await?;
        for file in files {
            let added =
                attach(context, &client, self.actor.as_ref(), namespace.clone(), self.id, file).await?;
            if context.output.is_json() {
                context.output.json(&added)?;
            } else {
                let Added { id, name, bytes, sha256 } = added;
                context.output.line(format!("{id}  {name}  {bytes} bytes  {sha256}"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// The namespace of a job; one of another namespace than the one that was asked for is as one that is not there.
async fn namespace_of(context: &Context, client: &Client, id: JobId) -> Result<Namespace, Error> {
    let job = client.job(id).await?.map(|job| job.view.namespace);
    let is_asked_for =
        |namespace: &Namespace| context.namespace.as_ref().is_none_or(|asked| asked == namespace);
    job.filter(is_asked_for).ok_or_else(|| select::unknown(&[id]))
}

/// Reads a file that is to be attached: `FILE`, or `NAME=FILE`.
pub(in crate::cli) fn read(given: &str) -> Result<Attachment, Error> {
    let (name, path) = match given.split_once('=') {
        Some((name, path)) => (name.to_owned(), Path::new(path)),
        None => {
            let path = Path::new(given);
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path)
        }
    };
    let name = AttachmentName::new(&name)?;
    let mut bytes = Vec::new();
    // One byte more than allowed shows that it is too large, and a file that never ends cannot fill the memory.
    let most = ATTACHMENT_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| Error::file("reading", &path.display().to_string(), &error))?;
    Ok(Attachment::new(name, bytes)?)
}

/// Attaches something to a job on behalf of whoever types.
pub(in crate::cli) async fn attach(
    context: &Context,
    client: &Client,
    actor: Option<&Actor>,
    namespace: Namespace,
    id: JobId,
    attachment: Attachment,
) -> Result<Added, Error> {
    let principal = Principal::local(context::actor(actor));
    let added = Added::of(id, &attachment);
    let object = format!("{id} {}", added.name);
    let behalf = Behalf::of(&principal, context.env.now(), "jobs.attach", &object).within(namespace);
    match client.on_behalf_of(behalf).attach(id, attachment).await? {
        Attached::Done => Ok(added),
        Attached::Unknown => Err(select::unknown(&[id])),
        Attached::NotHeld(state) => Err(Error::usage(
            format!("the job {id}"),
            format!("it is {state}, and only a held job takes attachments"),
            "enqueue one with --hold, attach what it needs, and release it then; or use `enqueue --attach FILE`",
        )),
    }
}

/// Shows what is attached to a job.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs attachments ID
  taskwright jobs attachments ID rows.csv > rows.csv
  taskwright jobs attachments ID rows.csv --output rows.csv")]
pub(super) struct Attachments {
    /// The job
    id: JobId,
    /// Print this one, as it is
    name: Option<AttachmentName>,
    /// Write it to this file instead
    #[arg(long, value_name = "FILE", requires = "name")]
    output: Option<PathBuf>,
}

impl Attachments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let client = context.client().await?;
        namespace_of(context, &client, self.id).await?;
        match &self.name {
            Some(name) => self.print(context, &client, name).await,
            None => self.list(context, &client).await,
        }
    }

    async fn print(&self, context: &Context, client: &Client, name: &AttachmentName) -> Result<Exit, Error> {
        let bytes = client.attachment(self.id, name).await?.ok_or_else(|| {
            let fix = format!("`taskwright jobs attachments {}` lists what there is", self.id);
            Error::usage(format!("the attachment {name}"), "the job has none of that name", fix)
        })?;
        match &self.output {
            Some(path) => std::fs::write(path, bytes)
                .map_err(|error| Error::file("writing", &path.display().to_string(), &error))?,
            None => {
                context.output.bytes(&bytes)?;
                context.output.flush()?;
            }
        }
        Ok(Exit::Ok)
    }

    async fn list(&self, context: &Context, client: &Client) -> Result<Exit, Error> {
        let views = client.attachments(self.id).await?;
        if context.output.is_json() {
            views.iter().try_for_each(|view| context.output.json(&Listed::of(view)))?;
            return Ok(Exit::Ok);
        }
        if views.is_empty() {
            context.output.note("nothing is attached to it");
            return Ok(Exit::Ok);
        }
        let columns = [("name", false), ("bytes", true), ("sha256", false), ("attached", true)].map(
            |(name, is_right)| {
                let column = Column::new(name, 0);
                if is_right { column.right() } else { column }
            },
        );
        let mut table = Table::new(&columns);
        let now = context.env.now();
        for view in &views {
            let cells = [
                view.name.to_string(),
                view.bytes.to_string(),
                view.sum.to_string(),
                text::relative(view.at, now),
            ];
            table.row(cells.map(|text| (text, Paint::Plain)).to_vec());
        }
        context.output.table(&mut table)?;
        Ok(Exit::Ok)
    }
}
