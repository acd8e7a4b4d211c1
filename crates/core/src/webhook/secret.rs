//! How a receiver knows that a message is ours, and no other: the signatures of Standard Webhooks
//! (github.com/standard-webhooks/standard-webhooks, specification 1.0.0).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::Error;

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: 24 to 64.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// What a sender and a receiver know, and nobody else. It is never printed by accident: only [`reveal`](Self::reveal) gives its text.
///
/// # Example
///
/// ```
/// use taskwright_core::webhook::Secret;
///
/// let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
/// assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    ///
    /// When they are fewer than 24 or more than 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return Ok(Self(bytes.into()));
        }
        Err(refuse(format!("it has {} bytes, {BYTES_MIN} to {BYTES_MAX} are allowed", bytes.len())))
    }

    /// The text that a receiver is given: `whsec_` and the bytes in Base64.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// One signature of a message, as it stands in the header `webhook-signature`: `v1,` and the HMAC-SHA256 of
    /// `ID.TIMESTAMP.BODY` in Base64.
    pub fn sign(&self, id: &str, unix_s: u64, body: &[u8]) -> String {
        // An HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(unix_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

fn refuse(why: String) -> Error {
    // The text itself may be a real secret with a slip in it.
    Error::invalid(
        "the secret of a webhook",
        why,
        "give whsec_ and 24 to 64 bytes in Base64, or none to have one made",
    )
}

impl std::str::FromStr for Secret {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let coded =
            text.strip_prefix(PREFIX).ok_or_else(|| refuse(format!("it does not begin with {PREFIX}")))?;
        let bytes = STANDARD.decode(coded).map_err(|error| refuse(format!("it is no Base64: {error}")))?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_secret_is_refused_and_not_repeated() {
        for bad in ["hunter2hunter2hunter2hunter2", "whsec_!!!!", "whsec_aHVudGVyMg=="] {
            let error = bad.parse::<Secret>().unwrap_err();
            assert!(error.is_invalid() && !error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn text_and_bytes_are_one() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        assert_eq!(secret.reveal().parse::<Secret>().unwrap(), secret);
        assert!(Secret::from_bytes(&[7; 23]).is_err() && Secret::from_bytes(&[7; 65]).is_err());
    }

    #[test]
    fn every_part_of_a_message_counts() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        let signed = secret.sign("a", 1, b"x");
        for other in [secret.sign("b", 1, b"x"), secret.sign("a", 2, b"x"), secret.sign("a", 1, b"y")] {
            assert_ne!(signed, other);
        }
        assert_ne!(signed, Secret::from_bytes(&[8; 32]).unwrap().sign("a", 1, b"x"));
    }
}
