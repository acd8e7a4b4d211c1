//! Which addresses are anybody's: a request to an address that only this machine or this network can reach lets whoever chose
//! the URL look at what he could not see himself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public internet, so that a webhook may go there unless it was allowed more.
///
/// Everything of the special-purpose registries of IANA (RFC 6890 and its updates) is not: this host, loopback, private, link-local,
/// shared, documentation, benchmarks, multicast, reserved. An address of version 6 that stands for one of version 4 (mapped,
/// compatible, NAT64, 6to4) is as public as that one; one of `2001::/23`, which has Teredo in it, is not, whatever it stands for.
///
/// # Example
///
/// ```
/// use taskwright_core::webhook::is_public;
///
/// assert!(is_public("203.0.114.7".parse().unwrap()));
/// for private in ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1"] {
///     assert!(!is_public(private.parse().unwrap()), "{private}");
/// }
/// ```
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This host; private; loopback; multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, ..) => true,
        // Shared by carriers.
        (100, 64..=127, _) => true,
        // Link-local, where clouds keep their metadata.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments; documentation; 6to4 relays; AMT and AS112.
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 52, 193) | (192, 31, 196) | (192, 175, 48) => true,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded_v4(address) {
        return is_public_v4(inner);
    }
    let segments = address.segments();
    // Only 2000::/3 is given to anybody.
    let is_global = segments[0] & 0xe000 == 0x2000;
    let is_special = match (segments[0], segments[1]) {
        // Protocol assignments: Teredo, benchmarks, ORCHID and others; documentation.
        (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff) => true,
        _ => false,
    };
    is_global && !is_special
}

/// The address of version 4 that one of version 6 stands for.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // Mapped, and compatible, which has `::` and `::1` in it.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// The address that stands as the host of a URL, if one does; also as it is read on the web: `127.1`, `0x7f000001`, `0177.0.0.1`
/// (WHATWG URL, "IPv4 parser").
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    /// Numbers before the last one.
    const FIRST_MAX: usize = 3;
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let numbers = host.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    // The last one fills what the others leave.
    let (last, first) = numbers.split_last()?;
    if first.len() > FIRST_MAX || first.iter().any(|part| *part > 0xff) {
        return None;
    }
    let room = 32 - 8 * first.len();
    let high = first.iter().fold(0_u64, |high, part| (high << 8) | u64::from(*part)) << room;
    let fits = u64::from(*last) < 1 << room;
    fits.then(|| u32::try_from(high | u64::from(*last)).ok())?.map(|bits| Ipv4Addr::from(bits).into())
}

/// A part of an address: decimal, octal behind `0`, or hexadecimal behind `0x`.
fn number(part: &str) -> Option<u32> {
    let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
    let (digits, radix) = match (hex, part.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (part, 10),
    };
    match digits {
        "" => hex.map(|_| 0),
        _ if digits.starts_with('+') => None,
        digits => u32::from_str_radix(digits, radix).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_addresses_are_nobodys_business() {
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "5f00::1",
            "2001:0:1:2:3:4:80ff:fffe",
            // Teredo, which stands for 8.8.8.8; ORCHID.
            "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
            "2001:20::1",
            "2001:1ff:ffff::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.3.1",
            "2001:200::1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_known_however_it_is_written_in_a_url() {
        for loopback in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f.1",
            "0X7F000001",
            "0177.0.0.1",
            "127.0.0.1.",
        ] {
            assert_eq!(literal(loopback), Some(Ipv4Addr::LOCALHOST.into()), "{loopback}");
        }
        assert_eq!(literal("[::1]"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(literal("255.255.255.255"), Some(Ipv4Addr::BROADCAST.into()));
        assert_eq!(literal("0"), Some(Ipv4Addr::UNSPECIFIED.into()));
        for none in [
            "",
            ".",
            "example.org",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "4294967296",
            "1..2",
            "[::1",
            "+1",
            "0x+1",
            "08",
        ] {
            assert_eq!(literal(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_read_as_it_is_printed(bits in any::<u32>(), long in any::<u128>()) {
            let (short, long) = (Ipv4Addr::from(bits), Ipv6Addr::from(long));
            prop_assert_eq!(literal(&short.to_string()), Some(short.into()));
            prop_assert_eq!(literal(&bits.to_string()), Some(short.into()));
            prop_assert_eq!(literal(&format!("[{long}]")), Some(long.into()));
        }

        #[test]
        fn a_mapped_address_is_as_public_as_what_it_stands_for(bits in any::<u32>()) {
            let inner = Ipv4Addr::from(bits);
            prop_assert_eq!(is_public(inner.to_ipv6_mapped().into()), is_public(inner.into()));
            prop_assert_eq!(is_public(inner.into()), is_public_v4(inner));
            let said_private = inner.is_private() || inner.is_loopback() || inner.is_link_local()
                || inner.is_broadcast() || inner.is_documentation() || inner.is_multicast() || inner.is_unspecified();
            prop_assert!(!(said_private && is_public(inner.into())), "{}", inner);
        }

        #[test]
        fn what_the_library_calls_local_is_not_public(bits in any::<u128>()) {
            let address = Ipv6Addr::from(bits);
            let is_local = address.is_unique_local() || address.is_unicast_link_local() || address.is_multicast();
            prop_assert!(!(is_local && is_public(address.into())), "{}", address);
        }
    }
}
