//! How services are can be looked at, and who has mended one need not wait until it has rested.

use crate::scene::{Scene, pid};
use crate::support::PATIENCE;
use actix_ipc::ErrorCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Instant;

#[actix::test]
async fn services_are_shown_with_their_states_and_last_failures_and_a_signal_ends_their_rest() {
    let scene = Scene::new("fail", "starts = 1\nrest_ms = 3600000");
    let client = scene.client().await;
    let look = async || -> Value { client.remote_call("sys.broker", "services", ()).await.unwrap() };
    let before = look().await;
    assert_eq!(before["services"][0]["objects"], json!(["math", "never"]));
    assert_eq!(before["services"][0]["state"], "stopped");
    assert_eq!(before["services"][0]["failure"], Value::Null);
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    let after = look().await;
    let service = &after["services"][0];
    assert_eq!(
        (&service["state"], &service["starts"], &service["failures"]),
        (&json!("resting"), &json!(1), &json!(1))
    );
    assert!(
        service["failure"].as_str().unwrap().contains("exit status: 7"),
        "{after}"
    );
    let page = scene.broker.rob("services");
    let page = page.success();
    assert!(
        page.contains("resting (") && page.contains("exit status: 7"),
        "{page}"
    );
    scene.broker.process.signal(Signal::HUP);
    scene
        .broker
        .process
        .wait_for_error_line("read again and are in force");
    let end = Instant::now() + PATIENCE;
    while look().await["services"][0]["state"] != "stopped" {
        assert!(Instant::now() < end, "it rests on");
    }
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    assert_eq!(look().await["services"][0]["starts"], 2);
}
