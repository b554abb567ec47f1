//! TLS between clients and a broker: who gets in by which certificate, and who does not.
//!
//! The certificates are made while the tests run. Every refusal is checked at the client (what it says) and at the broker (nobody
//! came in).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/certificates.rs"]
mod certificates;
mod support;

use actix_ipc::actors::tokens::Tokens;
use actix_ipc::client::{ClientBuilder, ConnectError, IpcClient, Methods};
use actix_ipc::message::Token;
use actix_ipc::platform::secret;
use actix_ipc::transport::{BindError, TlsClient, TlsServer};
use actix_ipc::{Broker, BrokerHandle, Endpoint, StartError};
use certificates::{CLIENT, Ca, SERVER, Wanted};
use rcgen::ExtendedKeyUsagePurpose;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A broker on `tls:127.0.0.1` whose certificate is for broker.example.
struct World {
    folder: tempfile::TempDir,
    ca: Ca,
    server: TlsServer,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new(folder.path(), "ca");
        let (certificate, key) = ca.issue(folder.path(), "server", &SERVER);
        let server = TlsServer {
            certificate,
            key,
            client_ca: Some(ca.pem.clone()),
        };
        Self { folder, ca, server }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self, server: &TlsServer, tokens: Tokens) -> Result<BrokerHandle, StartError> {
        Broker::builder()
            .listen("tls:127.0.0.1:0".parse().unwrap())
            .tls(server.clone())
            .tokens(tokens)
            .start()
    }

    /// What a client of this world needs.
    fn client(&self) -> TlsClient {
        TlsClient {
            ca: Some(self.ca.pem.clone()),
            server_name: Some("broker.example".into()),
            identity: Some(self.identity("client", &CLIENT)),
            ..TlsClient::default()
        }
    }

    fn identity(&self, file: &str, wanted: &Wanted<'_>) -> (PathBuf, PathBuf) {
        let paths = (
            self.path().join(format!("{file}.pem")),
            self.path().join(format!("{file}.key")),
        );
        if paths.0.exists() {
            paths
        } else {
            self.ca.issue(self.path(), file, wanted)
        }
    }
}

fn builder(broker: &BrokerHandle, tls: TlsClient) -> ClientBuilder {
    IpcClient::builder()
        .endpoint(broker.endpoints()[0].clone())
        .reconnect(false)
        .tls(tls)
}

async fn connect(broker: &BrokerHandle, tls: TlsClient) -> Result<IpcClient, ConnectError> {
    builder(broker, tls).connect().await
}

#[actix::test]
async fn the_right_certificates_get_in_and_large_messages_get_through() {
    let world = World::new();
    let broker = world.start(&world.server, Tokens::new()).unwrap();
    assert!(matches!(broker.endpoints()[0], Endpoint::Tls(_)));
    let worker = connect(&broker, world.client()).await.unwrap();
    let echo = |text: String, _| async move { Ok(text) };
    let _echo = worker
        .register("echo", Methods::new().method("echo", echo))
        .await
        .unwrap();
    let caller = connect(&broker, world.client()).await.unwrap();
    for size in [0, 1, 16 * 1024, 1024 * 1024, 8 * 1024 * 1024] {
        let sent = "x".repeat(size);
        let got: String = caller.remote_call("echo", "echo", &sent).await.unwrap();
        assert!(got == sent, "{size} bytes");
    }
    assert_eq!(broker.metrics().connections_opened, 2);
    broker.stop().await;
}

