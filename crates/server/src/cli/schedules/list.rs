//! `schedules list`.

use clap::Args;
use taskwright::schedule::ScheduleView;
use taskwright_core::{Namespace, Schedule, ScheduleName, Timestamp};
use taskwright_store::{ScheduleKey, StoredSchedule};

use super::show;
use crate::answer::schedule::Listed;
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the schedules.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules list
  taskwright schedules list --json

States: on; paused; disabled (by its definition); done: it will never fire
again by itself; new: the config file has it, and `up` has not registered it.")]
pub(super) struct List {}

/// Schedules that are read at once.
const PAGE: usize = 500;

const COLUMNS: [Column; 6] = [
    Column::new("name", 0).cut_to(32),
    Column::new("state", 0),
    Column::new("next", 1),
    Column::new("last due", 3),
    Column::new("task", 4),
    Column::new("when", 2).cut(),
];

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let mut listing = Listing { context, table: Table::new(&COLUMNS), count: 0, names: Vec::new() };
        if context.config.schedules.is_empty() || context.has_store().await? {
            let store = context.store().await?;
            let mut after: Option<ScheduleKey> = None;
            loop {
                let page = store.schedules(context.namespace.clone(), after, PAGE).await?;
                page.iter().try_for_each(|stored| listing.stored(stored))?;
                after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
                if after.is_none() {
                    break;
                }
            }
        }
        let namespace = context.namespace_or_default();
        for name in context.config.schedules.keys() {
            let is_listed =
                listing.names.iter().any(|(of, listed)| *of == namespace && listed.as_str() == name);
            if let Some(schedule) = super::configured(context, name).filter(|_| !is_listed) {
                listing.configured(&schedule)?;
            }
        }
        listing.end()
    }
}

struct Listing<'c> {
    context: &'c Context,
    table: Table,
    count: usize,
    /// Those of the store; only kept as far as the config file has schedules that might be missing.
    names: Vec<(Namespace, ScheduleName)>,
}

impl Listing<'_> {
    fn stored(&mut self, stored: &StoredSchedule) -> Result<(), Error> {
        if self.context.config.schedules.contains_key(stored.name.as_str()) {
            self.names.push((stored.namespace.clone(), stored.name.clone()));
        }
        match ScheduleView::read(stored) {
            Ok(view) => self.view(&view),
            // One that a newer program registered must not hide the others.
            Err(error) => {
                self.context.output.note(format!("warning: {error}"));
                Ok(())
            }
        }
    }

    fn view(&mut self, view: &ScheduleView) -> Result<(), Error> {
        let now = self.context.env.now();
        let custom = self.context.app.triggers();
        let status = view.status(now, custom);
        let (state, last) = (show::painted(status), view.state.last_due);
        self.row(&view.schedule, &Listed::of(view, custom, now), state, last)
    }

    fn configured(&mut self, schedule: &Schedule) -> Result<(), Error> {
        self.row(schedule, &Listed::not_registered(schedule), ("new", Paint::Warn), None)
    }

    fn row(
        &mut self,
        schedule: &Schedule,
        listed: &Listed,
        (state, paint): (&str, Paint),
        last: Option<Timestamp>,
    ) -> Result<(), Error> {
        self.count += 1;
        if self.context.output.is_json() {
            return self.context.output.json(listed);
        }
        let now = self.context.env.now();
        let seen_from_now = |at: Option<Timestamp>| at.map(|at| text::relative(at, now)).unwrap_or_default();
        let name = match schedule.namespace == Namespace::default() {
            true => schedule.name.to_string(),
            false => format!("{}/{}", schedule.namespace, schedule.name),
        };
        let plain = |text: String| (text, Paint::Plain);
        self.table.row(vec![
            plain(name),
            (state.to_owned(), paint),
            plain(seen_from_now(listed.next)),
            (seen_from_now(last), Paint::Faint),
            plain(schedule.kind.to_string()),
            plain(text::one_line(&listed.when)),
        ]);
        Ok(())
    }

    fn end(mut self) -> Result<Exit, Error> {
        if !self.table.is_empty() {
            self.context.output.table(&mut self.table)?;
        }
        if self.count == 0 {
            self.context.output.note("no schedules: `taskwright schedules add --help`");
        }
        Ok(Exit::Ok)
    }
}
