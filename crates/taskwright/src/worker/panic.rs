//! Keeps a panic within the attempt that caused it, with its message and its place.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs a handler just now.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
    /// Where the newest panic of a handler on this thread happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets panics of handlers leave their place behind. Whatever hook the program has installed goes on working.
pub(crate) fn watch_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IN_HANDLER.get() {
                PLACE.set(info.location().map(ToString::to_string));
            }
            before(info);
        }));
    });
}

/// Runs code of a handler; a panic becomes its message.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // A handler may run code that is kept apart in the same way.
    let before = IN_HANDLER.replace(true);
    // Whoever gets the message drops the future, and so never sees what the panic left half done.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    IN_HANDLER.set(before);
    result.map_err(|payload| describe(payload.as_ref()))
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    match PLACE.take() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    }
}
