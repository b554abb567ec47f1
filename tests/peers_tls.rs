//! Two programs without a broker over TLS: both call each other, the server knows its client by certificate, and nobody else gets in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;
#[path = "support/certificates.rs"]
mod certificates;

use actix_ipc::ErrorCode;
use actix_ipc::actors::tokens::Tokens;
use actix_ipc::message::Token;
use actix_ipc::platform::secret;
use actix_ipc::protocol::{RpcClient, RpcServer};
use actix_ipc::transport::{TlsClient, TlsServer};
use calc::{Answers, Calc, Receiver, Service, within};
use certificates::{CLIENT, Ca, SERVER};

#[actix::test]
async fn who_has_a_certificate_gets_in_by_its_name_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let (certificate, key) = ca.issue(folder.path(), "server", &SERVER);
    let tls = TlsServer {
        certificate,
        key,
        client_ca: Some(ca.pem.clone()),
    };
    let service = Service::new(false);
    let builder = RpcServer::builder().tls(tls);
    let server = service
        .bind_with(builder, "tls:127.0.0.1:0".parse().unwrap())
        .await;
    let nobody = TlsClient {
        ca: Some(ca.pem.clone()),
        server_name: Some("broker.example".into()),
        ..TlsClient::default()
    };
    let known = TlsClient {
        identity: Some(ca.issue(folder.path(), "client", &CLIENT)),
        ..nobody.clone()
    };
    let builder = RpcClient::<Calc>::builder().tls(known);
    let connecting = builder.connect(server.endpoint().clone(), Receiver(Answers::new(false)));
    let client = within("connecting", connecting).await.unwrap();
    let large = "x".repeat(3 << 20);
    assert_eq!(client.sender.echo(&large).await.unwrap(), large);
    let (peer, back) = service.client(0).await;
    assert_eq!((peer.proven.as_deref(), peer.uid), (Some("lamp.example"), None));
    assert_eq!(back.echo(&large).await.unwrap(), large);
    let builder = RpcClient::<Calc>::builder().tls(nobody);
    let refused = within("a refusal", builder.connect(server.endpoint().clone(), ())).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Denied);
    within("closing", client.close()).await;
    assert_eq!(service.ended(1).await, [peer.id]);
    within("the shutdown", server.shutdown()).await;
}

#[actix::test]
async fn a_token_stands_for_a_certificate_and_a_wrong_one_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let (certificate, key) = ca.issue(folder.path(), "server", &SERVER);
    let tls = TlsServer {
        certificate,
        key,
        client_ca: None,
    };
    let [right, wrong] = [7, 8].map(|fill| Token::new([fill; 32]));
    let file = |token: &Token, name: &str| {
        let path = folder.path().join(name);
        secret::create(&path, &token.to_file()).unwrap();
        path
    };
    let (right_file, wrong_file) = (file(&right, "right.token"), file(&wrong, "wrong.token"));
    let mut tokens = Tokens::new();
    tokens.insert("lamp", right);
    let service = Service::new(false);
    let builder = RpcServer::builder().tls(tls).tokens(tokens);
    let server = service
        .bind_with(builder, "tls:127.0.0.1:0".parse().unwrap())
        .await;
    let builder = || {
        RpcClient::<Calc>::builder().tls(TlsClient {
            ca: Some(ca.pem.clone()),
            server_name: Some("broker.example".into()),
            ..TlsClient::default()
        })
    };
    let endpoint = server.endpoint().clone();
    let connecting = builder()
        .token_file(right_file)
        .connect(endpoint.clone(), Receiver(Answers::new(false)));
    let client = within("connecting", connecting).await.unwrap();
    assert_eq!(client.sender.echo("in").await.unwrap(), "in");
    let (peer, _) = service.client(0).await;
    assert_eq!(peer.proven.as_deref(), Some("lamp"));
    for refused in [builder().token_file(wrong_file), builder()] {
        let refused = within("a refusal", refused.connect(endpoint.clone(), ())).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::Denied);
    }
    within("closing", client.close()).await;
    within("the shutdown", server.shutdown()).await;
}
