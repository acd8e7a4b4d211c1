//! Secrets that stand for a principal: what they look like, and what is kept of them.
//!
//! A secret is shown once, when it is made; a store keeps its SHA-256. It has 256 random bits, so that nothing slower than that is
//! needed: nobody tries them all.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::error::Error;

/// How the text of each token begins, so that scanners for leaked secrets know it.
pub const PREFIX: &str = "tw_";
/// Random bytes of a secret: 32, which is 256 bits.
pub const SECRET_BYTES: usize = 32;
/// Bytes of the checksum behind them.
const SUM_BYTES: usize = 4;
/// Characters of a token that may be shown: the prefix, and 32 of the 256 bits.
const HINT_CHARS: usize = PREFIX.len() + 8;

/// What a store knows a secret by: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Hashes tell nothing, and still do not belong into a log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// The secret of a token or a session: `tw_`, 64 hexadecimal digits and 8 of a checksum, which tells a mistyped one from an unknown
/// one before any store is asked. It is not shown by accident: only [`reveal`](Self::reveal) gives the text.
///
/// # Example
///
/// ```
/// use taskwright_core::token::Secret;
///
/// let secret = Secret::from_random([7; 32]);
/// let read: Secret = secret.reveal().parse()?;
/// assert_eq!(read.hash(), secret.hash());
/// assert_eq!(secret.hint(), "tw_07070707");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// The secret with these bytes, which nobody must be able to guess.
    pub fn from_random(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The text, for whoever is to have it.
    pub fn reveal(&self) -> String {
        let mut text = String::with_capacity(PREFIX.len() + 2 * (SECRET_BYTES + SUM_BYTES));
        text.push_str(PREFIX);
        for byte in self.0.iter().chain(&self.checksum()) {
            text.push(hex_digit(byte >> 4));
            text.push(hex_digit(byte & 0xf));
        }
        text
    }

    /// The beginning of the text, by which people recognise it.
    pub fn hint(&self) -> String {
        self.reveal()[..HINT_CHARS].to_owned()
    }

    /// What a store knows it by.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }

    fn checksum(&self) -> [u8; SUM_BYTES] {
        let sum = blake3::derive_key("taskwright 2026 checksum of a token", &self.0);
        [sum[0], sum[1], sum[2], sum[3]]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = Error;

    /// Reads a text. The error does not repeat it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = |why: &str| {
            Error::invalid(
                "the token",
                why.to_owned(),
                "copy the whole of what `taskwright tokens create` printed",
            )
        };
        let digits = text.strip_prefix(PREFIX).ok_or_else(|| malformed("it does not begin with `tw_`"))?;
        let mut bytes = [0; SECRET_BYTES + SUM_BYTES];
        if digits.len() != 2 * bytes.len() {
            return Err(malformed("it has not the length of one"));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (hex_value(pair[0]), hex_value(pair[1])) else {
                return Err(malformed("it has a character that no token has"));
            };
            *byte = (high << 4) | low;
        }
        let (secret, sum) = bytes.split_at(SECRET_BYTES);
        let mut random = [0; SECRET_BYTES];
        random.copy_from_slice(secret);
        let secret = Self(random);
        if secret.checksum() == sum {
            Ok(secret)
        } else {
            Err(malformed("its checksum is wrong: it was mistyped"))
        }
    }
}

fn hex_digit(value: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(value & 0xf)])
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_that_was_mistyped_is_refused_without_being_repeated() {
        let text = Secret::from_random([0xab; 32]).reveal();
        assert_eq!(text.len(), 75);
        for bad in [
            text[..74].to_owned(),
            format!("{text}0"),
            text.replacen("ab", "ba", 1),
            text.replacen("tw_", "xx_", 1),
            text.to_uppercase(),
            text.replacen('a', "g", 1),
            String::new(),
        ] {
            let error = bad.parse::<Secret>().unwrap_err();
            assert!(error.is_invalid(), "{error}");
            assert!(bad.len() < 10 || !format!("{error} {error:?}").contains(&bad[3..]), "{error}");
        }
    }

    #[test]
    fn nothing_shows_a_secret_by_accident() {
        let secret = Secret::from_random([0xcd; 32]);
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "Secret(..) SecretHash(..)");
    }

    proptest! {
        #[test]
        fn a_secret_is_read_back_and_one_wrong_digit_is_noticed(
            bytes in any::<[u8; 32]>(), place in 3..75_usize, digit in 0..15_u8,
        ) {
            let secret = Secret::from_random(bytes);
            let text = secret.reveal();
            prop_assert_eq!(&text.parse::<Secret>().unwrap(), &secret);
            let old = text.as_bytes()[place];
            let other = (0..16).map(hex_digit).filter(|other| *other != char::from(old)).nth(digit.into()).unwrap();
            let mut wrong = text;
            wrong.replace_range(place..=place, &other.to_string());
            prop_assert!(wrong.parse::<Secret>().is_err());
        }
    }
}
