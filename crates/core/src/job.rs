//! What a submitter hands in.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::id::JobId;
use crate::limit::{ARGS_BYTES_MAX, ARGS_DEPTH_MAX};
use crate::name::{Kind, Namespace, Owner, QueueName};
use crate::priority::Priority;
use crate::retry::{Backoff, MaxAttempts};
use crate::time::Timestamp;
use crate::unique::UniqueKey;

/// A job that is about to be stored. Everything in it has been checked by its type.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The id, made by the client: storing the same id twice stores one job.
    pub id: JobId,
    /// The tenant it belongs to.
    pub namespace: Namespace,
    /// Who it belongs to within the namespace.
    pub owner: Option<Owner>,
    /// The task that is to run.
    pub kind: Kind,
    /// The lane it waits in.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// What the handler is given.
    pub args: Args,
    /// Not before this moment; `None` or a moment that has passed means at once.
    pub run_at: Option<Timestamp>,
    /// Whether it waits for an explicit release.
    pub held: bool,
    /// How many executions it gets.
    pub max_attempts: MaxAttempts,
    /// How long it waits after a failure; `None` leaves it to the task.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take; `None` leaves it to the task.
    pub timeout: Option<Duration>,
    /// What happens when the worker that runs it is lost.
    pub delivery: Delivery,
    /// Which other jobs it stands for.
    pub unique: Option<UniqueKey>,
}

impl NewJob {
    /// A job of this kind with these arguments and every default.
    pub fn new(id: JobId, kind: Kind, args: Args) -> Self {
        Self {
            id,
            namespace: Namespace::default(),
            owner: None,
            kind,
            queue: QueueName::default(),
            priority: Priority::default(),
            args,
            run_at: None,
            held: false,
            max_attempts: MaxAttempts::default(),
            backoff: None,
            timeout: None,
            delivery: Delivery::default(),
            unique: None,
        }
    }
}

/// What happens to a job whose worker is lost while it may have been running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It runs again, as long as an attempt is left.
    #[default]
    AtLeastOnce,
    /// It ends as [`Dropped`](crate::State::Dropped).
    AtMostOnce,
}

/// What becomes of a job that a worker has started, and that does not end within the grace when the worker is shut down. One whose
/// delivery is [`AtMostOnce`](Delivery::AtMostOnce) is dropped in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnShutdown {
    /// It is available again, its attempt unspent, and another worker runs it.
    #[default]
    GiveBack,
    /// It ends as [`Dropped`](crate::State::Dropped).
    Drop,
}

impl OnShutdown {
    /// The word for it, in every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GiveBack => "give-back",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for OnShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for OnShutdown {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::GiveBack, Self::Drop].into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
            Error::invalid(
                format!("the policy {:?}", crate::name::shown(text)),
                "it is neither `give-back` nor `drop`",
                "write \"give-back\" to run such jobs again elsewhere, or \"drop\" to end them as dropped",
            )
        })
    }
}

/// The arguments of a job: one JSON value, kept as the exact bytes that were given.
#[derive(Clone, PartialEq, Eq)]
pub struct Args(Box<[u8]>);

impl Args {
    /// Checks that the bytes are one JSON value (RFC 8259) that every store accepts, and keeps them as they are.
    ///
    /// # Errors
    ///
    /// When they are not JSON (the message names line and column), hold a NUL character (`\u0000`, which PostgreSQL's
    /// `jsonb` refuses), nest deeper than 127, or have more than 1 MiB.
    pub fn from_json(json: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let json = json.into();
        if json.len() > ARGS_BYTES_MAX {
            return Err(Error::too_large(
                "the arguments",
                format!("they have {} bytes, {ARGS_BYTES_MAX} are allowed", json.len()),
                "store the large part elsewhere and pass a reference to it",
            ));
        }
        let text = std::str::from_utf8(&json).map_err(|error| {
            Error::invalid(
                "the arguments",
                format!("they are not UTF-8 (at byte {})", error.valid_up_to()),
                "encode binary data as base64",
            )
        })?;
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
            Error::invalid(
                "the arguments",
                format!("they are not JSON: {error}"),
                r#"pass one JSON value, for instance '{"user": 7}'"#,
            )
        })?;
        check_portable(&json)?;
        Ok(Self(json.into_boxed_slice()))
    }

    /// Serialises a value.
    ///
    /// # Errors
    ///
    /// When the value cannot be JSON (a map whose keys are not text), or as for [`from_json`](Self::from_json).
    pub fn of(value: &impl serde::Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|error| {
            Error::invalid(
                "the arguments",
                format!("they cannot be written as JSON: {error}"),
                "use a type whose map keys are text and whose numbers are finite",
            )
        })?;
        Self::from_json(json)
    }

    /// Takes bytes that a store gave back, which were checked before they went in.
    pub fn from_store(json: Box<[u8]>) -> Self {
        Self(json)
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The JSON as text.
    pub fn as_str(&self) -> &str {
        // JSON was checked to be UTF-8 on the way in; a store that was damaged since must not bring a reader down.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// Reads the arguments as a handler's own type.
    ///
    /// # Errors
    ///
    /// When they do not have the form of the type; the message names line and column.
    pub fn parse<'de, T: serde::Deserialize<'de>>(&'de self) -> Result<T, Error> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::invalid(
                "the arguments",
                format!("they do not fit the task: {error}"),
                "enqueue the job again with arguments of the form that the task documents",
            )
        })
    }
}

