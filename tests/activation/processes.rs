//! What a process of a service finds, and what becomes of it when the broker ends.

use crate::scene::{Scene, is_there, is_zombie, kill, pid, stop, through_shell, until};
use actix_ipc::ErrorCode;
use rustix::process::Signal;

#[test]
fn a_broker_that_stops_while_it_starts_leaves_no_process() {
    let scene = Scene::new("hang", "");
    let caller = scene.broker.start_rob("call math pid");
    until("it was started", || scene.started().len() == 1);
    let pid = scene.started()[0];
    scene.broker.process.signal(Signal::TERM);
    assert_ne!(caller.end().code(), 0);
    until("the broker has ended", || is_zombie(scene.broker.process.id()));
    assert!(!is_there(pid), "it is an orphan, or a zombie of nobody");
}

#[actix::test]
async fn what_is_to_be_left_is_left() {
    let scene = Scene::new("stay", "at_end = \"leave\"");
    let client = scene.client().await;
    let own = pid(&client).await.unwrap();
    drop(client);
    stop(&scene.broker);
    assert!(is_there(own));
    kill(own);
}

#[actix::test]
async fn it_finds_the_limit_of_open_files_that_the_broker_had_found() {
    let scene = Scene::with("serve", "", |command| through_shell(command, "ulimit -Sn 600"));
    let client = scene.client().await;
    let own: Option<u64> = client.remote_call("math", "open_files", ()).await.unwrap();
    assert_eq!(own, Some(600));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", scene.broker.process.id())).unwrap();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let limit: Vec<&str> = limit.unwrap().split_whitespace().collect();
    assert!(
        limit[0] != "600" || limit[1] == "600",
        "the broker has raised its own: {limits}"
    );
}

#[actix::test]
async fn its_end_is_known_though_the_broker_was_started_with_sigchld_ignored() {
    let scene = Scene::with("fail", "", |command| through_shell(command, "trap '' CHLD"));
    let client = scene.client().await;
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed);
    assert!(error.message.contains("exit status: 7"), "{error}");
}
