//! `jobs wait`.

use std::time::Duration;

use clap::Args;
use taskwright_core::{JobId, Namespace, State};
use taskwright_store::{Filter, JobView, Page, Store};

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
dropped, 8 not over when the time was up.")]
pub(super) struct Wait {
    /// Give up after this much time
    #[arg(long, value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    #[command(flatten)]
    selectors: Selectors,
}

impl Wait {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.selectors.require_any("wait")?;
        let ids = chosen(context, &self.selectors).await?;
        let deadline = self.timeout.map(|timeout| context.env.now().plus(timeout));
        let mut open = Open::new(context, ids);
        let mut exit = Exit::Ok;
        let mut unknown = Vec::new();
        loop {
            let seen = open.look(&**context.store().await?).await?;
            for job in seen.ended {
                exit = look::worse(exit, look::exit(job.state));
                tell(context, &job)?;
            }
            context.output.flush()?;
            unknown.extend(seen.unknown);
            if open.is_empty() {
                break;
            }
            let now = context.env.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                exit = look::worse(exit, Exit::Unfinished);
                let left = text::count(open.ids.len(), "job");
                context.output.note(format!("the time is up: {left} not over"));
                break;
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
            context.env.sleep(open.pause().min(left)).await;
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

/// Jobs that are waited for.
pub(super) struct Open {
    /// The ones that are not over.
    pub(super) ids: Vec<JobId>,
    namespace: Option<Namespace>,
    looks: u32,
}

/// What one look found.
#[derive(Default)]
pub(super) struct Seen {
    /// Not over.
    pub(super) open: Vec<JobView>,
    /// Over; they are not looked at again.
    pub(super) ended: Vec<JobView>,
    /// Not there.
    pub(super) unknown: Vec<JobId>,
}

/// Ids of one question.
const LOOK_IDS: usize = 500;

impl Open {
    /// The jobs of these ids, as far as they belong to the namespace that was asked for.
    pub(super) fn new(context: &Context, ids: Vec<JobId>) -> Self {
        Self { ids, namespace: context.namespace.clone(), looks: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Looks at the jobs, in their order, and keeps the ones that are not over.
    pub(super) async fn look(&mut self, store: &dyn Store) -> Result<Seen, Error> {
        self.looks += 1;
        let mut seen = Seen::default();
        for ids in self.ids.chunks(LOOK_IDS) {
            let mut found = std::collections::HashMap::new();
            let filter = Filter { ids: ids.to_vec(), namespace: self.namespace.clone(), ..Filter::default() };
            let mut after = None;
            loop {
                let page = Page { after, limit: LOOK_IDS, oldest_first: true };
                let page = store.list(filter.clone(), page).await?;
                found.extend(page.jobs.into_iter().map(|job| (job.id, job)));
                match page.next {
                    Some(next) if found.len() < ids.len() => after = Some(next),
                    _ => break,
                }
            }
            for id in ids {
                match found.remove(id) {
                    Some(job) if job.state.is_terminal() => seen.ended.push(job),
                    Some(job) => seen.open.push(job),
                    None => seen.unknown.push(*id),
                }
            }
        }
        self.ids = seen.open.iter().map(|job| job.id).collect();
        Ok(seen)
    }

    /// How long to wait until the next look: short at first, since most jobs are, and longer for many jobs.
    pub(super) fn pause(&self) -> Duration {
        const LOOKS_PER_STEP: u32 = 4;
        const FIRST: Duration = Duration::from_millis(10);
        const LAST: Duration = Duration::from_millis(500);
        const PER_JOB: Duration = Duration::from_micros(100);
        let grown = FIRST * (1 << (self.looks / LOOKS_PER_STEP).min(10));
        let jobs = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        grown.min(LAST).max(PER_JOB * jobs)
    }
}
