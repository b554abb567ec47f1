//! Who serves which protocol in which version, and how a client finds out.

use super::{PATIENCE, all, error};
use crate::broker::Place;
use crate::calc::{self, Admin, Both, Calc, Calc2, Calc3, ECHO, Nothing, OtherCalc, calc_2};
use actix_ipc::client::Methods;
use actix_ipc::error::ErrorCode;
use actix_ipc::protocol::ProtocolSender;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_and_another_protocol_answer_beside_each_other_on_one_object() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _calc = worker.add_protocol("box", all(&Arc::default())).await.unwrap();
    let client = broker.client().await;
    let one: Calc = client.protocol("box").await.unwrap();
    let two: Calc2 = client.protocol("box").await.unwrap();
    let both: Both = client.protocol("box").await.unwrap();
    assert_eq!(one.echo("a").await.unwrap().response, "a");
    assert_eq!(two.echo("a", 3).await.unwrap().response, "aaa");
    let same = Calc::new(both.caller().clone());
    assert_eq!(same.plain("get_status").await.unwrap(), 7);
    assert_eq!(
        error(client.protocol::<Calc3>("box").await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "box serves calc in versions 1 and 2; this side has version 3: update one of them".to_owned()
        )
    );
    let unchecked: Calc3 = client.protocol_unchecked("box");
    assert_eq!(
        error(unchecked.echo().await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "box serves calc in versions 1 and 2; the caller has version 3: update one of them".to_owned()
        )
    );
}

#[tokio::test]
async fn an_object_that_serves_something_else_is_found_out_before_the_first_call() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let _plain = worker.register("plain", Methods::new()).await.unwrap();
    let client = broker.client().await;
    let (code, ran, text) = error(client.protocol::<Calc>("cacl").await);
    assert_eq!((code, ran), (ErrorCode::NoSuchObject, false), "{text}");
    assert_eq!(
        error(client.protocol::<Admin>("calc").await),
        (
            ErrorCode::NoSuchProtocol,
            false,
            "calc does not serve admin; it serves calc 1".to_owned()
        )
    );
    let (code, _, text) = error(client.protocol::<OtherCalc>("calc").await);
    assert_eq!(code, ErrorCode::ProtocolVersion);
    assert!(
        text.contains("crate elsewhere") && text.contains("crate tests"),
        "{text}"
    );
    let (code, _, text) = error(client.protocol::<Calc>("plain").await);
    assert_eq!(code, ErrorCode::NoSuchProtocol);
    assert!(text.contains("does not say which protocols"), "{text}");
    // Who does not ask is told with the call.
    let admin: Admin = client.protocol_unchecked("calc");
    let call = admin
        .caller()
        .call::<_, String>(&calc::ADMIN, &ECHO, &Nothing)
        .await;
    let (code, ran, text) = error(call);
    assert_eq!((code, ran), (ErrorCode::NoSuchProtocol, false), "{text}");
    assert!(text.ends_with("it serves calc 1"), "{text}");
}

#[tokio::test]
async fn an_object_that_is_replaced_by_another_version_runs_nothing_of_the_old_one() {
    let place = Place::new();
    let broker = place.start();
    let (first, second) = (broker.client().await, broker.client().await);
    let _old = first
        .add_protocol("calc", calc::calc(&Arc::default()))
        .allow_replace()
        .await
        .unwrap();
    let client = broker.client().await;
    let sender: Calc = client.protocol("calc").await.unwrap();
    assert_eq!(sender.echo("x").await.unwrap().response, "x");
    let _new = second.add_protocol("calc", calc_2()).replace().await.unwrap();
    assert_eq!(
        error(sender.echo("x").await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "calc serves calc in version 2; the caller has version 1: update one of them".to_owned()
        )
    );
}

#[tokio::test]
async fn who_comes_before_the_object_waits_for_it() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let (code, ran, _) = error(
        client
            .protocol_wait::<Calc>("calc", Duration::from_millis(20))
            .await,
    );
    assert_eq!((code, ran), (ErrorCode::Deadline, false));
    let found = client.protocol_wait::<Calc>("calc", PATIENCE);
    let registered = async { worker.add_protocol("calc", calc::calc(&Arc::default())).await };
    let (found, registered) = futures::join!(found, registered);
    let _registered = registered.unwrap();
    assert_eq!(found.unwrap().echo("x").await.unwrap().response, "x");
}
