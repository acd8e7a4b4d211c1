//! One service with its life cycle: what its owner holds.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::service::{self, Cause, ServiceState};
use taskwright_core::{ServiceName, Timestamp};
use tokio::sync::{Notify, watch};

use super::status::{Board, Status, StopOrder};
use super::{AnyService, Erased, Service, ServiceOptions, keeper};
use crate::attempt::lock;
use crate::env::{Env, Spawned, micros};
use crate::error::Error;
use crate::report::Reports;
use crate::worker::panic::watch_places;

/// Starts and stops a service, and says how it is. Cheap to clone; all clones are one.
///
/// Its owner decides how long it lives: with the last clone, the service is dropped, and its [stop](Service::stop) is not called.
#[derive(Clone)]
pub struct Container {
    shared: Arc<Shared>,
    /// The task that sees it through its life. Not in what the task holds itself, so that nothing runs that nobody owns.
    keeper: Arc<Mutex<Option<Spawned<()>>>>,
}

/// How a service came to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    DidNotRun,
    /// It ended in time.
    InTime,
    /// It did not stop in time, and was dropped.
    Dropped,
    /// It did not stop in time, and could not be dropped, because it blocks its thread. It is still stopping.
    No,
    /// It was told, by itself: it cannot wait for its own end.
    Asked,
}

/// What the owner of a service, its keeper and the service itself share.
pub(super) struct Shared {
    pub(super) name: ServiceName,
    pub(super) env: Env,
    pub(super) reports: Reports,
    pub(super) options: ServiceOptions,
    pub(super) service: Box<dyn AnyService>,
    pub(super) board: watch::Sender<Board>,
    /// Tasks that are the service itself.
    own: Mutex<Vec<tokio::task::Id>>,
    /// Told when anything about it changes.
    changed: Arc<Notify>,
}

impl Container {
    /// A service that does not run yet.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn new(
        env: &Env,
        reports: Reports,
        name: &str,
        options: ServiceOptions,
        service: impl Service,
    ) -> Result<Self, Error> {
        let name = ServiceName::new(name)?;
        Ok(Self::of(env, reports, name, options, service, Arc::default()))
    }

    pub(super) fn of(
        env: &Env,
        reports: Reports,
        name: ServiceName,
        options: ServiceOptions,
        service: impl Service,
        changed: Arc<Notify>,
    ) -> Self {
        watch_places();
        let board = watch::Sender::new(Board::new(name.clone(), env.now()));
        let service: Box<dyn AnyService> = Box::new(Erased(service));
        let own = Mutex::default();
        let shared = Shared { name, env: env.clone(), reports, options, service, board, own, changed };
        Self { shared: Arc::new(shared), keeper: Arc::default() }
    }

    /// What it is called.
    pub fn name(&self) -> &ServiceName {
        &self.shared.name
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.shared.board.borrow().status.clone()
    }

    /// Whether its start ends when it does.
    pub(super) fn is_synchronous(&self) -> bool {
        self.shared.options.synchronous
    }

    /// Whether it runs just now.
    pub fn is_running(&self) -> bool {
        self.shared.board.borrow().status.state == ServiceState::Running
    }

    /// Starts it, and waits until it runs, has declined, or could not be started, for as long as that
    /// [may](ServiceOptions::start_within) take; a [synchronous](ServiceOptions::synchronous) one until it is over.
    ///
    /// # Errors
    ///
    /// [`Error::is_already_started`] when it runs, and nothing changes. When its [start](Service::start) failed, or did not end in time;
    /// that is reported, and its restart policy holds.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(&self) -> Result<&Self, Error> {
        let life = self.shared.begin()?;
        let keeper = self.shared.env.spawn("service keeper", keeper::keep(Arc::clone(&self.shared), life));
        *lock(&self.keeper) = Some(keeper);
        let mut board = self.shared.board.subscribe();
        let first = {
            // The sender is here.
            let board = board.wait_for(|board| board.life != life || board.first.is_some()).await;
            board.ok().and_then(|board| board.first.clone())
        };
        if let Some(Err(why)) = first {
            return Err(Error::not_started(&self.shared.name, why));
        }
        if self.shared.options.synchronous {
            self.over().await;
        }
        Ok(self)
    }

    /// Tells it to stop, and waits until it has: for as long as it [may](ServiceOptions::stop_within) take, and a moment to drop it.
    /// One that waits to be started again no longer does. Nothing happens to one that does not run.
    ///
    /// Whatever goes wrong is reported, and no error here. Called again meanwhile, it waits for the same end; called by the service
    /// itself, it does not wait.
    pub async fn stop(&self) -> Stopped {
        self.ended(self.tell()).await
    }

    /// The same with another limit. The nearest one counts.
    pub async fn stop_within(&self, limit: Duration) -> Stopped {
        self.ended(self.tell_within(limit)).await
    }

    /// Tells it to stop, and does not wait; gives the life that is to end, if one is.
    pub(super) fn tell(&self) -> Option<u64> {
        self.tell_within(self.shared.options.stop_within)
    }

    /// The same with another limit.
    pub(super) fn tell_within(&self, limit: Duration) -> Option<u64> {
        self.shared.tell(limit)
    }

    /// Waits until a life that was told to end has, and says how.
    pub(super) async fn ended(&self, life: Option<u64>) -> Stopped {
        let Some(life) = life else { return Stopped::DidNotRun };
        if self.shared.is_own_task() {
            return Stopped::Asked;
        }
        let mut board = self.shared.board.subscribe();
        let order = board.borrow().stop;
        // The keeper answers by then, unless the service blocks the thread on which the keeper was to go on.
        let by_us = order.map_or(0, |order| order.by_us.saturating_add(micros(keeper::ABORT_MAX * 2)));
        tokio::select! {
            biased;
            board = board.wait_for(|board| board.life != life || board.stopped.is_some()) => {
                // Another life began: this one has ended, and nobody knows how any more.
                board.ok().and_then(|board| board.stopped).unwrap_or(Stopped::InTime)
            }
            () = self.shared.env.sleep_until_us(by_us) => Stopped::No,
        }
    }

    /// Waits until nothing of it runs, and nothing will unless somebody starts it; says how it is then.
    pub async fn over(&self) -> Status {
        self.until(Status::is_at_rest).await
    }

    /// Waits until it is so; says how it is then. Something that passes quickly may be missed.
    pub async fn until(&self, is_so: impl Fn(&Status) -> bool) -> Status {
        let mut board = self.shared.board.subscribe();
        match board.wait_for(|board| is_so(&board.status)).await {
            Ok(board) => board.status.clone(),
            // The sender is here.
            Err(_) => self.status(),
        }
    }
}

