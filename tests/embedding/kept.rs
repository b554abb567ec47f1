//! What is kept of calls that come in pieces, and of items, until the actors that they are for have handled them.

use super::*;

const MIB: usize = 1 << 20;

/// A process may have 8 MiB of messages in pieces with one local peer.
fn small() -> Limits {
    Limits {
        memory_bytes_total: 16 * MIB,
        message_bytes: 8 * MIB,
        user_part: 1,
        outbox_bytes: 64 * MIB,
        ..Limits::default()
    }
}

/// The first frames of calls of `object`, of so many bytes each, until one is refused. Returns how many were not, and the error's text.
fn begin_calls(caller: &mut Raw, object: &str, bytes: usize) -> (u64, String) {
    let payload = vec![7; bytes];
    for id in 1_000_u64.. {
        let call = Draft::new(Kind::Call, id).flags(Flags::CONTINUED).aux(3_600_000);
        caller.send(&call.pair(object, "none").payload(Encoding::RAW, &payload));
        // What follows is answered behind it: by then the call is taken or refused.
        let after = Draft::new(Kind::Call, 1).pair(object, "ping");
        caller.send(&after);
        let got = caller.expect_one(&[Kind::Error, Kind::Reply]);
        if got.id == id {
            caller.answer(1);
            assert_eq!(got.error(), (ErrorCode::Overloaded, false));
            return (id - 1_000, got.text());
        }
        assert_eq!(got.id, 1);
    }
    unreachable!("the numbers do not end")
}

fn cancel_calls(caller: &mut Raw, count: u64) {
    for id in 1_000..1_000 + count {
        caller.send(&Draft::new(Kind::Cancel, id));
        assert_eq!(caller.answer(id).error().0, ErrorCode::Cancelled);
    }
}

#[actix::test]
async fn calls_in_pieces_that_do_not_end_hold_no_more_than_is_allowed() {
    let broker = start_with(small());
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    outside(&broker.path, |path| {
        let mut caller = Raw::connect(path);
        let objects = [
            ("math", 2 * MIB, 4, "limits.memory_bytes_total"),
            ("sys.broker", 64 * 1024, 16, "the broker's own objects"),
        ];
        for (object, bytes, most, why) in objects {
            for round in 0..2 {
                let (begun, text) = begin_calls(&mut caller, object, bytes);
                assert_eq!(begun, most, "{object}, round {round}");
                assert!(text.contains("calls in pieces") && text.contains(why), "{text}");
                cancel_calls(&mut caller, begun);
            }
        }
        // One question that is too long, whole and in pieces.
        let long = vec![b' '; 64 * 1024 + 1];
        let question = Draft::new(Kind::Call, 7).pair("sys.broker", "ping");
        let whole = question.payload(Encoding::JSON, &long);
        assert_eq!(caller.fails(&whole), (ErrorCode::TooLarge, false));
        let first = whole.flags(Flags::CONTINUED);
        assert_eq!(caller.fails(&first), (ErrorCode::TooLarge, false));
        let first = question.flags(Flags::CONTINUED);
        caller.send(&first.payload(Encoding::JSON, &long[..60_000]));
        let rest = Draft::new(Kind::CallPiece, 7).payload(Encoding::JSON, &long[..6_000]);
        assert_eq!(caller.fails(&rest), (ErrorCode::TooLarge, false));
        assert_eq!(caller.ask(&question).kind, Kind::Reply);
    })
    .await;
    broker.handle.stop().await;
}

