//! What stands around every handler and every enqueue, and looks at every job before it is stored.

#[cfg(feature = "sqlite")]
mod at_once;
mod enqueue;

use std::future::Future;
use std::sync::Arc;

use taskwright_core::{Error, NewJob, Outcome};

#[cfg(feature = "sqlite")]
pub(crate) use self::at_once::through_at_once;
pub(crate) use self::enqueue::{Around, through, with};
pub use self::enqueue::{EnqueueFuture, EnqueueMiddleware, EnqueueNext};
use crate::context::Context;
use crate::handler::{Handler, HandlerFuture};
use crate::worker::panic::caught_whole;

/// What stands around handlers: it sees each attempt before its handler does, and its outcome after. Every
/// `async fn(Context, Next) -> Outcome` is one.
///
/// A registry without any pays nothing for it; each one costs an allocation and a virtual call an attempt.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use taskwright::core::Outcome;
/// use taskwright::{App, Context, Next};
///
/// static FAILED: AtomicU64 = AtomicU64::new(0);
///
/// async fn counted(ctx: Context, next: Next) -> Outcome {
///     let outcome = next.run(ctx.clone()).await;
///     if !matches!(outcome, Outcome::Completed { .. } | Outcome::Snooze { .. }) {
///         FAILED.fetch_add(1, Ordering::Relaxed);
///         ctx.log("that went wrong");
///     }
///     outcome
/// }
/// let app = App::new().wrap(counted);
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Handles one attempt: by [`Next::run`], or without.
    ///
    /// What it awaits is dropped when the attempt is aborted: when it did not stop in time after it was asked to.
    fn call(&self, ctx: Context, next: Next) -> HandlerFuture;
}

impl<F, R> Middleware for F
where
    F: Fn(Context, Next) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    fn call(&self, ctx: Context, next: Next) -> HandlerFuture {
        Box::pin(self(ctx, next))
    }
}

/// The rest of the way to the handler.
pub struct Next(Arc<dyn Handler>);

impl Next {
    /// The way that leads to this handler and nobody else.
    pub(crate) fn to(handler: Arc<dyn Handler>) -> Self {
        Self(handler)
    }

    /// Goes on with the attempt, and gives its outcome. A panic of the handler is one: a failure that says that it panicked.
    pub async fn run(self, ctx: Context) -> Outcome {
        let with_trace = ctx.traces_panics();
        let mut future = match caught_whole(with_trace, || self.0.call(ctx.clone())) {
            Ok(future) => future,
            Err(panic) => return ctx.panicked(panic).into(),
        };
        std::future::poll_fn(|cx| match caught_whole(with_trace, || future.as_mut().poll(cx)) {
            Ok(poll) => poll,
            Err(panic) => std::task::Poll::Ready(ctx.panicked(panic).into()),
        })
        .await
    }
}

/// A handler with one middleware around it.
struct Wrapped {
    by: Arc<dyn Middleware>,
    inner: Arc<dyn Handler>,
}

impl Handler for Wrapped {
    fn call(&self, ctx: Context) -> HandlerFuture {
        self.by.call(ctx, Next(Arc::clone(&self.inner)))
    }

    fn runs_child_processes(&self) -> bool {
        self.inner.runs_child_processes()
    }
}

/// A handler within all of these, the first outermost.
pub(crate) fn wrapped(around: &[Arc<dyn Middleware>], handler: &Arc<dyn Handler>) -> Arc<dyn Handler> {
    around.iter().rev().fold(Arc::clone(handler), |inner, by| Arc::new(Wrapped { by: Arc::clone(by), inner }))
}

/// What looks at each job before a client stores it, and may change or refuse it.
pub(crate) type BeforeEnqueue = Arc<dyn Fn(&mut NewJob) -> Result<(), Error> + Send + Sync>;
