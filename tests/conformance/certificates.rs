//! Certificates for a broker and its clients, made on the spot.

use actix_ipc::platform::secret;
use actix_ipc::transport::{TlsClient, TlsServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// Writes a CA, a server's and a client's certificate into the folder.
pub fn make(folder: &Path) -> (TlsServer, TlsClient) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let issue = |name: &str| -> (PathBuf, PathBuf) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let paths = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        std::fs::write(&paths.0, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        secret::create(&paths.1, key.serialize_pem().as_bytes()).unwrap();
        paths
    };
    let (certificate, key) = issue("broker.example");
    let server = TlsServer {
        certificate,
        key,
        client_ca: Some(ca.clone()),
    };
    let client = TlsClient {
        ca: Some(ca),
        server_name: Some("broker.example".into()),
        identity: Some(issue("client.example")),
        ..TlsClient::default()
    };
    (server, client)
}
