//! Each sslmode checks what its name says, against a server that speaks TLS in front of the real one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use taskwright_store::Error;
use taskwright_store::postgres::{Connections, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::cluster::{Cluster, Database};

/// The server's name in its certificate.
const NAME: &str = "db.example";

/// A client's first message when it wants TLS: length 8, and this code.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A database behind a TLS server of ours.
struct Front<'a> {
    database: Database<'a>,
    directory: tempfile::TempDir,
    port: u16,
    handshakes: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Front<'_> {
    async fn new(offers_tls: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (authority, params, key) = authority();
        std::fs::write(directory.path().join("right.pem"), authority.pem()).unwrap();
        std::fs::write(directory.path().join("wrong.pem"), self::authority().0.pem()).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&params, key);
        let certificate =
            CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(server_key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = offers_tls.then(|| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handshakes = Arc::<AtomicUsize>::default();
        let (counted, socket) = (handshakes.clone(), Cluster::shared().socket());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acceptor.clone(), socket.clone(), counted.clone()));
            }
        });
        Self { database: Cluster::shared().database(), directory, port, handshakes, _serving: serving }
    }

    /// Opens the store there: as this host, and with these parameters (`{right}` is a file with the authority).
    async fn open(&self, host: &str, parameters: &str) -> Result<(), Error> {
        let file = |name| self.directory.path().join(name).display().to_string();
        let parameters =
            parameters.replace("{right}", &file("right.pem")).replace("{wrong}", &file("wrong.pem"));
        let (port, name) = (self.port, self.database.name());
        let url = format!("postgres://postgres@{host}:{port}/{name}?hostaddr=127.0.0.1&{parameters}");
        Connections::open(Settings::parse(&url).unwrap()).await.map(drop)
    }

    async fn refusal(&self, host: &str, parameters: &str) -> Error {
        let error = self.open(host, parameters).await.expect_err(parameters);
        assert!(error.fix().contains("ssl"), "{parameters}: {error}: {}", error.fix());
        assert!(!error.is_transient(), "{error}");
        error
    }
}

/// Speaks TLS if the client asks for it and we offer it, and passes on what it says.
async fn serve(
    mut stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    socket: PathBuf,
    handshakes: Arc<AtomicUsize>,
) {
    let mut server = UnixStream::connect(socket).await.unwrap();
    let mut first = [0; 8];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    // What fails here fails for the client, which the test looks at.
    if first != TLS_REQUEST {
        server.write_all(&first).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    } else if let Some(acceptor) = acceptor {
        stream.write_all(b"S").await.unwrap();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            handshakes.fetch_add(1, Ordering::SeqCst);
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    } else {
        stream.write_all(b"N").await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    }
}

/// What signs certificates: its own, and the parameters and key to do so.
fn authority() -> (Certificate, CertificateParams, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap(), params, key)
}

#[tokio::test]
async fn verify_full_believes_the_right_authority_for_the_right_host() {
    let front = Front::new(true).await;
    front.open(NAME, "sslmode=verify-full&sslrootcert={right}").await.unwrap();
    front.open(NAME, "sslrootcert={right}").await.unwrap();
    assert_eq!(front.handshakes.load(Ordering::SeqCst), 2);
    let error = front.refusal("other.example", "sslmode=verify-full&sslrootcert={right}").await;
    assert!(error.to_string().contains("certificate"), "{error}");
    front.refusal(NAME, "sslmode=verify-full&sslrootcert={wrong}").await;
    // The default for a host elsewhere, with the system's authorities, of which ours is none.
    front.refusal(NAME, "").await;
}

#[tokio::test]
async fn verify_ca_believes_the_right_authority_for_any_host() {
    let front = Front::new(true).await;
    front.open("other.example", "sslmode=verify-ca&sslrootcert={right}").await.unwrap();
    front.open("other.example", "sslmode=require&sslrootcert={right}").await.unwrap();
    front.refusal(NAME, "sslmode=verify-ca&sslrootcert={wrong}").await;
    front.refusal(NAME, "sslmode=require&sslrootcert={wrong}").await;
    front.refusal(NAME, "sslmode=verify-ca&sslrootcert=/no/such.pem").await;
}

#[tokio::test]
async fn require_and_prefer_encrypt_for_anybody() {
    let front = Front::new(true).await;
    front.open("other.example", "sslmode=require").await.unwrap();
    front.open("other.example", "sslmode=prefer").await.unwrap();
    front.open("localhost", "").await.unwrap();
    assert_eq!(front.handshakes.load(Ordering::SeqCst), 3);
    front.open("other.example", "sslmode=disable").await.unwrap();
    assert_eq!(front.handshakes.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_server_without_tls_is_used_only_where_that_was_allowed() {
    let front = Front::new(false).await;
    front.open(NAME, "sslmode=prefer").await.unwrap();
    front.open(NAME, "sslmode=disable").await.unwrap();
    for parameters in ["", "sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"] {
        front.refusal(NAME, parameters).await;
    }
}
