//! `jobs wait`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use taskwright::waiting::{self, Seen, Waited};
use taskwright_core::patience::Patience;
use taskwright_core::{JobId, Namespace, State};
use taskwright_store::{JobView, Store};

use crate::cli::select::{self, Selectors};
use crate::cli::{Context, look, value};
use crate::error::{Error, Exit};
use crate::text;

/// Waits for jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs wait ID
  taskwright jobs wait ID --timeout 5m && echo done
  taskwright enqueue --from-file jobs.ndjson | taskwright jobs wait -

Exit codes: 0 all completed; else the worst of 4 failed, 16 cancelled or
dropped, 8 not over when the time was up, or when one stalled: it runs, and
has said and written nothing for as long as --stall says. 1 when the store or
the server has not answered 11 times in a row.")]
pub(super) struct Wait {
    /// Give up after this much time
    #[arg(long, value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Give up when what runs shows no sign of progress for so long, or `none`
    /// [default: 1h]
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    stall: Option<Stall>,
    #[command(flatten)]
    selectors: Selectors,
}

/// How long a job may run without a sign of progress.
#[derive(Clone, Copy, Debug)]
struct Stall(Option<Duration>);

impl FromStr for Stall {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "none" => Ok(Self(None)),
            text => value::duration(text).map(|limit| Self(Some(limit))),
        }
    }
}

impl Wait {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.selectors.require_any("wait")?;
        let ids = chosen(context, &self.selectors).await?;
        let defaults = Patience::default();
        let stall = self.stall.map_or(defaults.stall, |stall| stall.0);
        let patience = Patience { timeout: self.timeout, stall, ..defaults };
        let waiting = context.client().await?.wait_for(ids, patience);
        let mut waiting = waiting.within(context.namespace.clone());
        let mut exit = Exit::Ok;
        let mut unknown = Vec::new();
        loop {
            match waiting.next().await? {
                Waited::Ended(jobs) => {
                    for job in jobs {
                        read(context, job.id).await?;
                        exit = look::worse(exit, look::exit(job.state));
                        tell(context, &job)?;
                    }
                    context.output.flush()?;
                }
                Waited::Unknown(ids) => unknown.extend(ids),
                Waited::Over => break,
                Waited::TimeUp { open } => {
                    exit = look::worse(exit, Exit::Unfinished);
                    context.output.note(format!("the time is up: {} not over", text::count(open, "job")));
                    break;
                }
                Waited::Stalled { still, open } => {
                    exit = look::worse(exit, Exit::Unfinished);
                    let (still, open) = (text::duration(still), text::count(open, "job"));
                    context
                        .output
                        .note(format!("no sign of progress for {still} (--stall): {open} not over"));
                    break;
                }
                Waited::Unreachable { failures, error } => {
                    context.output.note(format!("gave up after {failures} questions in a row that failed"));
                    return Err(error.into());
                }
            }
        }
        if unknown.is_empty() { Ok(exit) } else { Err(select::unknown(&unknown)) }
    }
}

/// The ids that selectors stand for now.
pub(super) async fn chosen(context: &Context, selectors: &Selectors) -> Result<Vec<JobId>, Error> {
    let ids = selectors.ids(context)?;
    if selectors.names_ids() && (ids.is_empty() || !selectors.has_conditions()) {
        return Ok(ids);
    }
    let filter = selectors.filter(context, ids)?;
    let limit = selectors.limit().unwrap_or(usize::MAX);
    let mut ids = Vec::new();
    select::each(&**context.store().await?, &filter, limit, true, |jobs| {
        ids.extend(jobs.iter().map(|job| job.id));
        Ok(())
    })
    .await?;
    Ok(ids)
}

fn tell(context: &Context, job: &JobView) -> Result<(), Error> {
    if context.output.is_json() {
        return context.output.json(job);
    }
    let error = job.error.as_deref().filter(|_| job.state != State::Completed);
    let error = error.map(|error| format!("  {}", text::one_line(error))).unwrap_or_default();
    let state = context.output.paint(job.state.as_str(), look::paint(job.state));
    context.output.line(format!("{}  {state}{error}", job.id))
}

/// Jobs that are watched.
pub(super) struct Open {
    /// The ones that are not over.
    pub(super) ids: Vec<JobId>,
    namespace: Option<Namespace>,
}

impl Open {
    /// The jobs of these ids, as far as they belong to the namespace that was asked for.
    pub(super) fn new(context: &Context, ids: Vec<JobId>) -> Self {
        Self { ids, namespace: context.namespace.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Looks at the jobs, in their order, and keeps the ones that are not over.
    pub(super) async fn look(&mut self, store: &dyn Store) -> Result<Seen, Error> {
        let seen = waiting::look(store, self.namespace.as_ref(), &self.ids).await?;
        self.ids = seen.open.iter().map(|job| job.id).collect();
        Ok(seen)
    }
}

/// Reads a job that is over from a server, which notes that its owner has: what is waited for is looked at in listings, which are no reading.
pub(super) async fn read(context: &Context, id: JobId) -> Result<(), Error> {
    if context.server().is_some() {
        context.store().await?.job(id).await?;
    }
    Ok(())
}
