//! Who is told, of what, how.

use std::time::Duration;

use super::address::literal;
use super::{ROTATION, Secret, TIMEOUT_MAX, is_public};
use crate::error::Error;
use crate::name::{Actor, Topic};
use crate::outcome::Interest;
use crate::state::State;
use crate::time::Timestamp;
use crate::trigger::TopicPattern;

/// Bytes of a URL: 2,048.
const URL_BYTES_MAX: usize = 2_048;
/// Topics of an endpoint: 100.
const TOPICS_MAX: usize = 100;
/// Requests to one endpoint at a time, at most: 16.
const IN_FLIGHT_MAX: u32 = 16;

/// An endpoint: where events of some topics are sent, and how.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Where to: `https` or `http`, without a name and password in it.
    pub url: String,
    /// Of which topics.
    pub topics: Topics,
    /// What messages are signed with.
    pub secret: Secret,
    /// What they were signed with before, while receivers may still know no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret>,
    /// Requests at a time. Default 1; 1 to 16.
    pub in_flight: u32,
    /// What may overtake what.
    pub order: Order,
    /// How long one request may take. Default 15 s; 1 s to 15 s.
    pub timeout: Duration,
    /// Whether it may be at an address that is not public.
    pub allow_private: bool,
    /// Whether and why nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// Where it comes from.
    pub origin: Origin,
}

/// The secret before a rotation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OldSecret {
    /// The secret.
    pub secret: Secret,
    /// Until when messages are signed with it, too.
    pub until: Timestamp,
}

/// What may overtake what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Events that could not be delivered are overtaken by all behind them.
    #[default]
    Free,
    /// Events of one key wait for each other; those without a key for none.
    Key,
}

/// Where an endpoint comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// Somebody added it.
    #[default]
    ByHand,
    /// It stands in a config file, and is disabled when it does not any more.
    Config {
        /// Its whole path. That another file does not have it means nothing.
        file: String,
    },
}

/// That nothing is sent, and what becomes of what would have been.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// Who did it.
    pub by: Actor,
    /// Why.
    pub reason: Option<String>,
    /// What becomes of the backlog.
    pub backlog: Backlog,
    /// Whether that is because the config file does not have it any more: it is enabled when the file has it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_config: bool,
}

/// What becomes of what a disabled endpoint is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Backlog {
    /// It waits, and is sent when the endpoint is enabled again; as long as the events are kept.
    #[default]
    Park,
    /// It is forgotten, and the endpoint is told of what happens after it is enabled.
    Drop,
}

/// Topics that an endpoint is told of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Topics(pub Vec<TopicPattern>);

impl Topics {
    /// Whether an event of this topic is sent. Ends of jobs are only to those that name them: `**` does not mean `job.completed`.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_core::webhook::Topics;
    ///
    /// let topics = Topics(vec!["order.*".parse()?, "job.failed".parse()?]);
    /// assert!(topics.has(&"order.paid".parse()?) && topics.has(&"job.failed".parse()?));
    /// assert!(!Topics(vec!["**".parse()?]).has(&"job.failed".parse()?));
    /// # Ok::<(), taskwright_core::Error>(())
    /// ```
    pub fn has(&self, topic: &Topic) -> bool {
        let is_end = is_end_of_job(topic);
        self.0.iter().any(|pattern| pattern.matches(topic) && (!is_end || names_jobs(pattern)))
    }

    /// What the topics begin with: each topic that is [had](Self::has) begins with one of these.
    pub fn beginnings(&self) -> Vec<&str> {
        self.0.iter().map(|pattern| pattern.as_str().split('*').next().unwrap_or_default()).collect()
    }

    /// The ends of jobs that are to be told as events for the endpoint.
    pub fn outcomes(&self) -> Vec<Interest> {
        let ends = State::ALL.into_iter().filter(|state| state.is_terminal());
        let is_wanted =
            |state: &State| Topic::new(&format!("job.{state}")).is_ok_and(|topic| self.has(&topic));
        ends.filter(is_wanted).map(|state| Interest { kind: None, state }).collect()
    }
}

