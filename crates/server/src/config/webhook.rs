//! `[webhooks.NAME]`: endpoints that are told of events.

use std::time::Duration;

use serde::Serialize;
use taskwright_core::WebhookName;
use taskwright_core::trigger::TopicPattern;
use taskwright_core::webhook::{Endpoint, Order, Origin, Secret, TIMEOUT_MAX, Topics};

use super::reader::Section;
use crate::error::Error;

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// Of which topics. Default all.
    pub topics: Vec<TopicPattern>,
    /// What messages are signed with; made when it is added, if the file does not say. Never shown.
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// Requests at a time.
    pub in_flight: u32,
    /// What may overtake what.
    pub order: Order,
    /// How long one request may take.
    #[serde(serialize_with = "duration_as_text")]
    pub timeout: Duration,
    /// Whether it may be at an address that is not public.
    pub allow_private: bool,
}

impl WebhookConfig {
    /// Says it about an endpoint, as that file does: a new one, or one that is there, whose secrets stay unless the file has one.
    pub(crate) fn apply(&self, file: &str, endpoint: &mut Endpoint) {
        let Self { url, topics, secret, in_flight, order, timeout, allow_private } = self.clone();
        (endpoint.url, endpoint.topics, endpoint.in_flight) = (url, Topics(topics), in_flight);
        (endpoint.order, endpoint.timeout, endpoint.allow_private) = (order, timeout, allow_private);
        endpoint.origin = Origin::Config { file: file.to_owned() };
        if let Some(secret) = secret {
            endpoint.secret = secret;
        }
    }
}

/// Reads one section; `None` when it does not say where to send.
pub(super) fn read(name: &str, section: &Section<'_>) -> Option<WebhookConfig> {
    if let Err(error) = WebhookName::new(name) {
        section.tell_here(format!("the webhook {name:?}"), error.why(), error.fix());
    }
    // What is no secret is as good as one for the check of the rest.
    let stand_in = Secret::from_bytes(&[0; 32]).ok()?;
    let allow_private = section.flag("allow_private").unwrap_or(false);
    let url = section.parsed("url", "a URL like \"https://example.org/hook\"", |text| {
        let endpoint = Endpoint { allow_private, ..Endpoint::new(text, stand_in.clone()) };
        Ok(endpoint.checked()?.url)
    });
    let topics = section.text_or_list("topics", "a topic like \"order.*\", or a list of them", |text| {
        Ok(text.parse::<TopicPattern>()?)
    });
    // Not refused where it is read: what is refused there is repeated.
    let secret = section.parsed("secret", "a secret like \"whsec_...\"", |text| Ok(text.parse::<Secret>()));
    let secret = secret.and_then(|secret| match secret {
        Ok(secret) => Some(secret),
        Err(error) => {
            section.tell_at("secret", format!("`secret` in [webhooks.{name}]"), error.why(), error.fix());
            None
        }
    });
    let config = WebhookConfig {
        url: url.clone().unwrap_or_default(),
        topics: topics.unwrap_or_else(|| Endpoint::new("", stand_in.clone()).topics.0),
        secret,
        in_flight: section.whole("in_flight", 1, 16).unwrap_or(1),
        order: section.parsed("order", "\"free\" or \"key\"", order).unwrap_or_default(),
        timeout: section.span("timeout", Duration::from_secs(1), TIMEOUT_MAX).unwrap_or(TIMEOUT_MAX),
        allow_private,
    };
    if !section.has("url") {
        let fix = "write `url = \"https://example.org/hook\"`";
        section.tell_here(format!("[webhooks.{name}]"), "it must say where to send", fix);
    }
    section.finish();
    url.map(|_| config)
}

pub(crate) fn order(text: &str) -> Result<Order, Error> {
    match text {
        "free" => Ok(Order::Free),
        "key" => Ok(Order::Key),
        _ => Err(Error::usage(
            "the order",
            "it is `free` or `key`",
            "write `key` to have events of one key wait for each other, `free` to have nothing wait",
        )),
    }
}

fn duration_as_text<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&crate::text::duration(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<WebhookConfig, String> {
        let parsed = Config::parse("taskwright.toml", &format!("[webhooks.a]\n{text}"));
        let problems = |error: Error| {
            error
                .reports()
                .iter()
                .map(|one| format!("{}: {}", one.what, one.why))
                .collect::<Vec<_>>()
                .join("\n")
        };
        parsed.map(|config| config.webhooks["a"].clone()).map_err(problems)
    }

    #[test]
    fn everything_can_be_said_and_the_secret_is_not_repeated() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap().reveal();
        let all = parse(&format!(
            "url = \"http://localhost:9000/hook\"\ntopics = [\"order.*\", \"job.failed\"]\nsecret = \"{secret}\"\n\
             in_flight = 4\norder = \"key\"\ntimeout = \"5s\"\nallow_private = true"
        ));
        let all = all.unwrap();
        assert_eq!(
            (all.topics.len(), all.in_flight, all.order, all.timeout.as_secs()),
            (2, 4, Order::Key, 5)
        );
        assert!(!serde_json::to_string(&all).unwrap().contains(&secret));
        assert!(!format!("{all:?}").contains(&secret));
        assert!(parse("url = \"http://192.168.0.7/hook\"\nallow_private = true").unwrap().allow_private);
        let least = parse("url = \"https://example.org\"").unwrap();
        assert_eq!(
            (least.topics[0].as_str(), least.timeout.as_secs(), least.allow_private),
            ("**", 15, false)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, expected) in [
            ("", "must say where to send"),
            ("url = \"ftp://example.org\"", "does not begin with https:// or http://"),
            ("url = \"http://192.168.0.7/hook\"", "192.168.0.7 is no public address"),
            ("url = \"http://[::1]/hook\"\nallow_private = false", "::1 is no public address"),
            ("url = \"https://a\"\nsecret = \"hunter2\"", "does not begin with whsec_"),
            ("url = \"https://a\"\ntimeout = \"16s\"", "from 1 s to 15 s"),
            ("url = \"https://a\"\nin_flight = 17", "1 to 16"),
            ("url = \"https://a\"\norder = \"strict\"", "`free` or `key`"),
            ("url = \"https://a\"\ntopics = [\"a..b\"]", "a part is empty"),
        ] {
            let problems = parse(text).unwrap_err();
            assert!(problems.contains(expected), "{text}: {problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }
}