#[actix::test]
async fn a_client_refuses_what_is_not_its_server() {
    let world = World::new();
    let broker = world.start(&world.server, Tokens::new()).unwrap();
    let other = Ca::new(world.path(), "other");
    let expired = world.ca.issue(
        world.path(),
        "expired",
        &Wanted {
            expired: true,
            ..SERVER
        },
    );
    let with_expired = TlsServer {
        certificate: expired.0.clone(),
        key: expired.1,
        ..world.server.clone()
    };
    let stale = world.start(&with_expired, Tokens::new()).unwrap();
    // Which broker, how the client differs from the right one, and what it must say.
    type Change = Box<dyn Fn(&mut TlsClient)>;
    let table: [(&str, &BrokerHandle, Change, &str); 6] = [
        (
            "another CA",
            &broker,
            Box::new(move |tls| tls.ca = Some(other.pem.clone())),
            "UnknownIssuer",
        ),
        (
            "another name",
            &broker,
            Box::new(|tls| tls.server_name = Some("else.example".into())),
            "not valid for name",
        ),
        (
            "the host's name",
            &broker,
            Box::new(|tls| tls.server_name = None),
            "not valid for name",
        ),
        ("an old certificate", &stale, Box::new(|_| ()), "expired"),
        (
            "another pinned certificate",
            &broker,
            Box::new(move |tls| tls.pin = Some(expired.0.clone())),
            "invalid peer certificate",
        ),
        (
            "nothing to trust",
            &broker,
            Box::new(|tls| tls.ca = None),
            "give the CA of its certificate or the certificate itself",
        ),
    ];
    for (what, broker, change, expected) in table {
        let mut tls = world.client();
        change(&mut tls);
        let error = connect(broker, tls).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(broker.metrics().connections_opened, 0, "{what}");
    }
    broker.stop().await;
    stale.stop().await;
}

#[actix::test]
async fn a_pinned_certificate_is_trusted_by_itself() {
    let world = World::new();
    let broker = world.start(&world.server, Tokens::new()).unwrap();
    let tls = TlsClient {
        ca: None,
        server_name: None,
        pin: Some(world.server.certificate.clone()),
        ..world.client()
    };
    connect(&broker, tls).await.unwrap();
    broker.stop().await;
}

#[actix::test]
async fn a_broker_refuses_who_is_not_its_client() {
    let world = World::new();
    let broker = world.start(&world.server, Tokens::new()).unwrap();
    let other = Ca::new(world.path(), "other");
    let changed = |names: &'static [&'static str], expired| Wanted {
        names,
        expired,
        usage: ExtendedKeyUsagePurpose::ClientAuth,
    };
    let proof = "a token (`ipc-broker token create`) or a client certificate with one DNS name is needed";
    let table = [
        ("no certificate", None, proof),
        (
            "of another CA, as a revoked one is",
            Some(other.issue(world.path(), "theirs", &CLIENT)),
            "UnknownCA",
        ),
        (
            "expired",
            Some(world.identity("old", &changed(&["lamp.example"], true))),
            "CertificateExpired",
        ),
        (
            "without a name",
            Some(world.identity("nameless", &changed(&[], false))),
            proof,
        ),
        (
            "with two names",
            Some(world.identity("two", &changed(&["a.example", "b.example"], false))),
            proof,
        ),
        (
            "with a wildcard",
            Some(world.identity("wild", &changed(&["*.example"], false))),
            proof,
        ),
        ("for servers", Some(world.identity("wrong-use", &SERVER)), "alert"),
    ];
    for (what, identity, expected) in table {
        let tls = TlsClient {
            identity,
            ..world.client()
        };
        let error = connect(&broker, tls).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(broker.metrics().connections_opened, 0, "{what}");
    }
    broker.stop().await;
}

#[actix::test]
async fn a_token_stands_for_a_certificate() {
    let world = World::new();
    let mut tokens = Tokens::new();
    let token = Token::new([7; 32]);
    tokens.insert("lamp", token.clone());
    let file = world.path().join("lamp.token");
    secret::create(&file, &token.to_file()).unwrap();
    let no_client_ca = TlsServer {
        client_ca: None,
        ..world.server.clone()
    };
    for server in [&world.server, &no_client_ca] {
        let broker = world.start(server, tokens.clone()).unwrap();
        let tls = TlsClient {
            identity: None,
            ..world.client()
        };
        let error = connect(&broker, tls.clone()).await.unwrap_err().to_string();
        assert!(error.contains("a token"), "{error}");
        builder(&broker, tls).token_file(&file).connect().await.unwrap();
        broker.stop().await;
    }
}