fn names_jobs(pattern: &TopicPattern) -> bool {
    pattern.as_str().starts_with("job.")
}

fn is_end_of_job(topic: &Topic) -> bool {
    let Some(word) = topic.as_str().strip_prefix("job.") else { return false };
    State::ALL.into_iter().any(|state| state.is_terminal() && state.as_str() == word)
}

impl Endpoint {
    /// An endpoint for all topics, with every default.
    pub fn new(url: impl Into<String>, secret: Secret) -> Self {
        Self {
            url: url.into(),
            // Two stars are a pattern.
            topics: Topics("**".parse().into_iter().collect()),
            secret,
            old_secret: None,
            in_flight: 1,
            order: Order::default(),
            timeout: TIMEOUT_MAX,
            allow_private: false,
            disabled: None,
            origin: Origin::default(),
        }
    }

    /// The same, if it makes sense.
    ///
    /// # Errors
    ///
    /// When a value is out of its range, or the URL names an address that is not public and not allowed.
    pub fn checked(self) -> Result<Self, Error> {
        check_url(&self.url)?;
        if !self.allow_private {
            check_address(&self.url)?;
        }
        let wrong = |what: &str, why: String, fix: &str| {
            Err(Error::invalid(format!("the {what} of the webhook"), why, fix))
        };
        if self.topics.0.is_empty() || self.topics.0.len() > TOPICS_MAX {
            let why = format!("there are {}, and 1 to {TOPICS_MAX} are allowed", self.topics.0.len());
            return wrong("topics", why, "use patterns such as order.*, or ** for all");
        }
        if self.in_flight == 0 || self.in_flight > IN_FLIGHT_MAX {
            let why = format!("it is {}, and 1 to {IN_FLIGHT_MAX} is allowed", self.in_flight);
            return wrong("number of requests at a time", why, "1 keeps the order, more are faster");
        }
        if self.timeout < Duration::from_secs(1) || self.timeout > TIMEOUT_MAX {
            let why = format!("it is {:?}, and 1 s to {} s is allowed", self.timeout, TIMEOUT_MAX.as_secs());
            return wrong("time limit", why, "have the receiver answer first and work after");
        }
        Ok(self)
    }

    /// The header `webhook-signature` of a message: one signature, or two within 24 h of a rotation.
    pub fn signatures(&self, id: &str, now: Timestamp, body: &[u8]) -> String {
        let unix_s = now.as_unix_millis() / 1_000;
        let mut signatures = self.secret.sign(id, unix_s, body);
        if let Some(old) = self.old_secret.as_ref().filter(|old| now < old.until) {
            signatures.push(' ');
            signatures.push_str(&old.secret.sign(id, unix_s, body));
        }
        signatures
    }

    /// Signs with a new secret from now on, and for 24 h with the old one, too.
    pub fn rotate(&mut self, now: Timestamp, secret: Secret) {
        let secret = std::mem::replace(&mut self.secret, secret);
        self.old_secret = Some(OldSecret { secret, until: now.plus(ROTATION) });
    }
}

/// Checks what can be seen of a URL without resolving anything.
fn check_url(url: &str) -> Result<(), Error> {
    let host = host_of(url);
    let why = match host {
        _ if url.len() > URL_BYTES_MAX => format!("it has {} bytes, {URL_BYTES_MAX} are allowed", url.len()),
        _ if url.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            "it has a space or control character".to_owned()
        }
        None => "it does not begin with https:// or http://".to_owned(),
        Some("") => "it names no host".to_owned(),
        Some(host) if host.contains('@') => {
            "it has a name or password in it, which everybody sees who lists webhooks".to_owned()
        }
        Some(_) if url.contains('#') => "it has a fragment, which no server gets".to_owned(),
        Some(_) => return Ok(()),
    };
    // A password is not repeated.
    let shown = if host.is_some_and(|host| host.contains('@')) {
        String::new()
    } else {
        format!(" {:?}", crate::name::shown(url))
    };
    Err(Error::invalid(
        format!("the URL{shown} of the webhook"),
        why,
        "give where to send, such as https://example.org/hook; the secret proves who sends",
    ))
}

