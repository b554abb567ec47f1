//! Streams and large items: what is sent only as its reader takes it, and what dropping does.

use super::*;

#[tokio::test]
async fn dropping_a_call_or_a_stream_drops_the_handler() {
    let place = Place::new();
    let broker = place.start();
    let (begun, dropped, cancelled) = (
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let slow = Slow {
        begun: begun.clone(),
        dropped: dropped.clone(),
        cancelled: cancelled.clone(),
    };
    let (caller, _worker, _object) = pair(&broker, "slow", slow).await;
    let mut call = Box::pin(caller.remote_call::<(), ()>("slow", "m", ()));
    tokio::select! {
        answer = &mut call => panic!("{answer:?}"),
        () = begun.notified() => {}
    }
    drop(call);
    tokio::join!(dropped.notified(), cancelled.notified());
    let mut stream = caller.call("slow", "m").stream::<(), ()>(&());
    tokio::select! {
        item = stream.next() => panic!("{item:?}"),
        () = begun.notified() => {}
    }
    drop(stream);
    tokio::join!(dropped.notified(), cancelled.notified());
}

#[tokio::test]
async fn a_stream_sends_no_more_than_its_reader_takes() {
    let place = Place::new();
    let limits = Limits {
        stream_window: 1000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let object = Methods::new().stream("count", move |to: u32, _| {
        let count = count.clone();
        futures::stream::iter(0..to).map(move |number| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, HandlerError>(number)
        })
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let mut items = caller.call("o", "count").stream::<u32, u32>(&10_000);
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    // Whatever could be on its way has had its time when other calls have gone the same way.
    for _ in 0..50 {
        caller
            .remote_call::<(), ()>("o", "nothing", ())
            .await
            .unwrap_err();
    }
    let ahead = made.load(Ordering::SeqCst);
    assert!(ahead < 100, "{ahead} items were made for a reader of one");
    for expected in 1..10_000 {
        assert_eq!(items.next().await.unwrap().unwrap(), expected);
    }
    assert!(items.next().await.is_none());
    let one = Methods::new().method("m", |(): (), _| async move { Ok("one") });
    let _one = caller.register("one", one).await.unwrap();
    let all: Vec<_> = caller.call("one", "m").stream::<(), String>(&()).collect().await;
    assert_eq!(all, [Ok("one".to_owned())], "one value is a stream of one item");
    let _mirror = caller.register("mirror", Mirror).await.unwrap();
    let empty: Vec<_> = caller
        .call("mirror", "m")
        .stream_payload(Payload::default())
        .collect()
        .await;
    assert_eq!(empty.len(), 1, "an empty value is an item too");
    let error = caller.remote_call::<u32, u32>("o", "count", 3).await.unwrap_err();
    assert_eq!(
        error.code,
        ErrorCode::Invalid,
        "a stream for a caller who wants one value"
    );
    assert!(error.may_have_run, "its handler has run");
}

#[tokio::test]
async fn large_items_and_errors_in_streams() {
    let place = Place::new();
    let limits = Limits {
        frame_bytes: 1000,
        stream_window: 2000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let object = Methods::new().stream("pages", |sizes: Vec<usize>, _| {
        futures::stream::iter(sizes).map(|size| match size {
            0 => Err(HandlerError::new("empty page")),
            size => Ok("x".repeat(size)),
        })
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let sizes = vec![1, 100_000, 2, 900, 50_000, 0, 7];
    let items: Vec<_> = caller
        .call("o", "pages")
        .stream::<_, String>(&sizes)
        .collect()
        .await;
    let lengths: Vec<usize> = items.iter().flatten().map(String::len).collect();
    assert_eq!(lengths, [1, 100_000, 2, 900, 50_000]);
    assert_eq!(items.len(), 6, "nothing follows an error");
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().message, "empty page");
}

/// Tells when it is dropped.
struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn nothing_follows_an_item_that_is_not_what_was_asked_for() {
    let place = Place::new();
    let broker = place.start();
    let dropped = Arc::new(Notify::new());
    let told = dropped.clone();
    let object = Methods::new().stream("mixed", move |(): (), _| {
        let tells = Tells(told.clone());
        let items = futures::stream::iter([json!(1), json!("x"), json!(3)]);
        items.chain(futures::stream::pending()).map(move |item| {
            let _ = &tells;
            Ok::<_, HandlerError>(item)
        })
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let mut items = caller.call("o", "mixed").stream::<(), u32>(&());
    assert_eq!(items.next().await.unwrap().unwrap(), 1);
    assert!(items.next().await.unwrap().is_err());
    assert!(items.next().await.is_none(), "a number came behind an error");
    // The call is over for the object as well, although the stream is kept.
    tokio::time::timeout(Duration::from_secs(30), dropped.notified())
        .await
        .expect("the object goes on");
}
