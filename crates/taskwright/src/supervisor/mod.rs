//! Keeping n child processes alive: starting them, noticing a death, starting again, ending them all.
//!
//! The supervisor knows nothing of jobs. It is given a way to make the command of a child and tells what happens by
//! [`Event`]s; `taskwright up` turns a death into a reclaim. A death is noticed by waiting for the child, so at once.
//!
//! A child must end when its parent is gone, however that went: it holds the reading end of a pipe as its standard input
//! and stops when that ends (see [`Parent`]).

mod child;
mod restart;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{Notify, mpsc, watch};

pub use self::child::Parent;
use self::child::{Child, Death};
use self::restart::Restarts;
use crate::env::Env;

/// What the supervisor is told to do.
pub struct Supervisor {
    env: Env,
    count: usize,
    command: Box<dyn Fn() -> Command + Send>,
    grace: Duration,
    replace_on: Option<i32>,
    paused_are_in_the_way: Arc<Notify>,
    nudges: Option<watch::Receiver<u64>>,
    renewals: Option<mpsc::UnboundedReceiver<Renewal>>,
}

/// Other children in the place of those that run.
pub struct Renewal {
    /// How many.
    pub count: usize,
    /// How each is started.
    pub command: Box<dyn Fn() -> Command + Send>,
    /// How long they may take to stop when asked.
    pub grace: Duration,
}

