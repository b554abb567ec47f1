//! Two programs without a broker between them, over every transport: calls both ways, commands without an answer, every failure, and
//! every end.
//!
//! How it works: a protocol is written by hand (`peers/calc.rs`), the server and its clients are in this process, and each case runs
//! over a Unix socket, TCP, and memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;

use actix_ipc::client::ConnectionEvent;
use actix_ipc::protocol::{RpcClient, RpcLimits, RpcPool, RpcServer, RpcServerHandler};
use actix_ipc::{Endpoint, ErrorCode};
use calc::{Answers, CALC_2, Calc, Receiver, SHOP, Service, info, within};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Endpoints that nobody else uses, one of each kind.
struct Places {
    endpoints: Vec<Endpoint>,
    _folder: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut endpoints = vec![
            Endpoint::Tcp("127.0.0.1:0".into()),
            Endpoint::Memory(format!("peers-{}-{number}", std::process::id())),
        ];
        if cfg!(unix) {
            endpoints.push(Endpoint::Unix(folder.path().join("s")));
        }
        if cfg!(windows) {
            endpoints.push(Endpoint::Pipe(format!("peers-{}-{number}", std::process::id())));
        }
        Self {
            endpoints,
            _folder: folder,
        }
    }
}

async fn connect(server: &RpcServer) -> RpcClient<Calc> {
    let connecting = RpcClient::connect(server.endpoint().clone(), Receiver(Answers::new(false)));
    within("connecting", connecting).await.unwrap()
}

async fn both_ways(endpoint: &Endpoint) {
    let service = Service::new(false);
    let server = service.bind(endpoint.clone()).await;
    let client = connect(&server).await;
    assert_eq!(client.sender.echo("hello").await.unwrap(), "hello");
    let (peer, back) = service.client(0).await;
    assert_eq!(Some(peer.id), client.peer().map(|server| server.id));
    assert_eq!(back.echo("you too").await.unwrap(), "you too");
    let large = "x".repeat(3 << 20);
    assert_eq!(client.sender.echo(&large).await.unwrap(), large, "in pieces");
    let many = (0..200).map(|number| {
        let (there, back) = (client.clone_sender(), back.clone());
        async move {
            let text = number.to_string();
            assert_eq!(there.echo(&text).await.unwrap(), text);
            assert_eq!(back.echo(&text).await.unwrap(), text);
        }
    });
    within("calls beside each other", join_all(many)).await;
    for note in 0..100 {
        client.sender.note(note, 10).await.unwrap();
    }
    assert_eq!(client.sender.notes().await.unwrap(), (0..100).collect::<Vec<_>>());
    within("closing", client.close()).await;
    assert_eq!(service.ended(1).await, [peer.id]);
    assert_eq!(back.0.peer(), None, "there is no connection");
    assert_eq!(back.echo("gone").await.unwrap_err().code, ErrorCode::NotConnected);
    within("the shutdown", server.shutdown()).await;
}