/// `null`: a task without arguments.
impl Default for Args {
    fn default() -> Self {
        Self(Box::from(&b"null"[..]))
    }
}

impl fmt::Debug for Args {
    /// Length only: arguments may hold what must not be in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Args({} bytes)", self.0.len())
    }
}

/// Refuses JSON that is valid and yet not accepted by every store and every reader: too deep, an escaped NUL, half a
/// surrogate pair. The text is known to be JSON, so that brackets match and escapes are complete.
fn check_portable(json: &[u8]) -> Result<(), Error> {
    let mut depth = 0;
    let mut in_string = false;
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => in_string = !in_string,
            b'\\' if json[at + 1] == b'u' => {
                at += check_escape(json, at)?;
                continue;
            }
            b'\\' => at += 1,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > ARGS_DEPTH_MAX {
                    return Err(Error::too_large(
                        "the arguments",
                        format!("they nest deeper than {ARGS_DEPTH_MAX} levels (at byte {at})"),
                        "flatten them",
                    ));
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Checks the `\uXXXX` at `at`, with its second half if it is a surrogate pair; gives the bytes it takes.
fn check_escape(json: &[u8], at: usize) -> Result<usize, Error> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let refused = |what: &str, fix: &str| {
        let why = format!("they hold {what} (at byte {at}), which not every store can keep");
        Error::invalid("the arguments", why, fix.to_owned())
    };
    match unit(at) {
        Some(0) => Err(refused("a NUL character (\\u0000)", "remove it, or encode binary data as base64")),
        Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => Ok(12),
        Some(0xd800..=0xdfff) => Err(refused("half a surrogate pair", "write the whole character")),
        _ => Ok(6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_kept_as_the_exact_bytes() {
        let json = r#"{"b": 1,  "a": 1.0, "a": 12345678901234567890123}"#;
        assert_eq!(Args::from_json(json).unwrap().as_str(), json);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_position() {
        let error = Args::from_json("{\"a\": 1,\n \"b\": }").unwrap_err();
        assert_eq!(error.to_string(), "the arguments: they are not JSON: expected value at line 2 column 7");
        for json in ["", "{", "{} {}", "nul", "'a'", "\"\u{1}\"", "NaN"] {
            assert!(Args::from_json(json).unwrap_err().is_invalid(), "{json:?}");
        }
        assert!(Args::from_json(vec![b'"', 0xff, b'"']).unwrap_err().is_invalid());
    }

    #[test]
    fn nul_is_refused_however_it_is_written_and_its_lookalikes_are_not() {
        assert!(Args::from_json(r#"{"a": "x\u0000y"}"#).unwrap_err().is_invalid());
        assert!(Args::from_json(r#"{"\u0000": 1}"#).unwrap_err().is_invalid());
        assert!(Args::from_json(r#"["\\\u0000"]"#).unwrap_err().is_invalid());
        assert!(Args::from_json(r#"["\\u0000", "\u0001", "u0000"]"#).is_ok());
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        assert!(Args::from_json(r#""\ud83d\ude00""#).is_ok());
        for json in [r#""\ud83d""#, r#""\ud83d\u0041""#, r#""\ude00""#, r#""\ud83d\ud83d""#] {
            assert!(Args::from_json(json).unwrap_err().is_invalid(), "{json}");
        }
    }

    #[test]
    fn arguments_over_a_limit_are_refused() {
        let long = format!("\"{}\"", "x".repeat(ARGS_BYTES_MAX - 2));
        assert!(Args::from_json(long.clone()).is_ok());
        assert!(Args::from_json(long + " ").unwrap_err().is_too_large());
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Args::from_json(nested(ARGS_DEPTH_MAX)).is_ok());
        assert!(Args::from_json(nested(ARGS_DEPTH_MAX + 1)).unwrap_err().is_too_large());
        assert!(Args::from_json(nested(10_000)).unwrap_err().is_too_large());
    }

    #[test]
    fn arguments_are_not_printed_by_debug() {
        assert_eq!(format!("{:?}", Args::from_json("\"secret\"").unwrap()), "Args(8 bytes)");
    }
}
