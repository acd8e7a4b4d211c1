//! Asks a server, and reads its answers.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ::http::{Method, StatusCode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use reqwest::{Client, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use taskwright_core::{Error as Refused, Namespace};
use taskwright_store::Error as StoreError;

use crate::error::Error;
use crate::http::{Details, Items};

/// How long one answer may take: longer than a server lets a request take that is no stream.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read: 256 MiB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The variables that say what `--server` and `--token` would.
pub(crate) const SERVER_VARIABLE: &str = "TASKWRIGHT_SERVER";
pub(crate) const TOKEN_VARIABLE: &str = "TASKWRIGHT_TOKEN";

/// Nothing, as a query.
pub(crate) const NOTHING: [(&str, &str); 0] = [];
/// Nothing, as a body.
pub(crate) const NO_BODY: Option<&()> = None;

/// A server, and who asks it.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    url: Url,
    token: Option<String>,
}

impl std::fmt::Debug for Remote {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.url)
    }
}

/// A header besides those that every request has.
pub(crate) type Header<'a> = (HeaderName, &'a str);

impl Remote {
    /// The server at this URL. Its certificate is signed by who this machine believes, or by `ca`, a file in PEM, and by nobody else.
    ///
    /// # Errors
    ///
    /// When it is no URL of a server, the authority's file cannot be used, or a token would go over the network for everybody to read.
    pub(crate) fn new(url: &str, token: Option<String>, ca: Option<&Path>) -> Result<Self, Error> {
        let shown = crate::text::without_secrets(url);
        let refuse = |why: &str, fix: &str| Err(Error::usage(format!("the server {shown}"), why, fix));
        let form = "write it like http://127.0.0.1:7411";
        let Ok(parsed) = Url::parse(url) else { return refuse("it is no URL", form) };
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return refuse("its URL begins with neither http:// nor https://", form);
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return refuse("its URL holds a name or a password", "pass a token with TASKWRIGHT_TOKEN");
        }
        if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
            return refuse("its URL has a path or a query", form);
        }
        let is_here = is_here(parsed.host_str().unwrap_or_default());
        if token.is_some() && parsed.scheme() == "http" && !is_here {
            let why = "the token would go over the network for everybody to read";
            return refuse(why, "use https://, or reach the server by ssh -L");
        }
        let client = crate::courier::client_of_this_machine(ca)?;
        Ok(Self { client, url: parsed, token })
    }

    /// Whether what is said to it is kept from others by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        is_here(self.url.host_str().unwrap_or_default())
    }

    /// The URL.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Asks, and reads the answer as JSON; `None` when there is no such thing.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        namespace: Option<&Namespace>,
        query: &impl Serialize,
        body: Option<&impl Serialize>,
        headers: &[Header<'_>],
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.text(method, path, namespace, query, body, headers).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| self.not_understood(&error))
    }

    /// Everything that is listed there.
    pub(crate) async fn items<T: DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(items(self.ask(Method::GET, path, namespace, &NOTHING, NO_BODY, &[]).await?))
    }

    /// What is there; `None` when there is nothing.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        namespace: &Namespace,
    ) -> Result<Option<T>, StoreError> {
        self.ask(Method::GET, path, Some(namespace), &NOTHING, NO_BODY, &[]).await
    }

    /// Has something done; `None` when there is nothing to do it with.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        namespace: &Namespace,
        body: Option<&impl Serialize>,
    ) -> Result<Option<T>, StoreError> {
        self.ask(Method::POST, path, Some(namespace), &NOTHING, body, &[]).await
    }

    /// Has something made.
    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        namespace: Option<&Namespace>,
        body: &(impl Serialize + Sync),
    ) -> Result<T, StoreError> {
        let made = self.ask(Method::POST, path, namespace, &NOTHING, Some(body), &[]).await?;
        made.ok_or_else(|| self.lacks(path))
    }

    /// What a server of another version may not have.
    pub(crate) fn lacks(&self, path: &str) -> StoreError {
        let fix = "check that the server is of the same version; or what was named is gone";
        Refused::unknown("the request", format!("{} has no {path}", self.subject()), fix).into()
    }

    /// Sends bytes as they are, and reads the answer as JSON; `None` when there is no such thing.
    pub(crate) async fn put_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        bytes: Vec<u8>,
    ) -> Result<Option<T>, StoreError> {
        let mut url = self.url.clone();
        url.set_path(path);
        let mut request = self.client.request(Method::PUT, url).timeout(ANSWER_TIME);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(bytes);
        let response = request.send().await.map_err(|error| self.not_reached(&error))?;
        let Some(text) = self.read(response).await? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| self.not_understood(&error))
    }

    /// The same without reading the answer.
    pub(crate) async fn text(
        &self,
        method: Method,
        path: &str,
        namespace: Option<&Namespace>,
        query: &impl Serialize,
        body: Option<&impl Serialize>,
        headers: &[Header<'_>],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut url = self.url.clone();
        url.set_path(path);
        let query = serde_html_form::to_string(query).map_err(|error| self.not_writable(&error))?;
        url.set_query(Some(&query).filter(|query| !query.is_empty()).map(String::as_str));
        if let Some(namespace) = namespace {
            url.query_pairs_mut().append_pair("namespace", namespace.as_str());
        }
        let mut request = self.client.request(method, url).timeout(ANSWER_TIME);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|error| self.not_writable(&error))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = request.send().await.map_err(|error| self.not_reached(&error))?;
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Option<Vec<u8>>, StoreError> {
        let status = response.status();
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_reached(&error))? {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_BYTES_MAX {
                return Err(StoreError::unavailable(
                    self.subject(),
                    "its answer is larger than any should be",
                ));
            }
        }
        if status.is_success() {
            return Ok(Some(text));
        }
        let Ok(told) = serde_json::from_slice::<Details>(&text) else {
            let why = format!("it answered {status}, and not as a Taskwright server does");
            let fix = "check its URL: is it that of a `taskwright up` or `serve`?";
            return Err(Refused::unknown(self.subject(), why, fix).into());
        };
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Err(match status {
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                StoreError::unavailable(format!("{} of {}", told.what, self.subject()), told.why)
            }
            StatusCode::UNAUTHORIZED => self.not_known(),
            _ => Refused::invalid(told.what, told.why, told.fix).into(),
        })
    }

    /// The server wants to know who asks. What it says is the same whatever it was told, so that nobody learns from it; here it is known
    /// whether there was a token.
    fn not_known(&self) -> StoreError {
        let fix = "pass a token that is good with TASKWRIGHT_TOKEN or --token, or keep one with `taskwright profiles add`";
        let (what, why) = match self.token {
            None => (
                format!("asking {}", self.subject()),
                "it wants to know who asks, and there is no token".to_owned(),
            ),
            Some(_) => (
                "the token".to_owned(),
                format!("{} does not know it: it is another one, has expired or was revoked", self.subject()),
            ),
        };
        Refused::invalid(what, why, fix).into()
    }

    fn subject(&self) -> String {
        format!("the server {}", self.url())
    }

    fn not_reached(&self, error: &reqwest::Error) -> StoreError {
        let first: &(dyn std::error::Error + 'static) = error;
        if let Some(error) = std::iter::successors(Some(first), |error| error.source()).find_map(of_tls) {
            return self.not_believed(error);
        }
        let last = std::iter::successors(Some(first), |error| error.source()).last();
        let why = match last.and_then(|last| last.downcast_ref::<std::io::Error>()) {
            Some(error) => crate::error::in_words(error),
            None => last.map_or_else(String::new, ToString::to_string),
        };
        StoreError::unavailable(self.subject(), format!("it cannot be reached: {why}"))
    }

    /// Trying again would not make its certificate another one.
    fn not_believed(&self, error: &rustls::Error) -> StoreError {
        use rustls::CertificateError as C;
        let (why, fix) = match error {
            rustls::Error::InvalidCertificate(C::UnknownIssuer) => (
                "nobody whom we believe has signed its certificate".to_owned(),
                "name who has with --ca FILE, if you know that it is the right one",
            ),
            rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => (
                "its certificate is for other names".to_owned(),
                "ask it by a name that is in its certificate",
            ),
            rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
                ("its certificate has expired".to_owned(), "have the certificate renewed")
            }
            error => (
                format!("TLS does not come about: {error}"),
                "check that the server speaks TLS, and its certificate",
            ),
        };
        Refused::invalid(self.subject(), why, fix).into()
    }

    fn not_understood(&self, error: &serde_json::Error) -> StoreError {
        let fix = "use the same version of `taskwright` here and there";
        Refused::unknown(self.subject(), format!("its answer is not understood: {error}"), fix).into()
    }

    fn not_writable(&self, error: &dyn std::error::Error) -> StoreError {
        let fix = "please report it";
        Refused::invalid("the request", format!("it cannot be written: {error}"), fix).into()
    }

    /// What the server does not offer.
    pub(crate) fn not_offered(&self, what: &str) -> StoreError {
        Refused::unknown(
            format!("{what} over HTTP"),
            format!("{} does not offer it", self.subject()),
            "do it where the store can be reached, with --store instead of --server",
        )
        .into()
    }
}

/// Whether a host of a URL is this machine.
fn is_here(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || literal.is_ok_and(crate::config::is_here)
}

/// What TLS says, if the error is one of it.
fn of_tls<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let inner = || error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    // One may be within another, which its chain of sources does not show.
    error.downcast_ref().or_else(|| of_tls(inner()?))
}

/// All items of an answer, of which there must be one.
pub(crate) fn items<T>(answer: Option<Items<T>>) -> Vec<T> {
    answer.map_or_else(Vec::new, |answer| answer.items)
}
