//! The cases about requests that go on with items: order, credit, both ways at once, and every end.

use super::World;
use actix_ipc::client::{Handler, IncomingCall, IncomingItems, Registration, Response};
use actix_ipc::config::Limits;
use actix_ipc::{CallContext, CallError, Encoding, ErrorCode, HandlerError, IpcClient, Payload};
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

/// What the broker's window allows by default, in bytes.
const WINDOW: usize = 256 * 1024;

/// What the handler saw, for the tests.
#[derive(Default)]
struct Seen {
    /// Items that handlers have taken.
    taken: AtomicUsize,
    /// How many items `slowly` may still take.
    allowed: Option<Semaphore>,
    /// Streams that outlive their handlers.
    kept: Mutex<Option<(IncomingItems, CallContext)>>,
    kept_one: Notify,
    dropped: Arc<Notify>,
}

struct Takes(Arc<Seen>);

/// Tells that a handler's future was dropped before it ended.
struct Guard(Arc<Notify>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Handler for Takes {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let mut items = call.items();
        match &*call.context.method {
            "sum" => {
                let start: u64 = call.args()?;
                let mut sum = start;
                while let Some(item) = items.next().await {
                    sum += item?.decode::<u64>()?;
                }
                call.reply(&(sum, call.context.uploading))
            }
            "lengths" => {
                let mut lengths = Vec::new();
                while let Some(item) = items.next().await {
                    lengths.push(item?.bytes.len());
                }
                call.reply(&lengths)
            }
            "echo" => Ok(Response::stream(items.map(|item| Ok(item?)))),
            "first" => {
                let item = items.next().await.ok_or("there is none")??;
                Ok(Response::payload(item))
            }
            "twice" => {
                let errors: Vec<String> = call
                    .items()
                    .map(|item| item.expect_err("handed out").message)
                    .collect()
                    .await;
                call.reply(&errors)
            }
            "slowly" => {
                let mut bytes = 0;
                loop {
                    if let Some(allowed) = &self.0.allowed {
                        allowed
                            .acquire()
                            .await
                            .map_err(|error| error.to_string())?
                            .forget();
                    }
                    let Some(item) = items.next().await else { break };
                    bytes += item?.bytes.len();
                    self.0.taken.fetch_add(1, Ordering::SeqCst);
                }
                call.reply(&bytes)
            }
            _ => {
                let _guard = Guard(Arc::clone(&self.0.dropped));
                *self.0.kept.lock().unwrap() = Some((items, call.context));
                self.0.kept_one.notify_one();
                std::future::pending().await
            }
        }
    }
}

async fn pair(world: &World, seen: &Arc<Seen>) -> (IpcClient, IpcClient, Registration) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let registration = worker.register("o", Takes(Arc::clone(seen))).await.unwrap();
    (worker, caller, registration)
}

pub async fn requests_go_on_with_items(world: World) {
    let (_worker, caller, _o) = pair(&world, &Arc::default()).await;
    for count in [0_u64, 1, 2, 20_000] {
        for encoding in [Encoding::JSON, Encoding::POSTCARD] {
            let call = caller.call("o", "sum").encoding(encoding);
            let answer: (u64, bool) = call.items(stream::iter(0..count)).send(&7_u64).await.unwrap();
            assert_eq!(answer, (7 + (0..count).sum::<u64>(), true), "{count} items");
        }
    }
    let sums = (1..50_u64).map(|n| {
        let items = stream::iter(0..n * 10).then(|n| async move {
            tokio::task::yield_now().await;
            n
        });
        let call = caller.call("o", "sum").items(items);
        async move { call.send::<_, (u64, bool)>(&n).await.map(|answer| (n, answer.0)) }
    });
    for answer in futures::future::join_all(sums).await {
        let (n, sum) = answer.unwrap();
        assert_eq!(sum, n + (0..n * 10).sum::<u64>(), "many at once");
    }
    let plain: (u64, bool) = caller.call("o", "sum").send(&7_u64).await.unwrap();
    assert_eq!(plain, (7, false), "a call without items has none");
    let errors: Vec<String> = caller
        .call("o", "twice")
        .items(stream::iter([1]))
        .send(&())
        .await
        .unwrap();
    assert!(
        matches!(&errors[..], [text] if text.contains("asked for before")),
        "{errors:?}"
    );
}