/// What happened to a child.
#[derive(Debug)]
pub enum Event {
    /// It was started.
    Started {
        /// Which one, from 0.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// It ended without having been asked to, and is started again.
    Died {
        /// Which one.
        slot: usize,
        /// Its process.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
        /// After how long it is started again; `None` when everything is to end.
        restart_in: Option<Duration>,
    },
    /// Somebody has stopped it, and it was in the way: it was killed. Its death is told next.
    KilledPaused {
        /// Which one.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// It ended because it had run for long enough, and is started again at once.
    Recycled {
        /// Which one.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// It ended in good order, and is not started again.
    Left {
        /// Which one.
        slot: usize,
        /// Its process.
        pid: u32,
    },
    /// It could not be started; that is tried again.
    NotStarted {
        /// Which one.
        slot: usize,
        /// Why.
        error: std::io::Error,
        /// After how long it is tried again.
        retry_in: Duration,
    },
    /// Every child has left in good order. None is started any more; the end is still to be asked for.
    NoneLeft,
}

/// What the supervisor is asked to do with its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Ask them to stop, and kill what is left after the grace.
    Gracefully,
    /// Kill them.
    AtOnce,
}

/// One place for a child.
struct Slot {
    child: Option<Child>,
    restarts: Restarts,
    /// When (monotonic microseconds) it is started again.
    start_at_us: Option<u64>,
}

impl Slot {
    fn due(now_us: u64) -> Self {
        Self { child: None, restarts: Restarts::default(), start_at_us: Some(now_us) }
    }
}

impl Supervisor {
    /// Keeps `count` children that `command` makes. Their standard input is the supervisor's.
    pub fn new(env: Env, count: usize, command: impl Fn() -> Command + Send + 'static) -> Self {
        let paused_are_in_the_way = Arc::default();
        let (command, grace) = (Box::new(command), Duration::from_secs(27));
        Self {
            env,
            count,
            command,
            grace,
            replace_on: None,
            paused_are_in_the_way,
            nudges: None,
            renewals: None,
        }
    }

    /// How long children may take to stop when asked; then they are killed. Default 27 s, two more than a worker gives
    /// its jobs.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// A child that ends with this code has not died: it wants to be replaced, at once and however soon that is.
    #[must_use]
    pub fn replace_on(self, code: i32) -> Self {
        Self { replace_on: Some(code), ..self }
    }

    /// Whenever this is notified, children that somebody has stopped (SIGSTOP) are killed, and started again like any that
    /// died: a child that does not run may hold a lock that everybody waits for.
    #[must_use]
    pub fn kill_paused_on(self, paused_are_in_the_way: Arc<Notify>) -> Self {
        Self { paused_are_in_the_way, ..self }
    }

    /// Whenever this moves, every child is told so (see [`Parent::nudges`]).
    #[must_use]
    pub fn nudge_on(self, nudges: Option<watch::Receiver<u64>>) -> Self {
        Self { nudges, ..self }
    }

    /// For each of these, children as it says are started at once, and those that run are sent HUP: they are to end when what
    /// they do is done, however long that takes. Until then there are more of them than asked for.
    #[must_use]
    pub fn renew_on(self, renewals: mpsc::UnboundedReceiver<Renewal>) -> Self {
        Self { renewals: Some(renewals), ..self }
    }

    /// Runs until `end` says so and every child is gone. Children that all leave by themselves do not end it: what
    /// their parent does besides goes on.
    ///
    /// `end` may say it twice: first gracefully, then at once.
    pub async fn run(
        mut self,
        mut end: mpsc::UnboundedReceiver<End>,
        mut on_event: impl FnMut(&Event),
    ) -> std::io::Result<()> {
        let mut nudges = self.nudges.take();
        let mut renewals = self.renewals.take();
        let (deaths, mut dead) = mpsc::unbounded_channel();
        let now = self.env.monotonic_us();
        let mut slots: Vec<Slot> = (0..self.count).map(|_| Slot::due(now)).collect();
        // Those in whose place others are.
        let mut leaving: Vec<Child> = Vec::new();
        let mut kill_at_us = None;
        let mut is_anybody_due = self.count > 0;
        let mut may_be_asked = true;
        loop {
            if kill_at_us.is_none() {
                self.start_due(&mut slots, &deaths, &mut on_event);
            }
            let idle = leaving.is_empty() && slots.iter().all(|slot| slot.child.is_none());
            if idle && kill_at_us.is_some() {
                return Ok(());
            }
            if idle && is_anybody_due && slots.iter().all(|slot| slot.start_at_us.is_none()) {
                is_anybody_due = false;
                on_event(&Event::NoneLeft);
            }
            let next = kill_at_us.or_else(|| slots.iter().filter_map(|slot| slot.start_at_us).min());
            tokio::select! {
                biased;
                asked = end.recv(), if may_be_asked => {
                    may_be_asked = asked.is_some();
                    // When whoever could end it is gone: end.
                    self.obey(asked.unwrap_or(End::AtOnce), (&slots, &leaving), &mut kill_at_us);
                }
                Some(death) = dead.recv() => {
                    let event = match leaving.iter().position(|child| child.pid() == death.pid) {
                        Some(index) => {
                            drop(leaving.swap_remove(index));
                            bury_leaving(&death, self.replace_on)
                        }
                        None => self.bury(&mut slots[death.slot], &death, kill_at_us.is_some()),
                    };
                    on_event(&event);
                }
                renewal = next_of(&mut renewals), if kill_at_us.is_none() => {
                    is_anybody_due = renewal.count > 0;
                    self.renew(renewal, &mut slots, &mut leaving);
                }
                () = moved(&mut nudges) => tell_all((&slots, &leaving), Child::nudge),
                () = self.paused_are_in_the_way.notified() => kill_paused(&slots, &mut on_event),
                () = self.sleep_until(next) => {
                    if kill_at_us.is_some_and(|at| at <= self.env.monotonic_us()) {
                        tell_all((&slots, &leaving), Child::kill);
                        kill_at_us = Some(u64::MAX);
                    }
                }
            }
        }
    }

    fn renew(&mut self, renewal: Renewal, slots: &mut Vec<Slot>, leaving: &mut Vec<Child>) {
        let Renewal { count, command, grace } = renewal;
        (self.command, self.grace) = (command, grace);
        let old = slots.drain(..).filter_map(|slot| slot.child);
        leaving.extend(old.inspect(Child::hang_up));
        let now = self.env.monotonic_us();
        slots.extend((0..count).map(|_| Slot::due(now)));
    }

    fn obey(&self, asked: End, all: (&[Slot], &[Child]), kill_at_us: &mut Option<u64>) {
        match asked {
            End::Gracefully if kill_at_us.is_none() => {
                *kill_at_us = Some(self.env.monotonic_us().saturating_add(micros(self.grace)));
                tell_all(all, Child::terminate);
            }
            End::Gracefully => {}
            End::AtOnce => {
                *kill_at_us = Some(u64::MAX);
                tell_all(all, Child::kill);
            }
        }
    }

    async fn sleep_until(&self, monotonic_us: Option<u64>) {
        match monotonic_us {
            Some(at) if at != u64::MAX => self.env.sleep_until_us(at).await,
            _ => std::future::pending().await,
        }
    }

    /// Starts what is to be started now.
    fn start_due(
        &self,
        slots: &mut [Slot],
        deaths: &mpsc::UnboundedSender<Death>,
        on_event: &mut impl FnMut(&Event),
    ) {
        let now = self.env.monotonic_us();
        for (index, slot) in slots.iter_mut().enumerate() {
            if slot.start_at_us.is_none_or(|at| at > now) {
                continue;
            }
            match Child::start(index, (self.command)(), deaths.clone()) {
                Ok(child) => {
                    slot.start_at_us = None;
                    slot.restarts.started(now);
                    on_event(&Event::Started { slot: index, pid: child.pid() });
                    slot.child = Some(child);
                }
                Err(error) => {
                    let retry_in = slot.restarts.died(now);
                    slot.start_at_us = Some(now.saturating_add(micros(retry_in)));
                    on_event(&Event::NotStarted { slot: index, error, retry_in });
                }
            }
        }
    }

    /// Notes a death, and when its successor is started.
    fn bury(&self, slot: &mut Slot, death: &Death, is_end: bool) -> Event {
        slot.child = None;
        let wants_replacement = death.status.code().is_some() && death.status.code() == self.replace_on;
        if wants_replacement && !is_end {
            slot.start_at_us = Some(self.env.monotonic_us());
            return Event::Recycled { slot: death.slot, pid: death.pid };
        }
        if death.status.success() || wants_replacement {
            slot.start_at_us = None;
            return Event::Left { slot: death.slot, pid: death.pid };
        }
        let now = self.env.monotonic_us();
        let restart_in = slot.restarts.died(now);
        slot.start_at_us = Some(now.saturating_add(micros(restart_in)));
        let restart_in = (!is_end).then_some(restart_in);
        Event::Died { slot: death.slot, pid: death.pid, status: death.status, restart_in }
    }
}

/// Is ready when the number has moved; never if there is none, or whoever moved it is gone.
async fn moved(number: &mut Option<watch::Receiver<u64>>) {
    if let Some(moving) = number
        && moving.changed().await.is_ok()
    {
        return;
    }
    *number = None;
    std::future::pending::<()>().await;
}

/// The next one; never if there can be none.
async fn next_of<T>(queue: &mut Option<mpsc::UnboundedReceiver<T>>) -> T {
    if let Some(waiting) = queue
        && let Some(next) = waiting.recv().await
    {
        return next;
    }
    *queue = None;
    std::future::pending().await
}

/// The death of a child that was on its way out. One that had not begun to listen dies of being told so.
fn bury_leaving(death: &Death, replace_on: Option<i32>) -> Event {
    let is_told = death.status.success() || death.status.signal() == Some(Signal::HUP.as_raw());
    match is_told || (replace_on.is_some() && death.status.code() == replace_on) {
        true => Event::Left { slot: death.slot, pid: death.pid },
        false => Event::Died { slot: death.slot, pid: death.pid, status: death.status, restart_in: None },
    }
}

fn tell_all((slots, leaving): (&[Slot], &[Child]), tell: impl Fn(&Child)) {
    slots.iter().filter_map(|slot| slot.child.as_ref()).chain(leaving).for_each(tell);
}

fn kill_paused(slots: &[Slot], on_event: &mut impl FnMut(&Event)) {
    for (index, slot) in slots.iter().enumerate() {
        if let Some(child) = slot.child.as_ref().filter(|child| child.is_paused()) {
            child.kill();
            on_event(&Event::KilledPaused { slot: index, pid: child.pid() });
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
