//! `rob record` and `replay` against a real broker: what is in the file is what passed, and is done again as it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(feature = "cli")]

#[path = "support/observed.rs"]
mod observed;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::{IpcClient, Methods, Payload};
use futures::executor::block_on;
use observed::{add, client, interrupted, lines, serve, status};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Broker, Process, run, until};

/// `rob` with a file of any name between the first words and the last.
fn with_file(broker: &Broker, first: &str, file: &Path, last: &str) -> Command {
    let mut command = broker.rob_command(first.split(' '));
    command.arg(file).args(last.split_whitespace());
    command
}

/// Three calls that are answered and one that finds nobody, an event of bytes and one that is kept.
fn traffic(caller: &IpcClient, binary: &Payload) {
    for a in 0..3 {
        add(caller, "math", a).unwrap();
    }
    add(caller, "nobody", 1).unwrap_err();
    block_on(
        caller
            .publish_payload("sensor", "raw", binary.clone())
            .acknowledged(),
    )
    .unwrap();
    block_on(caller.publish("sensor", "kept", &7).retained().acknowledged()).unwrap();
}

fn is_a_recording(file: &Path) {
    let entries = lines(&std::fs::read_to_string(file).unwrap());
    assert_eq!(entries[0]["rob_recording"], 1);
    assert_eq!(entries.last().unwrap()["kind"], "end");
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions()) & 0o777,
        0o600,
        "payloads are in it"
    );
}

#[test]
fn a_recording_is_replayed_as_it_was() {
    let broker = Broker::start();
    let (owner, caller) = (client(&broker, "owner"), client(&broker, "caller"));
    let math = serve(&owner, "math");
    let file = broker.folder().join("traffic.jsonl");
    let shown = file.display().to_string();
    let record = Process::spawn(&mut with_file(&broker, "record", &file, "--strict"));
    assert_eq!(
        record.line(),
        format!("Recording to {shown}. Press ctrl+c to end.")
    );
    let binary = Payload::raw(&b"\xfe\x00"[..]);
    traffic(&caller, &binary);
    // Everything above is in the file once this is.
    until("all is in the file", || {
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("\"member\":\"kept\"")
    });
    let ended = interrupted(record);
    assert_eq!(ended.code(), 130, "{ended:#?}");
    assert!(
        ended.stderr.contains("10 records in") && ended.stderr.contains("nothing is missing"),
        "{ended:#?}"
    );
    is_a_recording(&file);
    let again = run(&mut with_file(&broker, "record", &file, ""));
    assert_eq!(again.code(), 8, "{again:#?}");
    assert!(again.stderr.contains("--force replaces it"), "{again:#?}");

    let mut heard = block_on(owner.subscribe("sensor", "raw").into_future()).unwrap();
    let before = status(&broker)["totals"]["calls"].as_u64().unwrap();
    let replayed = run(&mut with_file(&broker, "replay", &file, "--speed max"));
    assert_eq!(
        replayed.success(),
        "Replayed: events 2, calls 4; 6 compared, 0 ended in another way\n"
    );
    assert_eq!(block_on(heard.next()).unwrap().payload.bytes, binary.bytes);
    assert_eq!(
        status(&broker)["totals"]["calls"].as_u64().unwrap(),
        before + 3,
        "one of four found nobody, as before"
    );

    drop(math);
    let differs = run(&mut with_file(
        &broker,
        "--json replay",
        &file,
        "math --speed max",
    ));
    assert_eq!(differs.code(), 1, "{differs:#?}");
    let told = lines(&differs.stdout);
    assert_eq!(told.len(), 4);
    assert_eq!(
        (&told[0]["difference"]["recorded"], &told[0]["difference"]["now"]),
        (&json!("ok"), &json!("NoSuchObject"))
    );
    assert_eq!(
        (&told[3]["replayed"]["calls"], &told[3]["replayed"]["differ"]),
        (&json!(3), &json!(3))
    );
}

#[test]
fn a_file_may_have_any_name() {
    let broker = Broker::start();
    let caller = client(&broker, "caller");
    let folder = broker.folder().join("zwei Wörter");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("a&b %PATH% 'c' ü.jsonl");
    let record = Process::spawn(&mut with_file(&broker, "record", &file, "--count 1 --strict"));
    assert_eq!(
        record.line(),
        format!("Recording to {}. Press ctrl+c to end.", file.display())
    );
    block_on(caller.publish("sensor", "größe", &1).acknowledged()).unwrap();
    record.end().success();
    is_a_recording(&file);
    assert_eq!(
        run(&mut with_file(&broker, "replay", &file, "--speed max")).success(),
        "Replayed: events 1, calls 0; 1 compared, 0 ended in another way\n"
    );
}

