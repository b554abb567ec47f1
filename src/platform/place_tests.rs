//! Paths that cannot be taken: that it is said before anything is made, and what is said.

use super::*;

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (none, file) = (folder.path().join("none"), folder.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let options = UnixOptions::default();
    for (path, says) in [
        (
            none.join("b.sock"),
            format!("there is no folder {}; make it", none.display()),
        ),
        (file.join("b.sock"), format!("{} is no folder", file.display())),
    ] {
        let error = bind(&path, &options, 1).unwrap_err().to_string();
        assert!(error.contains(&says), "{error}");
        assert_eq!(check(&path, &options).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_check_finds_the_lock_that_would_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let (lock, other) = (lock_of(&path), folder.path().join("other"));
    let options = UnixOptions::default();
    let make: [&dyn Fn() -> io::Result<()>; 4] = [
        &|| std::fs::create_dir(&lock),
        &|| std::os::unix::fs::symlink(&other, &lock),
        &|| std::fs::write(&lock, "somebody's notes"),
        &|| std::fs::write(&other, "1\n").and_then(|()| std::fs::hard_link(&other, &lock)),
    ];
    for make in make {
        make().unwrap();
        let found = check(&path, &options).unwrap_err().to_string();
        assert_eq!(found, bind(&path, &options, 1).unwrap_err().to_string());
        assert!(found.contains("b.sock.lock"), "{found}");
        let _ = std::fs::remove_file(&lock).or_else(|_| std::fs::remove_dir(&lock));
    }
    // Neither a lock that a dead process left nor one that is held, nor none at all, which is not made.
    check(&path, &options).unwrap();
    assert!(!lock.exists());
    std::fs::write(&lock, "4194304\n").unwrap();
    check(&path, &options).unwrap();
    let _bound = bind(&path, &options, 1).unwrap();
    check(&path, &options).unwrap();
}
