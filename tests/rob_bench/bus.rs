//! `rob bench bus`: its figures, and what becomes of its folder.

use super::*;

#[test]
fn messages_of_the_label_bus_are_measured_in_five_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&mut bench(folder.path(), "bus --seconds 0.1 --json"));
    let object: Value = serde_json::from_str(ended.success()).unwrap();
    let sizes = object["sizes"].as_array().unwrap();
    let of = |name: &str| -> Vec<f64> { sizes.iter().map(|size| size[name].as_f64().unwrap()).collect() };
    assert_eq!(of("size"), [16.0, 64.0, 1_024.0, 4_096.0, 16_384.0]);
    assert_eq!(of("lost"), [0.0; 5]);
    assert!(of("rate").iter().all(|rate| *rate > 0.0), "{object}");
    let lines = run(&mut bench(folder.path(), "bus --seconds 0.05"));
    assert!(
        lines
            .success()
            .starts_with("bus: messages from endpoint to endpoint, 0.05 s")
    );
    assert_eq!(lines.success().lines().count(), 6, "{lines:?}");
}

/// Its names are those that the bus makes of its own: else it would be left alone.
#[test]
fn what_a_killed_one_has_left_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::spawn(&mut bench(folder.path(), "bus --seconds 2"));
    assert!(process.line().starts_with("bus: "));
    // Both of its processes are at work.
    assert!(process.line().contains("MB/s"));
    let source = children(process.id());
    let sink = source.iter().flat_map(|pid| children(*pid));
    let both: Vec<u32> = source.iter().copied().chain(sink).collect();
    assert_eq!(both.len(), 2, "{both:?}");
    process.kill();
    until("both have ended", || both.iter().all(|pid| is_gone(*pid)));
    drop(process);
    assert!(!is_empty(folder.path()), "nobody was left to remove it");
    run(&mut bench(folder.path(), "bus --seconds 0.05")).success();
    assert!(is_empty(folder.path()), "it is left");
}

#[test]
#[cfg(unix)]
fn a_temporary_folder_with_a_long_name_is_none_for_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    for line in ["bus --seconds 0.05 --json", "rpc --seconds 0.05 --json"] {
        run(&mut bench(&long, line)).success();
        assert!(is_empty(&long), "{line}");
    }
}
