//! Which jobs: the selectors that listings and changes share.

use std::io::BufRead as _;

use clap::Args;
use taskwright_core::{ArgsMatch, ArgsSearch, JobId, Pattern, Priority, State, Timestamp, WorkerId};
use taskwright_store::{Filter, JobView, Owners, Page, Store};

use super::Context;
use super::value::{self, IdArg, Limit, Moment, in_order};
use crate::error::{Error, Exit, in_words};

/// Which jobs. Options of different names narrow each other; repeated ones widen.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which jobs")]
pub(super) struct Selectors {
    /// Ids; `-` reads them from standard input
    #[arg(value_name = "ID")]
    ids: Vec<IdArg>,
    /// An id, as one can stand alone
    #[arg(long = "id", value_name = "ID")]
    more_ids: Vec<IdArg>,
    /// Jobs of this task; `*` stands for anything, here and below
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Jobs of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Jobs in this state
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = value::state)]
    state: Vec<State>,
    /// Jobs that are not over
    #[arg(long, conflicts_with_all = ["archived", "state"])]
    active: bool,
    /// Jobs that are over
    #[arg(long, conflicts_with = "state")]
    archived: bool,
    /// Jobs that run on this worker
    #[arg(long, value_name = "ID")]
    worker: Vec<WorkerId>,
    /// Jobs that run on this worker, or ran on it last
    #[arg(long, value_name = "ID")]
    #[arg(hide_short_help = true)]
    last_worker: Vec<WorkerId>,
    /// Jobs that run on this node, or ran on it last
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Jobs of this owner
    #[arg(long, value_name = "NAME", conflicts_with = "no_owner")]
    owner: Vec<String>,
    /// Jobs without an owner
    #[arg(long)]
    no_owner: bool,
    /// Jobs of which the owner has read how they ended, or has not
    #[arg(long, value_name = "yes|no", value_parser = value::yes_or_no)]
    consumed: Option<bool>,
    /// Jobs for which somebody has asked that they be cancelled, or has not
    #[arg(long, value_name = "yes|no", value_parser = value::yes_or_no)]
    #[arg(hide_short_help = true)]
    cancel_requested: Option<bool>,
    /// Jobs with this in their arguments, like customer.id=42
    ///
    /// The path into the arguments, and what has to be at its end: also items.*.name=blue*
    #[arg(long, value_name = "PATH=VALUE")]
    args: Vec<ArgsMatch>,
    /// Jobs of this priority or a less urgent one: a number, or a name such as `bulk`
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_priority: Option<Priority>,
    /// Jobs of this priority or a more urgent one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    max_priority: Option<Priority>,
    /// Jobs that have failed this often or more
    #[arg(long, value_name = "N")]
    min_failures: Option<u32>,
    /// Jobs that have failed this often or less
    #[arg(long, value_name = "N")]
    max_failures: Option<u32>,
    /// Created at or after this time, or this long ago
    #[arg(long, value_name = "TIME")]
    after: Option<Moment>,
    /// Created at or before this time, or this long ago
    #[arg(long, value_name = "TIME")]
    before: Option<Moment>,
    /// Claimed by a worker at or after this time, the newest attempt
    #[arg(long, value_name = "TIME")]
    #[arg(hide_short_help = true)]
    claimed_after: Option<Moment>,
    /// Claimed at or before this time
    #[arg(long, value_name = "TIME")]
    #[arg(hide_short_help = true)]
    claimed_before: Option<Moment>,
    /// Over since this time or a later one
    #[arg(long, value_name = "TIME")]
    #[arg(hide_short_help = true)]
    ended_after: Option<Moment>,
    /// Over since this time or an earlier one
    #[arg(long, value_name = "TIME")]
    #[arg(hide_short_help = true)]
    ended_before: Option<Moment>,
    /// At most this many, or `all`
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<Limit>,
}

/// From when on, and until when.
type Span = (Option<Timestamp>, Option<Timestamp>);

/// The jobs per request of a listing.
const PAGE: usize = 500;

