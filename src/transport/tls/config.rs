//! From files to what rustls needs, and every reason why that may fail.
//!
//! Owns the reading of PEM, the choice of TLS 1.3 and ring, and the check of a pinned certificate. Knows no socket.

use super::{TlsClient, TlsServer};
use crate::platform::{plain, secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// The largest file of certificates or of a key, in bytes.
const FILE_MAX: usize = 1024 * 1024;
/// The name of the protocol inside TLS: a client of another one, such as a browser, does not get through the handshake.
const ALPN: &[u8] = b"actix-ipc/1";

/// What goes wrong here is told to whoever wrote the settings.
type Made<T> = Result<T, String>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Made<Vec<CertificateDer<'static>>> {
    let text = |what: &str| format!("{}: {what}", path.display());
    let pem = plain::read(path, FILE_MAX as u64).map_err(|error| text(&error.to_string()))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| text(&error.to_string()))?;
    if found.is_empty() {
        return Err(text("holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(found)
}

fn key(path: &Path) -> Made<PrivateKeyDer<'static>> {
    let pem = secret::read(path, FILE_MAX).map_err(|error| error.to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        format!(
            "{}: holds no private key (PEM, BEGIN PRIVATE KEY)",
            path.display()
        )
    })
}

fn roots(path: &Path) -> Made<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: is no CA certificate: {error}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

/// What is wrong with the files of a server: each file's key of the settings, and the reason.
#[cfg(feature = "cli")]
pub(in crate::transport) fn wrong_files(options: &TlsServer) -> Vec<(&'static str, String)> {
    let chain = certificates(&options.certificate).err();
    let key = key(&options.key).err();
    let client_ca = options.client_ca.as_deref().and_then(|path| roots(path).err());
    let found = [
        ("tls.certificate", chain),
        ("tls.key", key),
        ("tls.client_ca", client_ca),
    ];
    let mut wrong: Vec<_> = found
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
        .collect();
    if wrong.is_empty() {
        // Each by itself is as it should be: they may not belong together.
        wrong.extend(server(options).err().map(|text| ("tls.certificate", text)));
    }
    wrong
}

/// What a server needs for its connections.
pub(in crate::transport) fn server(options: &TlsServer) -> Made<Arc<ServerConfig>> {
    let chain = certificates(&options.certificate)?;
    let key = key(&options.key)?;
    let failed = |error: Error| format!("{}: {error}", options.certificate.display());
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        // Who has no certificate may still show a token; the broker refuses those who have neither.
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("{}: {error}", ca.display()))?,
        ),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(failed)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection is judged by the certificates of its own handshake.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a client needs for a connection to `host`, and the name that the server must have.
pub(in crate::transport) fn client(
    options: &TlsClient,
    host: &str,
) -> Made<(Arc<ClientConfig>, ServerName<'static>)> {
    let name = options.server_name.as_deref().unwrap_or(host);
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        format!("{name:?} is no name that a server's certificate can have; set the server name")
    })?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    let builder = match (&options.pin, &options.ca) {
        (Some(pin), _) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                certificate: certificates(pin)?.swap_remove(0),
                provider: provider(),
            })),
        (None, Some(ca)) => builder.with_root_certificates(roots(ca)?),
        (None, None) => {
            return Err(
                "nothing says which server to trust; give the CA of its certificate or the certificate itself".into(),
            );
        }
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((chain, private)) => builder
            .with_client_auth_cert(certificates(chain)?, key(private)?)
            .map_err(|error| format!("{}: {error}", chain.display()))?,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok((Arc::new(config), server_name))
}

/// Trusts one certificate, byte for byte.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
