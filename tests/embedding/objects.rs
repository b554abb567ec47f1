//! Actors as objects, and calls between them and sockets.

use super::*;

#[actix::test]
async fn an_actor_is_an_object_for_callers_of_this_process() {
    let broker = start();
    let local = broker.handle.local("house").unwrap();
    let served = local.serve("math", Calculator.start().recipient()).await.unwrap();
    assert_eq!(served.standing(), Standing::Owner);
    let sum = local.call("math", "add", json(&json!([10, 32]))).await.unwrap();
    assert_eq!(sum.decode::<i64>().unwrap(), 42);
    let asker = broker.handle.local("asker").unwrap();
    let who = asker.call("math", "who", json(&Value::Null)).await.unwrap();
    assert_eq!(
        who.decode::<Value>().unwrap(),
        json!({ "name": "asker", "pid": std::process::id() })
    );
    let metadata = {
        let mut metadata = Metadata::new();
        metadata.insert("trace", "7").unwrap();
        metadata
    };
    let traced = local
        .call_with(
            "math",
            "trace",
            json(&Value::Null),
            CallOptions::default().metadata(metadata),
        )
        .await;
    let traced = traced.unwrap();
    assert_eq!(traced.payload.decode::<String>().unwrap(), "7");
    assert_eq!(traced.metadata.get_str("traced"), Some("yes"));
    assert_eq!(broker.handle.stop().await, EndReason::Drained);
}

#[actix::test]
async fn each_way_for_a_call_to_fail_has_its_own_error() {
    let broker = start_with(Limits {
        frame_bytes: 100_000,
        ..Limits::default()
    });
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let call = |object: &'static str, method: &'static str| {
        let local = local.clone();
        async move {
            let options = CallOptions::default().deadline(Duration::from_millis(200));
            local.call_with(object, method, Payload::default(), options).await
        }
    };
    let expected = [
        ("none", "x", ErrorCode::NoSuchObject, false),
        ("math", "unknown", ErrorCode::NoSuchMethod, false),
        ("math", "drop", ErrorCode::CalleeGone, true),
        ("math", "large", ErrorCode::TooLarge, true),
        ("math", "keep", ErrorCode::Deadline, true),
        ("", "x", ErrorCode::Invalid, false),
        ("math", "bad\0name", ErrorCode::Invalid, false),
        ("math", "panic", ErrorCode::HandlerPanicked, true),
        // The actor is dead by now; its object goes with the first call that finds it so.
        ("math", "add", ErrorCode::CalleeGone, false),
        ("math", "add", ErrorCode::NoSuchObject, false),
    ];
    for (object, method, code, may_have_run) in expected {
        let error = call(object, method).await.unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (code, may_have_run),
            "{object} {method}: {error}"
        );
    }
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let refused = call("math", "refuse").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.name.as_deref(), refused.message.as_str()),
        (ErrorCode::Handler, Some("math.Domain"), "not defined there")
    );
    assert_eq!(refused.payload.decode::<Value>().unwrap(), json!({ "at": 0 }));
    let large = local.call("math", "add", Payload::raw(vec![0_u8; 100_001])).await;
    assert_eq!(code(large), (ErrorCode::TooLarge, false));
    broker.handle.stop().await;
}

#[actix::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_actor() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    let (probe, mut seen) = Probe::start_new();
    local.serve("slow", probe.recipient()).await.unwrap();
    let call = local.call("slow", "m", Payload::default());
    let responder = {
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => unreachable!("nobody answers"),
            call = seen.recv() => call.unwrap().responder,
        }
    };
    responder.cancelled().await;
    assert!(responder.is_cancelled());
    broker.handle.stop().await;
}

#[actix::test]
async fn sockets_and_actors_call_each_other() {
    for arbiters in [0, 2] {
        mutual_calls(start_on(arbiters, Limits::default())).await;
    }
}

