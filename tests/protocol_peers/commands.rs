//! Commands that fail, that wait, and that are taken back.

use super::{Places, connect};
use crate::calc::{self, CALC_2, Calc, SHOP, Service, info, within};
use actix_ipc::ErrorCode;
use actix_ipc::protocol::{RpcLimits, RpcServer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
        // As long as it takes on this machine for the handler to begin before the time is over.
        let mut deadline = Duration::from_millis(20);
        while *service.answers.waiting.borrow() == 0 {
            deadline *= 2;
            let sender = Calc(client.sender.0.clone().with_deadline(deadline));
            let late = within("a deadline", sender.wait()).await.unwrap_err();
            assert_eq!((late.code, late.may_have_run), (ErrorCode::Deadline, true));
            // Behind the cancelled one, in the same order.
            assert_eq!(client.sender.echo("next").await.unwrap(), "next");
        }
        assert_eq!(service.answers.dropped.load(Ordering::SeqCst), 1);
        let call = client.clone_sender();
        let dropped = actix_rt::spawn(async move { call.wait().await });
        service.answers.waited(2).await;
        dropped.abort();
        assert_eq!(client.sender.echo("next").await.unwrap(), "next");
        assert_eq!(service.answers.dropped.load(Ordering::SeqCst), 2);
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
            let sender = client.clone_sender();
            let quick = actix_rt::spawn(async move { sender.echo("quick").await });
            if beside {
                assert_eq!(within("the quick one", quick).await.unwrap().unwrap(), "quick");
                service.answers.gate.add_permits(1);
                within("the slow one", waiting).await.unwrap().unwrap();
                continue;
            }
            // The server has had the quick one when it hears of what the client has answered behind it.
            let (_, back) = service.client(0).await;
            for _ in 0..3 {
                assert_eq!(within("a question", back.echo("?")).await.unwrap(), "?");
            }
            assert!(!quick.is_finished() && !waiting.is_finished());
            service.answers.gate.add_permits(1);
            within("the slow one", waiting).await.unwrap().unwrap();
            assert_eq!(within("the quick one", quick).await.unwrap().unwrap(), "quick");
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
