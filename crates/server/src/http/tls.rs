//! The certificate that the server shows: read from two files, and read again when they change, while connections go on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::hosts;
use crate::config::server::TlsFiles;
use crate::error::{Error, in_words};

/// The first byte of every TLS connection (RFC 8446, 5.1: a handshake record).
const HANDSHAKE: u8 = 22;

/// What somebody reads who speaks HTTP without TLS here.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis server speaks TLS: use https://\n";

/// A server's side of TLS.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    files: TlsFiles,
    seen: Mutex<Stamp>,
}

/// What is known of the two files without reading them.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// The certificate that new connections see.
struct Shown {
    current: RwLock<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl Tls {
    /// Reads the files. Relative paths are meant from `base`.
    ///
    /// # Errors
    ///
    /// When they cannot be read, hold no certificate or key, or the key is another certificate's.
    pub(crate) fn new(files: &TlsFiles, base: &Path) -> Result<Self, Error> {
        let files = TlsFiles { cert: base.join(&files.cert), key: base.join(&files.key) };
        let seen = stamp(&files);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = RwLock::new(Arc::new(read(&files, &provider)?));
        let shown = Arc::new(Shown { current, provider: Arc::clone(&provider) });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::operational("setting up TLS", error.to_string(), "please report it"))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: Arc::new(config).into(), shown, files, seen: Mutex::new(seen) })
    }

    /// Reads the files again, if they have changed since; whether they had. What is wrong with them changes nothing.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the certificate stays as it was, until the files change once more.
    pub(crate) fn refresh(&self) -> Result<bool, Error> {
        let now = stamp(&self.files);
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before == now { Ok(false) } else { self.reread() }
    }

    /// Reads the files again, whether or not they look changed; whether the certificate is another one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the certificate stays as it was.
    pub(crate) fn reread(&self) -> Result<bool, Error> {
        let read = Arc::new(read(&self.files, &self.shown.provider)?);
        let mut current = self.shown.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = current.cert != read.cert;
        *current = read;
        Ok(is_news)
    }

    /// Shakes hands. Whoever speaks HTTP without TLS is told so.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        let mut stream = stream;
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            stream.write_all(NOT_TLS).await?;
            stream.shutdown().await?;
            // Closing with something unread would take the answer back.
            let mut rest = [0; 1 << 10];
            while stream.read(&mut rest).await? > 0 {}
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not speak TLS"));
        }
        self.acceptor.accept(stream).await
    }

    /// Whether the certificate is for this host: its names are names of ours.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(hosts::without_port(host)) else { return false };
        let current = self.shown.key();
        let parsed = current.end_entity_cert().and_then(ParsedCertificate::try_from);
        parsed.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

impl Shown {
    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl fmt::Debug for Shown {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let refuse = |path: &PathBuf, why: String| {
        Error::operational(
            format!("the TLS file {}", path.display()),
            why,
            "name files in PEM with `tls_cert` (the certificate, then those between it and the root) and `tls_key` in [server]",
        )
    };
    let pem = |path: &PathBuf, what: &str, error: rustls::pki_types::pem::Error| match error {
        rustls::pki_types::pem::Error::Io(error) => refuse(path, in_words(&error)),
        rustls::pki_types::pem::Error::NoItemsFound => refuse(path, format!("there is no {what} in it")),
        error => refuse(path, format!("it is no PEM file: {error}")),
    };
    let certificates = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem(&files.cert, "certificate", error))?;
    if certificates.is_empty() {
        return Err(refuse(&files.cert, "there is no certificate in it".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| pem(&files.key, "private key", error))?;
    CertifiedKey::from_der(certificates, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            refuse(&files.key, format!("it is not the key of the certificate in {}", files.cert.display()))
        }
        error => refuse(&files.cert, format!("certificate and key cannot be used: {error}")),
    })
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}
