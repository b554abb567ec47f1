//! How connections end: in order, by a loss, by a panic, and with a server that is dropped.

use super::{Places, connect};
use crate::calc::{Answers, Calc, Receiver, Service, within};
use actix_ipc::client::ConnectionEvent;
use actix_ipc::protocol::{RpcClient, RpcServer, RpcServerHandler};
use actix_ipc::{Endpoint, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[actix::test]
async fn a_shutdown_waits_for_what_runs_and_refuses_what_comes() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let builder = RpcServer::builder().concurrency(2);
        let server = service.bind_with(builder, endpoint).await;
        let client = connect(&server).await;
        let mut events = client.connection_events();
        let sender = client.clone_sender();
        let waiting = actix_rt::spawn(async move { sender.wait().await });
        service.answers.waited(1).await;
        let endpoint = server.endpoint().clone();
        let shutdown = actix_rt::spawn(server.shutdown());
        let refused = loop {
            if let Err(error) = client.sender.echo("new").await {
                break error;
            }
        };
        assert_eq!((refused.code, refused.may_have_run), (ErrorCode::Draining, false));
        service.answers.gate.add_permits(1);
        within("what runs", waiting).await.unwrap().unwrap();
        within("the shutdown", shutdown).await.unwrap();
        assert_eq!(service.gone.borrow().len(), 1, "every client was taken leave of");
        let lost = within("the loss", events.next()).await.unwrap();
        assert!(matches!(lost, ConnectionEvent::Lost { .. }), "{lost:?}");
        let nobody = RpcClient::<Calc>::connect(endpoint, ()).await;
        assert!(nobody.is_err());
    }
}

#[actix::test]
async fn a_shutdown_waits_no_longer_than_it_was_told() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let builder = RpcServer::builder().drain(Duration::from_millis(1));
        let server = service.bind_with(builder, endpoint).await;
        let client = connect(&server).await;
        let sender = client.clone_sender();
        let waiting = actix_rt::spawn(async move { sender.wait().await });
        service.answers.waited(1).await;
        // Nobody opens the gate.
        within("the shutdown", server.shutdown()).await;
        let cut = within("the command", waiting).await.unwrap().unwrap_err();
        assert_eq!(
            (cut.code, cut.may_have_run),
            (ErrorCode::BrokerGone, true),
            "{cut}"
        );
        assert_eq!(
            service.answers.dropped.load(Ordering::SeqCst),
            1,
            "its handler is gone"
        );
    }
}

#[actix::test]
async fn a_lost_connection_is_made_again_and_told() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let endpoint = server.endpoint().clone();
        let client = connect(&server).await;
        let mut events = client.connection_events();
        let sender = client.clone_sender();
        let cut = actix_rt::spawn(async move { sender.wait().await });
        service.answers.waited(1).await;
        drop(server);
        if let Endpoint::Unix(path) = &endpoint {
            assert!(
                !path.exists(),
                "nothing is left behind by a process that exits now"
            );
        }
        let cut = within("the cut call", cut).await.unwrap().unwrap_err();
        assert_eq!((cut.code, cut.may_have_run), (ErrorCode::BrokerGone, true));
        assert!(cut.message.contains("the connection to the peer ended"), "{cut}");
        assert_eq!(service.ended(1).await.len(), 1);
        assert!(matches!(events.next().await, Some(ConnectionEvent::Lost { .. })));
        let again = Service::new(false);
        let _server = again.bind(endpoint).await;
        let told = within("the reconnection", events.next()).await;
        let told_anew = matches!(
            told,
            Some(ConnectionEvent::Reconnected {
                same_broker: false,
                ..
            })
        );
        assert!(told_anew, "{told:?}");
        assert_eq!(client.sender.echo("again").await.unwrap(), "again");
        let (_, back) = again.client(0).await;
        assert_eq!(back.echo("back").await.unwrap(), "back");
    }
}

