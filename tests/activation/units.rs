//! Units of systemd, through a systemctl of the tests' own.

use crate::scene::{ROLE, STARTS, kill, pid, private, stop};
use crate::support::Broker;
use actix_ipc::client::IpcClient;
use actix_ipc::{Endpoint, ErrorCode};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A `systemctl` that writes down what it was asked and starts the service of the tests, or fails. The one that is found first in `PATH` is
/// another one, which nobody is to ask.
fn systemctl(folder: &Path, body: &str) -> impl FnOnce(&mut Command) + use<> {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    let asked = folder.join("asked");
    let wrong = format!("#!/bin/sh\necho wrong >> '{}'\n", asked.display());
    private(&bin, "systemctl", &wrong, 0o700);
    let text = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{body}\n", asked.display());
    let own = private(folder, "own-systemctl", &text, 0o700);
    move |command| {
        command
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("IPC_BROKER_SYSTEMCTL", own);
    }
}

#[actix::test]
async fn units_are_started_through_systemctl() {
    let folder = tempfile::tempdir().unwrap();
    let (starts, socket) = (folder.path().join("starts"), folder.path().join("b.sock"));
    // As systemd does, it lets go of what it has started, but not before that has a session of its own.
    let start = format!(
        "{ROLE}=stay {STARTS}='{}' IPC_BROKER_ADDR='unix:{}' setsid '{}' --exact as_the_service >/dev/null 2>&1 &\n\
         while [ ! -s '{}' ]; do :; done",
        starts.display(),
        socket.display(),
        std::env::current_exe().unwrap().display(),
        starts.display()
    );
    let with_systemctl = systemctl(folder.path(), &start);
    let home = folder.path().join("service-activation");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let text = r#"[{"type":"RegisterService","object_name":"math","service_name":"math-worker.service"}]"#;
    private(&home, "math.json", text, 0o644);
    let asked = folder.path().join("asked");
    let broker = Broker::start_at(folder, &format!("unix:{}", socket.display()), |command| {
        with_systemctl(command);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let own = pid(&client).await.unwrap();
    assert_eq!(
        fs::read_to_string(&asked).unwrap(),
        "--no-ask-password start -- math-worker.service\n"
    );
    kill(own);
    stop(&broker);
}

#[actix::test]
async fn what_systemctl_complains_of_reaches_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let body = "echo 'Unit math.service not found.' >&2; echo 'See system logs.' >&2; exit 5";
    let with_systemctl = systemctl(folder.path(), body);
    let text = "[[service]]\nobjects = [\"math\"]\nuser_unit = \"math.service\"\n";
    let file = private(folder.path(), "services.toml", text, 0o600);
    let broker = Broker::start_with(|command| {
        with_systemctl(command);
        command.arg("--activation").arg(file);
    });
    let client = IpcClient::connect_to(broker.endpoint().parse::<Endpoint>().unwrap())
        .await
        .unwrap();
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed);
    assert!(error.message.contains("Unit math.service not found."), "{error}");
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked, "--user --no-ask-password start -- math.service\n");
}
