//! What only pipes have: who may come, who is told to be at the other end, one name for one server, and bursts of clients.

use super::*;
use crate::transport::tests::{read, write};
use crate::transport::{Listener, connect, current_uid};
use futures::future::join_all;

fn endpoint(name: &str) -> Endpoint {
    Endpoint::Pipe(pipe_name(name))
}

fn pipe_name(name: &str) -> String {
    format!("actix-ipc-{name}-{}", std::process::id())
}

#[tokio::test]
async fn both_ends_know_the_other() {
    let mut listener = Listener::bind(&endpoint("knows")).unwrap();
    let name = pipe_name("knows");
    let (client, accepted) = tokio::join!(super::connect(&name), listener.accept());
    for credentials in [client.unwrap().1, accepted.unwrap().credentials] {
        assert_eq!(credentials.uid, current_uid());
        assert_eq!(credentials.pid, Some(std::process::id()));
    }
}

#[tokio::test]
async fn a_second_listener_is_told_who_has_it() {
    let endpoint = endpoint("second");
    let _first = Listener::bind(&endpoint).unwrap();
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(
        matches!(error, BindError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
}

/// Wine ignores the flag that a first instance is made with; there, whether anybody has the name is asked before.
#[tokio::test]
async fn only_the_first_instance_may_be_made_as_the_first() {
    let path = path(&pipe_name("first"));
    let _first = sys::create_instance(&path, true).unwrap();
    match sys::create_instance(&path, true) {
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        Ok(_) => eprintln!("SKIPPED: this system ignores FILE_FLAG_FIRST_PIPE_INSTANCE, as Wine does"),
    }
    sys::create_instance(&path, false).unwrap();
}

#[tokio::test]
async fn every_instance_is_for_this_user_and_system_alone() {
    let path = path(&pipe_name("list"));
    let user = sys::current_user().unwrap();
    let mut kept = Vec::new();
    for first in [true, false, false] {
        let instance = sys::create_instance(&path, first).unwrap();
        let text = sys::security(instance.as_handle()).unwrap();
        let (owner, list) = text.split_once("D:").unwrap();
        assert_eq!(owner, format!("O:{user}"), "{text}");
        let (flags, entries) = list.split_once('(').unwrap();
        assert!(flags.contains('P'), "nothing is inherited: {text}");
        let admitted: Vec<&str> = entries
            .split(['(', ')'])
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                assert!(entry.starts_with("A;"), "{text}");
                entry.rsplit(';').next().unwrap()
            })
            .collect();
        assert_eq!(admitted, ["SY", &user.to_string()], "{text}");
        kept.push(instance);
    }
}

/// Whoever was first to take the name would be told everything; so who has it is asked before the first byte is sent.
#[tokio::test]
async fn a_server_of_somebody_else_is_refused() {
    let endpoint = endpoint("foreign");
    // The administrators as a group: not this user, even when they are this user's group.
    let made = sys::instance_with(&path(&pipe_name("foreign")), true, "O:BAD:(A;;GA;;;WD)");
    let Ok(_instance) = made else {
        eprintln!("SKIPPED: this user may not give a pipe to the administrators: {made:?}");
        return;
    };
    let refused = connect(&endpoint).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
    assert!(refused.to_string().contains("uid 544"), "{refused}");
    let error = Listener::bind(&endpoint).unwrap_err();
    assert!(
        matches!(
            error,
            BindError::OtherUser { uid: 544, .. } | BindError::InUse { .. }
        ),
        "{error}"
    );
}

/// The name is never free and never without an instance to wait for, however many come at once.
#[tokio::test]
async fn a_burst_of_a_thousand_is_served() {
    const BURST: usize = 1_000;
    // A bound for a machine that is slow; what the bound does is tested beside this.
    const LIMIT: Duration = Duration::from_secs(300);
    let name = pipe_name("burst");
    let mut listener = Listener::bind(&endpoint("burst")).unwrap();
    let clients = join_all((0..BURST).map(|_| async {
        let (pipe, _) = connect_within(&name, LIMIT).await.unwrap();
        let stream = crate::transport::Stream::Pipe(pipe);
        let mut byte = [0];
        assert_eq!(read(&stream, &mut byte, &mut Vec::new()).await.unwrap(), 1);
        (stream, byte[0])
    }));
    let server = async {
        let mut kept = Vec::new();
        for number in 0..BURST {
            let stream = listener.accept().await.unwrap().socket.register().unwrap();
            let byte = [(number % 251) as u8];
            assert_eq!(write(&stream, &[IoSlice::new(&byte)], &[]).await.unwrap(), 1);
            kept.push(stream);
        }
        kept
    };
    let (clients, kept) = tokio::join!(clients, server);
    assert_eq!((clients.len(), kept.len()), (BURST, BURST));
    let mut greeted: Vec<u8> = clients.iter().map(|(_, byte)| *byte).collect();
    let mut given: Vec<u8> = (0..BURST).map(|number| (number % 251) as u8).collect();
    greeted.sort_unstable();
    given.sort_unstable();
    assert_eq!(greeted, given, "each client has an instance of its own");
}

#[tokio::test]
async fn a_pipe_that_stays_busy_is_given_up() {
    let path = path(&pipe_name("busy"));
    let instance = sys::create_instance(&path, true).unwrap();
    let name = pipe_name("busy");
    let (first, connected) = tokio::join!(super::connect(&name), instance.connect());
    connected.unwrap();
    let _first = first.unwrap();
    let error = connect_within(&name, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("busy"), "{error}");
}