#[test]
fn a_dry_run_needs_no_broker_and_a_torn_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("torn.jsonl");
    let text = concat!(
        "{\"rob_recording\":1}\n",
        r#"{"kind":"event","at_us":1,"from":7,"object":"o","member":"t","bytes":1,"subscribers":0,"encoding":"raw","payload":"a"}"#,
        "\n",
        r#"{"kind":"call","at_us":2,"ticket":1,"from":7,"to":8,"object":"o","member":"m","bytes":9,"encoding":"raw","payload":"a","truncated":true}"#,
        "\n",
        r#"{"kind":"call","at_us":3,"ti"#,
    );
    std::fs::write(&file, text).unwrap();
    let mut command = support::rob_command();
    let ended = run(command.arg("replay").arg(&file).args([
        "--dry-run",
        "--json",
        "--addr",
        &support::endpoint_in(folder.path()),
    ]));
    let told = lines(ended.success());
    assert_eq!(
        (&told[0]["action"], &told[0]["line"]),
        (&json!("publish"), &json!(2))
    );
    assert_eq!(told[1]["replayed"]["skipped"], json!({"cut": 1}));
    assert!(
        ended.stderr.contains("line 4, the last, is torn off"),
        "{ended:#?}"
    );
    let ended = run(support::rob_command().args(["replay", "/nowhere/at/all", "--dry-run"]));
    assert_eq!(ended.code(), 2, "{ended:#?}");
}

#[test]
fn a_recording_that_misses_something_fails_when_it_must_be_whole() {
    let broker = Broker::start();
    let caller = client(&broker, "caller");
    let file = broker.folder().join("traffic.jsonl");
    let record = Process::spawn(&mut with_file(
        &broker,
        "record",
        &file,
        "--rate 1 --count 2 --strict",
    ));
    record.line();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            block_on(caller.publish("o", "t", &1).acknowledged()).unwrap();
        }
    });
    let ended = record.end();
    drop(stop);
    let _ = publisher.join();
    assert_eq!(ended.code(), 7, "{ended:#?}");
    assert!(ended.stderr.contains("dropped (--strict)"), "{ended:#?}");
}

#[test]
fn what_was_accepted_before_the_end_was_asked_for_is_in_the_recording() {
    let broker = Broker::start();
    let file = broker.folder().join("last.jsonl");
    let record = Process::spawn(&mut with_file(&broker, "record", &file, "--strict"));
    record.line();
    for number in 0..5 {
        broker.rob(&format!("send sensor last i {number}")).success();
    }
    let ended = interrupted(record);
    assert_eq!(ended.code(), 130, "{ended:#?}");
    assert!(
        ended.stderr.contains("5 records in") && ended.stderr.contains("nothing is missing"),
        "{ended:#?}"
    );
}

#[test]
fn a_broker_that_hangs_at_the_end_has_not_said_that_nothing_is_missing() {
    let broker = Broker::start();
    let file = broker.folder().join("last.jsonl");
    let record = Process::spawn(&mut with_file(&broker, "record", &file, "--strict"));
    record.line();
    broker.rob("send sensor last i 1").success();
    let hanging = signals::stop(&broker.process);
    let ended = interrupted(record);
    drop(hanging);
    assert_eq!(ended.code(), 7, "{ended:#?}");
    assert!(!ended.stderr.contains("nothing is missing"), "{ended:#?}");
    let entries = lines(&std::fs::read_to_string(&file).unwrap());
    let end = entries.last().unwrap();
    assert_eq!(
        (&end["kind"], &end["interrupted"]),
        (&json!("end"), &json!(1)),
        "{end}"
    );
}

#[test]
fn a_replay_ends_although_the_broker_hangs_and_says_what_it_did() {
    let broker = Broker::start();
    let owner = client(&broker, "owner");
    let never = Methods::new().method("never", |(): (), _| std::future::pending::<Result<(), _>>());
    let _registered = block_on(owner.register("slow", never).into_future()).unwrap();
    let call = r#"{"kind":"call","at_us":2,"ticket":1,"from":7,"object":"slow","member":"never","bytes":4,"encoding":"json","payload":"null"}"#;
    let file = recording(broker.folder(), call);
    let replay = Process::spawn(&mut with_file(&broker, "replay", &file, "--timeout 5"));
    until("the call is open", || status(&broker)["totals"]["open"] != 0);
    let hanging = signals::stop(&broker.process);
    let ended = replay.end();
    drop(hanging);
    assert_eq!(ended.code(), 4, "{ended:#?}");
    assert!(ended.stdout.contains("Replayed: events 1, calls 1"), "{ended:#?}");
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_never_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let broker = Broker::start();
    let folder = broker.folder();
    let (file, link, socket) = (folder.join("file"), folder.join("link"), folder.join("socket"));
    std::fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let recorded = run(&mut with_file(&broker, "record", &link, "--force --seconds 0.1"));
    assert_eq!(recorded.code(), 0, "{recorded:#?}");
    assert!(
        std::fs::symlink_metadata(&link).unwrap().is_symlink(),
        "the link is one still"
    );
    is_a_recording(&file);
    let refused = run(&mut with_file(
        &broker,
        "record",
        &socket,
        "--force --seconds 0.1",
    ));
    assert_eq!(refused.code(), 8, "{refused:#?}");
    assert!(
        std::fs::symlink_metadata(&socket)
            .unwrap()
            .file_type()
            .is_socket()
    );
    let device = broker.rob("record /dev/null --force --seconds 0.1");
    assert_eq!(device.code(), 0, "{device:#?}");
    let kind = std::fs::symlink_metadata("/dev/null").unwrap().file_type();
    assert!(kind.is_char_device(), "{kind:?}");
}

