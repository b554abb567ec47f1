//! The socket: only this user's, from its first moment, and gone with its server.

use crate::{Bench, Command};
use actix_ipc::lazy::{IpcServer, Limits, PlaceError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

#[test]
fn it_is_private_and_removed() {
    let bench = Bench::new(Limits::default());
    let mode = std::fs::metadata(&bench.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = bench.path.clone();
    drop(bench.server);
    assert!(!path.exists());
}

#[test]
fn a_live_server_and_a_foreign_file_are_left_alone_and_a_dead_socket_is_replaced() {
    let bench = Bench::new(Limits::default());
    let second = IpcServer::<Command>::new(&bench.path).unwrap_err();
    assert!(
        matches!(second, PlaceError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{second}"
    );
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(&data, "precious").unwrap();
    let refused = IpcServer::<Command>::new(&data).unwrap_err();
    assert!(refused.to_string().contains("a regular file"), "{refused}");
    assert_eq!(std::fs::read_to_string(&data).unwrap(), "precious");
    let foreign = folder.path().join("foreign.sock");
    let listener = UnixListener::bind(&foreign).unwrap();
    let refused = IpcServer::<Command>::new(&foreign).unwrap_err();
    assert!(matches!(refused, PlaceError::InUse { .. }), "{refused}");
    drop(listener);
    assert!(foreign.exists());
    drop(IpcServer::<Command>::new(&foreign).unwrap());
    assert!(!foreign.exists());
}

#[test]
fn a_path_that_does_not_fit_is_refused_with_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let refused = IpcServer::<Command>::new(folder.path().join("x".repeat(120))).unwrap_err();
    assert!(matches!(refused, PlaceError::PathTooLong { .. }), "{refused}");
}
