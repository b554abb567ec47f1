//! Sockets for several users: their mode, their group, and the folder they may lie in.

use crate::transport::Endpoint;
use crate::transport::listener::{BindError, BindOptions, Listener, UnixOptions};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn options(mode: u32, gid: Option<u32>) -> BindOptions {
    BindOptions {
        unix: UnixOptions {
            mode,
            gid,
            own_folder: true,
        },
        ..BindOptions::default()
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Somebody looks at the socket as often as possible while it comes and goes, and while it lets others in tries to connect: the
/// socket has never more than its final mode, nor its final mode with another group.
#[tokio::test]
async fn the_socket_is_never_open_to_more_than_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    let path = folder.path().join("b.sock");
    let own = rustix::process::getegid().as_raw();
    // Only root can give a socket away; others keep their own group, which shows less.
    let gid = if rustix::process::geteuid().is_root() {
        54_321
    } else {
        own
    };
    let done = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicUsize::new(0));
    let watcher = std::thread::spawn({
        let (path, done, looks) = (path.clone(), done.clone(), looks.clone());
        move || {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Acquire) {
                if let Ok(there) = std::fs::symlink_metadata(&path) {
                    seen.insert((there.mode() & 0o777, there.gid()));
                }
                looks.fetch_add(1, Ordering::Release);
            }
            seen
        }
    });
    let endpoint = Endpoint::Unix(path.clone());
    for _ in 0..300 {
        let listener = Listener::bind_with(&endpoint, &options(0o660, Some(gid))).unwrap();
        let there = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((there.mode() & 0o777, there.gid()), (0o660, gid));
        // On a busy machine the watcher may have had no time yet. The second look from now on begins while the socket is there.
        let enough = looks.load(Ordering::Acquire) + 2;
        while looks.load(Ordering::Acquire) < enough && !watcher.is_finished() {
            std::thread::yield_now();
        }
        drop(listener);
    }
    done.store(true, Ordering::Release);
    let seen = watcher.join().unwrap();
    assert!(seen.contains(&(0o660, gid)), "the watcher saw nothing: {seen:?}");
    let legal = [(0o600, own), (0o600, gid), (0o660, gid)];
    assert!(seen.iter().all(|seen| legal.contains(seen)), "{seen:?}");
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, link) = (folder.path().join("run"), folder.path().join("link"));
    std::fs::create_dir(&inside).unwrap();
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let bind =
        |folder: &Path| Listener::bind_with(&Endpoint::Unix(folder.join("b.sock")), &options(0o660, None));
    for (mode, good) in [
        (0o700, true),
        (0o750, true),
        (0o755, true),
        (0o775, false),
        (0o777, false),
        (0o1777, false),
    ] {
        set_mode(&inside, mode);
        match bind(&inside) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(BindError::UnsafeFolder { what, .. }) => {
                assert!(!good && what.contains(&format!("{mode:04o}")), "{mode:o}: {what}");
            }
            Err(error) => panic!("{mode:o}: {error}"),
        }
        assert_eq!(
            std::fs::read_dir(&inside).unwrap().count(),
            0,
            "something was left behind"
        );
    }
    set_mode(&inside, 0o755);
    for (path, says) in [
        (link, "symbolic link"),
        (folder.path().join("none"), "does not exist"),
    ] {
        let error = bind(&path).unwrap_err().to_string();
        assert!(
            error.contains(says) && error.contains("install -d -m 0755"),
            "{error}"
        );
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&inside, Some(54_321), None).unwrap();
        let error = bind(&inside).unwrap_err().to_string();
        assert!(error.contains("belongs to uid 54321"), "{error}");
    }
}