async fn mutual_calls(broker: Running) {
    let local = broker.handle.local("house").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let worker = outside(&broker.path, |path| {
        let mut client = Raw::connect_as(path, "client");
        let id = client.id();
        let sum = client.ask(
            &Draft::new(Kind::Call, id)
                .pair("math", "add")
                .payload(Encoding::JSON, b"[1,2]"),
        );
        assert_eq!(
            (sum.kind, sum.encoding, &sum.payload[..]),
            (Kind::Reply, Encoding::JSON, &b"3"[..])
        );
        let id = client.id();
        let who = client.ask(
            &Draft::new(Kind::Call, id)
                .pair("math", "who")
                .payload(Encoding::JSON, b"null"),
        );
        assert_eq!(
            serde_json::from_slice::<Value>(&who.payload).unwrap()["name"],
            "client"
        );
        let mut worker = Raw::connect(path);
        assert_eq!(worker.register("far").kind, Kind::Done);
        worker
    })
    .await;
    let answering = tokio::task::spawn_blocking(move || {
        let mut worker = worker;
        let call = worker.read();
        assert!(call.meta.starts_with(b"\x08sys.name\x05\x00house"), "{call:?}");
        worker.send(&Draft::new(Kind::Reply, call.id).payload(Encoding::RAW, &call.payload));
        let call = worker.read();
        let refusal = Draft::new(Kind::Error, call.id).aux(ErrorCode::NoSuchMethod.code());
        worker.send(&refusal.payload(Encoding::RAW, b"no such thing"));
        worker.read();
        // The connection ends with a call open.
    });
    let echoed = local.call("far", "echo", Payload::raw("hello")).await.unwrap();
    assert_eq!(echoed, Payload::raw("hello"));
    let refused = local.call("far", "other", Payload::default()).await.unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (ErrorCode::NoSuchMethod, "no such thing")
    );
    let cut = local.call("far", "last", Payload::default()).await;
    assert_eq!(code(cut), (ErrorCode::CalleeGone, true));
    answering.await.unwrap();
    broker.handle.stop().await;
}

#[actix::test]
async fn calls_and_replies_in_pieces_are_put_together() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let worker = outside(&broker.path, |path| {
        let mut client = Raw::connect(path);
        let id = client.id();
        let first = Draft::new(Kind::Call, id)
            .pair("math", "length")
            .flags(Flags::CONTINUED);
        client.send(&first.payload(Encoding::RAW, &[1; 1000]));
        let piece = [2; 150_000];
        for flags in [Flags::CONTINUED, Flags::CONTINUED, Flags::NONE] {
            client.send(
                &Draft::new(Kind::CallPiece, id)
                    .flags(flags)
                    .payload(Encoding::RAW, &piece),
            );
            // One piece at a time: the window must come back each time.
            let credit = client.read();
            assert_eq!(
                (credit.kind, credit.id, credit.aux),
                (Kind::CallCredit, id, 150_024)
            );
        }
        let length = client.read();
        assert_eq!((length.kind, &length.payload[..]), (Kind::Reply, &b"451000"[..]));
        let mut worker = Raw::connect(path);
        worker.register("far");
        worker
    })
    .await;
    let answering = tokio::task::spawn_blocking(move || {
        let mut worker = worker;
        let call = worker.read();
        let piece = [3; 200_000];
        let first = Draft::new(Kind::Reply, call.id)
            .flags(Flags::CONTINUED)
            .payload(Encoding::RAW, &piece);
        worker.send(&first);
        let credit = worker.read();
        assert_eq!((credit.kind, credit.id), (Kind::ReplyCredit, call.id));
        worker.send(&Draft::new(Kind::ReplyPiece, call.id).payload(Encoding::RAW, &piece));
    });
    let reply = local.call("far", "m", Payload::default()).await.unwrap();
    assert_eq!(reply.bytes.len(), 400_000);
    broker.handle.stop().await;
    answering.await.unwrap();
}

#[actix::test]
async fn a_stream_waits_for_its_callers_credit() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    outside(&broker.path, |path| {
        let mut client = Raw::connect(path);
        let call = client.id();
        client.send(
            &Draft::new(Kind::Call, call)
                .pair("math", "count")
                .flags(Flags::STREAM),
        );
        // Ten items of 64 KiB do not fit the window of 256 KiB: four come, the rest for credit.
        for item in 0..10_u8 {
            let reply = client.read();
            assert_eq!(
                (
                    reply.kind,
                    reply.id,
                    reply.flags.has(Flags::MORE),
                    reply.payload[0]
                ),
                (Kind::Reply, call, true, item)
            );
            let wire = u32::try_from(reply.payload.len() + 24).unwrap();
            client.send(&Draft::new(Kind::ReplyCredit, call).aux(wire));
        }
        let last = client.read();
        assert_eq!(
            (last.flags.has(Flags::MORE), last.payload.is_empty()),
            (false, true)
        );
        let single = client.id();
        let refused = client.ask(&Draft::new(Kind::Call, single).pair("math", "count"));
        assert_eq!(
            (refused.kind, ErrorCode::from_code(refused.aux)),
            (Kind::Error, ErrorCode::Invalid)
        );
    })
    .await;
    broker.handle.stop().await;
}