pub async fn items_of_every_size(world: World) {
    let (_worker, caller, _o) = pair(&world, &Arc::default()).await;
    let frame_bytes = Limits::default().frame_bytes;
    let lengths = [
        0,
        1,
        0,
        WINDOW - 24,
        WINDOW - 23,
        WINDOW,
        frame_bytes,
        0,
        3,
        frame_bytes,
    ];
    let items = lengths.map(|length| Ok(Payload::raw(vec![7; length])));
    let call = caller.call("o", "lengths").item_payloads(stream::iter(items));
    assert_eq!(call.send::<_, Vec<usize>>(&()).await.unwrap(), lengths);

    let items = [1, frame_bytes + 1].map(|length| Ok(Payload::raw(vec![7; length])));
    let call = caller.call("o", "lengths").item_payloads(stream::iter(items));
    let error = call.send::<_, Vec<usize>>(&()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, true));
    assert!(error.message.contains("limits.frame_bytes"), "{error}");

    let parameters = Payload::raw(vec![0; frame_bytes + 1]);
    let call = caller.call("o", "lengths").items(stream::empty::<u8>());
    let error = call.send_payload(parameters).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, false));
}

/// Each item is sent only when the answer to the one before is there.
pub async fn both_ways_at_once(world: World) {
    let (_worker, caller, _o) = pair(&world, &Arc::default()).await;
    let (sender, mut receiver) = mpsc::unbounded_channel::<u64>();
    let items = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let mut replies = caller.call("o", "echo").items(items).stream::<_, u64>(&());
    for n in 0..500 {
        sender.send(n).unwrap();
        assert_eq!(replies.next().await.unwrap().unwrap(), n);
    }
    drop(sender);
    assert!(replies.next().await.is_none());
    // And without waiting for each other, many windows long.
    let items = stream::iter((0..2_000).map(|n| Ok(Payload::raw(vec![(n % 251) as u8; 1_000]))));
    let mut replies = caller
        .call("o", "echo")
        .item_payloads(items)
        .stream_payload(Payload::default());
    for n in 0..2_000 {
        let reply = replies.next().await.unwrap().unwrap();
        assert_eq!(reply.payload.bytes, vec![(n % 251) as u8; 1_000]);
    }
    assert!(replies.next().await.is_none());
}

pub async fn a_handler_may_end_before_the_items(world: World) {
    let (_worker, caller, _o) = pair(&world, &Arc::default()).await;
    let polled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polled);
    let endless = stream::repeat_with(move || count.fetch_add(1, Ordering::SeqCst));
    let first: usize = caller.call("o", "first").items(endless).send(&()).await.unwrap();
    assert_eq!(first, 0);
    assert_eq!(Arc::strong_count(&polled), 1, "the rest of the stream is dropped");
    let (answer, _): (u64, bool) = caller
        .call("o", "sum")
        .items(stream::iter([1_u64]))
        .send(&1)
        .await
        .unwrap();
    assert_eq!(answer, 2, "what was too much harms nobody");
}

