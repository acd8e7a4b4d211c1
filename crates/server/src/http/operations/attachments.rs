//! `/api/v1/jobs/{id}/attachments`: what a held job is given besides its arguments.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::limit::ATTACHMENT_BYTES_MAX;
use taskwright_core::{Attachment, AttachmentName, JobId};
use taskwright_store::{Attached, AttachmentView};

use super::jobs::Named;
use crate::answer::attachment::{Added, Listed};
use crate::http::call::Call;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Download, Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let view = Access::NeedsOwn(P::JobsView);
    vec![
        Operation::new(
            "jobs.attachments",
            Method::GET,
            "/api/v1/jobs/{id}/attachments",
            view,
            "List what is attached to a job",
            list,
        ),
        Operation::new(
            "jobs.attachment",
            Method::GET,
            "/api/v1/jobs/{id}/attachments/{name}",
            view,
            "Give what is attached to a job, as it is",
            get,
        ),
        Operation::new(
            "jobs.attach",
            Method::PUT,
            "/api/v1/jobs/{id}/attachments/{name}",
            Access::NeedsOwn(P::JobsChange),
            "Attach something to a held job, in the place of what has the same name: up to 16 MiB, and 64 MiB to a job",
            attach,
        )
        .takes_bytes(ATTACHMENT_BYTES_MAX),
    ]
}

/// What is asked about.
#[derive(Debug, Deserialize, JsonSchema)]
struct Place {
    /// The job.
    id: JobId,
    /// What it is called.
    name: AttachmentName,
}

/// How much of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Part {
    /// Only this piece of 256 KiB, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) piece: Option<u32>,
}

async fn list(call: Call<Named>) -> Result<Json<Items<Listed>>, Problem> {
    let id = call.path.id;
    call.job(id).await?;
    let views = call.client().attachments(id).await?;
    Ok(Items::all(views.iter().map(Listed::of).collect()))
}

async fn get(call: Call<Place, Part>) -> Result<Download, Problem> {
    let Place { id, name } = &call.path;
    call.job(*id).await?;
    let views = call.client().attachments(*id).await?;
    let view = views.into_iter().find(|view| view.name == *name);
    let view = view.ok_or_else(|| call.unknown("attachment"))?;
    let AttachmentView { name, bytes, sum, .. } = view;
    let (store, id) = (Arc::clone(call.client().store()), *id);
    if let Some(piece) = call.query.piece {
        let piece = store.attachment_piece(id, name.clone(), piece).await?;
        let piece = piece.ok_or_else(|| call.unknown("piece of the attachment"))?;
        let (length, tag) = (piece.len() as u64, taskwright_core::attachment::Sum::of(&piece).to_string());
        return Ok(Download {
            name: name.to_string(),
            length,
            tag,
            bytes: stream::iter([Ok(piece)]).boxed(),
        });
    }
    let shown = name.to_string();
    let pieces = stream::try_unfold(0, move |number| {
        let (store, name) = (Arc::clone(&store), name.clone());
        async move {
            let piece = store.attachment_piece(id, name, number).await?;
            Ok(piece.map(|piece| (piece, number + 1)))
        }
    });
    Ok(Download { name: shown, length: bytes, tag: sum.to_string(), bytes: pieces.boxed() })
}

async fn attach(call: Call<Place>) -> Result<Created<Added>, Problem> {
    let id = call.path.id;
    let job = call.job(id).await?;
    // What a command is given decides what it does.
    super::reserved::check_kind(&call, job.view.kind.as_str())?;
    let attachment = Attachment::new(call.path.name.clone(), call.bytes.to_vec())?;
    let added = Added::of(id, &attachment);
    let acting = call.acting(Some(&job.view.namespace), format!("{id} {}", added.name));
    match acting.attach(id, attachment).await? {
        Attached::Done => Ok(Created(added)),
        Attached::Unknown => Err(call.unknown("job")),
        Attached::NotHeld(state) => Err(Problem::new(
            Sort::Conflict,
            format!("the job {id}"),
            format!("it is {state}, and only a held job takes attachments"),
            "store it with `hold`, attach what it needs, and release it then",
        )),
    }
}
