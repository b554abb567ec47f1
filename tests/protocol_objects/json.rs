//! Commands in JSON, by name.

use super::{all, error};
use crate::broker::Place;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::Encoding;
use serde_json::{Value, json};
use std::sync::Arc;

/// A command in JSON: its name, its value, and the answer or the error's code with what its text has.
type InJson = (&'static str, Value, Result<Value, (ErrorCode, &'static str)>);

fn in_json() -> Vec<InJson> {
    let (invalid, unknown) = (ErrorCode::Invalid, ErrorCode::NoSuchMethod);
    vec![
        ("get_status", json!(null), Ok(json!(7))),
        ("get_status", json!({}), Ok(json!(7))),
        ("get_status", json!([]), Ok(json!(7))),
        ("get_status", json!(5), Err((invalid, "it takes nothing"))),
        ("pair", json!([5, "x"]), Ok(json!("5x"))),
        ("pair", json!({"a": 1}), Err((invalid, "it takes (i32, String)"))),
        (
            "calc.1.echo",
            json!({"message": "hi"}),
            Ok(json!({"response": "hi"})),
        ),
        (
            "calc.echo",
            json!({"message": "hi", "times": 2}),
            Ok(json!({"response": "hihi"})),
        ),
        (
            "calc.2.echo",
            json!({"message": "hi", "times": 2}),
            Ok(json!({"response": "hihi"})),
        ),
        ("admin.echo", json!({"message": "hi"}), Ok(json!("admin: hi"))),
        (
            "echo",
            json!({"message": "hi"}),
            Err((
                invalid,
                "box has echo in several protocols: call calc.echo or admin.echo",
            )),
        ),
        (
            "calc.1.echo",
            json!({"massage": "hi"}),
            Err((invalid, "missing field `message`")),
        ),
        (
            "calc.1.echo",
            json!({"message": 5}),
            Err((invalid, "it takes {message: String}")),
        ),
        ("ecko", json!(null), Err((unknown, "did you mean echo?"))),
        ("calc.pairs", json!(null), Err((unknown, "did you mean pair?"))),
        ("zzzzzz", json!(null), Err((unknown, "it has echo, notify"))),
        (
            "calc.9.echo",
            json!(null),
            Err((unknown, "box serves calc in versions 1 and 2, not in version 9")),
        ),
        (
            "calc.stop",
            json!(null),
            Err((unknown, "box has no command stop")),
        ),
        ("stop", json!(null), Ok(json!(null))),
    ]
}

#[tokio::test]
async fn commands_are_called_in_json_by_name() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _box = worker.add_protocol("box", all(&Arc::default())).await.unwrap();
    for (command, request, expected) in in_json() {
        let call = client.call("box", command).encoding(Encoding::JSON);
        let said: Result<Value, CallError> = call.send(&request).await;
        match expected {
            Ok(answer) => assert_eq!(said.unwrap(), answer, "{command} {request}"),
            Err((code, part)) => {
                let (said, ran, text) = error(said);
                assert_eq!((said, ran), (code, false), "{command} {request}: {text}");
                assert!(text.contains(part), "{command} {request}: {text}");
            }
        }
    }
}
