//! Starts that come to nothing: who waits is told at once, with the reason, and never for ever.

use crate::scene::{Scene, is_there, pid, private, until};
use crate::support::{Broker, PATIENCE};
use actix_ipc::ErrorCode;
use futures::future::join_all;
use std::time::Duration;

#[actix::test]
async fn a_deadline_that_passes_while_it_starts_ends_the_call_alone() {
    let scene = Scene::new("hang", "");
    let client = scene.client().await;
    let call = client.call("math", "pid").deadline(Duration::from_millis(300));
    let error = call.send::<_, u32>(&()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
    until("it was started", || scene.started().len() == 1);
    assert!(is_there(scene.started()[0]), "others may wait for it");
}

#[actix::test]
async fn a_failed_start_reaches_all_who_wait_with_the_reason() {
    let scene = Scene::new("fail", "");
    let client = scene.client().await;
    let waits = client.wait_for_objects(&["math"]);
    let (answers, waited) = futures::join!(join_all((0..20).map(|_| pid(&client))), waits);
    for error in answers
        .into_iter()
        .map(Result::unwrap_err)
        .chain([waited.unwrap_err()])
    {
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::ServiceFailed, false)
        );
        assert!(error.message.contains("exit status: 7"), "{error}");
    }
    assert_eq!(scene.started().len(), 1);
}

#[actix::test]
async fn a_program_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[service]]\nobjects = [\"math\"]\nprocess = [\"/none/worker\"]\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        command.arg("--activation").arg(file);
    });
    let ended = broker.rob("call math pid");
    assert_eq!(ended.code(), 3, "{ended:?}");
    assert!(
        ended.stderr.contains("/none/worker cannot be started"),
        "{ended:?}"
    );
}

#[actix::test]
async fn not_registered_in_time_is_ended_and_told() {
    let scene = Scene::new("hang", "start_ms = 300");
    let client = scene.client().await;
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed);
    assert!(error.message.contains("within 300 ms"), "{error}");
    // It may be killed before it has left its line.
    until("what it had started is reaped", || {
        scene.started().iter().all(|pid| !is_there(*pid))
    });
}

#[actix::test]
async fn a_crash_loop_rests_when_its_budget_is_spent() {
    let scene = Scene::new("crash", "starts = 3\nrest_ms = 3600000");
    let client = scene.client().await;
    let mut last = String::new();
    for _ in 0..1_000 {
        let Err(error) = pid(&client).await else { continue };
        last = error.message;
        if last.contains("not started again") {
            break;
        }
    }
    assert!(last.contains("3 failures in a row"), "{last}");
    assert_eq!(scene.started().len(), 3);
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    assert_eq!(scene.started().len(), 3);
}

#[actix::test]
async fn an_object_that_it_never_registers_is_not_waited_for_for_ever() {
    let scene = Scene::new("serve", "start_ms = 6000");
    let client = scene.client().await;
    let never = client.call("never", "x").deadline(PATIENCE);
    let (there, never) = futures::join!(pid(&client), never.send::<_, u32>(&()));
    let never = never.unwrap_err();
    assert_eq!(never.code, ErrorCode::ServiceFailed, "{never}");
    assert!(
        never.message.contains("has not registered this object"),
        "{never}"
    );
    assert_eq!(pid(&client).await.unwrap(), there.unwrap(), "it goes on");
}

#[actix::test]
async fn a_call_without_reply_that_waited_in_vain_is_counted() {
    let scene = Scene::new("fail", "");
    let client = scene.client().await;
    client.call("math", "note").no_reply(&("lost",)).await.unwrap();
    // It fails with the call without reply, or right after it.
    assert_eq!(pid(&client).await.unwrap_err().code, ErrorCode::ServiceFailed);
    let status: serde_json::Value = client.remote_call("sys.broker", "status", ()).await.unwrap();
    let dropped = serde_json::to_string(&status).unwrap();
    assert!(dropped.contains("\"one_way_dropped\":1"), "{dropped}");
}
