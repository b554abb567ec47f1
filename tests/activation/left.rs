//! Processes that a broker leaves when it is killed: the next one starts none beside them.

use crate::scene::{describe, is_there, kill, pid, private, started, stop, until};
use crate::support::Broker;
use actix_ipc::client::IpcClient;
use actix_ipc::{Endpoint, ErrorCode};
use std::path::{Path, PathBuf};

fn start(folder: tempfile::TempDir, file: &Path) -> Broker {
    let socket = format!("unix:{}", folder.path().join("b.sock").display());
    Broker::start_at(folder, &socket, |command| {
        command.arg("--activation").arg(file);
    })
}

async fn connect(broker: &Broker) -> IpcClient {
    IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap()
}

#[actix::test]
async fn a_service_that_lives_when_its_broker_is_killed_is_waited_for_and_not_started_again() {
    for at_end in ["stop", "leave"] {
        let folder = tempfile::tempdir().unwrap();
        let (file, starts) = describe(folder.path(), "stay", &format!("at_end = {at_end:?}"));
        let broker = start(folder, &file);
        let client = connect(&broker).await;
        let first = pid(&client).await.unwrap();
        drop(client);
        let broker = broker.restart_with(|command| {
            command.arg("--activation").arg(&file);
        });
        let client = connect(&broker).await;
        assert_eq!(pid(&client).await.unwrap(), first, "{at_end}");
        assert_eq!(started(&starts), [first], "{at_end}");
        // Its end is noticed though it is no child of this broker.
        kill(first);
        let second = loop {
            match pid(&client).await {
                Ok(pid) => break pid,
                Err(error) => assert_eq!(error.code, ErrorCode::CalleeGone, "{error}"),
            }
        };
        assert_eq!(started(&starts), [first, second], "{at_end}");
        drop(client);
        stop(&broker);
        if at_end == "leave" {
            kill(second);
        }
        until("nothing is left", || !is_there(second));
    }
}

#[test]
fn what_was_left_and_ends_before_it_is_back_is_followed_by_another_for_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let file = describe_script(folder.path(), &starts, "start_ms = 3600000");
    let broker = start(folder, &file);
    let caller = broker.start_rob("call math pid --timeout 600");
    until("it was started", || started(&starts).len() == 1);
    let broker = broker.restart_with(|command| {
        command.arg("--activation").arg(&file);
    });
    assert_ne!(caller.end().code(), 0);
    let caller = broker.start_rob("call math pid --timeout 600");
    broker.process.wait_for_error_line("left it running");
    assert_eq!(started(&starts).len(), 1);
    kill(started(&starts)[0]);
    until("another is started", || started(&starts).len() == 2);
    stop(&broker);
    assert_ne!(caller.end().code(), 0);
    until("nothing is left", || !is_there(started(&starts)[1]));
}

/// Describes a shell that lives for some minutes and registers nothing.
fn describe_script(folder: &Path, starts: &Path, more: &str) -> PathBuf {
    let script = format!(
        "echo $$ >> {}; n=0; while [ $n -lt 3000 ]; do n=$((n+1)); sleep 0.1; done",
        starts.display()
    );
    let text =
        format!("[[service]]\nobjects = [\"math\"]\nprocess = [\"/bin/sh\", \"-c\", {script:?}]\n{more}\n");
    private(folder, "services.toml", &text, 0o600)
}

#[actix::test]
async fn what_was_left_and_does_not_come_back_is_ended_before_another_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let file = describe_script(folder.path(), &starts, "start_ms = 1000\nstarts = 1");
    let broker = start(folder, &file);
    let caller = broker.start_rob("call math pid --timeout 60");
    until("it was started", || started(&starts).len() == 1);
    let first = started(&starts)[0];
    let broker = broker.restart_with(|command| {
        command.arg("--activation").arg(&file);
    });
    assert_ne!(caller.end().code(), 0);
    // On a busy machine the killed broker may have given it up before.
    let lived = is_there(first);
    let client = connect(&broker).await;
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed, "{error}");
    if lived {
        assert_eq!(started(&starts), [first], "{error}");
    }
    until("it is ended", || !is_there(first));
    stop(&broker);
}
