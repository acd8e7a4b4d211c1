//! A store behind a server: what `--server URL` makes of the HTTP API, so that every verb works on it as on a store.
//!
//! [`RemoteStore`] answers what verbs ask of a store by asking a server. What only a worker or a duty does is refused: it
//! needs the store itself. What the server refuses comes back in the server's own words.

/// Calls that only workers, duties and daemons make.
macro_rules! refused {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($arg: $type),*) -> Reply<'_, $answer> {
            $(let _ = $arg;)*
            self.refuse(stringify!($name))
        }
    )*};
}

mod http;
mod named;
mod principals;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use self::http::{NO_BODY, NOTHING, Remote, SERVER_VARIABLE, TOKEN_VARIABLE};
pub(crate) use self::store::{RemoteStore, segment};
