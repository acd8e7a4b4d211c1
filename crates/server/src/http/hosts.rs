//! For which hosts requests are taken: a page of another site must not reach a server on this machine by having its own name
//! point here (DNS rebinding).

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;

/// The hosts that requests may be for.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Where the server listens; `None` where another program does, and requests for any host are taken.
    address: Option<IpAddr>,
    /// Names that the operator gave it.
    names: Vec<String>,
}

impl Hosts {
    /// Those of a server that listens on this address, and has these names besides.
    pub(crate) fn of(address: IpAddr, names: &[String]) -> Self {
        Self { address: Some(address), names: names.to_vec() }
    }

    /// Any.
    pub(crate) fn any() -> Self {
        Self { address: None, names: Vec::new() }
    }

    /// Whether a request for this host, with or without a port, is for us. The port may be another one: it is when
    /// somebody forwards theirs.
    pub(crate) fn has(&self, host: &str) -> bool {
        let Some(address) = self.address else { return true };
        let name = without_port(host);
        if name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|ours| name.eq_ignore_ascii_case(ours))
        {
            return true;
        }
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        // Whoever listens at all addresses of a machine is asked by any of them; a page of another site has a name.
        let is_any = address.is_unspecified();
        literal.parse::<IpAddr>().is_ok_and(|ip| ip == address || crate::config::is_here(ip) || is_any)
    }
}

/// The host that a request is for, if it says so in one way.
pub(crate) fn of_request(parts: &Parts) -> Option<String> {
    let mut named = parts.headers.get_all(HOST).iter();
    match (named.next(), named.next(), parts.uri.authority()) {
        // A target with another host than the header says is for nobody.
        (Some(host), None, Some(authority)) if host.as_bytes() != authority.as_str().as_bytes() => None,
        (Some(host), None, _) => host.to_str().ok().map(str::to_owned),
        // HTTP/2 says it in the target.
        (None, _, Some(authority)) => Some(authority.as_str().to_owned()),
        _ => None,
    }
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !ends_in_literal(name, host) =>
        {
            name
        }
        _ => host,
    }
}

/// Whether the colon belongs to an IPv6 address without brackets.
fn ends_in_literal(name: &str, host: &str) -> bool {
    name.contains(':') && !host.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_s_own_names_are_taken() {
        let hosts = Hosts::of("127.0.0.1".parse().unwrap(), &[]);
        for ours in [
            "localhost",
            "LOCALHOST:7411",
            "127.0.0.1:7411",
            "127.0.0.1",
            "[::1]:7411",
            "[::1]",
            "127.0.0.2:1",
        ] {
            assert!(hosts.has(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7411",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0:7411",
            "192.168.0.1",
            "",
            "localhost:evil",
            "[::ffff:10.0.0.1]:7411",
        ] {
            assert!(!hosts.has(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_server_for_others_has_the_names_that_it_was_given_and_its_addresses() {
        let hosts = Hosts::of("0.0.0.0".parse().unwrap(), &["jobs.example.org".to_owned()]);
        for ours in
            ["Jobs.Example.org", "jobs.example.org:443", "10.0.0.7:7411", "[fd00::7]:7411", "localhost"]
        {
            assert!(hosts.has(ours), "{ours}");
        }
        for foreign in ["evil.example", "jobs.example.org.evil.example", "example.org", ""] {
            assert!(!hosts.has(foreign), "{foreign}");
        }
        let one = Hosts::of("10.0.0.7".parse().unwrap(), &[]);
        assert!(one.has("10.0.0.7:7411") && !one.has("10.0.0.8:7411"));
    }
}
