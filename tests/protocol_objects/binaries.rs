//! `rob` and the daemon as processes of their own.

use super::all;
use crate::calc::{self, Desk};
use crate::support::Broker;
use actix_ipc::client::blocking::Client;
use serde_json::json;
use std::sync::Arc;

/// Serves `box` (two versions of calc, and admin) and `calc` (version 1 alone).
fn serve(broker: &Broker) -> (Client, impl Sized + use<>) {
    let client = Client::connect_to(broker.endpoint().parse().unwrap()).unwrap();
    let desk: Arc<Desk> = Arc::default();
    let both = client.inner().add_protocol("box", all(&desk));
    let one = client.inner().add_protocol("calc", calc::calc(&desk));
    let registered = (
        client.run(both.into_future()).unwrap(),
        client.run(one.into_future()).unwrap(),
    );
    (client, registered)
}

#[test]
fn rob_calls_commands() {
    let broker = Broker::start();
    let _served = serve(&broker);
    let table = [
        (
            "call calc echo {s} message hi",
            "Result:\nMap:\n   response :: \"hi\"\n",
            "{\"response\":\"hi\"}\n",
        ),
        ("call calc get_status", "Result:\n7\n", "7\n"),
        ("call calc pair (is) 4 u", "Result:\n\"4u\"\n", "\"4u\"\n"),
        ("call calc notify {i} event 4", "Result:\nNull\n", "null\n"),
        (
            "call box calc.1.echo {s} message hi",
            "Result:\nMap:\n   response :: \"hi\"\n",
            "{\"response\":\"hi\"}\n",
        ),
        (
            "call box admin.echo {s} message hi",
            "Result:\n\"admin: hi\"\n",
            "\"admin: hi\"\n",
        ),
    ];
    for (line, people, programs) in table {
        assert_eq!(broker.rob(line).success(), people, "{line}");
        assert_eq!(
            broker.rob(&format!("--json {line}")).success(),
            programs,
            "{line}"
        );
    }
}

#[test]
fn rob_says_what_is_wrong_with_a_command() {
    let broker = Broker::start();
    let _served = serve(&broker);
    let table = [
        ("call calc ecko", 3, "did you mean echo?"),
        ("call calc echo {s} massage hi", 2, "missing field `message`"),
        ("call calc echo {i} message 5", 2, "it takes {message: String}"),
        ("call box echo {s} message hi", 2, "call calc.echo or admin.echo"),
        ("call calc fail", 1, "not today (calc.closed)"),
        ("call calc panic", 1, "the sky fell"),
    ];
    for (line, code, part) in table {
        let ended = broker.rob(line);
        assert_eq!(ended.code(), code, "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{line}: {}", ended.stderr);
    }
    let ended = broker.rob("--json call calc ecko");
    let said: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    let error = &said["error"];
    assert_eq!(
        (&error["code"], &error["exit"], &error["may_have_run"]),
        (&json!("NoSuchMethod"), &json!(3), &json!(false))
    );
}

#[test]
fn rob_describes_protocols() {
    let broker = Broker::start();
    let _served = serve(&broker);
    let text = broker.rob("describe calc").success().to_owned();
    let (object, protocols) = text.split_once("\n\n").unwrap();
    assert!(
        object.contains("name :: \"calc\"") && !object.contains("description"),
        "{text}"
    );
    let expected = "\
calc version 1 (crate tests)
   Sums and sayings.
   echo { message: String } -> { response: String }
      Says it again.
      message: What to say.
   notify { event: u64 }
   wait { name: String } -> {}
   fail -> {}
   panic -> {}
   get_status -> i64
   pair (i32, String) -> String
   count -> stream u64
";
    assert_eq!(protocols, expected);
    let json: serde_json::Value = serde_json::from_str(broker.rob("--json describe box").success()).unwrap();
    let described = json["description"]["protocols"].as_array().unwrap();
    let versions: Vec<_> = described
        .iter()
        .map(|protocol| (&protocol["name"], &protocol["version"]))
        .collect();
    assert_eq!(
        versions,
        [
            (&json!("calc"), &json!(1)),
            (&json!("calc"), &json!(2)),
            (&json!("admin"), &json!(1))
        ]
    );
    assert_eq!(
        described[0]["commands"][0],
        json!({"name": "echo", "doc": "Says it again.",
            "request": [{"name": "message", "type": "String", "doc": "What to say."}],
            "answer": [{"name": "response", "type": "String"}]})
    );
}
