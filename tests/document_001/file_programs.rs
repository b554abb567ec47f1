//! The file transfer as processes: parts, transfers that resume, restarts and wrong input.

use crate::file_transfer::made;
use crate::programs::{Place, interrupt, number, said, says_in_order};
use crate::support::Process;
use std::path::PathBuf;

fn server(place: &Place) -> (Process, PathBuf) {
    let folder = place.path().join("received");
    let line = format!("--server --folder {}", folder.display());
    (place.listening("file_transfer", &line), folder)
}

#[test]
fn a_file_arrives_as_it_is() {
    let place = Place::new();
    let (running, folder) = server(&place);
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("one", vec![7]),
        ("odd.bin", made(1_000_003)),
    ] {
        let file = place.path().join(name);
        std::fs::write(&file, &bytes).unwrap();
        let line = format!("--client --file {} --chunk 10K", file.display());
        let ended = place.run("file_transfer", &line);
        let sum = format!("checksum {:08x}", crc32fast::hash(&bytes));
        says_in_order(ended.success(), &["File transfer completed successfully", &sum]);
        assert!(std::fs::read(folder.join(name)).unwrap() == bytes, "{name}");
    }
    let progress = place.run("file_transfer", "--client --size 1M --name progress --chunk 1K");
    let told = progress.success().matches("Progress:").count();
    assert_eq!(told, 10, "a line for each tenth: {progress:#?}");
    interrupt(running);
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        4,
        "no unfinished file is left"
    );
}

#[test]
fn a_killed_server_is_waited_for_and_the_transfer_goes_on() {
    let place = Place::new();
    let (mut running, folder) = server(&place);
    let client = place.start("file_transfer", "--client --size 8M --name big --hold-at 50");
    said(&client, "Holding at 50%");
    running.kill();
    said(&client, "Connection lost");
    let (running, _) = server(&place);
    said(&client, "Connected again");
    let resumed = number(&said(&client, "Resuming at byte"), "Resuming at byte ");
    assert!(resumed > 0 && resumed <= 4 << 20, "{resumed}");
    says_in_order(
        client.end().success(),
        &["Sending", "File transfer completed successfully"],
    );
    assert!(std::fs::read(folder.join("big")).unwrap() == made(8 << 20));
    interrupt(running);
}

#[test]
fn a_killed_client_resumes_and_another_file_starts_again() {
    let place = Place::new();
    let (running, folder) = server(&place);
    let hold = || {
        let mut client = place.start("file_transfer", "--client --size 8M --name big --hold-at 50");
        said(&client, "Holding at 50%");
        client.kill();
        // The server has noticed, so that all that has arrived is on disk.
        said(&running, "big is kept at");
    };
    hold();
    let ended = place.run("file_transfer", "--client --size 8M --name big");
    says_in_order(ended.success(), &["Resuming at byte", "completed successfully"]);
    assert!(std::fs::read(folder.join("big")).unwrap() == made(8 << 20));

    hold();
    let other = place.path().join("big");
    let bytes = vec![9; 5 << 20];
    std::fs::write(&other, &bytes).unwrap();
    let ended = place.run("file_transfer", &format!("--client --file {}", other.display()));
    says_in_order(
        ended.success(),
        &["part of another file of this name", "completed successfully"],
    );
    assert!(std::fs::read(folder.join("big")).unwrap() == bytes);
    interrupt(running);
}

#[test]
fn what_the_server_does_not_take_is_refused() {
    let place = Place::new();
    let running = place.listening("file_transfer", "--server --max-size 1M");
    let table = [
        ("--client --size 1025K", "1048576 are the most"),
        ("--client --size 1 --name ../x", "it leads to another folder"),
        ("--client --size 1 --name .x", "it begins with a dot"),
        ("--client --size 1 --name x.part", "those of unfinished files"),
    ];
    for (line, why) in table {
        let ended = place.run("file_transfer", line);
        assert_eq!(ended.code(), 1, "{ended:#?}");
        assert!(ended.stderr.contains(why), "{ended:#?}");
    }
    interrupt(running);
}

#[test]
fn what_is_no_file_is_not_sent_and_its_path_is_told() {
    let place = Place::new();
    let (running, folder) = server(&place);
    let pipe = place.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let table = [
        ("nowhere", "nowhere: "),
        (pipe.to_str().unwrap(), "pipe: it is a pipe or a device"),
        (place.path().to_str().unwrap(), "it is a folder"),
        ("/dev/null", "/dev/null: it is a pipe or a device"),
    ];
    for (path, why) in table {
        let ended = place.run("file_transfer", &format!("--client --file {path}"));
        assert_eq!(ended.code(), 1, "{ended:#?}");
        assert!(ended.stderr.contains(why), "{ended:#?}");
    }
    if std::path::Path::new("/proc/self/status").exists() {
        let ended = place.run("file_transfer", "--client --file /proc/self/status");
        assert_eq!(ended.code(), 1, "{ended:#?}");
        assert!(
            ended
                .stderr
                .contains("/proc/self/status: it says that it has 0 bytes"),
            "{ended:#?}"
        );
    }
    // The same at the server.
    std::fs::rename(&pipe, folder.join("x.part")).unwrap();
    let ended = place.run("file_transfer", "--client --size 1K --name x");
    assert_eq!(ended.code(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("x.part: it is no file"), "{ended:#?}");
    interrupt(running);
}

#[test]
fn a_full_disk_ends_the_transfer_at_both_ends_and_the_rest_follows_when_there_is_room() {
    let place = Place::new();
    let folder = place.path().join("received");
    let line = format!("--server --folder {}", folder.display());
    let running = Process::spawn(&mut place.confined("file_transfer", &line));
    said(&running, "listening on");
    let ended = place.run("file_transfer", "--client --size 8M --name big");
    assert_eq!(ended.code(), 1, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("the transfer failed at the server: the file cannot be written: "),
        "{ended:#?}"
    );
    said(&running, "failed: the file cannot be written");
    interrupt(running);
    let (running, folder) = server(&place);
    let ended = place.run("file_transfer", "--client --size 8M --name big");
    says_in_order(ended.success(), &["Resuming at byte", "completed successfully"]);
    assert!(std::fs::read(folder.join("big")).unwrap() == made(8 << 20));
    interrupt(running);
}

/// `FILE_TRANSFER_MIB` sends more than 256 MiB.
#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_file() {
    let large = std::env::var("FILE_TRANSFER_MIB").map_or(256, |mib| mib.parse().unwrap());
    let peaks = [16, large].map(|mib: u64| {
        let place = Place::new();
        let (running, folder) = server(&place);
        let client = place.start("file_transfer", &format!("--client --size {mib}M --name big"));
        said(&client, "Sending");
        let client = number(&said(&client, "Peak memory: "), "Peak memory: ");
        assert_eq!(std::fs::metadata(folder.join("big")).unwrap().len(), mib << 20);
        let server = number(interrupt(running).success(), "Peak memory: ");
        (client, server)
    });
    println!("peak memory in KiB (client, server) with 16 and {large} MiB: {peaks:?}");
    let [small, large] = peaks;
    // Windows and buffers are the same for both; the larger file has at least 240 MiB more.
    assert!(large.0 <= small.0 + 8 * 1024, "client: {peaks:?}");
    assert!(large.1 <= small.1 + 8 * 1024, "server: {peaks:?}");
}
