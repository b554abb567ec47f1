//! Programs that only serve: they wait for their broker, come back to it, and say why they end.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_its_broker_and_comes_back_to_it() {
    let place = Place::new();
    let (worker, stop) = WorkerBuilder::new()
        .add("math", Name("math"))
        .endpoint(place.endpoint())
        .name("worker")
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    let client = {
        let waiting = IpcClient::builder()
            .endpoint(place.endpoint())
            .connect_wait(PATIENCE);
        let starting = async { place.start() };
        let (client, broker) = tokio::join!(waiting, starting);
        let client = client.unwrap();
        soon(client.wait_for_object("math")).await.unwrap();
        broker.crash();
        client
    };
    let _broker = place.start();
    soon(client.wait_for_object("math")).await.unwrap();
    let answer: String = client.remote_call("math", "m", ()).await.unwrap();
    assert_eq!(answer, "math");
    stop.send(true).unwrap();
    soon(serving).await.unwrap().unwrap();
    let error = client.remote_call::<(), ()>("math", "m", ()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NoSuchObject);
}

#[tokio::test]
async fn a_worker_that_stops_lets_running_calls_end() {
    let place = Place::new();
    let broker = place.start();
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (begun.clone(), finish.clone());
    let object = Methods::new().method("m", move |(): (), _| {
        let wait = wait.clone();
        tell.notify_one();
        async move {
            wait.notified().await;
            Ok("done")
        }
    });
    let (worker, stop) = WorkerBuilder::new()
        .add_handler("o", object)
        .endpoint(place.endpoint())
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    let client = broker.client().await;
    client.wait_for_object("o").await.unwrap();
    let call = client.remote_call::<(), String>("o", "m", ());
    let steps = async {
        begun.notified().await;
        drop(stop);
        let mut watch = client.watch_pattern(WatchScope::Names, "o").await.unwrap();
        while client
            .remote_call::<(), ()>("o", "other", ())
            .await
            .unwrap_err()
            .code
            != ErrorCode::NoSuchObject
        {
            soon(watch.next()).await;
        }
        finish.notify_one();
    };
    let (answer, ()) = soon(async { tokio::join!(call, steps) }).await;
    assert_eq!(answer.unwrap(), "done");
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_gives_up_more_names_than_its_broker_takes_requests_at_once() {
    const NAMES: usize = 40;
    let place = Place::new();
    let broker = place.start_with(Limits {
        open_calls: 8,
        ..Limits::default()
    });
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (begun.clone(), finish.clone());
    let object = Methods::new().method("m", move |(): (), _| {
        let wait = wait.clone();
        tell.notify_one();
        async move {
            wait.notified().await;
            Ok("done")
        }
    });
    let worker = WorkerBuilder::new().endpoint(place.endpoint());
    let (worker, stop) = (0..NAMES)
        .fold(worker, |worker, n| {
            worker.add(&format!("o.{n}"), Name("one of many"))
        })
        .add_handler("o.busy", object)
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    let client = broker.client().await;
    client.wait_for_object("o.busy").await.unwrap();
    let mut watch = client.watch_pattern(WatchScope::Names, "o.*").await.unwrap();
    let call = client.remote_call::<(), String>("o.busy", "m", ());
    let steps = async {
        begun.notified().await;
        drop(stop);
        let mut names = 0_usize;
        while names <= NAMES {
            let notice = soon(watch.next()).await.unwrap();
            names += usize::from(matches!(notice, Notice::NameVanished { .. }));
        }
        assert!(!serving.is_finished(), "they were given up with the connection");
        finish.notify_one();
    };
    let (answer, ()) = soon(async { tokio::join!(call, steps) }).await;
    assert_eq!(answer.unwrap(), "done");
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_whose_name_is_taken_says_so() {
    let place = Place::new();
    let broker = place.start();
    let client = broker.client().await;
    let _first = client.register_object("o", Name("first")).await.unwrap();
    let error = WorkerBuilder::new()
        .add("o", Name("second"))
        .endpoint(place.endpoint())
        .spawn()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

fn lost_name(error: &std::io::Error) -> &CallError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<CallError>());
    inner.expect("the error wraps no error of a call")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_replaced_ends_and_says_which_name_it_lost() {
    let place = Place::new();
    let broker = place.start();
    let worker = WorkerBuilder::new()
        .add("kept", Name("kept"))
        .add("contested", Name("first"))
        .allow_replace()
        .endpoint(place.endpoint());
    let serving = tokio::spawn(worker.spawn());
    let client = broker.client().await;
    client.wait_for_object("contested").await.unwrap();
    let _second = client
        .register_object("contested", Name("second"))
        .replace()
        .await
        .unwrap();
    let error = soon(serving).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    assert_eq!(lost_name(&error).code, ErrorCode::NotRegistered);
    assert!(
        error
            .to_string()
            .contains("contested is lost: another connection has replaced"),
        "{error}"
    );
    let answer: String = client.remote_call("contested", "m", ()).await.unwrap();
    assert_eq!(answer, "second");
    let gone = client.remote_call::<(), ()>("kept", "m", ()).await.unwrap_err();
    assert_eq!(
        gone.code,
        ErrorCode::NoSuchObject,
        "a worker that ended holds nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_a_new_broker_refuses_ends_and_says_which_name_it_lost() {
    let (place, other_place) = (Place::new(), Place::new());
    let (broker, other_broker) = (place.start(), other_place.start());
    let other = other_broker.client().await;
    let _taken = other.register_object("o", Name("other")).await.unwrap();
    let worker = WorkerBuilder::new()
        .add("o", Name("mine"))
        .endpoint(place.endpoint())
        .endpoint(other_place.endpoint());
    let serving = tokio::spawn(worker.spawn());
    broker.client().await.wait_for_object("o").await.unwrap();
    broker.crash();
    let error = soon(serving).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(lost_name(&error).code, ErrorCode::NameTaken);
    assert!(error.to_string().contains("the name o is lost"), "{error}");
}

/// The names go with the broker, not to somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_a_broker_that_stops_in_order() {
    let place = Place::new();
    let broker = place.start();
    let (worker, stop) = WorkerBuilder::new()
        .add("o", Name("o"))
        .endpoint(place.endpoint())
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    broker.client().await.wait_for_object("o").await.unwrap();
    soon(broker.stop()).await;
    let broker = place.start();
    soon(broker.client().await.wait_for_object("o")).await.unwrap();
    stop.send(true).unwrap();
    soon(serving).await.unwrap().unwrap();
}