#[actix::test]
async fn wrong_files_are_named_before_anything_listens() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let wide = world.path().join("wide.key");
    std::fs::copy(&world.server.key, &wide).unwrap();
    std::fs::set_permissions(&wide, PermissionsExt::from_mode(0o640)).unwrap();
    let server = |certificate: &Path, key: &Path| TlsServer {
        certificate: certificate.into(),
        key: key.into(),
        client_ca: None,
    };
    let (certificate, key) = (&world.server.certificate, &world.server.key);
    let other_key = world.identity("other", &SERVER).1;
    let table = [
        (server(certificate, &wide), "0640"),
        (server(key, key), "holds no certificate"),
        (server(certificate, certificate), "others may know it"),
        (server(Path::new("/nowhere.pem"), key), "/nowhere.pem"),
        (server(certificate, &other_key), "KeyMismatch"),
    ];
    for (server, expected) in table {
        let error = world.start(&server, Tokens::new()).unwrap_err();
        let StartError::Bind { source, .. } = &error else {
            panic!("{error}")
        };
        assert!(matches!(source, BindError::Tls { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(!text.contains("PRIVATE KEY-----\n"), "{text}");
    }
    let missing = Broker::builder()
        .listen("tls:127.0.0.1:0".parse().unwrap())
        .start();
    assert!(missing.unwrap_err().to_string().contains("tls.certificate"));
}

#[actix::test]
async fn plain_bytes_are_no_way_in_and_there_is_no_way_back_to_them() {
    let world = World::new();
    let broker = world.start(&world.server, Tokens::new()).unwrap();
    let Endpoint::Tls(address) = broker.endpoints()[0].clone() else {
        panic!("not TLS")
    };
    // Our own greeting without TLS gets an alert of TLS at most, and no frame.
    let spoken = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let mut greeting = actix_ipc::message::handshake::PREFACE.to_vec();
        greeting.extend([0; 64]);
        socket.write_all(&greeting).unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as any other.
        let _ = socket.read_to_end(&mut answer);
        answer
    });
    let answer = spoken.await.unwrap();
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    assert_eq!(broker.metrics().connections_opened, 0);
    // A client that was told TLS does not talk to a server without it.
    let plain = Broker::builder()
        .listen("tcp:127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let address = plain.endpoints()[0].to_string().replace("tcp:", "tls:");
    let told = IpcClient::builder()
        .endpoint(address.parse().unwrap())
        .reconnect(false)
        .tls(world.client());
    let error = told.connect().await.unwrap_err().to_string();
    assert!(error.contains("TLS handshake failed"), "{error}");
    assert_eq!(plain.metrics().connections_opened, 0);
    assert_eq!(plain.metrics().foreign_openings, 1);
    broker.stop().await;
    plain.stop().await;
}

#[test]
fn config_check_finds_certificates_that_would_stop_the_start() {
    let world = World::new();
    let check = |certificate: &Path, key: &Path, client_ca: &Path| {
        let file = world.path().join("broker.toml");
        let text = format!(
            "listen = [\"tls:127.0.0.1:0\"]\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nclient_ca = {client_ca:?}\n"
        );
        std::fs::write(&file, text).unwrap();
        let ended = support::run(support::broker_command().args(["config", "check"]).arg(file));
        (ended.status.code(), ended.stderr)
    };
    let (certificate, key) = world.identity("checked", &SERVER);
    let ca = world.ca.pem.clone();
    assert_eq!(check(&certificate, &key, &ca), (Some(0), String::new()));
    let missing = world.path().join("missing.pem");
    let (code, said) = check(&missing, &missing, &missing);
    assert_eq!((code, said.lines().count()), (Some(78), 3), "{said}");
    for key in ["tls.certificate: ", "tls.key: ", "tls.client_ca: "] {
        assert!(said.contains(key) && said.contains("missing.pem"), "{said}");
    }
    // Each is good by itself, and they do not belong together.
    let (_, other) = world.identity("other", &SERVER);
    let (code, said) = check(&certificate, &other, &ca);
    assert_eq!((code, said.lines().count()), (Some(78), 1), "{said}");
    assert!(said.contains("tls.certificate: "), "{said}");
}
