//! `[server]`: where the HTTP API listens, and how much it takes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::reader::Section;
use crate::error::Error;

/// `[server]`. What it does not say is `None`, and the built-in default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerConfig {
    /// Where to listen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
    /// Threads that answer requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Streams and long polls at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_max: Option<u32>,
    /// Streams and long polls of one principal at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_each_max: Option<u32>,
    /// Requests a second of one principal, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests of one principal at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_burst: Option<u32>,
    /// Requests of one principal that are worked on at a time while others ask, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_at_once: Option<u32>,
    /// How long one request may take that is no stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Duration>,
    /// Names of this server besides its addresses: requests for others are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The certificate that the server shows, and its key; `None` is HTTP without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Whether it may listen where others reach it without TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_clear_text: bool,
}

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFiles {
    /// The certificate, then those of the authorities between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl ServerConfig {
    /// Whether what is said to a server at this address would cross a network in the clear, and nobody has said that it may.
    pub(crate) fn is_too_open(&self, address: SocketAddr, allowed: bool) -> bool {
        !is_here(address.ip()) && self.tls.is_none() && !self.allow_clear_text && !allowed
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether only this machine reaches an address, be it written as one of IPv6 or not.
pub(crate) fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Threads that may be asked for.
const THREADS_MAX: u32 = 64;
/// Connections and streams that may be allowed.
const MAX: u32 = 100_000;
/// Requests that may be allowed.
const PACE_MAX: u32 = 1_000_000;
/// How long one request may be allowed to take.
const REQUEST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

pub(super) fn read(section: &Section<'_>) -> ServerConfig {
    let config = ServerConfig {
        listen: section.parsed("listen", "an address like \"127.0.0.1:7411\", or \"none\"", str::parse),
        threads: section.whole("threads", 1, THREADS_MAX),
        connections_max: section.whole("connections_max", 1, MAX),
        streams_max: section.whole("streams_max", 1, MAX),
        streams_each_max: section.whole("streams_each_max", 1, MAX),
        requests_per_second: section.whole("requests_per_second", 1, PACE_MAX),
        requests_burst: section.whole("requests_burst", 1, PACE_MAX),
        requests_at_once: section.whole("requests_at_once", 1, MAX),
        hosts: section.list("hosts", "a list of names like [\"jobs.example.org\"]", host).unwrap_or_default(),
        request_timeout: section.span("request_timeout", REQUEST.0, REQUEST.1),
        tls: tls(section),
        allow_clear_text: section.flag("allow_clear_text").unwrap_or(false),
    };
    section.finish();
    config
}

/// A name of this server: without a port, and no pattern.
fn host(text: &str) -> Result<String, Error> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(is_part) {
        return Ok(text.to_owned());
    }
    Err(Error::usage(
        format!("the host {:?}", taskwright_core::name::shown(text)),
        "it is no name of a host",
        "write it like jobs.example.org, without a scheme and a port",
    ))
}

fn tls(section: &Section<'_>) -> Option<TlsFiles> {
    let path = |key| section.parsed(key, "the path of a file in PEM", |text| Ok(PathBuf::from(text)));
    match (path("tls_cert"), path("tls_key")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let (there, missing) =
                if cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
            section.tell_at(
                there,
                format!("`{there}` in [server] without `{missing}`"),
                "a certificate is of use with its key only",
                "name both files, or none",
            );
            None
        }
    }
}

/// Where the server listens unless somebody says otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7411);

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Nowhere,
    /// At this address of this machine. Port 0 is one that is free.
    At(SocketAddr),
}

impl Default for Listen {
    fn default() -> Self {
        Self::At(DEFAULT)
    }
}

impl FromStr for Listen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        let local = |port: &str| Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?));
        let address = match text.strip_prefix("localhost:") {
            Some(port) => local(port),
            None => text.parse().ok(),
        };
        let address: SocketAddr = address.ok_or_else(|| {
            Error::usage(
                format!("the address {:?}", taskwright_core::name::shown(text)),
                "it is neither an address with a port nor `none`",
                "write it like 127.0.0.1:7411, with port 0 for one that is free, or `none`",
            )
        })?;
        Ok(Self::At(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_is_none_of_a_name_service() {
        for good in ["127.0.0.1:7411", "[::1]:0", "localhost:80", "0.0.0.0:7411", "192.168.1.1:80"] {
            assert!(matches!(good.parse(), Ok(Listen::At(_))), "{good}");
        }
        assert_eq!("none".parse::<Listen>().unwrap(), Listen::Nowhere);
        for no_address in ["", "7411", "127.0.0.1", "localhost", "localhost:http", "example.org:80", ":7411"]
        {
            let error = no_address.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("neither an address"), "{no_address}: {error}");
        }
    }

    #[test]
    fn clear_text_stays_on_this_machine_unless_somebody_allows_it() {
        let (here, there) = ("127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap());
        let none = ServerConfig::default();
        assert!(!none.is_too_open(here, false) && none.is_too_open(there, false));
        assert!(!none.is_too_open(there, true));
        for (address, is_open) in
            [("[::1]:0", false), ("[::ffff:127.0.0.1]:0", false), ("[::ffff:10.0.0.1]:0", true)]
        {
            assert_eq!(none.is_too_open(address.parse().unwrap(), false), is_open, "{address}");
        }
        let allowed = ServerConfig { allow_clear_text: true, ..none.clone() };
        assert!(!allowed.is_too_open(there, false));
        let files = TlsFiles { cert: "c".into(), key: "k".into() };
        assert!(!ServerConfig { tls: Some(files), ..none }.is_too_open(there, false));
    }

    #[test]
    fn the_default_is_this_machine_at_7411() {
        assert_eq!(Listen::default().to_string(), "127.0.0.1:7411");
    }
}
