//! What the options of a connection without a broker bound, seen from the other end: what waits to be written (`RpcLimits::out_buffer`),
//! and how long nobody may say anything (`keepalive`).
//!
//! How it works: the other end is bytes of the test's own, which it reads when it wants to. Everything is a count.
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
#[path = "peers/raw.rs"]
mod raw;

use actix_ipc::client::ConnectionEvent;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Kind};
use actix_ipc::protocol::{RpcClient, RpcLimits, RpcServer};
use actix_ipc::{Endpoint, ErrorCode};
use calc::{CALC, Calc, Service, within};
use raw::{Place, Raw};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const OPEN_CALLS: u32 = 100;
/// No bound here.
const CALL_WINDOW: u32 = 1 << 30;
/// Of one command.
const WEIGHT: usize = 100_000;

/// How many commands without an answer a sender gets rid of before nobody takes more, and all of them when they are read: their
/// number, in their order.
async fn taken(sender: &Calc, mut raw: Raw) -> u64 {
    const ALL: u64 = 200;
    let sent = Arc::new(AtomicU64::new(0));
    let (counting, sender) = (Arc::clone(&sent), sender.clone());
    let sending = actix_rt::spawn(async move {
        for number in 0..ALL {
            sender.note(number, WEIGHT).await.unwrap();
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    // The other end reads nothing, so that nothing is awaited but turns of this thread.
    let (mut before, mut turns) = (0, 0);
    while turns < 1_000 {
        actix_rt::task::yield_now().await;
        let now = sent.load(Ordering::SeqCst);
        turns = if now == before { turns + 1 } else { 0 };
        before = now;
    }
    assert!(before < ALL, "nothing holds the sender back");
    let reading = actix_rt::task::spawn_blocking(move || {
        for number in 0..ALL {
            raw.until("a note", |kind, _| kind == Kind::Call);
            // Behind the number of the protocol stands that of the note, as a varint.
            let value = &raw.last[8..];
            let read = u64::from(value[0] & 127) | (u64::from(value[0] >> 7) * (u64::from(value[1]) << 7));
            assert_eq!(read, number);
        }
        raw
    });
    within("what is sent", sending).await.unwrap();
    drop(within("what is read", reading).await.unwrap());
    before
}

/// A server that reads nothing, or a client.
async fn pair(out_buffer: usize, calls: bool) -> u64 {
    let place = Place::new();
    let limits = RpcLimits::default()
        .out_buffer(out_buffer)
        .call_window(CALL_WINDOW);
    if calls {
        let (listener, endpoint) = place.listen();
        let accepting = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::accept(&listener);
            raw.answer_meet(OPEN_CALLS, CALL_WINDOW, &[(CALC.id, "calc")]);
            raw
        });
        let builder = RpcClient::<Calc>::builder().limits(limits);
        let client = builder.connect(endpoint, ()).await.unwrap();
        let raw = within("the meeting", accepting).await.unwrap();
        return taken(&client.sender, raw).await;
    }
    let service = Service::new(false);
    let builder = RpcServer::builder().limits(limits);
    let server = service.bind_with(builder, place.endpoint()).await;
    let endpoint = server.endpoint().clone();
    let connecting = actix_rt::task::spawn_blocking(move || {
        let mut raw = Raw::connect(&endpoint);
        raw.meet(OPEN_CALLS, CALL_WINDOW, &[(CALC.id, "calc")]);
        raw
    });
    let raw = within("the meeting", connecting).await.unwrap();
    let (_, back) = service.client(0).await;
    taken(&back, raw).await
}

#[test]
fn what_waits_to_be_written_is_as_much_as_out_buffer_says_and_no_more() {
    actix::System::new().block_on(async {
        // Over TCP the system takes more or less, from one time to the next.
        let expected = if cfg!(unix) { 62..=65 } else { 50..=80 };
        for calls in [true, false] {
            // One frame always fits; beside it there is what the system takes.
            let least = pair(1, calls).await;
            let most = pair(64 * WEIGHT, calls).await;
            let more = most - least;
            assert!(expected.contains(&more), "{least} and {most} commands");
        }
    });
}

/// Questions that get an answer.
const ANSWERED: u32 = 4;
/// Questions, when each of the answers comes as late as it may.
const MOST: u32 = 2 + 2 * ANSWERED;

/// A server that meets a client, answers so many questions and then says nothing: how many it was asked.
fn questions(listener: &TcpListener, answered: u32) -> u32 {
    let (stream, _) = listener.accept().unwrap();
    let mut raw = Raw::over(stream);
    raw.answer_meet(OPEN_CALLS, CALL_WINDOW, &[(CALC.id, "calc")]);
    asked(&mut raw, answered)
}

/// Questions until the end, of which so many are answered.
fn asked(raw: &mut Raw, answered: u32) -> u32 {
    let mut asked = 0;
    while let Some((kind, id, aux)) = raw.next() {
        match kind {
            Kind::Ping if asked < answered => {
                asked += 1;
                raw.write(&Draft::new(Kind::Pong, id).to_vec());
            }
            Kind::Ping => asked += 1,
            Kind::Goodbye => assert_eq!(CloseReason::from_code(aux), CloseReason::Lost),
            _ => {}
        }
    }
    asked
}

/// Whether somebody who answers four questions is asked two more. On a machine that is too slow for so short a time the answers come
/// too late.
async fn client_asks(silence: Duration) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    raw::sockets::is_known(&listener);
    let address = listener.local_addr().unwrap();
    let playing = actix_rt::task::spawn_blocking(move || questions(&listener, ANSWERED));
    let builder = RpcClient::<Calc>::builder().keepalive(silence).reconnect(false);
    let endpoint = Endpoint::Tcp(address.to_string());
    let client = builder.connect(endpoint, ()).await.unwrap();
    let mut events = client.connection_events();
    let lost = within("the answer that does not come", client.sender.wait()).await;
    let lost = lost.unwrap_err();
    assert_eq!((lost.code, lost.may_have_run), (ErrorCode::BrokerGone, true));
    assert!(lost.message.contains("no sign"), "{lost}");
    let event = within("the loss", events.next()).await;
    assert!(matches!(event, Some(ConnectionEvent::Lost { .. })), "{event:?}");
    let asked = within("the other end", playing).await.unwrap();
    assert!((2..=MOST).contains(&asked), "{asked} questions");
    asked == 2 + ANSWERED
}

