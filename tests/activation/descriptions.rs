//! Descriptions: what `config check` says of them, and that a signal has them read again.

use crate::scene::{Scene, is_there, kill, pid, private, until};
use crate::support::{self, PATIENCE};
use actix_ipc::ErrorCode;
use rustix::process::Signal;

#[actix::test]
async fn a_signal_reads_the_descriptions_again() {
    let scene = Scene::new("serve", "");
    let client = scene.client().await;
    let first = pid(&client).await.unwrap();
    let waiting = client.call("later", "x").wait_for_object().deadline(PATIENCE);
    let waiting = waiting.send::<_, u32>(&());
    let text = "[[service]]\nobjects = [\"later\"]\nprocess = [\"/none/worker\"]\n";
    let file = scene.starts.with_file_name("services.toml");
    private(file.parent().unwrap(), "services.toml", "[[service]]\n", 0o600);
    scene.broker.process.signal(Signal::HUP);
    let line = scene.broker.process.wait_for_error_line("not reloaded");
    assert!(line.contains("services.toml"), "{line}");
    private(file.parent().unwrap(), "services.toml", text, 0o600);
    scene.broker.process.signal(Signal::HUP);
    // Who waits for an object that is described by now is told of its start.
    let error = waiting.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed, "{error}");
    assert_eq!(pid(&client).await.unwrap(), first, "what runs is left alone");
    kill(first);
    until("its end is known", || !is_there(first));
    let gone = loop {
        match pid(&client).await {
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::CalleeGone => {}
            Err(error) => break error,
        }
    };
    assert_eq!(
        gone.code,
        ErrorCode::NoSuchObject,
        "nothing describes it any more"
    );
    assert_eq!(scene.started(), [first]);
}

#[test]
fn config_check_looks_at_the_descriptions() {
    let folder = tempfile::tempdir().unwrap();
    let file = private(
        folder.path(),
        "bad.toml",
        "[[service]]\nobjects = [\"a\"]\n",
        0o600,
    );
    let mut check = support::broker_command();
    let checked = support::run(check.args(["config", "check", "--activation"]).arg(&file));
    assert_eq!(checked.code(), 78, "{checked:?}");
    assert!(
        checked.stderr.contains("bad.toml") && checked.stderr.contains("user_unit"),
        "{checked:?}"
    );
    let mut start = support::broker_command();
    let started = support::run(start.arg("--activation").arg(&file));
    assert_eq!(started.code(), 78, "{started:?}");
    assert!(
        started.stderr.starts_with("ipc-broker: --activation: ") && started.stderr.contains("bad.toml"),
        "{started:?}"
    );
    private(
        folder.path(),
        "bad.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"a\"\n",
        0o600,
    );
    let mut check = support::broker_command();
    let checked = support::run(check.args(["config", "check", "--activation"]).arg(&file));
    assert!(checked.success().contains("bad.toml: 1"), "{checked:?}");
}