impl Shared {
    /// A new life begins.
    fn begin(&self) -> Result<u64, Error> {
        let now = self.env.now();
        let mut begun = Err(Error::already_started(&self.name, ServiceState::Running));
        self.change(|board| {
            let state = board.status.state;
            if board.step(Cause::Start, ServiceState::Starting, now).is_err() {
                begun = Err(Error::already_started(&self.name, state));
                return false;
            }
            (board.status.restarts, board.first, board.stop, board.stopped) = (0, None, None, None);
            board.life += 1;
            begun = Ok(board.life);
            true
        });
        begun
    }

    /// Tells it to stop; `None` when there is nothing to stop, and otherwise the life that is to end.
    pub(super) fn tell(&self, limit: Duration) -> Option<u64> {
        let now = self.env.now();
        let order = StopOrder { by_us: self.env.monotonic_us().saturating_add(micros(limit)), limit };
        let mut life = None;
        self.change(|board| {
            let waits = board.status.restart_at.is_some();
            if !board.status.state.is_live() && !waits {
                return false;
            }
            life = Some(board.life);
            if waits {
                // Nothing of it runs.
                (board.stop, board.stopped) = (Some(order), Some(Stopped::DidNotRun));
                return self.stepped(board, Cause::Stop, ServiceState::Stopped, now);
            }
            if board.stop.is_some_and(|before| before.by_us <= order.by_us) {
                return false;
            }
            board.stop = Some(order);
            board.first.get_or_insert(Ok(()));
            if board.status.state != ServiceState::Stopping {
                return self.stepped(board, Cause::Stop, ServiceState::Stopping, now);
            }
            true
        });
        life
    }

    /// Moves it where it must be able to move.
    pub(super) fn stepped(&self, board: &mut Board, cause: Cause, to: ServiceState, now: Timestamp) -> bool {
        debug_assert!(service::may(board.status.state, cause), "{} {cause:?}", board.status.state);
        match board.step(cause, to, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(service = %self.name, %error, "a service lost track of its state");
                false
            }
        }
    }

    /// Changes something, unless the change gives `false`, and tells everybody.
    pub(super) fn change(&self, change: impl FnOnce(&mut Board) -> bool) -> bool {
        let changed = self.board.send_if_modified(change);
        if changed {
            self.changed.notify_one();
        }
        changed
    }

    /// The same, if this is still the life that it is about, and nobody has told it to stop.
    pub(super) fn change_unless_told(&self, life: u64, change: impl FnOnce(&mut Board) -> bool) -> bool {
        self.change(|board| board.life == life && board.stop.is_none() && change(board))
    }

    pub(super) fn is_told(&self, life: u64) -> bool {
        is_told(&self.board.borrow(), life)
    }

    /// Is ready when this life is told to stop, also when it was before.
    pub(super) async fn told(&self, life: u64) {
        let mut board = self.board.subscribe();
        // The sender is here.
        let _ = board.wait_for(|board| is_told(board, life)).await;
    }

    /// Until the guard is dropped, this task is the service itself.
    pub(super) fn own_task(&self) -> OwnTask<'_> {
        let id = tokio::task::try_id();
        lock(&self.own).extend(id);
        OwnTask { shared: self, id }
    }

    fn is_own_task(&self) -> bool {
        tokio::task::try_id().is_some_and(|id| lock(&self.own).contains(&id))
    }
}

fn is_told(board: &Board, life: u64) -> bool {
    board.life != life || board.stop.is_some()
}

/// A task that is the service itself.
pub(super) struct OwnTask<'a> {
    shared: &'a Shared,
    id: Option<tokio::task::Id>,
}

impl Drop for OwnTask<'_> {
    fn drop(&mut self) {
        lock(&self.shared.own).retain(|own| Some(*own) != self.id);
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Container").field(&self.status()).finish()
    }
}
