//! What starts a service, and the order of what waited for it.

use crate::scene::{Scene, is_there, kill, pid, private, until};
use crate::support::Broker;
use actix_ipc::client::IpcClient;
use actix_ipc::{Endpoint, ErrorCode};
use futures::future::join_all;

#[actix::test]
async fn many_calls_at_once_start_it_once_and_are_all_answered() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    assert_eq!(scene.started(), Vec::<u32>::new(), "nobody has asked");
    let answers = join_all((0..50).map(|_| pid(&client))).await;
    let answers: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(scene.started().len(), 1);
    assert!(answers.iter().all(|pid| *pid == scene.started()[0]));
    let address: Option<String> = client
        .remote_call("math", "variable", ("IPC_BROKER_ADDR",))
        .await
        .unwrap();
    assert_eq!(address.as_deref(), Some(scene.broker.endpoint()));
    // What it prints is in the log, and drives no terminal.
    let line = scene.broker.process.wait_for_error_line("serving");
    assert!(line.contains("[31m") && !line.contains('\u{1b}'), "{line:?}");
}

#[actix::test]
async fn a_wait_starts_it_as_well() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    client.wait_for_objects(&["math"]).await.unwrap();
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn after_a_kill_the_next_call_starts_it_again() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    let first = pid(&client).await.unwrap();
    kill(first);
    let second = loop {
        match pid(&client).await {
            Ok(pid) => break pid,
            // It had this one when it died.
            Err(error) => assert_eq!(error.code, ErrorCode::CalleeGone),
        }
    };
    assert_ne!(first, second);
    until("the first is reaped", || !is_there(first));
    assert_eq!(scene.started(), [first, second]);
}

#[actix::test]
async fn a_call_without_reply_waits_for_what_it_starts() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    for text in ["one", "two"] {
        client.call("math", "note").no_reply(&(text,)).await.unwrap();
    }
    // Behind them in their order, from the same caller.
    let noted: Vec<String> = client.remote_call("math", "noted", ()).await.unwrap();
    assert_eq!(noted, ["one", "two"]);
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn no_call_overtakes_those_that_waited() {
    let scene = Scene::with("serve", "", |command| {
        command.args(["--arbiters", "2"]);
    });
    let client = scene.client().await;
    let mut sent = 0_u32;
    // Until well after it is there.
    let mut served = Box::pin(pid(&client));
    let mut behind = 0;
    while behind < 200 {
        let number = (sent.to_string(),);
        client.call("math", "note").no_reply(&number).await.unwrap();
        sent += 1;
        if behind > 0 || futures::poll!(served.as_mut()).is_ready() {
            behind += 1;
        }
        // So that what waits stays within the limits.
        let _: String = client.remote_call("sys.broker", "ping", ()).await.unwrap();
    }
    let noted: Vec<String> = client.remote_call("math", "noted", ()).await.unwrap();
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(noted, expected);
}

#[actix::test]
async fn who_may_not_call_starts_nothing_by_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let uid = rustix::process::getuid().as_raw();
    let policy = format!("[[allow]]\nuid = {uid}\nconnect = true\nmonitor = true\ncall = [\"ok\"]\n");
    let policy = private(folder.path(), "policy.toml", &policy, 0o600);
    let text = "[[service]]\nobjects = [\"secret\"]\nprocess = [\"/none/secret\"]\n[[service]]\nobjects = [\"ok\"]\nprocess = [\"/none/ok\"]\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--policy").arg(policy).arg("--activation").arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let waits = client.wait_for_objects(&["secret"]);
    let started = client.wait_for_objects(&["ok"]);
    let either = futures::future::select(Box::pin(waits), Box::pin(started)).await;
    let futures::future::Either::Right((failed, _)) = either else {
        panic!("a wait for what may not be called came to an end")
    };
    assert_eq!(failed.unwrap_err().code, ErrorCode::ServiceFailed);
    let status: serde_json::Value = client.remote_call("sys.broker", "status", ()).await.unwrap();
    let status = serde_json::to_string(&status).unwrap();
    assert!(status.contains("\"services_started\":1"), "{status}");
}
