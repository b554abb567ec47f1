//! The broker through the client library, as a user would write it.

use super::{EVENTS, PAYLOAD, rate, ready, report};
use actix_ipc::message::Payload;
use actix_ipc::{Handler, HandlerError, IncomingCall, IpcClient, Response, async_trait};
use std::path::Path;
use std::time::Instant;

struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        Ok(Response::payload(call.payload))
    }
}

fn run<F: Future>(socket: &Path, work: impl FnOnce(IpcClient) -> F) {
    let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
    actix::System::new().block_on(async {
        let client = IpcClient::connect_to(endpoint).await.unwrap();
        work(client).await;
    });
}

pub fn worker(socket: &Path) {
    run(socket, |client| async move {
        let _registration = client.register("echo", Echo).await.unwrap();
        ready();
        std::future::pending::<()>().await;
    });
}

pub fn caller(socket: &Path) {
    run(socket, |client| async move {
        ready();
        let mut nanos = Vec::new();
        for round in 0..super::CALLS + super::CALLS / 10 {
            let start = Instant::now();
            client
                .call("echo", "echo")
                .send_payload(Payload::raw(&PAYLOAD[..]))
                .await
                .unwrap();
            if round >= super::CALLS / 10 {
                nanos.push(start.elapsed().as_nanos() as u64);
            }
        }
        super::report_latencies(nanos);
    });
}

pub fn publisher(socket: &Path, count: usize) {
    run(socket, |client| async move {
        ready();
        let payload = Payload::raw(&PAYLOAD[..]);
        for _ in 0..count {
            client
                .publish_payload("bench", "event", payload.clone())
                .await
                .unwrap();
        }
        client.flush().await.unwrap();
        println!("done");
        std::future::pending::<()>().await;
    });
}

pub fn subscriber(socket: &Path, count: usize) {
    assert_eq!(count, EVENTS);
    run(socket, |client| async move {
        let mut events = client.subscribe("bench", "event").await.unwrap();
        ready();
        let mut got = 1;
        let first = events.next().await.unwrap();
        let start = Instant::now();
        let mut missed = first.missed;
        while got + missed as usize != count {
            let event = events.next().await.unwrap();
            missed += event.missed;
            got += 1;
        }
        assert_eq!(missed, 0, "events were lost");
        report(&[("rate", rate(count, start))]);
    });
}
