//! Carries messages of webhooks to their endpoints, over HTTP, and nowhere where they may not go.
//!
//! An address is checked when it is known, which is after the name was resolved, and it is the one that is then connected to: a
//! name that changes its mind between the check and the connection gains nothing. Each step of a redirection is checked like the first.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use taskwright::webhook::{Courier, Message};
use taskwright_core::webhook::{Answer, is_public};

use crate::error::Error;

/// Redirections that are followed: 3. Only 307 and 308, which keep what is sent.
const REDIRECTS_MAX: usize = 3;
/// Bytes of an answer that are kept.
const ANSWER_BYTES_MAX: usize = 256;
/// Bytes of an answer that are read, so that the connection can be used again: 64 KiB. What says more is cut off.
const READ_BYTES_MAX: usize = 64 << 10;
/// Connections to one host that are kept: as many requests as one endpoint has at a time.
const IDLE_MAX: usize = 16;

/// Carries messages of webhooks over HTTP/1.1, with kept connections, and only where they may go. Cheap to clone.
///
/// `up` and `worker` deliver by it anyway; it is for programs that run their own workers ([`App::run_until`](taskwright::App::run_until)).
///
/// # Example
///
/// ```
/// use taskwright::webhook::WebhookFamily;
/// use taskwright_server::{App, HttpCourier};
///
/// # fn example() -> Result<App, taskwright_server::Error> {
/// let courier = HttpCourier::new()?;
/// let app = App::new().generators(move |set, store, env| {
///     set.with_family(WebhookFamily::new(store.clone(), env.clone(), courier.clone()))
/// });
/// # Ok(app)
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone)]
pub struct HttpCourier {
    public: Client,
    anywhere: Client,
    is_public: IsPublic,
}

/// Whether an address is anybody's.
type IsPublic = fn(IpAddr) -> bool;

impl HttpCourier {
    /// One that believes the authorities that this machine believes.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, Error> {
        Self::with(is_public)
    }

    fn with(is_public: IsPublic) -> Result<Self, Error> {
        let client = |guard| {
            client(guard, machines_authorities()).map_err(|error| {
                let fix = "please report this with the message";
                Error::operational("setting up HTTP for webhooks", in_words(&*error), fix)
            })
        };
        Ok(Self { public: client(Some(Guard(is_public)))?, anywhere: client(None)?, is_public })
    }

    /// Sends it, and goes where it is sent on to.
    async fn carry(&self, message: &Message) -> Result<Answer, String> {
        let mut url = Url::parse(&message.url).map_err(|error| format!("the URL cannot be read: {error}"))?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.post(message, &url).await?;
            if !matches!(response.status().as_u16(), 307 | 308) {
                return Ok(answer_of(response).await);
            }
            let next = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let Some(next) = next else { return Ok(answer_of(response).await) };
            let next = url.join(next).map_err(|error| format!("it redirects to what is no URL: {error}"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(format!(
                    "it redirects from https to {}, and nothing is sent in the clear",
                    next.scheme()
                ));
            }
            url = next;
        }
        Err(format!("it redirects more than {REDIRECTS_MAX} times"))
    }

    async fn post(&self, message: &Message, url: &Url) -> Result<Response, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("it leads to a {} URL, and only http and https are served", url.scheme()));
        }
        let client = if message.allow_private { &self.anywhere } else { &self.public };
        if !message.allow_private {
            // No resolver is asked about an address that stands in the URL.
            self.check_literal(url)?;
        }
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.unix_s)
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        request.send().await.map_err(|error| in_words(&error.without_url()))
    }

    fn check_literal(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !(self.is_public)(address) => Err(private_address(address)),
            _ => Ok(()),
        }
    }
}

