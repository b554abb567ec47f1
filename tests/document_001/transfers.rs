//! `file_transfer` where it is disturbed: restarted servers, two servers with one folder, parts that are not what they seem; and a server
//! to whose output nobody listens any more.
//!
//! How files pass when all is well is `talks.rs`'s.

use crate::file_transfer::made;
use crate::programs::{Place, interrupt, said, says_in_order};
use crate::signals;
use crate::support::Process;
use crate::terminal::Terminal;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

fn server(place: &Place) -> (Process, PathBuf) {
    let folder = place.path().join("received");
    let line = format!("--server --folder {}", folder.display());
    (place.listening("file_transfer", &line), folder)
}

/// Wherever the client was stopped, in the middle of its file most of the time, it goes on at the server that is there when it wakes up.
#[test]
fn a_server_that_was_started_again_while_its_client_was_stopped_gets_the_rest() {
    for _ in 0..3 {
        let place = Place::new();
        let (mut running, folder) = server(&place);
        let client = place.start("file_transfer", "--client --size 48M --name big");
        said(&client, "Sending");
        // In this order the client has filled what may be on its way, and waits to send more.
        signals::freeze(running.id());
        let standing = signals::stop(&client);
        running.kill();
        let (running, _) = server(&place);
        drop(standing);
        says_in_order(client.end().success(), &["completed successfully"]);
        assert!(std::fs::read(folder.join("big")).unwrap() == made(48 << 20));
        interrupt(running);
    }
}

/// One line, which grows where it stands.
#[test]
fn progress_is_a_bar_on_a_terminal() {
    let place = Place::new();
    let (running, _) = server(&place);
    let program = place.command("file_transfer", "--client --size 3M --chunk 16K --name big");
    let text = |part: &OsStr| part.to_str().unwrap().to_owned();
    let arguments: Vec<String> = program.get_args().map(text).collect();
    let variables: Vec<(String, String)> = program
        .get_envs()
        .filter_map(|(name, value)| Some((text(name), text(value?))))
        .collect();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let path = program.get_program().to_str().unwrap();
    let mut terminal = Terminal::start(path, arguments.iter().map(String::as_str), &variables, (24, 100));
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    let screen = terminal.screen();
    let bars: Vec<&str> = screen.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(bars, [format!("[{}] 100% 3.0 MiB", "#".repeat(40))], "{screen}");
    says_in_order(
        &screen,
        &["Sending", "100%", "File transfer completed successfully"],
    );
    interrupt(running);
}

#[test]
fn two_servers_never_write_the_same_file() {
    let place = Place::new();
    let (running, folder) = server(&place);
    let mut client = place.start("file_transfer", "--client --size 8M --name big --hold-at 50");
    said(&client, "Holding at 50%");
    let other = format!("--server --folder {} --addr {}", folder.display(), place.addr());
    let other = place.listening("file_transfer", &other);
    let to_other = |name| format!("--client --size 8M --name {name} --addr {}", place.addr());
    let refused = place.run("file_transfer", &to_other("big"));
    assert_eq!(refused.code(), 1, "{refused:#?}");
    assert!(
        refused.stderr.contains("another server is writing"),
        "{refused:#?}"
    );
    assert!(refused.stderr.contains("big.part"), "{refused:#?}");
    place.run("file_transfer", &to_other("free")).success();
    client.kill();
    said(&running, "big is kept at");
    let ended = place.run("file_transfer", &to_other("big"));
    says_in_order(ended.success(), &["Resuming at byte", "completed successfully"]);
    for name in ["big", "free"] {
        assert!(
            std::fs::read(folder.join(name)).unwrap() == made(8 << 20),
            "{name}"
        );
    }
    interrupt(running);
    interrupt(other);
}

#[test]
fn a_link_is_not_written_through() {
    let place = Place::new();
    let (running, folder) = server(&place);
    let target = place.path().join("target");
    std::fs::write(&target, "untouched").unwrap();
    std::os::unix::fs::symlink(&target, folder.join("x.part")).unwrap();
    std::os::unix::fs::symlink(&target, folder.join("y")).unwrap();
    let ended = place.run("file_transfer", "--client --size 1K --name x");
    assert_eq!(ended.code(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("x.part: it is no file"), "{ended:#?}");
    place
        .run("file_transfer", "--client --size 1K --name y")
        .success();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "untouched");
    assert!(folder.join("y").symlink_metadata().unwrap().is_file());
    interrupt(running);
}

/// What is there is compared in steps, each by a call of its own.
#[test]
fn a_large_part_is_compared_in_steps() {
    const MIB: usize = 1 << 20;
    let place = Place::new();
    let (running, folder) = server(&place);
    let line = "--client --size 41M --name big";
    let file = made(41 * MIB);
    let mut wrong = file[..40 * MIB].to_vec();
    wrong[20 * MIB] ^= 1;
    let longer = vec![7; 42 * MIB];
    for (part, said) in [
        (&file[..40 * MIB], "Resuming at byte 41943040"),
        (&file[..], "Resuming at byte 42991616"),
        (&wrong, "part of another file of this name"),
        (&longer, "part of another file of this name"),
    ] {
        std::fs::write(folder.join("big.part"), part).unwrap();
        says_in_order(
            place.run("file_transfer", line).success(),
            &[said, "completed successfully"],
        );
        assert!(std::fs::read(folder.join("big")).unwrap() == file, "{said}");
        assert!(!folder.join("big.part").exists());
    }
    interrupt(running);
}

#[test]
fn a_file_of_one_chunk_is_held_as_well() {
    let place = Place::new();
    let (mut running, folder) = server(&place);
    let client = place.start(
        "file_transfer",
        "--client --size 4M --chunk 4M --name one --hold-at 50",
    );
    said(&client, "Holding at 50%");
    running.kill();
    let (running, _) = server(&place);
    client.end().success();
    assert!(std::fs::read(folder.join("one")).unwrap() == made(4 << 20));
    interrupt(running);
}

/// A handler prints what it does; that nobody reads it any more is no failure of what was asked.
#[test]
fn a_server_works_when_nobody_reads_what_it_says() {
    let place = Place::new();
    let mut command = place.command("basic", "--server --may-be-ended");
    let mut server = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("listening on"), "{line}");
    drop(output);
    let ended = place.run("basic", "--client");
    // It has logged a line, and its wish was granted.
    says_in_order(
        ended.success(),
        &["(1 lines logged)", "Shutdown response: the server ends"],
    );
    let ended = server.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
