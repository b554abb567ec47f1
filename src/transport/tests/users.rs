//! Two users on one machine. Needs root to become another one, and is skipped without.

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const STRANGER: u32 = 54_321;
/// The endpoint that the second process serves or connects to.
const TASK: &str = "ACTIX_IPC_TEST_STRANGER";

/// A second process of this test, as another user; `None` where that is impossible. Its first line of output is
/// its answer; it ends with its input.
fn stranger(task: &str) -> Option<(Child, String)> {
    if current_uid() != Some(0) {
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "transport::tests::users::as_the_stranger",
            "--nocapture",
        ])
        .env(TASK, task)
        .uid(STRANGER)
        .gid(STRANGER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    // The test program may lie where another user cannot go.
    let mut child = child.ok()?;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let answer = output.by_ref().lines().find_map(|line| {
        let line = line.unwrap();
        line.split_once("answer: ").map(|(_, answer)| answer.to_owned())
    });
    // Kept open for what else it prints.
    child.stdout = Some(output.into_inner());
    Some((child, answer.expect("the other process did not answer")))
}

/// Does nothing by itself: it is the second process of the tests below, which hand it a task.
#[tokio::test]
async fn as_the_stranger() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (verb, endpoint) = task.split_once(' ').unwrap();
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let _kept: Box<dyn std::any::Any> = if verb == "serve" {
        let listener = Listener::bind(&endpoint).unwrap();
        println!("answer: {}", listener.endpoint());
        Box::new(listener)
    } else {
        let options = ConnectOptions::default();
        let connected = connect_with(&endpoint, &options).await;
        println!(
            "answer: {}",
            connected
                .as_ref()
                .map_or_else(ToString::to_string, |_| "connected".to_owned())
        );
        Box::new(connected)
    };
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn another_users_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let served = format!("unix:{}/b.sock", dir.path().display());
    if current_uid() == Some(0) {
        std::os::unix::fs::chown(dir.path(), Some(STRANGER), None).unwrap();
    }
    for task in [format!("serve {served}"), "serve tcp:127.0.0.1:0".to_owned()] {
        let Some((mut server, endpoint)) = stranger(&task) else {
            return;
        };
        let endpoint: Endpoint = endpoint.parse().unwrap();
        let error = connect(&endpoint).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("uid {STRANGER}")) && text.contains("uid 0"),
            "{text}"
        );
        let error = Listener::bind(&endpoint).unwrap_err();
        assert!(
            matches!(error, BindError::OtherUser { uid: STRANGER, .. }),
            "{error}"
        );
        drop(server.stdin.take());
        server.wait().unwrap();
    }
}

/// Over TCP anyone can connect; who it is must be known. Root's server is trusted by everyone.
#[tokio::test]
async fn another_users_client_is_known() {
    let mut listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
    let task = format!("connect {}", listener.endpoint());
    let Some((mut client, answer)) = stranger(&task) else {
        return;
    };
    assert_eq!(answer, "connected");
    let accepted = listener.accept().await.unwrap();
    assert_eq!(accepted.credentials.uid, Some(STRANGER));
    assert!(!accepted.credentials.is_same_user_or_root());
    drop(client.stdin.take());
    client.wait().unwrap();
}

/// The socket's mode keeps others out before anybody asks who they are.
#[tokio::test]
async fn another_user_cannot_connect_to_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let endpoint = Endpoint::Unix(dir.path().join("b.sock"));
    let _listener = Listener::bind(&endpoint).unwrap();
    let Some((mut client, answer)) = stranger(&format!("connect {endpoint}")) else {
        return;
    };
    assert!(answer.contains("denied"), "{answer}");
    drop(client.stdin.take());
    client.wait().unwrap();
}