/// 256 MiB pass, and at no time is more under way than the window and what lies between two steps of credit.
pub async fn a_slow_handler_holds_its_caller_back(world: World) {
    let seen = Arc::new(Seen {
        allowed: Some(Semaphore::new(0)),
        ..Seen::default()
    });
    let (_worker, caller, _o) = pair(&world, &seen).await;
    const ITEM: usize = 64 * 1024;
    const ITEMS: usize = 4_096;
    let (most, polled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let item = bytes::Bytes::from(vec![7; ITEM]);
    let items = {
        let (seen, most, polled) = (Arc::clone(&seen), Arc::clone(&most), Arc::clone(&polled));
        stream::iter(0..ITEMS).map(move |n| {
            polled.store(n + 1, Ordering::SeqCst);
            most.fetch_max(n + 1 - seen.taken.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok(Payload {
                encoding: Encoding::RAW,
                bytes: item.clone(),
            })
        })
    };
    let mut call = Box::pin(
        caller
            .call("o", "slowly")
            .item_payloads(items)
            .send::<_, usize>(&()),
    );
    let allowed = seen.allowed.as_ref().unwrap();
    // It takes nothing: the caller stops at its window, and one item is in its hand.
    let full = WINDOW.div_ceil(ITEM + 24) + 1;
    let limit = std::time::Instant::now() + crate::until::PATIENCE;
    while polled.load(Ordering::SeqCst) < full {
        assert!(std::time::Instant::now() < limit, "the window is not filled");
        assert!(futures::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    caller.ping().await.unwrap();
    assert!(futures::poll!(&mut call).is_pending());
    assert_eq!(polled.load(Ordering::SeqCst), full);
    // It takes them one by one, and each only when the caller has been asked for more in between.
    for _ in 0..ITEMS / 2 {
        allowed.add_permits(1);
        assert!(futures::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    allowed.add_permits(ITEMS);
    assert_eq!(call.await.unwrap(), ITEM * ITEMS);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 2 * full, "{most} items were under way at once");
}

/// The stream of a call whose handler was dropped ends with an error, wherever it is read.
async fn ended(seen: &Seen) {
    let (mut items, context) = seen.kept.lock().unwrap().take().unwrap();
    context.cancelled().await;
    let mut last = items.next().await;
    while let Some(Ok(_)) = last {
        last = items.next().await;
    }
    let error = last.unwrap().unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Cancelled, true));
    assert!(items.next().await.is_none(), "after an error nothing follows");
}

pub async fn a_caller_that_gives_up_ends_its_handler(world: World) {
    let seen: Arc<Seen> = Arc::default();
    let (_worker, caller, _o) = pair(&world, &seen).await;
    let endless = stream::iter(0..3).chain(stream::pending());
    let mut call = Box::pin(caller.call("o", "keep").items(endless).send::<_, ()>(&()));
    tokio::select! {
        result = &mut call => panic!("{result:?}"),
        () = seen.kept_one.notified() => {}
    }
    drop(call);
    seen.dropped.notified().await;
    ended(&seen).await;
}

pub async fn a_stream_that_fails_takes_its_call_back(world: World) {
    let seen: Arc<Seen> = Arc::default();
    let (_worker, caller, _o) = pair(&world, &seen).await;
    let begun = Arc::clone(&seen);
    let failing = stream::iter([Ok(Payload::default())]).chain(stream::once(async move {
        begun.kept_one.notified().await;
        Err(CallError::new(ErrorCode::Handler, "the disk is gone"))
    }));
    let call = caller.call("o", "keep").item_payloads(failing).send::<_, ()>(&());
    let error = call.await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Handler, true));
    assert_eq!(error.message, "the disk is gone");
    seen.dropped.notified().await;
    ended(&seen).await;
}

pub async fn the_time_between_items_ends(world: World) {
    let seen: Arc<Seen> = Arc::default();
    let (_worker, caller, _o) = pair(&world, &seen).await;
    let call = caller.call("o", "sum").deadline(Duration::from_millis(200));
    let error = call
        .items(stream::pending::<u64>())
        .send::<_, (u64, bool)>(&0_u64)
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, true));

    let call = caller
        .call("none", "sum")
        .deadline(Duration::from_millis(100))
        .wait_for_object();
    let error = call.items(stream::repeat(1)).send::<_, ()>(&0).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
}

pub async fn items_wait_for_their_object(world: World) {
    let (worker, caller) = (world.connect().await, world.connect().await);
    let items = stream::iter(0..100_u64);
    let call = caller.call("late", "sum").wait_for_object().items(items);
    let mut call = Box::pin(call.send::<_, (u64, bool)>(&0_u64));
    assert!(futures::poll!(&mut call).is_pending());
    caller.ping().await.unwrap();
    let _late = worker.register("late", Takes(Arc::default())).await.unwrap();
    assert_eq!(call.await.unwrap().0, (0..100).sum::<u64>());
}

pub async fn a_lost_worker_ends_its_streams(world: World) {
    let seen: Arc<Seen> = Arc::default();
    let (worker, caller, _o) = pair(&world, &seen).await;
    let items = stream::iter(0..3).chain(stream::pending());
    let mut call = Box::pin(caller.call("o", "keep").items(items).send::<_, ()>(&()));
    tokio::select! {
        result = &mut call => panic!("{result:?}"),
        () = seen.kept_one.notified() => {}
    }
    worker.close().await;
    let error = call.await.unwrap_err();
    assert!(error.may_have_run, "{error}");
    assert!(
        matches!(error.code, ErrorCode::CalleeGone | ErrorCode::Cancelled),
        "{error}"
    );
    let (mut items, _) = seen.kept.lock().unwrap().take().unwrap();
    while let Some(Ok(_)) = items.next().await {}
    assert!(items.next().await.is_none());
}
