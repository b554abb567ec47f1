//! The daemon as one process among others that may host a bus.

use crate::crew::{Crew, FOLDER, Member, holder};
use crate::signals;
#[cfg(unix)]
use crate::support::run;
use crate::support::{Process, broker_command, endpoint_in};
#[cfg(unix)]
use actix_ipc::Endpoint;
#[cfg(unix)]
use actix_ipc::bus::{self, JoinError, label};
use std::process::Command;
#[cfg(unix)]
use std::time::Duration;

fn command(crew: &Crew) -> Command {
    let mut command = broker_command();
    command
        .env(FOLDER, crew.folder())
        .arg("--listen")
        .arg(endpoint_in(crew.folder()));
    command
}

/// A daemon that hosts these buses or waits to, and what it says of each.
fn daemon(crew: &Crew, buses: &[&str]) -> (Process, Vec<String>) {
    let mut command = command(crew);
    for bus in buses {
        command.args(["--bus", bus]);
    }
    let daemon = Process::spawn(&mut command);
    assert!(daemon.line().starts_with("listening on"));
    let mut said: Vec<String> = buses.iter().map(|_| daemon.line()).collect();
    said.sort();
    (daemon, said)
}

#[test]
fn the_daemon_hosts_buses_and_hands_them_over() {
    let crew = Crew::new();
    let (daemon, said) = daemon(&crew, &["com.solar", "two words"]);
    assert_eq!(
        said,
        ["hosting the bus \"com.solar\"", "hosting the bus \"two words\""]
    );
    let locks = crew.files("lock");
    let holders: Vec<_> = locks.iter().map(|lock| holder(lock)).collect();
    assert_eq!(holders, [Some(daemon.id()); 2]);
    let mut members: Vec<Member> = (0..2).map(|_| crew.start("com.solar")).collect();
    for member in &mut members {
        assert_eq!(member.wait("host"), format!("at {}", daemon.id()));
        member.wait("up");
        member.works();
    }
    signals::terminate(&daemon);
    assert_eq!(daemon.end().code(), 0);
    for member in &mut members {
        member.wait("up");
        member.works();
    }
    let mut holders = locks.iter().filter_map(|lock| holder(lock));
    let now = holders.next().unwrap();
    assert!(members.iter().any(|member| member.pid() == now) && holders.next().is_none());
}

#[test]
fn the_daemon_takes_over_when_the_host_ends() {
    let crew = Crew::new();
    let mut host = crew.member("com.solar");
    let mut follower = crew.start_follower("com.solar", 20_000);
    follower.wait("up");
    let (daemon, said) = daemon(&crew, &["com.solar"]);
    let expected = format!(
        "waiting for process {}, which hosts the bus \"com.solar\"",
        host.pid()
    );
    assert_eq!(said, [expected]);
    host.process.kill();
    follower.wait("up");
    follower.works();
    follower.learns(&format!("at {}", daemon.id()));
    assert_eq!(crew.holder(), Some(daemon.id()));
}

#[cfg(unix)]
#[test]
fn what_the_daemon_cannot_host_ends_its_start() {
    let crew = Crew::new();
    crew.member("com.solar").ask("leave", "left");
    let folder = crew.folder().join("actix-ipc/bus");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = run(command(&crew).args(["--bus", "com.solar"]));
    assert_eq!(ended.code(), 73, "{ended:?}");
    assert_eq!(
        ended.stdout, "",
        "it says where it listens when everything is ready"
    );
    assert!(
        ended.stderr.contains("the bus \"com.solar\" cannot be hosted") && ended.stderr.contains("mode 0755"),
        "{ended:?}"
    );
    let tokens = crew.folder().join("tokens.toml");
    std::fs::write(&tokens, "").unwrap();
    std::fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut wide = command(&crew);
    wide.args(["--bus", "com.solar", "--bus-tokens"]).arg(&tokens);
    let ended = run(&mut wide);
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(ended.stderr.contains("mode 0644"), "{ended:?}");
    let twice = run(command(&crew).args(["--bus", "a", "--bus", "a"]));
    assert_eq!(twice.code(), 78, "{twice:?}");
    assert!(twice.stderr.contains("--bus: \"a\" is there twice"), "{twice:?}");
}

#[cfg(unix)]
#[test]
fn each_bus_of_the_daemon_has_its_token() {
    let crew = Crew::new();
    let tokens = crew.folder().join("tokens.toml");
    std::fs::write(&tokens, "\"com.solar\" = \"secret\"\n").unwrap();
    std::fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = command(&crew);
    command.args(["--bus", "com.solar", "--bus-tokens"]).arg(&tokens);
    let daemon = Process::spawn(&mut command);
    assert!(daemon.line().starts_with("listening on") && daemon.line().starts_with("hosting"));
    let socket = Endpoint::Unix(crew.files("sock").remove(0));
    for (token, right) in [("secret", true), ("", false), ("secrets", false)] {
        let options = bus::Options::new("com.solar", label!("earth"), token).at(socket.clone());
        match bus::join::<String, String>(options, Some(Duration::from_secs(20))) {
            Ok(_) => assert!(right, "{token:?}"),
            Err(error) => assert!(
                !right && matches!(error, JoinError::TokenRefused),
                "{token:?}: {error}"
            ),
        }
    }
}