/// As large as what a client offers to a broker as a region, here and back.
#[tokio::test]
async fn the_largest_payloads_go_in_pieces_without_a_broker_that_could_answer_an_offer() {
    let places = Places::new();
    let large = "x".repeat(25 << 20);
    for endpoint in &places.endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint.clone()).await;
        let client = connect(&server).await;
        let echo = within("a large call", client.sender.echo(&large)).await.unwrap();
        assert!(echo == large, "{endpoint}");
        within("closing", client.close()).await;
        within("the shutdown", server.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_call_each_other_under_a_multi_threaded_run_time() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

#[tokio::test]
async fn both_ends_call_each_other_under_a_run_time_of_one_thread() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

#[actix::test]
async fn both_ends_call_each_other_inside_an_actix_system() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

/// Many short lives: what was sent without asking for an answer before an orderly end is done.
async fn sent_and_left() {
    const ROUNDS: u64 = 200;
    let endpoint = Endpoint::Memory(format!("left-{:?}", std::thread::current().id()));
    let service = Service::new(false);
    let server = service.bind(endpoint).await;
    for round in 0..ROUNDS {
        let connecting = RpcClient::<Calc>::connect(server.endpoint().clone(), ());
        let client = within("connecting", connecting).await.unwrap();
        for note in 0..10 {
            client.sender.note(round * 10 + note, 1).await.unwrap();
        }
        within("closing", client.close()).await;
    }
    service.ended(ROUNDS as usize).await;
    let mut notes = service.answers.notes.lock().unwrap().clone();
    notes.sort_unstable();
    assert_eq!(notes, (0..ROUNDS * 10).collect::<Vec<_>>());
    within("the shutdown", server.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_an_orderly_end_is_done_under_a_multi_threaded_run_time() {
    sent_and_left().await;
}

#[tokio::test]
async fn what_was_sent_before_an_orderly_end_is_done_under_a_run_time_of_one_thread() {
    sent_and_left().await;
}

/// The same from a server that stops to its clients.
async fn pushed_and_stopped() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let answers = Answers::new(true);
        let builder = RpcClient::<Calc>::builder().reconnect(false);
        let connecting = builder.connect(server.endpoint().clone(), Receiver(Arc::clone(&answers)));
        let client = within("connecting", connecting).await.unwrap();
        let (_, back) = service.client(0).await;
        for note in 0..10 {
            back.note(note, 1).await.unwrap();
        }
        within("the shutdown", server.shutdown()).await;
        answers.gate.add_permits(10);
        within("the end", client.closed()).await;
        assert_eq!(*answers.notes.lock().unwrap(), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_pushed_before_it_stopped_is_done_under_a_multi_threaded_run_time() {
    pushed_and_stopped().await;
}

#[tokio::test]
async fn what_a_server_pushed_before_it_stopped_is_done_under_a_run_time_of_one_thread() {
    pushed_and_stopped().await;
}

#[actix::test]
async fn every_failure_answers_the_caller() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let client = connect(&server).await;
        let (_, back) = service.client(0).await;
        for (way, other) in [(&client.sender, "the peer"), (&back, "the peer")] {
            let failed = way.say("fail").await.unwrap_err();
            assert_eq!(
                (failed.code, failed.name.as_deref()),
                (ErrorCode::Handler, Some("Eggs"))
            );
            let panicked = way.say("panic").await.unwrap_err();
            assert_eq!(panicked.code, ErrorCode::HandlerPanicked);
            let gone = way.say("gone").await.unwrap_err();
            assert_eq!((gone.code, gone.may_have_run), (ErrorCode::NoSuchMethod, false));
            let wrong: Result<String, _> = way.0.call(&calc::CALC, info("echo"), &[9_u8, 1]).await;
            let wrong = wrong.unwrap_err();
            assert_eq!((wrong.code, wrong.may_have_run), (ErrorCode::Invalid, false));
            let later: Result<String, _> = way.0.call(&CALC_2, info("echo"), "x").await;
            let later = later.unwrap_err();
            assert_eq!(
                (later.code, later.may_have_run),
                (ErrorCode::ProtocolVersion, false)
            );
            assert!(
                later.message.contains("version 1") && later.message.contains("version 2"),
                "{later}"
            );
            let none: Result<String, _> = way.0.call(&SHOP, info("echo"), "x").await;
            let none = none.unwrap_err();
            assert_eq!((none.code, none.may_have_run), (ErrorCode::NoSuchProtocol, false));
            assert!(
                none.message.contains(other) && none.message.contains("calc"),
                "{none}"
            );
            assert_eq!(way.echo("still here").await.unwrap(), "still here");
        }
    }
}

#[actix::test]
async fn a_deadline_ends_a_call_and_its_handler() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let client = connect(&server).await;
        let mut deadline = Duration::from_millis(10);
        // On a busy machine one may pass before its handler has begun.
        let begun = loop {
            let sender = Calc(client.sender.0.clone().with_deadline(deadline));
            let late = within("a deadline", sender.wait()).await.unwrap_err();
            assert_eq!(late.code, ErrorCode::Deadline, "{late}");
            // Behind the cancelled one, in the same order.
            assert_eq!(client.sender.echo("next").await.unwrap(), "next");
            let begun = *service.answers.waiting.borrow();
            assert_eq!(service.answers.dropped.load(Ordering::SeqCst), begun);
            if begun > 0 {
                assert!(late.may_have_run, "{late}");
                break begun;
            }
            deadline *= 2;
        };
        let call = client.clone_sender();
        let dropped = actix_rt::spawn(async move { call.wait().await });
        service.answers.waited(begun + 1).await;
        dropped.abort();
        assert_eq!(client.sender.echo("next").await.unwrap(), "next");
        assert_eq!(service.answers.dropped.load(Ordering::SeqCst), begun + 1);
    }
}

