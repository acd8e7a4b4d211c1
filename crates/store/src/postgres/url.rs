//! What a `postgres://` URL says: where the database is, and how we use it.
//!
//! The driver parses everything but our own parameters, which are taken off before. A URL may hold a password, also in
//! places where it does not belong (`postgres://u:pa@ss?word@host/db`), so no message repeats any of its text unless
//! that has been recognised as harmless.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::error::{Area, Error};

/// The schema of a URL that names none.
const SCHEMA_DEFAULT: &str = "taskwright";

/// Bytes of an identifier, as PostgreSQL keeps them (NAMEDATALEN - 1).
const SCHEMA_BYTES_MAX: usize = 63;

/// Connections of a URL that says no number.
const CONNECTIONS_DEFAULT: usize = 4;

/// The most connections that one process may ask for: a server has a hundred by default.
const CONNECTIONS_MAX: usize = 100;

/// How long one attempt to reach one host may take, unless the URL says otherwise.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long sent data may stay unacknowledged before the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence before the first probe, time between probes, and how many: a dead peer is found in 20 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 2;

/// How a connection is protected, with the words of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// No TLS.
    Disable,
    /// TLS if the server offers it; its certificate is not checked.
    Prefer,
    /// TLS; the certificate is not checked, unless `sslrootcert` is given: then as `verify-ca`.
    Require,
    /// TLS; the certificate is of a trusted authority.
    VerifyCa,
    /// TLS; the certificate is of a trusted authority, and for this host.
    VerifyFull,
}

impl FromStr for Protection {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(()),
        })
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

/// How a PostgreSQL store is reached and used. See [`parse`](Settings::parse).
///
/// Neither `Debug` nor [`url`](Settings::url) shows a secret.
#[derive(Clone)]
pub struct Settings {
    pub(super) config: tokio_postgres::Config,
    pub(super) schema: String,
    pub(super) connections: usize,
    pub(super) pgbouncer: bool,
    pub(super) notify: bool,
    pub(super) protection: Protection,
    /// Certificates of the authorities to trust instead of the system's.
    pub(super) root_certificates: Option<PathBuf>,
}