/// Whatever stands between the protocol and the path.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.split(['/', '\\', '?', '#']).next()
}

/// Checks an address that stands in a URL. What a name resolves to is checked by whoever sends.
fn check_address(url: &str) -> Result<(), Error> {
    let host = host_of(url).unwrap_or_default();
    let without_port = match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    };
    match literal(without_port) {
        Some(address) if !is_public(address) => Err(Error::invalid(
            format!("the URL {:?} of the webhook", crate::name::shown(url)),
            format!("{address} is no public address, and webhooks go to no other unless they are allowed to"),
            "allow this one with --allow-private (in the config file: allow_private = true), or give a public address",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(url, Secret::from_bytes(&[1; 32]).unwrap())
    }

    fn topics(patterns: &[&str]) -> Topics {
        Topics(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = endpoint("https://example.org/hook?a=b");
        for url in [
            "ftp://example.org",
            "https://",
            "https:///x",
            "example.org",
            "https://a:b@example.org/",
            "https://a b/",
            "https://a/#x",
        ] {
            let error = endpoint(url).checked().unwrap_err();
            assert!(error.is_invalid() && !error.to_string().contains("a:b"), "{url}: {error}");
        }
        for bad in [
            Endpoint { topics: topics(&[]), ..good.clone() },
            Endpoint { in_flight: 0, ..good.clone() },
            Endpoint { in_flight: 17, ..good.clone() },
            Endpoint { timeout: Duration::from_millis(999), ..good.clone() },
            Endpoint { timeout: Duration::from_millis(15_001), ..good.clone() },
        ] {
            assert!(bad.clone().checked().unwrap_err().is_invalid(), "{bad:?}");
        }
        assert_eq!(good.clone().checked(), Ok(good));
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_unless_it_is_allowed() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1:9/hook",
            "http://10.0.0.8?x",
            "https://[::1]:8443/",
            "http://[fd00::1]",
            "http://2130706433\\x",
            "http://169.254.169.254/latest/meta-data",
        ] {
            let error = endpoint(url).checked().unwrap_err();
            assert!(error.is_invalid() && error.why().contains("is no public address"), "{url}: {error}");
            assert!(error.fix().contains("--allow-private"), "{error}");
            let allowed = Endpoint { allow_private: true, ..endpoint(url) };
            assert!(allowed.checked().is_ok(), "{url}");
        }
        // Names are looked up by whoever sends.
        for url in
            ["http://8.8.8.8/", "https://[2606:4700::1111]/", "http://localhost/", "https://10.example.org"]
        {
            assert!(endpoint(url).checked().is_ok(), "{url}");
        }
    }

    #[test]
    fn ends_of_jobs_are_told_to_those_that_name_them() {
        let states =
            |patterns: &[&str]| topics(patterns).outcomes().iter().map(|one| one.state).collect::<Vec<_>>();
        assert_eq!(states(&["**", "order.*", "*.failed", "*.*"]), []);
        assert_eq!(states(&["job.failed", "order.*"]), [State::Failed]);
        assert_eq!(states(&["job.*"]).len(), 4);
        assert!(topics(&["job.*"]).has(&"job.started".parse().unwrap()), "which is no end");
    }

    #[test]
    fn a_topic_begins_as_its_pattern_says() {
        let topics = topics(&["order.paid", "user.*.gone", "**"]);
        assert_eq!(topics.beginnings(), ["order.paid", "user.", ""]);
    }

    #[test]
    fn two_secrets_sign_until_a_day_after_a_rotation() {
        let (mut endpoint, now) = (endpoint("https://example.org"), Timestamp::from_micros(0));
        let old = endpoint.signatures("id", now, b"x");
        endpoint.rotate(now, Secret::from_bytes(&[2; 32]).unwrap());
        let both = endpoint.signatures("id", now, b"x");
        let both: Vec<&str> = both.split(' ').collect();
        assert_eq!((both.len(), both[1]), (2, old.as_str()));
        assert!(!endpoint.signatures("id", now.plus(ROTATION), b"x").contains(' '));
    }
}