#[actix::test]
async fn one_way_commands_wait_while_the_other_end_is_slow_and_come_in_order() {
    let limits = RpcLimits::default().call_window(10_000);
    for endpoint in Places::new().endpoints {
        let service = Service::new(true);
        let server = service
            .bind_with(RpcServer::builder().limits(limits), endpoint)
            .await;
        let client = connect(&server).await;
        let (sender, sent) = (client.clone_sender(), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&sent);
        let sending = actix_rt::spawn(async move {
            for note in 0..60 {
                sender.note(note, 1_000).await.unwrap();
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Each note is let pass once the one before it has begun; nobody is further than the window and a frame.
        for note in 0..60 {
            service.answers.waited(note + 1).await;
            let ahead = sent.load(Ordering::SeqCst) - note.min(sent.load(Ordering::SeqCst));
            assert!(ahead <= 11, "{ahead} commands beyond number {note}");
            service.answers.gate.add_permits(1);
        }
        within("sending", sending).await.unwrap();
        assert_eq!(client.sender.notes().await.unwrap(), (0..60).collect::<Vec<_>>());
    }
}

#[actix::test]
async fn a_slow_command_keeps_back_those_behind_it_unless_they_may_run_beside_it() {
    for (concurrency, beside) in [(1, false), (2, true)] {
        for endpoint in Places::new().endpoints {
            let service = Service::new(false);
            let builder = RpcServer::builder().concurrency_of("calc", concurrency);
            let server = service.bind_with(builder, endpoint).await;
            let client = connect(&server).await;
            let sender = client.clone_sender();
            let waiting = actix_rt::spawn(async move { sender.wait().await });
            service.answers.waited(1).await;
            if beside {
                let answer = within("a quick one", client.sender.echo("quick")).await;
                assert_eq!(answer.unwrap(), "quick");
            } else {
                // The slow one ends below only, so that this one cannot have run whatever the deadline.
                let quick = Calc(client.sender.0.clone().with_deadline(Duration::from_millis(60)));
                let error = within("a deadline", quick.echo("quick")).await.unwrap_err();
                assert_eq!(error.code, ErrorCode::Deadline, "{error}");
            }
            service.answers.gate.add_permits(1);
            within("the slow one", waiting).await.unwrap().unwrap();
        }
    }
}

#[actix::test]
async fn a_stream_that_nobody_reads_keeps_back_nothing() {
    let places = [Places::new(), Places::new()];
    let cases = [1, 2].into_iter().zip(&places);
    let each = cases.flat_map(|(concurrency, places)| {
        let endpoints = places.endpoints.iter().cloned();
        endpoints.map(move |endpoint| (concurrency, endpoint))
    });
    for (concurrency, endpoint) in each {
        // As many as run at a time, and one.
        let unread = concurrency + 1;
        let service = Service::new(false);
        let limits = RpcLimits::default().stream_window(1_000);
        let builder = RpcServer::builder().limits(limits).concurrency(concurrency);
        let server = service.bind_with(builder, endpoint).await;
        let client = connect(&server).await;
        let stream = |_| client.sender.0.stream::<_, u32>(&calc::CALC, info("rows"), &());
        let mut streams: Vec<_> = (0..unread).map(stream).collect();
        for rows in &mut streams {
            assert_eq!(within("the first row", rows.next()).await.unwrap().unwrap(), 0);
        }
        assert_eq!(
            within("an answer", client.sender.echo("beside")).await.unwrap(),
            "beside"
        );
        for mut rows in streams {
            let mut count = 1;
            while let Some(row) = within("a row", rows.next()).await {
                assert_eq!(row.unwrap(), count);
                count += 1;
            }
            assert_eq!(count, 10_000);
        }
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_makes_one_connection_for_all_who_call_the_same_server() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let pool = RpcPool::new();
        let handles = (0..10).map(|handle| {
            let (pool, endpoint) = (pool.clone(), server.endpoint().clone());
            tokio::spawn(async move {
                for call in 0..100 {
                    let sender = pool.client::<Calc>(endpoint.clone()).await.unwrap();
                    let text = format!("{handle}.{call}");
                    assert_eq!(sender.echo(&text).await.unwrap(), text);
                }
            })
        });
        for handle in handles.collect::<Vec<_>>() {
            within("a handle", handle).await.unwrap();
        }
        assert_eq!((server.accepted(), pool.len()), (1, 1));
        // One that was closed is dialled again.
        let sender = pool.client::<Calc>(server.endpoint().clone()).await.unwrap();
        let closing = RpcClient { sender };
        within("closing", closing.close()).await;
        let sender = pool.client::<Calc>(server.endpoint().clone()).await.unwrap();
        assert_eq!(sender.echo("again").await.unwrap(), "again");
        assert_eq!((server.accepted(), pool.len()), (2, 1));
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
async fn a_server_that_is_dropped_leaves_no_file_behind() {
    if !cfg!(unix) {
        return;
    }
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

#[cfg(unix)]
#[actix::test]
async fn each_attempt_has_the_patience_that_was_asked_for() {
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
        () = three => {}
        ended = connecting => panic!("it made fewer than three attempts: {ended:?}"),
    }
}

#[actix::test]
async fn a_pool_forgets_what_is_away_and_unused() {
    for endpoint in Places::new().endpoints {
        let server = Service::new(false).bind(endpoint).await;
        let endpoint = server.endpoint().clone();
        let pool = RpcPool::new();
        let client = RpcClient {
            sender: pool.client::<Calc>(endpoint.clone()).await.unwrap(),
        };
        pool.remove(&endpoint);
        assert_eq!(pool.len(), 0);
        assert_eq!(client.sender.echo("kept").await.unwrap(), "kept");
        drop(client);
        let client = RpcClient {
            sender: pool.client::<Calc>(endpoint).await.unwrap(),
        };
        let mut events = client.connection_events();
        within("the shutdown", server.shutdown()).await;
        assert!(matches!(
            within("the loss", events.next()).await,
            Some(ConnectionEvent::Lost { .. })
        ));
        assert_eq!(pool.len(), 1, "somebody uses it");
        drop((client, events));
        assert_eq!(pool.len(), 0);
    }
}
