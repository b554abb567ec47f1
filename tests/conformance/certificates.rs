//! What the conformance suite needs to run over TLS.

use super::issuing::{CLIENT, Ca, SERVER};
use actix_ipc::transport::{TlsClient, TlsServer};
use std::path::Path;

/// A broker's certificate, and a client's, in the folder.
pub fn make(folder: &Path) -> (TlsServer, TlsClient) {
    let ca = Ca::new(folder, "ca");
    let (certificate, key) = ca.issue(folder, "server", &SERVER);
    let server = TlsServer {
        certificate,
        key,
        client_ca: Some(ca.pem.clone()),
    };
    let client = TlsClient {
        identity: Some(ca.issue(folder, "client", &CLIENT)),
        ca: Some(ca.pem),
        server_name: Some("broker.example".into()),
        ..TlsClient::default()
    };
    (server, client)
}