#[test]
#[cfg(unix)]
fn a_recording_that_lost_its_terminal_is_complete() {
    use rustix::process::Signal;
    let broker = Broker::start();
    let file = broker.folder().join("hangup");
    let command = with_file(&broker, "record", &file, "");
    let record = Process::spawn(&mut signals::at_a_terminal(command));
    record.line();
    record.signal(Signal::HUP);
    let ended = record.end();
    assert_eq!(ended.code(), 143, "{ended:#?}");
    is_a_recording(&file);
}

/// What `sh` runs with the signal ignored, as nohup and `&` have it.
#[cfg(unix)]
fn ignoring(signal: &str, command: &Command) -> Process {
    let mut shell = support::command("sh");
    shell
        .args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    Process::spawn(&mut shell)
}

#[test]
#[cfg(unix)]
fn nohup_means_it_and_an_interrupt_is_meant_as_well() {
    use rustix::process::Signal;
    use std::os::unix::process::ExitStatusExt;
    let broker = Broker::start();
    let file = broker.folder().join("nohup");
    let record = ignoring("HUP", &with_file(&broker, "record", &file, "--count 1"));
    record.line();
    record.signal(Signal::HUP);
    broker.rob("send sensor t i 1").success();
    record.end().success();
    is_a_recording(&file);
    let file = broker.folder().join("background");
    let record = ignoring("INT", &with_file(&broker, "record", &file, ""));
    record.line();
    record.signal(Signal::INT);
    assert_eq!(record.end().code(), 130);
    is_a_recording(&file);
    let listen = ignoring("INT", &broker.rob_command(["listen", "sensor", "t"]));
    listen.line();
    listen.signal(Signal::INT);
    assert_eq!(listen.end().status.signal(), Some(2));
}

/// A recording of one event, with a line more.
fn recording(folder: &Path, line: &str) -> PathBuf {
    let file = folder.join("one.jsonl");
    let event = r#"{"kind":"event","at_us":1,"from":7,"object":"o","member":"t","bytes":1,"encoding":"raw","payload":"a"}"#;
    let end = r#"{"kind":"end","at_us":3,"records":2,"dropped":0,"interrupted":0}"#;
    let text = format!("{{\"rob_recording\":1}}\n{event}\n{line}\n{end}\n");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
#[cfg(unix)]
fn a_pipe_is_replayed_as_a_file_is() {
    let broker = Broker::start();
    let file = recording(broker.folder(), "");
    let pipe = broker.folder().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let replay = Process::spawn(&mut with_file(&broker, "replay", &pipe, "--speed max"));
    std::fs::write(&pipe, std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        replay.end().success(),
        "Replayed: events 1, calls 0; 1 compared, 0 ended in another way\n"
    );
}

#[test]
fn a_damaged_recording_is_refused_and_a_strict_replay_skips_nothing() {
    let broker = Broker::start();
    let damaged = r#"{"kind":"event","at_us":2,"from":7,"object":"o","member":"t","bytes":9,"encoding":"raw","payload":"a"}"#;
    let file = recording(broker.folder(), damaged);
    let ended = run(&mut with_file(&broker, "replay", &file, "--speed max"));
    assert_eq!((ended.code(), ended.stdout.as_str()), (2, ""), "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("line 3: its payload is damaged: it is not 9 bytes"),
        "{ended:#?}"
    );
    assert_eq!(status(&broker)["metrics"]["events_published"], 0);
    let cut = r#"{"kind":"event","at_us":2,"from":7,"object":"o","member":"t","bytes":9,"encoding":"raw","payload":"a","truncated":true}"#;
    let file = recording(broker.folder(), cut);
    let ended = run(&mut with_file(&broker, "replay", &file, "--speed max"));
    ended.success();
    let ended = run(&mut with_file(&broker, "replay", &file, "--speed max --strict"));
    assert_eq!(ended.code(), 7, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("1 of the recording could not be done (--strict)"),
        "{ended:#?}"
    );
}

#[test]
fn strict_holds_however_the_recording_ends() {
    let mut broker = Broker::start();
    let file = broker.folder().join("gone.jsonl");
    let record = Process::spawn(&mut with_file(&broker, "record", &file, "--strict"));
    record.line();
    broker.process.kill();
    assert!(record.error_line().contains("the connection was lost ("));
    let ended = interrupted(record);
    assert_eq!(ended.code(), 7, "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("record: the connection was lost once (--strict)"),
        "{ended:#?}"
    );
    is_a_recording(&file);
}
