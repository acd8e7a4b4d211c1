//! Attachments of jobs, for those who give them and for handlers.

use taskwright_core::attachment::Sum;
use taskwright_core::{Attachment, AttachmentName, JobId};
use taskwright_store::{Attached, AttachmentView, Error as StoreError, Store};

use crate::client::Client;
use crate::context::Context;
use crate::error::Error;

impl Client {
    /// Attaches something to a held job, in the place of what has the same name: what is too large for arguments. See
    /// [`Job::hold`](crate::Job::hold).
    ///
    /// # Errors
    ///
    /// When there is no room for it, and when the store is out of order.
    pub async fn attach(&self, job: JobId, attachment: Attachment) -> Result<Attached, Error> {
        Ok(self.store().attach(self.now(), job, attachment).await?)
    }

    /// What is attached to a job, by name.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn attachments(&self, job: JobId) -> Result<Vec<AttachmentView>, Error> {
        Ok(self.store().attachments(job).await?)
    }

    /// The bytes of an attachment; `None` when there is no such job or attachment.
    ///
    /// # Errors
    ///
    /// When the store is out of order, or does not have the bytes that it was given.
    pub async fn attachment(&self, job: JobId, name: &AttachmentName) -> Result<Option<Vec<u8>>, Error> {
        read(&**self.store(), job, name).await
    }
}

impl Context {
    /// What is attached to the job, by name.
    ///
    /// # Errors
    ///
    /// When the store is out of order; in a task with `process`, which has no way to it.
    pub async fn attachments(&self) -> Result<Vec<AttachmentView>, Error> {
        self.must_be_in_worker("attachments")?;
        Ok(self.store().attachments(self.job_id()).await?)
    }

    /// The bytes of an attachment, up to 16 MiB; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// When it can be no attachment's name; when the store is out of order, or does not have the bytes that it was given; in a task with
    /// `process`, which has no way to it.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::{Context, TaskError};
    ///
    /// async fn import(ctx: Context) -> Result<(), TaskError> {
    ///     let rows = ctx.attachment("rows.csv").await?;
    ///     let rows = rows.ok_or_else(|| TaskError::permanent("rows.csv is not attached"))?;
    ///     ctx.log(format!("{} bytes", rows.len()));
    ///     Ok(())
    /// }
    /// ```
    pub async fn attachment(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.must_be_in_worker("an attachment")?;
        read(self.store(), self.job_id(), &AttachmentName::new(name)?).await
    }
}

async fn read(store: &dyn Store, job: JobId, name: &AttachmentName) -> Result<Option<Vec<u8>>, Error> {
    let views = store.attachments(job).await?;
    let Some(view) = views.into_iter().find(|view| view.name == *name) else { return Ok(None) };
    let mut bytes = Vec::with_capacity(usize::try_from(view.bytes).unwrap_or(0));
    for number in 0.. {
        let piece: Result<Option<Vec<u8>>, StoreError> =
            store.attachment_piece(job, name.clone(), number).await;
        let Some(piece) = piece? else { break };
        bytes.extend(piece);
    }
    if Sum::of(&bytes) == view.sum {
        return Ok(Some(bytes));
    }
    Err(taskwright_core::Error::invalid(
        format!("the attachment {name} of {job}"),
        "its bytes are not those that were attached: it was replaced while it was read, or the store is damaged",
        "read it again; if that does not help, attach it to a new job",
    )
    .into())
}
