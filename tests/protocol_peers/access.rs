//! Who reaches whom, and what both know of each other.

use super::{Places, connect};
use crate::calc::{self, Calc, Service, within};
use actix_ipc::protocol::{RpcClient, RpcServer};
use actix_ipc::{Endpoint, ErrorCode};
#[cfg(unix)]
use std::time::Duration;

#[actix::test]
async fn each_end_must_be_what_the_other_expects() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(false);
    for endpoint in Places::new().endpoints {
        let server = service.bind(endpoint).await;
        let client = actix_ipc::IpcClient::connect_to(server.endpoint().clone()).await;
        let error = client.unwrap_err().to_string();
        assert!(error.contains("connect with RpcClient"), "{error}");
    }
    if cfg!(unix) {
        let endpoint = Endpoint::Unix(folder.path().join("b"));
        let broker = actix_ipc::Broker::builder()
            .listen(endpoint.clone())
            .start()
            .unwrap();
        let error = RpcClient::<Calc>::connect(endpoint, ())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("connect with IpcClient") && error.contains("the server"),
            "{error}"
        );
        broker.stop().await;
    }
}

#[actix::test]
async fn each_end_knows_whom_the_system_names() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let builder = RpcServer::builder().name("counter");
        let server = service.bind_with(builder, endpoint).await;
        let client = connect(&server).await;
        let (there, _) = service.client(0).await;
        let here = client.peer().unwrap();
        assert_eq!((here.id, &*here.name), (there.id, "counter"));
        if !matches!(server.endpoint(), Endpoint::Tcp(_)) {
            let own = Some(std::process::id());
            assert_eq!((here.pid, there.pid), (own, own), "{}", server.endpoint());
            assert!(here.uid.is_some() && here.uid == there.uid);
        }
    }
}

#[actix::test]
async fn a_name_that_is_none_is_refused_at_both_ends() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let builder = RpcServer::builder().name("a\tb");
        let error = builder.bind(endpoint.clone(), service).await.unwrap_err();
        assert!(error.to_string().contains("name"), "{error}");
        let builder = RpcClient::<Calc>::builder().name("a\tb");
        let error = builder.connect(endpoint, ()).await.unwrap_err();
        assert!(error.to_string().contains("name"), "{error}");
    }
}

#[actix::test]
async fn only_so_many_clients_are_let_in_and_their_places_come_back() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service
            .bind_with(RpcServer::builder().connections(1), endpoint)
            .await;
        let first = connect(&server).await;
        let second = RpcClient::<Calc>::connect(server.endpoint().clone(), ()).await;
        let error = second.unwrap_err();
        assert_eq!(error.code(), ErrorCode::TooMany, "{error}");
        within("closing", first.close()).await;
        service.ended(1).await;
        let again = RpcClient::<Calc>::builder().wait(calc::PATIENCE);
        let again = within(
            "the wait for a place",
            again.connect(server.endpoint().clone(), ()),
        )
        .await;
        assert_eq!(again.unwrap().sender.echo("in").await.unwrap(), "in");
    }
}

/// Whether there is a third attempt before the wait is over, which is shorter than one attempt would be by default.
#[cfg(unix)]
async fn tries_three_times() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let silent = tokio::net::UnixListener::bind(&path).unwrap();
    let connecting = RpcClient::<Calc>::builder()
        .connect_timeout(Duration::from_millis(10))
        .wait(Duration::from_millis(4_500))
        .connect(Endpoint::Unix(path), ());
    let three = async {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(silent.accept().await.unwrap());
        }
    };
    tokio::select! {
        () = three => true,
        _ = connecting => false,
    }
}

#[cfg(unix)]
#[actix::test]
async fn each_attempt_has_the_patience_that_was_asked_for() {
    // A machine that stops for some seconds is to blame for one of them, not for all.
    for _ in 0..4 {
        if tries_three_times().await {
            return;
        }
    }
    panic!("it made fewer than three attempts, again and again");
}
