//! Clients of ipc-broker 1.1.5 start what is described, and its programs are started.

use crate::scene::{Scene, private, stop};
use crate::support::{Broker, PATIENCE};
use actix_ipc::Endpoint;
use actix_ipc::client::IpcClient;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// One message of ipc-broker 1.1.5.
fn say(stream: &mut impl Write, body: &serde_json::Value) {
    let body = body.to_string();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream
        .write_all(&[&length[..], body.as_bytes()].concat())
        .unwrap();
}

fn hear(stream: &mut impl Read) -> serde_json::Value {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn clients_of_1_1_5_start_what_is_described_and_nothing_else() {
    let scene = Scene::with("serve", "", |command| {
        command.args(["--listen", "tcp:127.0.0.1:0"]);
    });
    let line = scene.broker.process.line();
    let address = line.strip_prefix("listening on tcp:").unwrap();
    let mut old = TcpStream::connect(address).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    let named = json!({"RegisterService": {"object_name": "evil", "service_name": "reboot.target"}});
    say(&mut old, &named);
    let call = |id: &str, object: &str, method: &str, args: serde_json::Value| json!({"Call": {"call_id": id, "object_name": object, "method": method, "args": args}});
    say(&mut old, &call("1", "evil", "x", json!(null)));
    assert_eq!(
        hear(&mut old)["Error"]["message"],
        "No such object 'evil'",
        "the first message had no answer"
    );
    say(&mut old, &call("2", "math", "variable", json!(["BROKER_ADDR"])));
    let answer = hear(&mut old);
    assert_eq!(
        (&answer["Result"]["call_id"], &answer["Result"]["value"]),
        (&json!("2"), &json!(address))
    );
    let line = scene.broker.process.wait_for_error_line("no description lists");
    assert!(line.contains("reboot.target"), "{line}");
    assert_eq!(scene.started().len(), 1);
}

#[test]
fn a_caller_of_1_1_5_is_told_why_a_start_failed() {
    let scene = Scene::new("fail", "");
    let mut old = std::os::unix::net::UnixStream::connect(scene.broker.socket()).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    say(
        &mut old,
        &json!({"Call": {"call_id": "1", "object_name": "math", "method": "x", "args": null}}),
    );
    let answer = hear(&mut old);
    let message = answer["Error"]["message"].as_str().unwrap();
    assert!(message.contains("exit status: 7"), "{answer}");
}

/// The worker that ipc-broker 1.1.5 was published with, where `ci/stages/46-old-clients` has installed it.
#[actix::test]
async fn the_published_worker_of_1_1_5_is_started_by_our_client() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/old/bin");
    let worker = std::env::var_os("OLD_BIN")
        .map_or(own, PathBuf::from)
        .join("example_worker");
    if !worker.exists() {
        eprintln!(
            "SKIPPED: there is no {}; ci/stages/46-old-clients installs it",
            worker.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = [{worker:?}]\n");
    let file = private(folder.path(), "services.toml", &text, 0o600);
    let broker = Broker::start_with(|command| {
        command
            .args(["--listen", "tcp:127.0.0.1:0", "--activation"])
            .arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let sum: serde_json::Value = client
        .remote_call("math", "add", json!({"a": 10, "b": 32}))
        .await
        .unwrap();
    assert_eq!(sum, json!({"sum": 42}));
    drop(client);
    stop(&broker);
}

/// Our own `examples/worker.rs`, which a full `cargo test` builds.
#[test]
fn our_example_worker_is_started_by_a_client_of_1_1_5() {
    let tests = std::env::current_exe().unwrap();
    let worker = tests.ancestors().nth(2).unwrap().join("examples/worker");
    if !worker.exists() {
        eprintln!(
            "SKIPPED: there is no {}; cargo build --example worker",
            worker.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[[service]]\nobjects = [\"math\"]\nprocess = [{worker:?}]\n");
    let file = private(folder.path(), "services.toml", &text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--activation").arg(file);
    });
    let mut old = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    let call = json!({"call_id": "1", "object_name": "math", "method": "add", "args": {"a": 10, "b": 32}});
    say(&mut old, &json!({"Call": call}));
    assert_eq!(hear(&mut old)["Result"]["value"], json!({"sum": 42}));
    stop(&broker);
}