impl Settings {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`.
    ///
    /// The parameters are those of the driver ([`tokio_postgres::Config`]), and:
    ///
    /// | parameter | what | default |
    /// |---|---|---|
    /// | `schema` | the schema that holds the tables, `[a-z_][a-z0-9_]{0,62}` | `taskwright` |
    /// | `pool` | connections of this process, 1 to 100 | 4 |
    /// | `pgbouncer` | `true` behind a PgBouncer in transaction mode | `false` |
    /// | `notify` | `false`: tell and hear nothing by `NOTIFY`; jobs of other processes are found within 55 ms | `true` |
    /// | `sslmode` | `disable`, `prefer`, `require`, `verify-ca`, `verify-full` | `verify-full`; `prefer` when every host is this machine |
    /// | `sslrootcert` | a PEM file of authorities to trust, or `system` | `system` |
    ///
    /// A server that cannot be written is never used: `target_session_attrs` is `read-write` whatever the URL says.
    ///
    /// # Errors
    ///
    /// When the URL cannot be parsed, names no host, or a parameter is unknown or out of its range. The message does
    /// not repeat the URL.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (bare, query) = split_query(url);
        let mut own = Own::default();
        let mut left = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(unreadable)?;
            if !own.take(name, value)? {
                known_to_driver(name, query)?;
                left.push(pair);
            }
        }
        let names: Vec<&str> = left.iter().filter_map(|pair| pair.split('=').next()).collect();
        let mut config =
            format!("{bare}?{}", left.join("&")).parse().map_err(|error| refused_by_driver(&error))?;
        let local = is_local(&config)?;
        let protection =
            own.protection.unwrap_or(if local { Protection::Prefer } else { Protection::VerifyFull });
        let settings = Self {
            protection: match protection {
                // As libpq does, "for backwards compatibility".
                Protection::Require if own.root_certificates.is_some() => Protection::VerifyCa,
                protection => protection,
            },
            config: {
                set_up(&mut config, &names);
                config
            },
            schema: own.schema.unwrap_or_else(|| SCHEMA_DEFAULT.to_owned()),
            connections: own.connections.unwrap_or(CONNECTIONS_DEFAULT),
            pgbouncer: own.pgbouncer.unwrap_or(false),
            notify: own.notify.unwrap_or(true),
            root_certificates: own.root_certificates,
        };
        if !local && settings.protection < Protection::VerifyFull {
            tracing::warn!(
                store = settings.url(),
                sslmode = %settings.protection,
                "the connection to the database can be read or taken over on its way; sslmode=verify-full prevents that"
            );
        }
        Ok(settings.finish())
    }

    /// The same database, and another schema.
    ///
    /// # Errors
    ///
    /// When that is no name for a schema, as in [`parse`](Self::parse).
    pub fn with_schema(mut self, schema: &str) -> Result<Self, Error> {
        self.schema = parse_schema(schema)?;
        Ok(self)
    }

    /// The same database, with or without hints by `NOTIFY`.
    #[must_use]
    pub fn with_notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// How connections are protected.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Whether every host is this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.config).unwrap_or(false)
    }

    /// The URL without secrets: hosts, user, database and schema.
    pub fn url(&self) -> String {
        let mut url = "postgres://".to_owned();
        if let Some(user) = self.config.get_user() {
            url.push_str(&encode(user));
            url.push('@');
        }
        url.push_str(&self.places());
        url.push('/');
        url.push_str(&encode(self.config.get_dbname().unwrap_or_default()));
        if self.schema != SCHEMA_DEFAULT {
            url.push_str("?schema=");
            url.push_str(&self.schema);
        }
        url
    }

    /// Every `HOST:PORT`, separated by commas.
    fn places(&self) -> String {
        let ports = self.config.get_ports();
        let port = |n: usize| ports.get(n).or(ports.first()).copied().unwrap_or(5432);
        let hosts: Vec<String> = match self.config.get_hosts() {
            [] => self.config.get_hostaddrs().iter().map(|address| bracketed(&address.to_string())).collect(),
            hosts => hosts.iter().map(host_text).collect(),
        };
        let places = hosts.into_iter().enumerate().map(|(n, host)| format!("{host}:{}", port(n)));
        places.collect::<Vec<_>>().join(",")
    }

    /// Puts what follows from the settings into the driver's.
    fn finish(mut self) -> Self {
        let only_sockets = self.config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && self.config.get_hostaddrs().is_empty();
        self.config.ssl_mode(match self.protection {
            // There is no TLS on a socket of this machine, whatever is asked for; libpq ignores it there, too.
            _ if only_sockets => SslMode::Disable,
            Protection::Disable => SslMode::Disable,
            Protection::Prefer => SslMode::Prefer,
            Protection::Require | Protection::VerifyCa | Protection::VerifyFull => SslMode::Require,
        });
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url())
            .field("connections", &self.connections)
            .field("pgbouncer", &self.pgbouncer)
            .field("notify", &self.notify)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// The parameters that the driver does not know, or knows fewer values of.
#[derive(Default)]
struct Own {
    schema: Option<String>,
    connections: Option<usize>,
    pgbouncer: Option<bool>,
    notify: Option<bool>,
    protection: Option<Protection>,
    root_certificates: Option<PathBuf>,
    /// `sslrootcert=system`, which is the default.
    system_certificates: bool,
}

impl Own {
    /// Keeps a parameter of ours; `false` when it is the driver's.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, Error> {
        let value = decode(value);
        let twice = match name {
            "schema" => self.schema.replace(parse_schema(&value)?).is_some(),
            "pool" => self.connections.replace(parse_connections(&value)?).is_some(),
            "pgbouncer" => self.pgbouncer.replace(parse_flag(name, &value)?).is_some(),
            "notify" => self.notify.replace(parse_flag(name, &value)?).is_some(),
            "sslmode" => {
                let protection = value.parse().map_err(|()| {
                    invalid(
                        "sslmode",
                        "it is not one of the modes",
                        "use disable, prefer, require, verify-ca or verify-full",
                    )
                })?;
                self.protection.replace(protection).is_some()
            }
            "sslrootcert" if value == "system" => std::mem::replace(&mut self.system_certificates, true),
            "sslrootcert" => self.root_certificates.replace(PathBuf::from(value)).is_some(),
            _ => return Ok(false),
        };
        if twice {
            return Err(invalid(name, "it is given twice", "give it once"));
        }
        Ok(true)
    }
}

/// The schema that holds the tables of a store, as its description tells; `None` when it is not on PostgreSQL.
pub fn schema_of(info: &crate::StoreInfo) -> Option<&str> {
    let named = info.url.split_once("?schema=").map(|(_, schema)| schema);
    (info.kind == "postgres").then(|| named.unwrap_or(SCHEMA_DEFAULT))
}

fn parse_schema(text: &str) -> Result<String, Error> {
    let lower = |c: char| c.is_ascii_lowercase() || c == '_';
    let sound = text.starts_with(lower)
        && text.chars().all(|c| lower(c) || c.is_ascii_digit())
        && text.len() <= SCHEMA_BYTES_MAX;
    if !sound {
        return Err(invalid(
            "schema",
            "a schema name is lower-case letters, digits and underscores, no digit first, at most 63",
            "choose such a name, for instance schema=taskwright",
        ));
    }
    if text.starts_with("pg_") || text == "information_schema" {
        return Err(invalid(
            "schema",
            "PostgreSQL keeps such names for itself",
            "choose another name, for instance schema=taskwright",
        ));
    }
    Ok(text.to_owned())
}

fn parse_connections(text: &str) -> Result<usize, Error> {
    text.parse()
        .ok()
        .filter(|count| (1..=CONNECTIONS_MAX).contains(count))
        .ok_or_else(|| invalid("pool", "it is not a number from 1 to 100", "leave it out for 4 connections"))
}

fn parse_flag(name: &str, text: &str) -> Result<bool, Error> {
    let advice = match name {
        "notify" => "use notify=false to send and hear no NOTIFY, and leave it out otherwise",
        _ => "use pgbouncer=true behind a PgBouncer in transaction mode, and leave it out otherwise",
    };
    text.parse().map_err(|_| invalid(name, "it is neither true nor false", advice))
}

/// What the driver takes. Named here, so that a parameter of libpq's that it lacks is explained.
const DRIVER_PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

fn known_to_driver(name: &str, query: &str) -> Result<(), Error> {
    if DRIVER_PARAMETERS.contains(&name) {
        return Ok(());
    }
    if ["sslcert", "sslkey", "sslpassword", "passfile", "service"].contains(&name) {
        return Err(invalid(
            name,
            "certificates of clients, password files and services are not supported",
            "let the server ask for a password, and write it in the URL, or in TASKWRIGHT_STORE",
        ));
    }
    let shown = if may_be_shown(name, query) { name } else { "a parameter" };
    Err(invalid(
        shown,
        "no such parameter is known",
        "the parameters are schema, pool, pgbouncer, notify, sslmode, sslrootcert and those of tokio-postgres; \
         write ? & = @ / : of a password as %3F %26 %3D %40 %2F %3A",
    ))
}

/// Whether a name is what it seems, and not a part of a password that should have been encoded.
fn may_be_shown(name: &str, query: &str) -> bool {
    !query.contains('@') && name.len() <= 32 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The URL without its query, and the query. As the driver does it: what precedes the first `@` is user and password.
fn split_query(url: &str) -> (&str, &str) {
    let credentials = url.find('@').map_or(0, |at| at + 1);
    match url[credentials..].find('?') {
        Some(mark) => (&url[..credentials + mark], &url[credentials + mark + 1..]),
        None => (url, ""),
    }
}

/// What we ask of every connection. What the URL says of these wins, save the kind of session.
fn set_up(config: &mut tokio_postgres::Config, named: &[&str]) {
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let mut default = |name: &str, set: &dyn Fn(&mut tokio_postgres::Config)| {
        if !named.contains(&name) {
            set(config);
        }
    };
    default("application_name", &|config| {
        config.application_name("taskwright");
    });
    default("connect_timeout", &|config| {
        config.connect_timeout(CONNECT_WAIT_MAX);
    });
    default("tcp_user_timeout", &|config| {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    });
    default("keepalives_idle", &|config| {
        config.keepalives_idle(KEEPALIVE_IDLE);
    });
    default("keepalives_interval", &|config| {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    });
    default("keepalives_retries", &|config| {
        config.keepalives_retries(KEEPALIVE_PROBES);
    });
}

/// Whether every host, and every address that is given for one, is this machine.
fn is_local(config: &tokio_postgres::Config) -> Result<bool, Error> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return Err(invalid(
            "host",
            "the URL names none",
            "write postgres://USER@HOST/DATABASE, or postgres:///DATABASE?host=/var/run/postgresql for a socket",
        ));
    }
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    Ok(hosts.iter().all(local) && addresses.iter().all(IpAddr::is_loopback))
}

/// The driver's words are repeated only where they are its own: the name of a parameter that it knows.
fn refused_by_driver(error: &tokio_postgres::Error) -> Error {
    let words = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match DRIVER_PARAMETERS.iter().find(|name| words == format!("invalid value for option `{name}`")) {
        Some(name) => invalid(name, "its value is not one that it can have", "correct it, or leave it out"),
        None => unreadable(),
    }
}

fn unreadable() -> Error {
    Error::new(
        Area::Unreachable,
        "the URL of the PostgreSQL store",
        "it cannot be read",
        "write postgres://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE&...; \
         characters such as ? & = @ / : of a password as %3F %26 %3D %40 %2F %3A",
    )
}

fn invalid(name: &str, why: &str, fix: &str) -> Error {
    Error::new(Area::Unreachable, format!("{name} in the URL of the PostgreSQL store"), why, fix)
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp(name) => bracketed(name),
        Host::Unix(path) => encode(&path.to_string_lossy()),
    }
}

fn bracketed(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { encode(name) }
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match after.get(..2).filter(|_| first == b'%').and_then(hex) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
