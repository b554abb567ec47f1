//! Brokers that send without end: what they make a client keep is bounded, and who ignores its window is left.

use super::*;

/// Those that look at the memory of the whole process go one after the other.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// 64 MiB of each kind of frame that a client has to keep, count or answer.
#[actix::test]
async fn floods_are_bounded() {
    const FLOOD: usize = 64 << 20;
    let text = [b'x'; 1024];
    let key = 0x8000_0000_0000_0000_u64;
    let floods: Vec<(&str, Draft<'_>)> = vec![
        (
            "events nobody reads",
            Draft::new(Kind::Event, key)
                .pair("a", "b")
                .payload(Encoding::RAW, &text),
        ),
        ("gaps", Draft::new(Kind::Gap, key).aux(u32::MAX)),
        ("notices", Draft::new(Kind::Notice, key).aux(1).key(b"name")),
        (
            "calls of an object",
            Draft::new(Kind::Call, 3)
                .pair("object", "double")
                .payload(Encoding::JSON, b"1"),
        ),
        (
            "calls of no object",
            Draft::new(Kind::Call, 3).pair("nobody", "double"),
        ),
        ("credit", Draft::new(Kind::PublishCredit, 0).aux(u32::MAX)),
        ("credit for calls", Draft::new(Kind::CallCredit, 1).aux(u32::MAX)),
        (
            "items of streams",
            Draft::new(Kind::Reply, 1)
                .flags(Flags::MORE)
                .payload(Encoding::JSON, b"1"),
        ),
        ("pongs", Draft::new(Kind::Pong, 0)),
        ("ownership", Draft::new(Kind::Ownership, key).aux(1)),
    ];
    let _alone = MEMORY.lock().await;
    let before = resident();
    for (case, draft) in floods {
        let one = draft.to_vec();
        let many = one.repeat((FLOOD / one.len()).min(400_000));
        let _ = survive(case, many).await;
        let grown = grown_since(before);
        eprintln!("{case}: {grown:?} bytes more");
        assert!(
            grown.is_none_or(|grown| grown < 500 << 20),
            "{case}: {grown:?} bytes more"
        );
    }
    no_panic();
}

/// Distinct numbers, so that every first part opens something.
#[actix::test]
async fn first_parts_without_an_end_are_bounded() {
    let _alone = MEMORY.lock().await;
    let before = resident();
    for kind in [Kind::Call, Kind::Event] {
        let mut bytes = Vec::new();
        for number in 0..1_000_000_u32 {
            let id = if kind == Kind::Event {
                0x8000_0000_0000_0000
            } else {
                u64::from(number)
            };
            let draft = Draft::new(kind, id).aux(number).flags(Flags::CONTINUED);
            draft.pair("object", "double").encode(&mut bytes);
        }
        let _ = survive(kind.name(), bytes).await;
        let grown = grown_since(before);
        eprintln!("{}: {grown:?} bytes more", kind.name());
        assert!(
            grown.is_none_or(|grown| grown < 200 << 20),
            "{}: {grown:?} bytes more",
            kind.name()
        );
    }
    no_panic();
}

/// Pings without end from a broker that reads none of the answers.
#[actix::test]
async fn a_broker_that_asks_and_does_not_read_is_left() {
    let fake = Fake::new(|mut stream, _| {
        greet(&mut stream);
        let pings = Draft::new(Kind::Ping, 1)
            .payload(Encoding::RAW, &[1; 64])
            .to_vec()
            .repeat(1_000);
        // Until the client has closed.
        while stream.write_all(&pings).is_ok() {}
    });
    let _alone = MEMORY.lock().await;
    let before = resident();
    let client = fake.connect().await.unwrap();
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("does not read"), "{why}");
    let grown = grown_since(before);
    assert!(
        grown.is_none_or(|grown| grown < 400 << 20),
        "{grown:?} bytes more for a bound of 64 MiB"
    );
    no_panic();
}

/// A stream whose sender ignores its window is the end of the connection, not of the memory.
#[actix::test]
async fn a_stream_beyond_its_window_ends_the_connection() {
    let fake = Fake::new(|mut stream, _| {
        greet(&mut stream);
        let id = number_of(&mut stream, Kind::Call);
        let item = Draft::new(Kind::Reply, id)
            .flags(Flags::MORE)
            .payload(Encoding::JSON, b"1")
            .to_vec();
        let reading = stream.try_clone().unwrap();
        std::thread::spawn(move || swallow(reading));
        let items = item.repeat(1_000);
        while stream.write_all(&items).is_ok() {}
    });
    let client = fake.connect().await.unwrap();
    let mut items = client.call("object", "count").stream::<_, i64>(&0);
    let first = within(items.next()).await;
    assert!(matches!(first, Some(Ok(1))), "{first:?}");
    // The reader stands still; only the window could have kept the sender back.
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("window"), "{why}");
    no_panic();
}

/// The same for the items behind a call, which a handler does not take.
#[actix::test]
async fn items_beyond_their_window_end_the_connection() {
    let fake = Fake::new(|mut stream, _| {
        greet(&mut stream);
        let id = number_of(&mut stream, Kind::Register);
        stream.write_all(&Draft::new(Kind::Done, id).to_vec()).unwrap();
        let reading = stream.try_clone().unwrap();
        std::thread::spawn(move || swallow(reading));
        let call = Draft::new(Kind::Call, 7)
            .aux(60_000)
            .flags(Flags::CONTINUED.with(Flags::ITEMS))
            .pair("object", "never")
            .payload(Encoding::JSON, b"null");
        stream.write_all(&call.to_vec()).unwrap();
        let items = Draft::new(Kind::CallPiece, 7)
            .flags(Flags::CONTINUED)
            .payload(Encoding::JSON, b"1")
            .to_vec()
            .repeat(1_000);
        while stream.write_all(&items).is_ok() {}
    });
    let client = fake.connect().await.unwrap();
    let never = Methods::new().method("never", |(): (), _| async move {
        std::future::pending::<()>().await;
        Ok(())
    });
    let _object = within(client.register("object", never).into_future())
        .await
        .unwrap();
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("window"), "{why}");
    no_panic();
}