/// What a server keeps for one client cannot reach another, nor the same program when it has come back.
#[actix::test]
async fn the_sender_of_a_client_ends_with_its_connection() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let first = connect(&server).await;
        let (peer, back) = service.client(0).await;
        assert_eq!(back.echo("there").await.unwrap(), "there");
        first.close().await;
        assert_eq!(service.ended(1).await, [peer.id]);
        let answers = Answers::new(false);
        let second = RpcClient::<Calc>::connect(server.endpoint().clone(), Receiver(Arc::clone(&answers)));
        let _second = within("connecting", second).await.unwrap();
        let (next, new) = service.client(0).await;
        assert_ne!(next.id, peer.id);
        assert_eq!(new.echo("new").await.unwrap(), "new");
        let kept = Calc(back.0.clone().with_deadline(Duration::MAX));
        for old in [&back, &kept] {
            let call = within("a call", old.echo("old")).await.unwrap_err();
            let note = within("a command", old.note(1, 1)).await.unwrap_err();
            for gone in [call, note] {
                assert_eq!(
                    (gone.code, gone.may_have_run),
                    (ErrorCode::NotConnected, false),
                    "{gone}"
                );
            }
            assert!(old.0.peer().is_none());
        }
        assert_eq!(new.notes().await.unwrap(), [0; 0]);
        assert_eq!(*answers.notes.lock().unwrap(), [0; 0]);
    }
}

/// A handler that fails at one of its steps, and counts what follows.
struct Failing {
    connect: bool,
    gone: tokio::sync::watch::Sender<usize>,
}

impl RpcServerHandler for Failing {
    type ReceiveRpc = Receiver;
    type SendRpc = Calc;

    async fn on_rpc_connect(&self, _: &Calc) -> Receiver {
        assert!(!self.connect, "on purpose");
        Receiver(Answers::new(false))
    }

    async fn on_rpc_ready(&self, _: &Calc) {
        panic!("on purpose");
    }

    async fn on_rpc_disconnect(&self, _: u64) {
        self.gone.send_modify(|gone| *gone += 1);
    }
}

#[actix::test]
async fn a_step_that_panics_leaves_out_none_behind_it() {
    for connect in [false, true] {
        for endpoint in Places::new().endpoints {
            let gone = tokio::sync::watch::Sender::new(0);
            let mut seen = gone.subscribe();
            let server = RpcServer::bind(endpoint, Failing { connect, gone })
                .await
                .unwrap();
            let client = RpcClient::<Calc>::connect(server.endpoint().clone(), ()).await;
            assert_eq!(client.is_err(), connect, "{client:?}");
            if let Ok(client) = client {
                assert_eq!(client.sender.echo("still").await.unwrap(), "still");
                client.close().await;
            }
            within("the end", seen.wait_for(|gone| *gone == 1)).await.unwrap();
            within("the shutdown", server.shutdown()).await;
        }
    }
}

/// A handler that never says what it serves.
struct Silent {
    begun: tokio::sync::watch::Sender<usize>,
    gone: tokio::sync::watch::Sender<usize>,
}

impl RpcServerHandler for Silent {
    type ReceiveRpc = Receiver;
    type SendRpc = Calc;

    async fn on_rpc_connect(&self, _: &Calc) -> Receiver {
        self.begun.send_modify(|begun| *begun += 1);
        std::future::pending().await
    }

    async fn on_rpc_disconnect(&self, _: u64) {
        self.gone.send_modify(|gone| *gone += 1);
    }
}

#[actix::test]
async fn a_shutdown_does_not_wait_for_a_program_that_does_not_say_what_it_serves() {
    for endpoint in Places::new().endpoints {
        let (begun, gone) = (
            tokio::sync::watch::Sender::new(0),
            tokio::sync::watch::Sender::new(0),
        );
        let (mut beginning, seen) = (begun.subscribe(), gone.subscribe());
        let server = RpcServer::bind(endpoint, Silent { begun, gone }).await.unwrap();
        let connecting = RpcClient::<Calc>::connect(server.endpoint().clone(), ());
        let connecting = actix_rt::spawn(connecting);
        within("the connection", beginning.wait_for(|begun| *begun == 1))
            .await
            .unwrap();
        within("the shutdown", server.shutdown()).await;
        assert_eq!(*seen.borrow(), 1, "it was told that the client has gone");
        let error = connecting.await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Draining, "{error}");
    }
}

#[actix::test]
#[cfg_attr(not(unix), ignore = "a server at a path, which is for Unix")]
async fn a_server_that_is_dropped_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    for served in [false, true] {
        let server = Service::new(false)
            .bind(Endpoint::Unix(folder.path().join("s")))
            .await;
        if served {
            connect(&server).await.close().await;
        }
        drop(server);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
