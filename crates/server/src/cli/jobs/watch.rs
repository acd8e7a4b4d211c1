//! `jobs watch`: live bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use taskwright_core::{JobId, State};
use taskwright_store::{JobView, Progress};

use super::wait::{Open, chosen};
use crate::cli::select::{self, Selectors};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::text;

/// Watches jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs watch ID
  taskwright jobs watch --kind 'report.*'
  taskwright jobs watch

Without a selector it watches every job that is not over now. It ends when
all of them are over, with the exit code of `jobs wait`.")]
pub(super) struct Watch {
    #[command(flatten)]
    selectors: Selectors,
}

/// Bars that are shown at once; more would not fit a terminal.
const BARS_MAX: usize = 15;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

impl Watch {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let mut open = Open::new(context, self.ids(context).await?);
        if open.is_empty() {
            context.output.note("no job matches that is not over");
            return Ok(Exit::Ok);
        }
        let mut screen = Screen::new(context, open.ids.len());
        let mut exit = Exit::Ok;
        let mut unknown = Vec::new();
        loop {
            let seen = open.look(&**context.store().await?).await?;
            for job in &seen.ended {
                exit = look::worse(exit, look::exit(job.state));
                screen.ended(job)?;
            }
            screen.open(&seen.open)?;
            unknown.extend(seen.unknown);
            if open.is_empty() {
                break;
            }
            context.env.sleep(PAUSE).await;
        }
        screen.close();
        if unknown.is_empty() { Ok(exit) } else { Err(select::unknown(&unknown)) }
    }

    async fn ids(&self, context: &Context) -> Result<Vec<JobId>, Error> {
        if !self.selectors.is_empty() {
            return chosen(context, &self.selectors).await;
        }
        let mut filter = self.selectors.filter(context, Vec::new())?;
        filter.states = State::ALL.into_iter().filter(|state| !state.is_terminal()).collect();
        let mut ids = Vec::new();
        let limit = self.selectors.limit().unwrap_or(usize::MAX);
        select::each(&**context.store().await?, &filter, limit, true, |jobs| {
            ids.extend(jobs.iter().map(|job| job.id));
            Ok(())
        })
        .await?;
        Ok(ids)
    }
}

/// What is on the terminal, or was said last about each job.
struct Screen<'c> {
    context: &'c Context,
    bars: Option<MultiProgress>,
    /// One bar a running job.
    running: HashMap<JobId, ProgressBar>,
    /// The bar over all jobs, when there is more than one.
    all: Option<ProgressBar>,
    said: HashMap<JobId, (State, Option<Progress>)>,
}

impl<'c> Screen<'c> {
    fn new(context: &'c Context, jobs: usize) -> Self {
        let bars = context
            .output
            .may_draw()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
            .filter(|_| context.output.is_seen());
        let all = bars.as_ref().filter(|_| jobs > 1).map(|bars| {
            let bar = bars.add(ProgressBar::new(jobs as u64));
            bar.set_style(style("{bar:20} {pos} of {len} over, {msg}"));
            bar
        });
        Self { context, bars, running: HashMap::new(), all, said: HashMap::new() }
    }

    fn open(&mut self, jobs: &[JobView]) -> Result<(), Error> {
        for job in jobs {
            match &self.bars {
                Some(_) => self.draw(job),
                None => self.say(job)?,
            }
        }
        if let Some(all) = &self.all {
            let running = jobs.iter().filter(|job| job.state == State::Running).count();
            all.set_message(format!("{running} running, {} waiting", jobs.len() - running));
            all.tick();
        }
        self.context.output.flush()
    }

    fn ended(&mut self, job: &JobView) -> Result<(), Error> {
        if let Some(bar) = self.running.remove(&job.id) {
            bar.finish_and_clear();
        }
        if let Some(all) = &self.all {
            all.inc(1);
        }
        match &self.bars {
            Some(bars) => bars.suspend(|| line(self.context, job)),
            None => line(self.context, job),
        }
    }

    fn draw(&mut self, job: &JobView) {
        let Some(bars) = &self.bars else { return };
        if job.state != State::Running && self.all.is_some() {
            if let Some(bar) = self.running.remove(&job.id) {
                bar.finish_and_clear();
            }
            return;
        }
        if !self.running.contains_key(&job.id) {
            if self.running.len() >= BARS_MAX {
                return;
            }
            let at = self.running.len();
            self.running.insert(job.id, bars.insert(at, ProgressBar::no_length()));
        }
        let bar = &self.running[&job.id];
        let name = format!("{}  {}", job.id, job.kind);
        bar.set_prefix(name);
        match &job.progress {
            Some(Progress { done, total: Some(total), message }) if *total > 0 => {
                bar.set_style(style("{prefix} {bar:20} {percent:>3}% eta {eta} {msg}"));
                bar.set_length(*total);
                bar.set_position(*done);
                bar.set_message(message.as_deref().map(text::one_line).unwrap_or_default());
            }
            _ => {
                bar.set_style(style("{prefix} {spinner} {msg}"));
                let gist = look::gist(job, self.context.env.now());
                bar.set_message(format!("{} {gist}", job.state));
            }
        }
        bar.tick();
    }

    /// A line about a job that has changed since the last one.
    fn say(&mut self, job: &JobView) -> Result<(), Error> {
        let news = (job.state, job.progress.clone());
        if self.said.get(&job.id) == Some(&news) {
            return Ok(());
        }
        self.said.insert(job.id, news);
        line(self.context, job)
    }

    fn close(self) {
        for bar in self.running.into_values().chain(self.all) {
            bar.finish_and_clear();
        }
    }
}

fn line(context: &Context, job: &JobView) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        output.json(job)?;
    } else {
        let state = output.paint(&format!("{:<9}", job.state.as_str()), look::paint(job.state));
        let gist = look::gist(job, context.env.now());
        output.line(format!("{}  {}  {state}  {gist}", job.id, job.kind).trim_end())?;
    }
    output.flush()
}

fn style(form: &str) -> ProgressStyle {
    // The forms are constants of this file, and a wrong one only costs the looks.
    ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar())
}
