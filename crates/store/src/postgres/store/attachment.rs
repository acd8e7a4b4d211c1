//! The part of the store that keeps attachments.

use std::sync::atomic::Ordering;

use taskwright_core::{Attachment, AttachmentName, JobId, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use super::super::attachment;
use super::super::session::{Session, Uuid, get};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::attachment::{Attached, AttachmentStore, AttachmentView};

impl AttachmentStore for PostgresStore {
    fn attach(&self, now: Timestamp, job: JobId, attached: Attachment) -> Reply<'_, Attached> {
        Box::pin(async move { transact!(self, session => attachment::attach(session, now, job, &attached)) })
    }

    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>> {
        Box::pin(async move {
            let rows = self.look(attachment::LIST, &[(&Uuid::from(job), Type::UUID)]).await?;
            rows.iter().map(attachment::read_view).collect()
        })
    }

    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let (job, name, number) =
                (Uuid::from(job), name.as_str(), i32::try_from(number).unwrap_or(i32::MAX));
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&job, Type::UUID), (&name, Type::TEXT), (&number, Type::INT4)];
            let rows = self.look(attachment::PIECE, &values).await?;
            rows.first().map(|row| get(row, 0)).transpose()
        })
    }
}
