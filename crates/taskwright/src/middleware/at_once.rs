//! Middleware around an enqueue that cannot wait: one in a transaction of rusqlite, which is no future.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use taskwright_core::{Error as DomainError, NewJob};
use taskwright_store::Enqueued;

use super::enqueue::{Around, through};
use crate::error::Error;

/// How often it is polled: each step to the store and back takes two.
const POLLS_MAX: usize = 1_000;

/// Lets each of these see the jobs, and stores what they let through; they must not wait for anything but the rest of their way.
///
/// # Errors
///
/// When one does; what was stored by then has to be rolled back.
pub(crate) fn through_at_once(
    around: &Around,
    jobs: Vec<NewJob>,
    store: impl FnOnce(Vec<NewJob>) -> Result<Vec<Enqueued>, Error>,
) -> Result<Vec<Enqueued>, Error> {
    let stored = through(around, true, jobs, |jobs| std::future::ready(store(jobs)));
    // Tokio's budget is for tasks, which come back later.
    let mut stored = pin!(tokio::task::unconstrained(stored));
    let progress = Arc::new(Progress::default());
    let waker = Waker::from(Arc::clone(&progress));
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(answers) = stored.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answers;
        }
        if !progress.0.swap(false, Ordering::Relaxed) {
            break;
        }
    }
    Err(DomainError::invalid(
        "the enqueue in a transaction of SQLite",
        "what stands around it waits, and this call cannot",
        "roll back; let that await nothing but `next.run(..)` where `next.commits_later()`",
    )
    .into())
}

/// Whether something was made ready while it was polled.
#[derive(Default)]
struct Progress(AtomicBool);

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