#[actix::test]
async fn names_are_queued_replaced_and_shared_by_consent() {
    let broker = start();
    let (first, second) = (
        broker.handle.local("first").unwrap(),
        broker.handle.local("second").unwrap(),
    );
    let object = || Calculator.start().recipient();
    let allow = ServeOptions::default().allow_replace();
    let mut served = first
        .serve_with("math", object(), allow.description(&json!({ "adds": true })))
        .await
        .unwrap();
    let described = second.describe("math").await.unwrap();
    assert_eq!(described["description"], json!({ "adds": true }));
    assert_eq!(
        code(second.serve("math", object()).await),
        (ErrorCode::NameTaken, false)
    );
    assert_eq!(
        code(second.serve("sys.mine", object()).await),
        (ErrorCode::Invalid, false)
    );
    let mut queued = second
        .serve_with("math", object(), ServeOptions::default().queue())
        .await
        .unwrap();
    assert_eq!(queued.standing(), Standing::Queued);
    first.unserve("math").await.unwrap();
    assert_eq!(served.changed().await, None);
    assert_eq!(queued.changed().await, Some(Standing::Owner));
    assert_eq!(
        code(first.unserve("math").await),
        (ErrorCode::NotRegistered, false)
    );
    first
        .serve_with("other", object(), ServeOptions::default().allow_replace())
        .await
        .unwrap();
    second
        .serve_with("other", object(), ServeOptions::default().replace())
        .await
        .unwrap();
    broker.handle.stop().await;
}

#[actix::test]
async fn callers_wait_for_objects() {
    let broker = start();
    let (caller, worker) = (broker.handle.local("").unwrap(), broker.handle.local("").unwrap());
    let short = Duration::from_millis(20);
    let absent = caller.wait_for(&["math", "rob"], short).await;
    assert_eq!(code(absent), (ErrorCode::Deadline, false));
    let wait = CallOptions::default().wait().deadline(Duration::from_secs(10));
    let (sum, there, served) = tokio::join!(
        caller.call_with("math", "add", json(&json!([1, 1])), wait),
        caller.wait_for(&["math", "rob"], Duration::from_secs(10)),
        worker.serve("math", Calculator.start().recipient()),
    );
    assert_eq!(sum.unwrap().payload.decode::<i64>().unwrap(), 2);
    there.unwrap();
    served.unwrap();
    broker.handle.stop().await;
}

#[actix::test]
async fn requests_go_on_with_items_between_actors_and_with_sockets() {
    let broker = start();
    let local = broker.handle.local("").unwrap();
    local.serve("math", Calculator.start().recipient()).await.unwrap();
    let endpoint = broker.handle.endpoints()[0].clone();
    let client = IpcClient::connect_to(endpoint).await.unwrap();
    let item = || Payload::raw(vec![7; 10_000]);
    // Many windows of 256 KiB.
    for count in [0, 1, 500_u64] {
        let items = futures::stream::iter((0..count).map(move |_| item()));
        let options = CallOptions::default();
        let sum = local
            .upload("math", "sum", json(&json!(5)), items.clone(), options)
            .await
            .unwrap();
        assert_eq!(sum.payload.decode::<u64>().unwrap(), 5 + count * 10_000);
        let items = futures::StreamExt::map(items, Ok);
        let sum: u64 = client
            .call("math", "sum")
            .item_payloads(items)
            .send(&5)
            .await
            .unwrap();
        assert_eq!(sum, 5 + count * 10_000);
    }
    let plain = local.call("math", "sum", json(&json!(5))).await.unwrap();
    assert_eq!(plain.decode::<u64>().unwrap(), 5, "a call without items has none");
    let endless = || futures::stream::repeat_with(item);
    let first = local
        .upload(
            "math",
            "first",
            Payload::default(),
            endless(),
            CallOptions::default(),
        )
        .await;
    assert_eq!(first.unwrap().payload, item(), "it ends before its items");
    let options = CallOptions::default().deadline(Duration::from_millis(200));
    let late = local
        .upload("math", "keep", Payload::default(), endless(), options)
        .await;
    assert_eq!(code(late), (ErrorCode::Deadline, true));
    let large = futures::stream::iter([item(), Payload::raw(vec![0; Limits::default().frame_bytes + 1])]);
    let refused = local
        .upload("math", "keep", Payload::default(), large, CallOptions::default())
        .await;
    assert_eq!(code(refused), (ErrorCode::TooLarge, true));
    assert_eq!(broker.handle.stop().await, EndReason::Drained);
}
