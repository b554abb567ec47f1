//! What fails, and with which error.

use super::*;

#[tokio::test]
async fn what_exceeds_the_limits_is_refused_before_it_is_sent() {
    let place = Place::new();
    let limits = Limits {
        frame_bytes: 1000,
        message_bytes: 5000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    for size in [1000, 1001, 5000] {
        let back = caller
            .call("mirror", "m")
            .send_payload(Payload::raw(vec![7; size]))
            .await
            .unwrap();
        assert_eq!(back.bytes.len(), size);
    }
    let error = caller
        .call("mirror", "m")
        .send_payload(Payload::raw(vec![7; 5001]))
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, false));
    let bomb = Methods::new().method("grow", |size: usize, _| async move { Ok("x".repeat(size)) });
    let _bomb = caller.register("bomb", bomb).await.unwrap();
    let error = caller
        .remote_call::<usize, String>("bomb", "grow", 6000)
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, true));
}

#[tokio::test]
async fn each_failure_has_its_own_error() {
    let place = Place::new();
    let broker = place.start();
    let object = Methods::new()
        .method("fail", |(): (), _| async move {
            let payload = Payload::json(&json!({ "left": 3 })).unwrap();
            Err::<(), _>(
                HandlerError::new("no more")
                    .named("shop.empty")
                    .with_payload(payload),
            )
        })
        .method("text", |(): (), _| async move {
            Err::<(), _>(HandlerError::new("only text"))
        })
        .method("panic", |(): (), _| async move {
            if true {
                panic!("on purpose");
            }
            Ok(())
        })
        .method("late", |(): (), _| {
            std::future::pending::<Result<(), HandlerError>>()
        })
        .method("number", |(): (), _| async move { Ok(5) });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let call = |method: &'static str| caller.remote_call::<(), Value>("o", method, ());

    let error = call("fail").await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Handler, true));
    assert_eq!(
        (error.name.as_deref(), error.message.as_str()),
        (Some("shop.empty"), "no more")
    );
    assert_eq!(error.payload.decode::<Value>().unwrap()["left"], 3);
    assert_eq!(call("text").await.unwrap_err().message, "only text");
    let error = call("panic").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HandlerPanicked);
    assert!(
        error.message.contains("o.panic") && error.message.contains("on purpose"),
        "{error}"
    );
    let error = call("nothing").await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NoSuchMethod, false));
    let error = caller.remote_call::<(), ()>("nobody", "m", ()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NoSuchObject, false));
    let late = caller
        .call("o", "late")
        .deadline(Duration::from_millis(50))
        .send::<(), ()>(&());
    assert_eq!(code(late.await), ErrorCode::Deadline);
    assert_eq!(
        code(caller.remote_call::<(), String>("o", "number", ()).await),
        ErrorCode::Encoding
    );
    assert_eq!(
        code(caller.remote_call::<(), ()>("o", "", ()).await),
        ErrorCode::Invalid
    );
    let odd = Payload {
        encoding: Encoding(77),
        bytes: b"?".to_vec().into(),
    };
    assert_eq!(
        code(caller.call("o", "number").send_payload(odd).await),
        ErrorCode::Encoding
    );
    assert_eq!(call("number").await.unwrap(), 5, "the object goes on");
}

#[tokio::test]
async fn a_name_is_given_up_and_taken_again() {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker, registration) = pair(&broker, "o", Mirror).await;
    let error = caller.register("o", Mirror).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NameTaken);
    assert!(error.message.contains(&std::process::id().to_string()), "{error}");
    registration.unregister().await.unwrap();
    let again = caller.register("o", Mirror).await.unwrap();
    assert_eq!(worker.remote_call::<u8, u8>("o", "m", 1).await.unwrap(), 1);
    drop(again);
    caller.flush().await.unwrap();
    assert_eq!(
        code(worker.remote_call::<u8, u8>("o", "m", 1).await),
        ErrorCode::NoSuchObject
    );
}

#[tokio::test]
async fn the_death_of_a_worker_ends_its_calls() {
    let place = Place::new();
    let broker = place.start();
    let begun = Arc::new(Notify::new());
    let slow = Slow {
        begun: begun.clone(),
        dropped: Arc::default(),
        cancelled: Arc::default(),
    };
    let (caller, worker, registration) = pair(&broker, "slow", slow).await;
    let call = caller.remote_call::<(), ()>("slow", "m", ());
    let end = async {
        begun.notified().await;
        drop((registration, worker));
    };
    let (answer, ()) = tokio::join!(call, end);
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::CalleeGone, true));
}

/// Answers with metadata that only the broker may write.
struct Pretender;

#[async_trait]
impl Handler for Pretender {
    async fn handle(&self, _call: IncomingCall) -> Result<Response, HandlerError> {
        let mut metadata = Metadata::new();
        metadata.insert("sys.name", "somebody else").unwrap();
        Ok(Response::payload(Payload::default()).with_metadata(metadata))
    }
}

#[tokio::test]
async fn metadata_of_the_broker_is_refused_where_it_is_written() {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker, _object) = pair(&broker, "pretender", Pretender).await;
    let connection = worker.peer_id();
    let refused = caller
        .remote_call::<_, Value>("pretender", "x", ())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.may_have_run),
        (ErrorCode::Handler, true),
        "{refused}"
    );
    assert!(refused.message.contains("sys."), "{refused}");
    worker.ping().await.unwrap();
    assert_eq!(worker.peer_id(), connection, "the worker has kept its connection");
}
