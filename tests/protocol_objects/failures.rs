//! Commands that fail, and bytes that are no command.

use super::error;
use crate::broker::Place;
use crate::calc::{self, CALC_1, Calc, ECHO, Echoed};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::protocol::ProtocolSender;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn every_failure_of_a_command_answers_its_caller() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let failed = calc.plain("fail").await.unwrap_err();
    assert_eq!(
        (failed.code, failed.name.as_deref(), failed.message.as_str()),
        (ErrorCode::Handler, Some("calc.closed"), "not today")
    );
    let (code, ran, text) = error(calc.plain("panic").await);
    assert_eq!((code, ran), (ErrorCode::HandlerPanicked, true));
    assert!(text.contains("the sky fell"), "{text}");
    let short = Calc::new(calc.caller().clone().with_deadline(Duration::from_millis(30)));
    let (code, ran, _) = error(short.wait("never").await);
    assert_eq!((code, ran), (ErrorCode::Deadline, true));
    // A request that is none of this command's.
    let wrong = calc.caller().call::<_, Echoed>(&CALC_1, &ECHO, &u64::MAX).await;
    let (code, ran, text) = error(wrong);
    assert_eq!((code, ran), (ErrorCode::Invalid, false), "{text}");
    assert!(text.starts_with("the request of echo cannot be read: "), "{text}");
    // An answer that is another one.
    let wrong = calc.caller().call::<_, Vec<String>>(&CALC_1, &ECHO, "x").await;
    let (code, ran, text) = error(wrong);
    assert_eq!((code, ran), (ErrorCode::Encoding, true), "{text}");
    let waiting = calc.wait("gone");
    let gone = async {
        desk.noted("begin gone").await;
        worker.close().await;
    };
    let (outcome, ()) = futures::join!(waiting, gone);
    let (code, ran, _) = error(outcome);
    assert_eq!((code, ran), (ErrorCode::CalleeGone, true));
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let id = CALC_1.id.to_le_bytes();
    let table: [(&str, Encoding, Vec<u8>, &str); 6] = [
        ("echo", Encoding::PROTOCOL, vec![], "cut off"),
        ("echo", Encoding::PROTOCOL, id[..7].to_vec(), "cut off"),
        ("echo", Encoding::PROTOCOL, id.to_vec(), "cannot be read"),
        (
            "echo",
            Encoding::PROTOCOL,
            [&id[..], b"\x01ab"].concat(),
            "1 bytes too many",
        ),
        (
            "echo",
            Encoding::POSTCARD,
            b"\x01a".to_vec(),
            "not in the encoding postcard",
        ),
        (
            "echo",
            Encoding(77),
            b"\x01a".to_vec(),
            "not in the encoding unknown",
        ),
    ];
    for (command, encoding, bytes, part) in table {
        let payload = Payload {
            encoding,
            bytes: bytes.into(),
        };
        let (code, ran, text) = error(client.call("calc", command).send_payload(payload).await);
        assert_eq!((code, ran), (ErrorCode::Invalid, false), "{encoding:?}: {text}");
        assert!(text.contains(part), "{text}");
    }
    let near = Payload {
        encoding: Encoding::PROTOCOL,
        bytes: id.to_vec().into(),
    };
    let (code, ran, text) = error(client.call("calc", "ecko").send_payload(near).await);
    assert_eq!((code, ran), (ErrorCode::NoSuchMethod, false));
    assert_eq!(text, "calc has no command ecko in calc 1; did you mean echo?");
}
