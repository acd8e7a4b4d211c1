//! Keeps a panic within the code of others that caused it, with its message, its place and the way there.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Once;
use std::task::Poll;

/// What is noted of a panic on this thread just now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    /// Nothing: no code of others runs.
    Nothing,
    /// Where it happened.
    Place,
    /// That, and how the thread got there.
    Trace,
}

thread_local! {
    static NOTE: Cell<Note> = const { Cell::new(Note::Nothing) };
    /// Where the newest panic that was noted on this thread happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static TRACE: RefCell<Option<Backtrace>> = const { RefCell::new(None) };
}

/// A panic of code of others. `Display` says it in one line.
#[derive(Debug)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// File, line and column.
    pub(crate) place: Option<String>,
    /// Where somebody wanted it. The frames only: names are looked up when it is written.
    pub(crate) backtrace: Option<Backtrace>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

/// Lets panics of handlers and services leave their place behind. Whatever hook the program has installed goes on working.
pub(crate) fn watch_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let note = NOTE.get();
            if note != Note::Nothing {
                PLACE.set(info.location().map(ToString::to_string));
            }
            if note == Note::Trace {
                TRACE.set(Some(Backtrace::force_capture()));
            }
            before(info);
        }));
    });
}

/// Runs code of others; a panic becomes its message.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    noted(Note::Place, run).map_err(|panic| panic.to_string())
}

/// The same, with all that is known of a panic, and, if wanted, how the thread got there.
pub(crate) fn caught_whole<T>(with_trace: bool, run: impl FnOnce() -> T) -> Result<T, Box<Panic>> {
    noted(if with_trace { Note::Trace } else { Note::Place }, run)
}

/// What a future of others gives, or its panic. It is also dropped in here.
pub(crate) async fn guarded<F: Future>(
    with_trace: bool,
    make: impl FnOnce() -> F,
) -> Result<F::Output, Box<Panic>> {
    let mut future: Pin<Box<F>> = caught_whole(with_trace, || Box::pin(make()))?;
    let given = poll_fn(|cx| match caught_whole(with_trace, || future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await;
    match (given, caught_whole(with_trace, || drop(future))) {
        (Ok(_), Err(panic)) => Err(panic),
        (given, _) => given,
    }
}

fn noted<T>(note: Note, run: impl FnOnce() -> T) -> Result<T, Box<Panic>> {
    // One may run inside of another: a handler that runs a worker of its own.
    let before = NOTE.replace(note);
    // Whoever gets the message drops the future, and so never sees what the panic left half done.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    NOTE.set(before);
    result.map_err(|payload| {
        let message = message(payload.as_ref());
        Box::new(Panic { message, place: PLACE.take(), backtrace: TRACE.take() })
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned())
}