impl Courier for HttpCourier {
    async fn send(&self, message: Message) -> Answer {
        let limit = message.timeout;
        // The whole way counts, redirections and the answer included.
        let sent = tokio::time::timeout(limit, self.carry(&message)).await;
        let error = match sent {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        Answer { error: Some(error), ..Answer::default() }
    }
}

/// Whom this machine believes.
fn machines_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One broken file among many is no reason to believe nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Whom a file names.
fn authorities_of(file: &Path) -> Result<RootCertStore, Error> {
    let refuse = |why: String| {
        Error::operational(
            format!("the authority's file {}", file.display()),
            why,
            "name a file in PEM with the certificate that has signed the server's, or is the server's",
        )
    };
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| match error {
        pem::Error::Io(error) => refuse(crate::error::in_words(&error)),
        error => refuse(format!("it is no PEM file: {error}")),
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| refuse(format!("a certificate in it cannot be used: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(refuse("there is no certificate in it".to_owned())),
        false => Ok(roots),
    }
}

fn client(guard: Option<Guard>, roots: RootCertStore) -> Result<Client, Box<dyn StdError + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(IDLE_MAX)
        .user_agent(concat!("taskwright/", env!("CARGO_PKG_VERSION")));
    Ok(match guard {
        Some(guard) => builder.dns_resolver(guard),
        None => builder,
    }
    .build()?)
}

/// A client for the API of a server, wherever that is; `ca` is whom to believe in the place of whom the machine believes.
///
/// # Errors
///
/// When TLS cannot be set up, or that file cannot be used.
pub(crate) fn client_of_this_machine(ca: Option<&Path>) -> Result<Client, Error> {
    let roots = ca.map_or_else(|| Ok(machines_authorities()), authorities_of)?;
    client(None, roots).map_err(|error| {
        Error::operational("setting up HTTP", in_words(&*error), "please report this with the message")
    })
}

/// Gives of what a name resolves to only what is public.
struct Guard(IsPublic);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let is_public = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                found.iter().copied().filter(|found| is_public(found.ip())).collect();
            match (public.is_empty(), found.first()) {
                (true, Some(private)) => Err(private_address(private.ip()).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

fn private_address(address: IpAddr) -> String {
    format!(
        "{address} is no public address, and the endpoint is not allowed to have another (--allow-private)"
    )
}

async fn answer_of(mut response: Response) -> Answer {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    let mut read = 0;
    // What it says is for people only: if it breaks off, so be it.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_BYTES_MAX.saturating_sub(body.len()).min(chunk.len());
        body.extend_from_slice(&chunk[..room]);
        read += chunk.len();
        if read > READ_BYTES_MAX {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body).replace('\0', "\u{fffd}");
    let error = (!status.is_success()).then(|| format!("it answered {status}"));
    let body = (!body.is_empty()).then_some(body);
    Answer { status: Some(status.as_u16()), retry_after, error, body, took: Duration::ZERO }
}

/// How long it asks to be left alone, if it says so in seconds. A date is not worth trusting the clock of a stranger.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with what caused it, without saying a thing twice.
fn in_words(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        source = error.source();
    }
    words
}

#[cfg(test)]
#[path = "../../../tests/support/receiver.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod receiver;

#[cfg(test)]
mod tests {
    use super::receiver::Receiver;
    use super::*;

    fn message(url: String, allow_private: bool) -> Message {
        Message {
            url,
            id: "1".to_owned(),
            unix_s: 0,
            signature: "v1,x".to_owned(),
            body: b"{}".to_vec(),
            timeout: Duration::from_secs(2),
            allow_private,
        }
    }

    fn send(courier: &HttpCourier, message: Message) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(courier.send(message))
    }

    /// To this courier 127.0.0.1 is public, and all others are not.
    fn courier() -> HttpCourier {
        HttpCourier::with(|address| address.to_string() == "127.0.0.1").unwrap()
    }

    fn redirects_to(to: String, status: &'static str) -> Receiver {
        Receiver::start(move |_| (status, format!("location: {to}\r\n")))
    }

    #[test]
    fn a_redirection_is_followed_and_its_address_is_checked_again() {
        let last = Receiver::start(|_| ("200 OK", String::new()));
        let first = redirects_to(last.url(), "307 Temporary Redirect");
        let answer = send(&courier(), message(first.url(), false));
        assert_eq!((answer.status, answer.body.as_deref(), last.count()), (Some(200), Some("ok"), 1));

        let inside = Receiver::at("127.0.0.2", |_| ("200 OK", String::new()));
        let first = redirects_to(format!("http://127.0.0.2:{}/", inside.port), "308 Permanent Redirect");
        let refused = send(&courier(), message(first.url(), false)).error.unwrap();
        assert!(refused.contains("127.0.0.2 is no public address"), "{refused}");
        assert_eq!(inside.count(), 0);
        assert_eq!(send(&courier(), message(first.url(), true)).status, Some(200), "where it is allowed");
    }

    #[test]
    fn what_a_name_resolves_to_is_checked() {
        let inside = Receiver::start(|_| ("200 OK", String::new()));
        let url = format!("http://localhost:{}/", inside.port);
        let nobody = HttpCourier::with(|_| false).unwrap();
        let refused = send(&nobody, message(url, false)).error.unwrap();
        assert!(refused.contains("is no public address"), "{refused}");
        assert_eq!(inside.count(), 0);
    }

    #[test]
    fn other_redirections_and_too_many_are_not_followed() {
        let last = Receiver::start(|_| ("200 OK", String::new()));
        let first = redirects_to(last.url(), "302 Found");
        let answer = send(&courier(), message(first.url(), false));
        assert_eq!((answer.status, last.count()), (Some(302), 0), "it would become a GET");
        let first = redirects_to("/hook".to_owned(), "307 Temporary Redirect");
        let error = send(&courier(), message(first.url(), false)).error.unwrap();
        assert!(error.contains("more than 3 times"), "{error}");
        assert_eq!(first.count(), 4);
        let first = redirects_to("file:///etc/passwd".to_owned(), "307 Temporary Redirect");
        assert!(send(&courier(), message(first.url(), false)).error.is_some());
    }

    #[test]
    fn an_answer_says_what_came_back() {
        let busy = Receiver::start(|_| ("503 Service Unavailable", "retry-after: 30\r\n".to_owned()));
        let answer = send(&courier(), message(busy.url(), false));
        assert_eq!((answer.status, answer.retry_after), (Some(503), Some(Duration::from_secs(30))));
        assert_eq!(answer.error.as_deref(), Some("it answered 503 Service Unavailable"));
        let error = send(&courier(), message(super::receiver::nobody(), false)).error.unwrap();
        assert!(error.contains("refused"), "{error}");
        assert!(!error.contains("hook"), "the URL may have a key in it: {error}");
    }

    #[test]
    fn who_does_not_answer_in_time_is_not_waited_for() {
        let (entered, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let silent = Receiver::start(move |_| {
            // Until the test is over.
            let _ = wait.lock().unwrap().recv();
            ("200 OK", String::new())
        });
        let slow = Message { timeout: Duration::from_secs(1), ..message(silent.url(), false) };
        assert_eq!(send(&courier(), slow).error.as_deref(), Some("no answer within 1 s"));
        drop(entered);
    }
}