impl Selectors {
    /// Whether anything was selected at all; a limit alone selects nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.names_ids() && !self.has_conditions()
    }

    /// Whether ids were asked for, be it those of a standard input that has none.
    pub(super) fn names_ids(&self) -> bool {
        !self.ids.is_empty() || !self.more_ids.is_empty()
    }

    /// Refuses to act on everything by accident.
    pub(super) fn require_any(&self, verb: &str) -> Result<(), Error> {
        if !self.is_empty() {
            return Ok(());
        }
        Err(Error::usage(
            format!("`jobs {verb}` without a selector"),
            "it does not say which jobs",
            "name ids, or select jobs with --kind, --queue, --state, --owner, --after...",
        ))
    }

    /// The ids that were named, in their order and once each; reads standard input for `-`.
    pub(super) fn ids(&self, context: &Context) -> Result<Vec<JobId>, Error> {
        let mut ids = Vec::new();
        for arg in self.ids.iter().chain(&self.more_ids) {
            match arg {
                IdArg::Id(id) => ids.push(*id),
                IdArg::Stdin => read_ids(context, &mut ids)?,
            }
        }
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }

    /// Whether anything but ids was selected. Every selector is named here, so that none can be forgotten.
    pub(super) fn has_conditions(&self) -> bool {
        let Self {
            ids: _,
            more_ids: _,
            kind,
            queue,
            state,
            active,
            archived,
            worker,
            last_worker,
            host,
            owner,
            no_owner,
            consumed,
            cancel_requested,
            args,
            min_priority,
            max_priority,
            min_failures,
            max_failures,
            after,
            before,
            claimed_after,
            claimed_before,
            ended_after,
            ended_before,
            limit: _,
        } = self;
        let texts = [kind, queue, host, owner];
        let lists = [state.len(), worker.len(), last_worker.len(), args.len()];
        let times = [after, before, claimed_after, claimed_before, ended_after, ended_before];
        texts.iter().any(|texts| !texts.is_empty())
            || lists.iter().any(|&len| len > 0)
            || times.iter().any(|time| time.is_some())
            || [active, archived, no_owner].contains(&&true)
            || [consumed, cancel_requested].iter().any(|flag| flag.is_some())
            || [min_priority, max_priority].iter().any(|bound| bound.is_some())
            || [min_failures, max_failures].iter().any(|bound| bound.is_some())
    }

    /// How many at most, if that was said.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit.map(|limit| limit.0)
    }

    /// The question to the store, with these ids. Where ids were asked for and there are none, no job matches.
    pub(super) fn filter(&self, context: &Context, mut ids: Vec<JobId>) -> Result<Filter, Error> {
        let now = context.env.now();
        if ids.is_empty() && self.names_ids() {
            ids.push(JobId::from_bytes([0; 16]));
        }
        let crossed = |flags: &str| {
            let why = "the first is greater than the second, so that no job can match";
            Err(Error::usage(flags, why, "swap them"))
        };
        if self.min_priority.zip(self.max_priority).is_some_and(|(min, max)| min > max) {
            return crossed("--min-priority and --max-priority");
        }
        if self.min_failures.zip(self.max_failures).is_some_and(|(min, max)| min > max) {
            return crossed("--min-failures and --max-failures");
        }
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let span = |flags: &str, from: Option<Moment>, to: Option<Moment>| {
            let (from, to) = (from.map(|at| at.resolve(now)), to.map(|at| at.resolve(now)));
            in_order(flags, from, to).map(|()| (from, to))
        };
        let (created_from, created_to): Span = span("--after and --before", self.after, self.before)?;
        let (claimed_from, claimed_to): Span =
            span("--claimed-after and --claimed-before", self.claimed_after, self.claimed_before)?;
        let (ended_from, ended_to): Span =
            span("--ended-after and --ended-before", self.ended_after, self.ended_before)?;
        Ok(Filter {
            ids,
            namespaces: context.namespaces.clone(),
            kinds: patterns(&self.kind),
            queues: patterns(&self.queue),
            states: self.states(),
            workers: self.worker.clone(),
            last_workers: self.last_worker.clone(),
            hosts: patterns(&self.host),
            owners: match (self.no_owner, self.owner.is_empty()) {
                (true, _) => Owners::Nobody,
                (false, true) => Owners::Any,
                (false, false) => Owners::Of(patterns(&self.owner)),
            },
            created_from,
            created_to,
            claimed_from,
            claimed_to,
            ended_from,
            ended_to,
            priority_from: self.min_priority,
            priority_to: self.max_priority,
            failures_from: self.min_failures,
            failures_to: self.max_failures,
            consumed: self.consumed,
            cancel_requested: self.cancel_requested,
            args: ArgsSearch::new(self.args.clone())?,
            sight: None,
        })
    }

    fn states(&self) -> Vec<State> {
        let of =
            |over: bool| State::ALL.into_iter().filter(move |state| state.is_terminal() == over).collect();
        match (self.active, self.archived) {
            (true, _) => of(false),
            (_, true) => of(true),
            _ => self.state.clone(),
        }
    }
}

/// Goes through a listing page by page, and stops after `limit` jobs. Says whether more would have matched.
pub(super) async fn each(
    store: &dyn Store,
    filter: &Filter,
    limit: usize,
    oldest_first: bool,
    mut visit: impl FnMut(Vec<JobView>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let mut after = None;
    let mut left = limit;
    loop {
        // One more than wanted tells whether there are more.
        let wanted = left.saturating_add(1).min(PAGE);
        let mut page = store.list(filter.clone(), Page { after, limit: wanted, oldest_first }).await?;
        let more = page.jobs.len() > left;
        page.jobs.truncate(left);
        left -= page.jobs.len();
        visit(page.jobs)?;
        match page.next {
            _ if more => return Ok(true),
            None => return Ok(false),
            next => after = next,
        }
    }
}

/// What to say about ids that no job has.
pub(super) fn unknown(ids: &[JobId]) -> Error {
    const SHOWN_MAX: usize = 5;
    let mut shown: Vec<String> = ids.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if ids.len() > SHOWN_MAX {
        shown.push(format!("and {} more", ids.len() - SHOWN_MAX));
    }
    let (what, why) = match ids.len() {
        1 => ("the job", "there is no job of this id"),
        _ => ("the jobs", "there are no jobs of these ids"),
    };
    Error::operational(
        format!("{what} {}", shown.join(", ")),
        why,
        "check the id, --namespace, and which store or server is asked; jobs that are over are removed after their retention",
    )
    .with_exit(Exit::Operational)
}

fn read_ids(context: &Context, ids: &mut Vec<JobId>) -> Result<(), Error> {
    context.with_input(|input| {
        for (index, line) in input.lines().enumerate() {
            let place = format!("standard input, line {}", index + 1);
            let line = line.map_err(|error| {
                Error::operational(&place, in_words(&error), "pass one id a line, as enqueue prints them")
            })?;
            if !line.trim().is_empty() {
                ids.push(line.parse().map_err(|error| Error::from(error).about(&place))?);
            }
        }
        Ok(())
    })
}
