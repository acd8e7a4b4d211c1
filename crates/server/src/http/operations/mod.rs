//! The operations, one file a resource. What they do is what the verb of the same name does.

mod attachments;
mod audit;
mod bulk;
mod changes;
mod events;
pub(crate) mod gc;
mod generators;
mod history;
mod jobs;
mod queues;
mod reserved;
mod schedules;
mod services;
mod sessions;
mod sources;
mod stats;
mod steps;
mod stored;
mod stream;
mod system;
mod tasks;
mod tokens;
mod users;
mod webhooks;
mod workers;

pub(crate) use self::attachments::Part as AttachmentPart;
pub(crate) use self::audit::Which as AuditQuery;
pub(crate) use self::bulk::NewBulk as BulkRequest;
pub(crate) use self::changes::SeenAt;
pub(crate) use self::events::Emission;
pub(crate) use self::history::Which as HistoryQuery;
pub(crate) use self::jobs::{Filter as JobFilter, Log as JobLog, Submission, Text};
pub(crate) use self::stored::Which as Stored;
pub(crate) use self::tokens::NewToken;
pub(crate) use self::users::{NewGrants, NewPassword, NewUser};
pub(crate) use self::webhooks::{NewEndpoint, Trial};

use super::operation::Operation;
use super::problem::Problem;

/// All operations there are.
pub(crate) fn table() -> Vec<Operation> {
    [
        jobs::operations(),
        attachments::operations(),
        steps::operations(),
        changes::operations(),
        stream::operations(),
        tasks::operations(),
        queues::operations(),
        schedules::operations(),
        events::operations(),
        sources::operations(),
        generators::operations(),
        gc::operations(),
        webhooks::operations(),
        bulk::operations(),
        workers::operations(),
        services::operations(),
        stats::operations(),
        stored::operations(),
        history::operations(),
        tokens::operations(),
        users::operations(),
        sessions::operations(),
        audit::operations(),
        system::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Items of one page, unless the request says otherwise.
const PAGE_DEFAULT: u32 = 100;

/// How many items a page is to have: 1 to 1,000.
fn page_size(asked: Option<u32>) -> Result<usize, Problem> {
    let most = taskwright_core::limit::PAGE_ROWS_MAX as u32;
    match asked.unwrap_or(PAGE_DEFAULT) {
        size if (1..=most).contains(&size) => Ok(size as usize),
        size => {
            let fix = "ask for fewer, and go on with `cursor`";
            Err(Problem::invalid("limit", format!("it is {size}; 1 to {most} are allowed"), fix))
        }
    }
}

/// A reason for a change: 1 to 1,024 bytes on one line, as a flag takes it.
fn reason(given: Option<String>) -> Result<Option<String>, Problem> {
    let Some(reason) = given else { return Ok(None) };
    match taskwright_core::Actor::new(&reason) {
        Ok(_) => Ok(Some(reason)),
        Err(error) => Err(Problem::invalid("reason", error.why(), error.fix())),
    }
}
