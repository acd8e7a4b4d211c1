//! TLS to the server: whom to believe.
//!
//! The modes are libpq's. Where a certificate is not checked, the handshake's signature still is: SCRAM's channel
//! binding relies on the peer having the key of the certificate that it shows.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{Protection, Settings};
use crate::error::{Area, Error};

/// How connections are made, by the settings.
pub(super) fn connector(settings: &Settings) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("the TLS library", &error.to_string()))?;
    let config = match settings.protection {
        // On a socket of this machine; then no authority is needed, nor looked for.
        _ if settings.config.get_ssl_mode() == SslMode::Disable => {
            believe(builder, Believe { chain: None, provider })
        }
        Protection::Disable | Protection::Prefer | Protection::Require => {
            believe(builder, Believe { chain: None, provider })
        }
        Protection::VerifyCa => {
            let chain = Some(roots(settings.root_certificates.as_deref())?);
            believe(builder, Believe { chain, provider })
        }
        Protection::VerifyFull => builder
            .with_root_certificates(roots(settings.root_certificates.as_deref())?)
            .with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn believe(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    believe: Believe,
) -> ClientConfig {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(believe)).with_no_client_auth()
}

/// The authorities to trust: those of the file, or the system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        // One broken file among many is no reason to believe nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(unusable(
                "the system's certificates",
                "none was found; install them (Debian: ca-certificates), or name a file with sslrootcert",
            ));
        }
        return Ok(roots);
    };
    let what = format!("the certificates in {} (sslrootcert)", file.display());
    for certificate in
        CertificateDer::pem_file_iter(file).map_err(|error| unusable(&what, &error.to_string()))?
    {
        let certificate = certificate.map_err(|error| unusable(&what, &error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(&what, &error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable(&what, "there is none in the file"));
    }
    Ok(roots)
}

fn unusable(what: &str, why: &str) -> Error {
    // The system's number of an error says nothing that its words do not.
    let why = why.split(" (os error").next().unwrap_or(why);
    Error::new(
        Area::Unreachable,
        what,
        format!("they cannot be used: {why}"),
        "name a PEM file of authorities in the URL with sslrootcert, or leave it out for the system's",
    )
}

/// Believes a certificate of these authorities whatever host it is for; without any, every certificate.
#[derive(Debug)]
struct Believe {
    chain: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Believe {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.chain {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