#[actix::test]
async fn an_upload_that_finds_no_room_may_have_run_and_its_actor_is_told() {
    let broker = start_with(small());
    let local = broker.handle.local("").unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("math", probe.recipient()).await.unwrap();
    local.serve("sums", Calculator.start().recipient()).await.unwrap();
    let metrics = |local: LocalHandle| async move {
        let status = local.call("sys.broker", "status", Payload::default()).await;
        status.unwrap().decode::<Value>().unwrap()["metrics"].clone()
    };
    let path = broker.path.clone();
    let calling = tokio::task::spawn_blocking(move || {
        let mut caller = Raw::connect(&path);
        let (begun, _) = begin_calls(&mut caller, "sums", 2 * MIB);
        let flags = Flags::CONTINUED.with(Flags::ITEMS).with(Flags::STREAM);
        let upload = Draft::new(Kind::Call, 7).flags(flags).aux(3_600_000);
        caller.send(&upload.pair("math", "upload"));
        for _ in 0..2 {
            let item = Draft::new(Kind::CallPiece, 7).flags(Flags::CONTINUED);
            caller.send(&item.payload(Encoding::RAW, &[7; 200_000]));
        }
        let got = caller.answer(7);
        assert_eq!(got.error(), (ErrorCode::Overloaded, true), "{}", got.text());
        // Nothing more comes of it, and the next one is served once there is room.
        cancel_calls(&mut caller, begun);
        caller.send(&Draft::new(Kind::Call, 8).pair("math", "after"));
        assert_eq!(caller.answer(8).kind, Kind::Reply);
    });
    let mut upload = seen.recv().await.unwrap();
    assert_eq!(&*upload.method, "upload");
    upload.responder.cancelled().await;
    assert!(upload.responder.is_cancelled());
    // A stream ends however much of its window is left.
    let more = upload.responder.more(Payload::raw(vec![0; 64])).await;
    assert_eq!(more.unwrap_err().code, ErrorCode::Cancelled);
    while let Some(Ok(_)) = upload.items.next().await {}
    let after = seen.recv().await.unwrap();
    assert_eq!(&*after.method, "after");
    after.responder.reply(Payload::default()).unwrap();
    calling.await.unwrap();
    assert_eq!(metrics(local.clone()).await["late_answers"], 0);
    drop(upload);
    broker.handle.stop().await;
}

#[actix::test]
async fn a_call_without_answer_that_is_too_long_is_counted() {
    let broker = start();
    outside(&broker.path, |path| {
        let mut caller = Raw::connect(path);
        let silent = Draft::new(Kind::Call, 7).flags(Flags::NO_REPLY);
        caller.send(
            &silent
                .pair("sys.broker", "ping")
                .payload(Encoding::JSON, &[b' '; 64 * 1024 + 1]),
        );
        let status = caller.ask(&Draft::new(Kind::Call, 8).pair("sys.broker", "status"));
        let status: Value = serde_json::from_slice(&status.payload).unwrap();
        assert_eq!(status["metrics"]["one_way_dropped"], 1);
    })
    .await;
    broker.handle.stop().await;
}

/// What the subscriber was told, and how many events it missed, up to the next event with a value.
async fn hears(heard: &mut tokio::sync::mpsc::UnboundedReceiver<Heard>) -> (Value, u32) {
    let mut missed = 0;
    loop {
        let event = heard.recv().await.unwrap();
        missed += event.missed;
        if !event.value.is_null() {
            return (event.value, missed);
        }
    }
}

#[actix::test]
async fn events_in_pieces_that_find_no_room_are_missed_once() {
    let broker = start_with(small());
    let local = broker.handle.local("").unwrap();
    let (hearer, mut heard) = Hearer::start_new();
    let gaps = SubscribeOptions::default().gaps(hearer.clone().recipient());
    local
        .subscribe_with("t", "x", hearer.recipient(), gaps)
        .await
        .unwrap();
    let path = broker.path.clone();
    let publishing = tokio::task::spawn_blocking(move || {
        let mut publisher = Raw::connect(&path);
        let mut publish = |kind: Kind, id: u64, flags: Flags, payload: &[u8]| {
            let draft = Draft::new(kind, id).flags(flags);
            let draft = match kind {
                Kind::Publish => draft.pair("t", "x"),
                _ => draft,
            };
            publisher.send(&draft.payload(Encoding::JSON, payload));
            // One frame may go beyond the window, the next one waits for credit.
            while payload.len() > MIB && publisher.read().kind != Kind::PublishCredit {}
        };
        let (first, piece) = (Kind::Publish, Kind::PublishPiece);
        let large = vec![b' '; 5 * MIB];
        publish(first, 1, Flags::CONTINUED, &large);
        // Two that have no room beside it: one ends, one is given up.
        publish(first, 2, Flags::CONTINUED, &large);
        publish(piece, 2, Flags::NONE, b"2");
        publish(first, 3, Flags::CONTINUED, &large);
        publish(piece, 3, Flags::ABORT, b"");
        publish(first, 4, Flags::NONE, b"4");
        publish(piece, 1, Flags::NONE, b"1");
        publish(first, 5, Flags::CONTINUED, &large);
        publish(piece, 5, Flags::NONE, b"5");
        publisher.ping();
    });
    assert_eq!(hears(&mut heard).await, (json!(4), 2));
    assert_eq!(hears(&mut heard).await, (json!(1), 0));
    assert_eq!(hears(&mut heard).await, (json!(5), 0));
    publishing.await.unwrap();
    broker.handle.stop().await;
}
