//! Amounts of bytes as people write and read them.

use std::fmt;

use crate::error::Error;
use crate::time::digits;

/// The binary units, largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes. Shown in the largest unit that it reaches, with one decimal, rounded down, where that does not divide it:
/// `512 MiB`, `1.5 GiB`, `1000 bytes`.
///
/// # Example
///
/// ```
/// use taskwright_core::size::Bytes;
///
/// assert_eq!(Bytes(512 << 20).to_string(), "512 MiB");
/// assert_eq!(Bytes(1_600 << 20).to_string(), "1.5 GiB");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, unit)) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit) else {
            return write!(f, "{} bytes", self.0);
        };
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        // Tenths, rounded down: what is above a limit must not be shown as a unit more than it has.
        let tenths = rest / (unit / 10);
        if rest == 0 { write!(f, "{whole} {name}") } else { write!(f, "{whole}.{} {name}", tenths.min(9)) }
    }
}

/// Reads an amount of bytes: `512MiB`, `4GiB`, `64K` (binary, as the service manager has it), `1GB` (decimal); a bare
/// number is bytes. At least 1 and at most 8 EiB.
///
/// # Errors
///
/// When the text is empty, has an unknown unit or a fraction, or is 0 or too large.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    let refuse = |why: &str| {
        Error::invalid(
            format!("the size {:?}", crate::name::shown(text)),
            why.to_owned(),
            "write it like 64KiB, 512MiB or 4GiB",
        )
    };
    size_bytes(text.trim()).map_err(refuse)
}

/// The bytes of a size as [`parse_size`] reads it, without blanks around it; or why it is none. For sizes that stand in the source of a
/// program, and are read when that is compiled.
///
/// # Errors
///
/// As [`parse_size`].
pub const fn size_bytes(text: &str) -> Result<u64, &'static str> {
    let bytes = text.as_bytes();
    let (number, mut at) = digits(bytes, 0);
    if at == 0 {
        let is_negative = !bytes.is_empty() && bytes[0] == b'-';
        return Err(if is_negative { "it is negative" } else { "a number is missing" });
    }
    if at < bytes.len() && matches!(bytes[at], b'.' | b',') {
        return Err("it has a fraction");
    }
    while at < bytes.len() && bytes[at] == b' ' {
        at += 1;
    }
    let unit: u64 = match bytes.split_at(at).1 {
        b"" | b"B" => 1,
        b"K" | b"KiB" => 1 << 10,
        b"M" | b"MiB" => 1 << 20,
        b"G" | b"GiB" => 1 << 30,
        b"T" | b"TiB" => 1 << 40,
        b"kB" | b"KB" => 1_000,
        b"MB" => 1_000_000,
        b"GB" => 1_000_000_000,
        b"TB" => 1_000_000_000_000,
        _ => return Err("its unit is not one of B, KiB, MiB, GiB, TiB"),
    };
    let Some(number) = number else { return Err("it is too large") };
    match number.checked_mul(unit) {
        Some(0) => Err("it is 0"),
        // What stores and kernels keep is signed.
        Some(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        _ => Err("it is too large"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("1000", 1_000),
            ("64KiB", 65_536),
            ("512MiB", 512 << 20),
            ("512 MiB", 512 << 20),
            ("4G", 4 << 30),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "MiB",
            "0",
            "0MiB",
            "-1MiB",
            "1.5GiB",
            "1mib",
            "1 parsec",
            "9999999999999TiB",
            "99999999999999999999",
        ] {
            assert!(parse_size(text).unwrap_err().is_invalid(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_they_reach() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1_000, "1000 bytes"),
            (1 << 20, "1 MiB"),
            (1_536 << 10, "1.5 MiB"),
            ((1 << 30) - 1, "1023.9 MiB"),
            (30 << 30, "30 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }
}
