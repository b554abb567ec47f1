//! What the operator of a broker for several users is told at its start.

use super::*;

#[test]
fn a_broker_for_several_users_needs_a_policy_and_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, policy) = (folder.path().join("run"), folder.path().join("policy.toml"));
    std::fs::create_dir(&inside).unwrap();
    let endpoint = format!("unix:{}", inside.join("b.sock").display());
    let system = |change: &dyn Fn(&mut Command)| {
        let mut command = broker_command();
        command
            .args(["--system", "--listen", &endpoint])
            .env("HOME", folder.path());
        change(&mut command);
        run(&mut command)
    };
    let ended = system(&|_| {});
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(ended.stderr.contains("needs a policy"), "{}", ended.stderr);
    std::fs::write(&policy, "").unwrap();
    let with_policy = |command: &mut Command| {
        command.arg("--policy").arg(&policy);
    };
    let ended = system(&with_policy);
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(
        ended.stderr.contains("the policy has no rules"),
        "{}",
        ended.stderr
    );
    std::fs::write(&policy, master()).unwrap();
    std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = system(&with_policy);
    assert_eq!(ended.code(), 73, "{ended:?}");
    assert!(ended.stderr.contains("has mode 0777"), "{}", ended.stderr);
    std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gid = rustix::process::getegid().as_raw().to_string();
    let broker = Broker::start_at(tempfile::tempdir().unwrap(), &endpoint, |command| {
        command
            .args(["--system", "--policy"])
            .arg(&policy)
            .env("IPC_BROKER_SOCKET__GROUP", &gid);
    });
    let there = std::fs::symlink_metadata(broker.socket()).unwrap();
    assert_eq!((there.mode() & 0o777, there.gid().to_string()), (0o660, gid));
    Raw::connect(&broker.socket());
    let second = system(&with_policy);
    assert_eq!(second.code(), 73, "the first one holds the lock: {second:?}");
}

/// Somebody else has put a socket where the broker belongs, while it was down: nothing of theirs is touched or used.
#[test]
fn a_squatters_socket_is_left_alone() {
    if !can_change_user("a_squatters_socket_is_left_alone") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let socket = folder.path().join("b.sock");
    let squatter = as_user(STRANGER, STRANGER, &[], || {
        std::os::unix::net::UnixListener::bind(&socket).unwrap()
    });
    let ended = run(broker_command().args(["--listen", &format!("unix:{}", socket.display())]));
    assert_eq!(ended.code(), 73, "{ended:?}");
    assert!(ended.stderr.contains("belongs to uid 54321"), "{}", ended.stderr);
    let mut rob = support::rob_command();
    let listed = run(rob
        .env("IPC_BROKER_ADDR", format!("unix:{}", socket.display()))
        .arg("list"));
    assert_ne!(listed.code(), 0, "{listed:?}");
    assert!(listed.stderr.contains("uid 54321"), "{}", listed.stderr);
    drop(squatter);
}
