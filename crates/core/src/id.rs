//! Ids: UUIDv7 newtypes, one per thing that has an identity.
//!
//! An id is made where the thing is made, so that a batch needs no round trip and a repeated enqueue (after an
//! answer that got lost) is recognised. It leaks its time of creation and nothing else. Never order work by it:
//! the clocks of two machines differ.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Builds a version 7 id from Unix milliseconds and ten bytes of randomness or counter
            /// (RFC 9562, section 5.7).
            pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            /// Takes the 16 bytes that [`as_bytes`](Self::as_bytes) gave.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes, most significant first: the order of creation within one process.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text.trim()).map(Self).map_err(|_| {
                    Error::invalid(
                        format!(concat!("the ", $noun, " id {:?}"), crate::name::shown(text)),
                        "it is not a UUID of 32 hexadecimal digits",
                        concat!("copy the whole id, as the command that made the ", $noun, " printed it"),
                    )
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Names one job for ever; the token that a submitter keeps.
    JobId, "job"
}

id! {
    /// Names one incarnation of a worker process. A restarted process is another worker.
    WorkerId, "worker"
}

id! {
    /// Names one event for ever.
    EventId, "event"
}

id! {
    /// Names one run of a program that has services. A restarted program is another one.
    ProcessId, "process"
}

id! {
    /// Names one API token for ever; it is not its secret.
    TokenId, "token"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_7_uuid_of_its_time() {
        let id = JobId::from_parts(1_700_000_000_123, [0xff; 10]);
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.to_string(), "018bcfe5-687b-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn an_id_survives_its_text_and_its_bytes() {
        let id = JobId::from_parts(1_700_000_000_123, [7; 10]);
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert_eq!(JobId::from_bytes(*id.as_bytes()), id);
        assert_eq!(serde_json::from_str::<JobId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn a_text_that_is_no_id_is_refused_with_advice() {
        let error = "42".parse::<JobId>().unwrap_err();
        assert!(error.is_invalid());
        assert_eq!(error.to_string(), "the job id \"42\": it is not a UUID of 32 hexadecimal digits");
    }
}
