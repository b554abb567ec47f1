//! Whatever ends a measurement ends all of it: killed processes, signals, and what the next one removes.

use super::*;

#[test]
fn whichever_process_is_killed_the_measurement_ends_and_nothing_is_left() {
    let table = [("rpc --seconds 3600", 4), ("pubsub --seconds 3600", 4)];
    for (line, count) in table {
        for victim in 0..count {
            let folder = tempfile::tempdir().unwrap();
            let (process, roles) = start(folder.path(), line, count);
            kill(roles[victim]);
            let ended = process.end();
            assert_eq!(ended.code(), 7, "{line}, role {victim}: {ended:?}");
            let how = if cfg!(windows) {
                "exit code: 9"
            } else {
                "signal: 9"
            };
            let killed = format!("(pid {}) ended before the measurement did: {how}", roles[victim]);
            assert!(ended.stderr.contains(&killed), "{ended:?}");
            assert_eq!(ended.stdout, "");
            assert_gone(folder.path(), &roles);
        }
    }
}

#[test]
fn signals_end_it_in_order() {
    for (interrupt, code) in [(true, 130), (false, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let (process, roles) = start(folder.path(), "rpc --seconds 3600", 4);
        if interrupt {
            // As ctrl+c does: everybody in the terminal gets it. On Windows they are at one console.
            #[cfg(unix)]
            roles.iter().for_each(|role| signals::interrupt_pid(*role));
            signals::interrupt(&process);
        } else {
            signals::terminate(&process);
        }
        let ended = process.end();
        assert_eq!(ended.code(), code, "{ended:?}");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
        assert_gone(folder.path(), &roles);
    }
}

#[test]
fn processes_whose_measurement_was_killed_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, roles) = start(folder.path(), "pubsub --seconds 3600", 4);
    process.kill();
    assert_gone(folder.path(), &roles);
}

#[test]
fn what_is_left_when_all_are_killed_at_once_is_removed_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, roles) = start(folder.path(), "rpc --seconds 3600", 4);
    // A measurement beside it leaves it alone.
    let beside = run(&mut bench(folder.path(), "rpc --timeout 0.000001"));
    assert_eq!(beside.code(), 4, "{beside:?}");
    assert!(!is_empty(folder.path()), "the one that runs has its folder");
    // Whoever does nothing does nothing about the ends of the others.
    signals::freeze(process.id());
    roles.iter().for_each(|role| signals::freeze(*role));
    process.kill();
    roles.iter().for_each(|role| kill(*role));
    until("all roles have ended", || roles.iter().all(|pid| is_gone(*pid)));
    drop(process);
    assert!(!is_empty(folder.path()), "nobody was left to remove it");
    let next = run(&mut bench(folder.path(), "rpc --timeout 0.000001"));
    assert_eq!(next.code(), 4, "{next:?}");
    assert!(is_empty(folder.path()), "it is left");
}