/// The same of a server.
async fn server_asks(silence: Duration) -> bool {
    let service = Service::new(false);
    let builder = RpcServer::builder().keepalive(silence);
    let server = service
        .bind_with(builder, Endpoint::Tcp("127.0.0.1:0".into()))
        .await;
    let endpoint = server.endpoint().clone();
    let playing = actix_rt::task::spawn_blocking(move || {
        let mut raw = Raw::connect(&endpoint);
        raw.meet(OPEN_CALLS, CALL_WINDOW, &[(CALC.id, "calc")]);
        asked(&mut raw, ANSWERED)
    });
    let (_, back) = service.client(0).await;
    let lost = within("the answer that does not come", back.wait())
        .await
        .unwrap_err();
    assert_eq!((lost.code, lost.may_have_run), (ErrorCode::BrokerGone, true));
    assert_eq!(service.ended(1).await.len(), 1);
    let asked = within("the other end", playing).await.unwrap();
    assert!((2..=MOST).contains(&asked), "{asked} questions");
    asked == 2 + ANSWERED
}

#[test]
fn who_is_silent_is_asked_twice_and_who_answers_stays() {
    actix::System::new().block_on(async {
        let mut silence = Duration::from_millis(20);
        while !client_asks(silence).await {
            silence *= 4;
            assert!(silence < calc::PATIENCE, "answers do not count");
        }
        let mut silence = Duration::from_millis(20);
        while !server_asks(silence).await {
            silence *= 4;
            assert!(silence < calc::PATIENCE, "answers do not count");
        }
    });
}
