//! What handlers know of their calls, and the kinds of programs that serve and call.

use super::{PATIENCE, error, patient};
use crate::broker::Place;
use crate::calc::{self, CALC_1, Calc, Calc3, Echoed, Table};
use actix_ipc::client::blocking::Client;
use actix_ipc::client::{IpcClient, WorkerBuilder};
use actix_ipc::error::ErrorCode;
use std::sync::Arc;

#[tokio::test]
async fn a_handler_finds_the_context_of_its_call() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.named("asker").await, broker.client().await);
    let asking = Table::new(&CALC_1).on("echo", |request| async move {
        let name = || actix_ipc::protocol::context().and_then(|context| context.caller_name);
        let inside = async {
            let first = name();
            tokio::task::yield_now().await;
            (first, name())
        };
        let (first, second) = request.scope(inside).await;
        let outside = actix_ipc::protocol::context().is_none();
        request.reply(&Echoed {
            response: format!("{first:?} {second:?} {outside}"),
        })
    });
    let _calc = worker.add_protocol("calc", asking).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    assert_eq!(
        calc.echo("").await.unwrap().response,
        "Some(\"asker\") Some(\"asker\") true"
    );
}

#[tokio::test]
async fn a_worker_serves_protocols() {
    let place = Place::new();
    let broker = place.start();
    let (worker, stop) = WorkerBuilder::new()
        .endpoint(broker.endpoint.clone())
        .add_protocol("calc", calc::calc(&Arc::default()))
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    let client = broker.client().await;
    let calc: Calc = client.protocol_wait("calc", PATIENCE).await.unwrap();
    assert_eq!(calc.echo("x").await.unwrap().response, "x");
    drop(stop);
    patient(serving).await.unwrap().unwrap();
    assert_eq!(error(calc.echo("x").await).0, ErrorCode::NoSuchObject);
}

#[test]
fn plain_threads_call_commands_too() {
    let place = Place::new();
    let broker = place.start();
    let client = Client::connect_to(broker.endpoint.clone()).unwrap();
    let registering = client.inner().add_protocol("calc", calc::calc(&Arc::default()));
    let _calc = client.run(registering.into_future()).unwrap();
    let calc: Calc = client.protocol("calc").unwrap();
    assert_eq!(client.run(calc.echo("x")).unwrap().response, "x");
    let (code, ran, _) = error(client.protocol::<Calc3>("calc"));
    assert_eq!((code, ran), (ErrorCode::ProtocolVersion, false));
}

/// What a client needs to find by itself.
fn _senders_are_shared_between_threads(client: &IpcClient) {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&client.protocol_unchecked::<Calc>("x"));
}
