//! Who is there, who refuses, and who is not there at all.

use super::*;

#[tokio::test]
async fn a_broker_that_refuses_is_no_broker_that_is_missing() {
    let place = Place::new();
    // One process alone gets an eighth of the connections: one.
    let broker = place.start_with(Limits {
        connections: 8,
        ..Limits::default()
    });
    let first = broker.client().await;
    let error = IpcClient::builder()
        .endpoint(Endpoint::Memory("nobody".to_owned()))
        .endpoint(broker.endpoint.clone())
        .connect()
        .await
        .unwrap_err();
    let refusal = error.refusal.clone().unwrap();
    assert_eq!(
        (&refusal.endpoint, refusal.reason),
        (&broker.endpoint, CloseReason::TooMany)
    );
    for text in [&refusal.text, &error.to_string()] {
        for part in [
            "this process has 1 connections, asked for 1 more and gets at most 1",
            "limits.connections",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert!(!error.to_string().contains("start one"), "{error}");
    let call = CallError::from(error);
    assert_eq!((call.code, call.may_have_run), (ErrorCode::TooMany, false));
    first.close().await;
    broker.stop().await;
}

#[tokio::test]
async fn nobody_there_is_told_within_a_second() {
    let place = Place::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let start = Instant::now();
    let error: ConnectError = IpcClient::builder()
        .endpoint(place.endpoint())
        .endpoint(Endpoint::Tcp(gone.to_string()))
        .endpoint(Endpoint::Memory("nobody".to_owned()))
        .connect()
        .await
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(error.tried.len(), 3);
    let text = error.to_string();
    for part in [
        place.endpoint().to_string(),
        gone.to_string(),
        "mem:nobody".into(),
        "ipc-broker".into(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    let error = IpcClient::builder()
        .endpoint(place.endpoint())
        .connect_wait(Duration::from_millis(100))
        .await;
    assert!(error.is_err() && start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_next_endpoint_is_tried_when_one_is_no_broker() {
    let place = Place::new();
    let broker = place.start();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let rude = std::thread::spawn(move || {
        use std::io::Write;
        let (mut socket, _) = other.accept().unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let client = IpcClient::builder()
        .endpoint(Endpoint::Tcp(address))
        .endpoint(broker.endpoint.clone())
        .connect()
        .await
        .unwrap();
    client.ping().await.unwrap();
    rude.join().unwrap();
}
