//! The policy of a real broker, met by other users: who gets in, who may do what, and what a new policy takes back.
//!
//! Another user is a thread of this test that has given up its own; to become one takes root, and without it such a test says
//! loudly that it was skipped. What one user alone can see is tested without.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use raw::{Got, Raw, names};
use rustix::process::{Resource, Rlimit, Signal};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Broker, broker_command, run};

const STRANGER: u32 = 54_321;
const FORBIDDEN: u32 = 54_322;
const GROUP: u32 = 54_323;

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process may become other users. Says so when it may not.
fn can_change_user(test: &str) -> bool {
    let root = own_uid() == 0;
    if !root {
        eprintln!("SKIPPED: needs root to become other users: {test}");
    }
    root
}

/// Does something as another user, in a thread that never comes back from that.
fn as_user<T: Send>(uid: u32, gid: u32, groups: &[u32], task: impl FnOnce() -> T + Send) -> T {
    use rustix::process::{Gid, Uid};
    let change = || {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::thread::set_thread_groups(&groups).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            change();
            task()
        });
        thread.join().unwrap()
    })
}

fn connect_as(uid: u32, path: &Path) -> Raw {
    let raw = as_user(uid, uid, &[], || Raw::connect(path));
    // Memory is shared with processes of the broker's own user only.
    let own = uid == rustix::process::geteuid().as_raw();
    let granted = raw.welcome.expect("it was read").ring_bytes > 0;
    assert_eq!(granted, own && cfg!(target_os = "linux"));
    raw
}

/// The goodbye of a broker that does not let this user in.
fn refused(uid: u32, gid: u32, groups: &[u32], path: &Path) -> (CloseReason, String) {
    let mut raw = as_user(uid, gid, groups, || Raw::open(path));
    raw.greet("");
    raw.goodbye()
}

/// A broker under a policy, whose socket everybody can reach.
struct Guarded {
    broker: Broker,
    policy: PathBuf,
}

impl Guarded {
    fn start(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, policy).unwrap();
        let endpoint = format!("unix:{}", folder.path().join("b.sock").display());
        let broker = Broker::start_at(folder, &endpoint, |command| {
            command
                .arg("--policy")
                .arg(&path)
                .env("IPC_BROKER_SOCKET__MODE", "0666");
        });
        Self { broker, policy: path }
    }

    fn socket(&self) -> PathBuf {
        self.broker.socket()
    }

    /// Puts this into the policy's place and asks for it to be read; returns the log's line about that.
    fn reload(&self, policy: &str) -> String {
        std::fs::write(&self.policy, policy).unwrap();
        self.hang_up()
    }

    fn hang_up(&self) -> String {
        self.broker.process.signal(Signal::HUP);
        loop {
            let line = self.broker.process.error_line();
            if ["the policy was read again", "everything stays as it was"]
                .iter()
                .any(|part| line.contains(part))
            {
                return line;
            }
        }
    }
}

/// Rules that let this test's own user do everything.
fn master() -> String {
    format!(
        "[[allow]]\nuid = {}\nconnect = true\nmonitor = true\nown = \"**\"\ncall = \"**\"\npublish = \"**\"\nsubscribe = \"**\"\n",
        own_uid()
    )
}

fn denied(got: &Got) -> String {
    assert_eq!(got.error(), (ErrorCode::Denied, false), "{got:?} {}", got.text());
    got.text()
}

fn request(raw: &mut Raw, kind: Kind, key: &str, payload: &[u8], aux: u32) -> Got {
    let id = raw.id();
    raw.ask(
        &Draft::new(kind, id)
            .aux(aux)
            .key(key.as_bytes())
            .payload(Encoding::RAW, payload),
    )
}

fn call(raw: &mut Raw, object: &str, method: &str) -> Got {
    let id = raw.id();
    raw.ask(&Draft::new(Kind::Call, id).pair(object, method))
}

const STRANGERS_RULES: &str = r#"
[[allow]]
uid = 54321
connect = true
own = "guest.**"
call = { object = "math", method = "add" }
publish = "guest.**"
subscribe = ["news.public", "guest.**"]
"#;

#[test]
fn another_user_has_what_the_policy_gives_and_nothing_else() {
    if !can_change_user("another_user_has_what_the_policy_gives_and_nothing_else") {
        return;
    }
    let broker = Guarded::start(&(master() + STRANGERS_RULES));
    let socket = broker.socket();
    let mut owner = Raw::connect(&socket);
    for object in ["math", "secret"] {
        assert_eq!(owner.register(object).kind, Kind::Done);
    }
    let mut stranger = connect_as(STRANGER, &socket);
    assert_eq!(stranger.register("guest.lamp").kind, Kind::Done);
    // Taken or free, there or not: the answers differ in the name alone.
    let same = |texts: [(String, &str); 2]| {
        let [one, other] = texts.map(|(text, name)| text.replace(name, "NAME"));
        assert_eq!(one, other);
    };
    same(["secret", "nothing"].map(|name| (denied(&stranger.register(name)), name)));
    same(["secret", "nothing"].map(|name| (denied(&call(&mut stranger, name, "m")), name)));
    same(["secret", "nothing"].map(|name| {
        (
            denied(&request(&mut stranger, Kind::Describe, name, b"", 0)),
            name,
        )
    }));
    same(["secret", "nothing"].map(|name| {
        (
            denied(&request(&mut stranger, Kind::Wait, "", &names(&[name]), 0)),
            name,
        )
    }));
    same(
        ["secret", "nothing"].map(|name| (denied(&request(&mut stranger, Kind::Watch, name, b"", 1)), name)),
    );
    same(["secret", "nothing"].map(|name| {
        (
            denied(&request(&mut stranger, Kind::Unregister, name, b"", 0)),
            name,
        )
    }));
    denied(&call(&mut stranger, "math", "subtract"));
    for object in ["rob", "sys.broker"] {
        assert!(denied(&call(&mut stranger, object, "status")).contains("may not monitor"));
    }
    denied(&request(&mut stranger, Kind::Watch, "", b"", 3));
}

#[test]
fn another_user_is_served_and_shown_what_the_policy_gives() {
    if !can_change_user("another_user_is_served_and_shown_what_the_policy_gives") {
        return;
    }
    let broker = Guarded::start(&(master() + STRANGERS_RULES));
    let socket = broker.socket();
    let mut owner = Raw::connect(&socket);
    for object in ["math", "secret"] {
        assert_eq!(owner.register(object).kind, Kind::Done);
    }
    let (reason, text) = refused(FORBIDDEN, FORBIDDEN, &[], &socket);
    assert_eq!(reason, CloseReason::Denied);
    assert!(
        text.contains("policy: uid 54322 may not connect") && text.contains("[[allow]] with connect"),
        "{text}"
    );
    assert!(!text.contains(broker.policy.to_str().unwrap()), "{text}");
    let mut stranger = connect_as(STRANGER, &socket);
    assert_eq!(stranger.register("guest.lamp").kind, Kind::Done);
    let id = stranger.id();
    stranger.send(&Draft::new(Kind::Call, id).pair("math", "add"));
    let got = owner.expect(Kind::Call);
    assert_eq!(got.origin.unwrap().uid, STRANGER);
    owner.reply(&got, b"42");
    assert_eq!(stranger.answer(id).text(), "42");

    let id = stranger.id();
    let list = stranger.ask(&Draft::new(Kind::List, id)).json();
    let listed: Vec<&str> = list["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["guest.lamp", "math"]);
    assert_eq!(list["connections"].as_array().unwrap().len(), 1, "its own");
    let id = owner.id();
    let all = owner.ask(&Draft::new(Kind::List, id)).json();
    assert_eq!(
        all["objects"].as_array().unwrap().len(),
        5,
        "with those of the broker: {all}"
    );
}

#[test]
fn events_reach_only_those_who_may_hear_their_topic() {
    if !can_change_user("events_reach_only_those_who_may_hear_their_topic") {
        return;
    }
    let broker = Guarded::start(&(master() + STRANGERS_RULES));
    let mut owner = Raw::connect(&broker.socket());
    let mut stranger = connect_as(STRANGER, &broker.socket());
    for object in ["news.public", "news.secret"] {
        owner.publish_as(object, "e", Flags::ACK.with(Flags::RETAIN), b"kept");
    }
    let id = stranger.id();
    denied(&stranger.ask(&Draft::new(Kind::Subscribe, id).pair("news.secret", "e")));
    let id = stranger.id();
    let pattern = Draft::new(Kind::Subscribe, id).flags(Flags::PATTERN);
    denied(&stranger.ask(&pattern.pair("other.**", "**")));

    // A pattern over everything, alone and in a group with one who may hear it all.
    let wide = stranger.subscribe_as("**", "**", Flags::PATTERN, 0, &[]);
    let kept = stranger.expect(Kind::Event);
    assert_eq!((kept.id, kept.key.as_slice()), (wide, &b"news.public\0e"[..]));
    let group = raw::meta("group", b"g");
    let shared = stranger.subscribe_as("**", "**", Flags::PATTERN, 0, &group);
    let own = owner.subscribe_as("**", "**", Flags::PATTERN, 0, &group);
    for _ in 0..4 {
        let accepted = owner.publish("news.secret", "e", b"hidden");
        assert_eq!(accepted.aux, 1, "the group's other member, each time");
        assert_eq!(owner.expect(Kind::Event).id, own);
    }
    owner.publish("news.public", "e", b"open");
    owner.publish("guest.lamp", "e", b"end");
    let mut heard = Vec::new();
    loop {
        let event = stranger.expect(Kind::Event);
        assert_eq!(event.aux, 0, "what was not meant for it is no gap");
        heard.push((event.id, event.text()));
        if event.id == wide && event.text() == "end" {
            break;
        }
    }
    assert!(heard.contains(&(wide, "open".into())), "{heard:?}");
    assert!(
        heard
            .iter()
            .all(|(id, text)| [wide, shared].contains(id) && text != "hidden"),
        "{heard:?}"
    );

    // Publishing: with and without an answer asked for, in pieces, as a will.
    denied(&stranger.publish("news.public", "e", b"x"));
    let id = stranger.id();
    denied(&stranger.ask(&Draft::new(Kind::Publish, id).pair("news.public", "e")));
    let id = stranger.id();
    stranger.send(
        &Draft::new(Kind::Publish, id)
            .flags(Flags::CONTINUED.with(Flags::ACK))
            .pair("news.public", "e"),
    );
    stranger.send(&Draft::new(Kind::PublishPiece, id).payload(Encoding::RAW, b"more"));
    denied(&stranger.answer(id));
    let id = stranger.id();
    denied(
        &stranger.ask(
            &Draft::new(Kind::Will, id)
                .pair("news.public", "e")
                .payload(Encoding::RAW, b"x"),
        ),
    );
    assert_eq!(stranger.publish("guest.lamp", "e", b"fine").kind, Kind::Accepted);
}

#[test]
fn calls_without_reply_are_dropped_and_counted() {
    let rules = format!(
        "[[allow]]\nuid = {}\nconnect = true\nmonitor = true\nown = \"**\"\n",
        own_uid()
    );
    let broker = Guarded::start(&rules);
    let mut raw = Raw::connect(&broker.socket());
    assert_eq!(raw.register("target").kind, Kind::Done);
    for _ in 0..3 {
        raw.call("target", Flags::NO_REPLY, b"");
    }
    raw.ping();
    raw.after_registry_of_a_monitor();
    assert!(
        raw.kept().is_empty(),
        "nothing was delivered to its own object, and nothing answered"
    );
    let status = call(&mut raw, "sys.broker", "status").json();
    assert_eq!(status["metrics"]["denied"], 3, "{status}");
}

impl Raw {
    /// Registry has handled everything that lay in its mailbox; for who may see everything.
    fn after_registry_of_a_monitor(&mut self) {
        let id = self.id();
        assert_eq!(self.ask(&Draft::new(Kind::List, id)).kind, Kind::Reply);
    }
}

#[test]
fn groups_are_those_that_the_process_has() {
    if !can_change_user("groups_are_those_that_the_process_has") {
        return;
    }
    let rules = "[[allow]]\ngid = 54323\nconnect = true\nown = \"**\"\n[[deny]]\ngid = 54322\nown = \"**\"\n";
    let broker = Guarded::start(rules);
    let socket = broker.socket();
    assert_eq!(refused(STRANGER, STRANGER, &[], &socket).0, CloseReason::Denied);
    assert_eq!(
        refused(0, 0, &[], &socket).0,
        CloseReason::Denied,
        "not even root"
    );
    let mut effective = as_user(STRANGER, GROUP, &[], || Raw::connect(&socket));
    assert_eq!(effective.register("a").kind, Kind::Done);
    let mut supplementary = as_user(STRANGER, STRANGER, &[1, GROUP, 2], || Raw::connect(&socket));
    assert_eq!(supplementary.register("b").kind, Kind::Done);
    let mut both = as_user(STRANGER, GROUP, &[FORBIDDEN], || Raw::connect(&socket));
    denied(&both.register("c"));
}

/// What a stranger holds before the policy changes.
struct Held {
    name: u64,
    /// What is to end with an error.
    errors: [u64; 5],
    pattern: u64,
}

/// The stranger gets one of each thing that a policy can take back.
fn hold_everything(owner: &mut Raw, stranger: &mut Raw) -> Held {
    let name = stranger.id();
    let register = Draft::new(Kind::Register, name).key(b"prize");
    assert_eq!(stranger.ask(&register).kind, Kind::Done);
    let kept = stranger.register("kept");
    assert_eq!(kept.kind, Kind::Done);
    assert_eq!(owner.register_as("prize", Flags::QUEUE, 0).aux, 1);
    let exact = stranger.subscribe("topic.secret", "e");
    let pattern = stranger.subscribe_as("topic.*", "e", Flags::PATTERN, 0, &[]);
    let hopeless = stranger.subscribe_as("other.*", "e", Flags::PATTERN, 0, &[]);
    let wait = stranger.id();
    stranger.send(&Draft::new(Kind::Wait, wait).payload(Encoding::RAW, &names(&["later"])));
    let parked = stranger.call("later", Flags::WAIT, b"");
    let watch = stranger.id();
    assert_eq!(
        stranger.ask(&Draft::new(Kind::Watch, watch).aux(2)).kind,
        Kind::Done
    );
    let will = stranger.id();
    let will = Draft::new(Kind::Will, will)
        .pair("topic.secret", "e")
        .payload(Encoding::RAW, b"will");
    assert_eq!(stranger.ask(&will).kind, Kind::Done);
    stranger.after_registry();
    Held {
        name,
        errors: [exact, hopeless, wait, parked, watch],
        pattern,
    }
}

#[test]
fn a_new_policy_takes_back_what_it_does_not_give_and_tells_it() {
    if !can_change_user("a_new_policy_takes_back_what_it_does_not_give_and_tells_it") {
        return;
    }
    let guest = |uid: u32, more: &str| format!("[[allow]]\nuid = {uid}\nconnect = true\n{more}\n");
    let wide = "own = \"**\"\ncall = \"**\"\nsubscribe = \"**\"\npublish = \"**\"\nmonitor = true";
    let broker = Guarded::start(&(master() + &guest(STRANGER, wide) + &guest(FORBIDDEN, wide)));
    let socket = broker.socket();
    let (mut owner, mut stranger) = (Raw::connect(&socket), connect_as(STRANGER, &socket));
    let mut leaving = connect_as(FORBIDDEN, &socket);
    assert_eq!(leaving.register("leaving").kind, Kind::Done);

    let held = hold_everything(&mut owner, &mut stranger);
    let Held { pattern, .. } = held;

    let narrow = "own = \"kept\"\nsubscribe = \"topic.open\"";
    let begun = std::time::Instant::now();
    broker.reload(&(master() + &guest(STRANGER, narrow)));
    let mut told = Vec::new();
    while told.len() < 6 {
        let got = stranger.read();
        if matches!(got.kind, Kind::Ownership | Kind::Error) {
            told.push((got.id, got.kind, got.aux));
        }
    }
    let (heir, goodbye) = (owner.expect(Kind::Ownership), leaving.goodbye());
    // Ten times the promise.
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let code = ErrorCode::Denied.code();
    told.sort_by_key(|(id, ..)| *id);
    let mut expected = vec![(held.name, Kind::Ownership, 0)];
    expected.extend(held.errors.map(|id| (id, Kind::Error, code)));
    assert_eq!(told, expected);
    assert_eq!(heir.aux, 1, "who stood in the queue has the name");
    assert_eq!(goodbye.0, CloseReason::Denied, "{}", goodbye.1);
    assert!(goodbye.1.contains("uid 54322 may not connect"), "{}", goodbye.1);

    // The subscription with a pattern stays, and hears what it still may.
    let listener = owner.subscribe("topic.secret", "e");
    assert_eq!(
        owner.publish("topic.secret", "e", b"hidden").aux,
        1,
        "the owner alone"
    );
    owner.publish("topic.open", "e", b"open");
    let event = stranger.expect(Kind::Event);
    assert_eq!((event.id, event.text()), (pattern, "open".into()));
    assert_eq!(owner.expect(Kind::Event).text(), "hidden");
    // A will that may no longer be published is not.
    drop(stranger);
    owner.after_registry();
    broker
        .broker
        .process
        .wait_for_error_line("a will was not published");
    owner.after_hub();
    assert!(owner.kept().iter().all(|got| got.id != listener));
    let list = owner.id();
    let list = owner.ask(&Draft::new(Kind::List, list)).json();
    assert!(!list.to_string().contains("leaving"), "{list}");
}

#[test]
fn a_policy_that_cannot_be_used_changes_nothing() {
    let good = format!("[[allow]]\nuid = {}\nconnect = true\nown = \"mine\"\n", own_uid());
    let better = good.replace("\"mine\"", "\"**\"");
    let broker = Guarded::start(&good);
    let mut raw = Raw::connect(&broker.socket());
    assert_eq!(raw.register("mine").kind, Kind::Done);
    let unchanged = |raw: &mut Raw, what: &str| {
        denied(&raw.register("other"));
        let mut again = Raw::connect(&broker.socket());
        assert_eq!(again.register("mine").error().0, ErrorCode::NameTaken, "{what}");
    };
    for broken in [
        "",
        "[[allow]]\nuid = 1\n",
        "nonsense",
        &better[..better.len() - 3],
    ] {
        assert!(broker.reload(broken).contains("everything stays"), "{broken:?}");
        unchanged(&mut raw, broken);
    }
    std::fs::write(&broker.policy, &better).unwrap();
    std::fs::set_permissions(&broker.policy, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(broker.hang_up().contains("everything stays"));
    unchanged(&mut raw, "others could have written it");
    std::fs::set_permissions(&broker.policy, std::fs::Permissions::from_mode(0o600)).unwrap();

    // No descriptor is left to read it with.
    let pid = rustix::process::Pid::from_raw(i32::try_from(broker.broker.process.id()).unwrap());
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    let before = rustix::process::prlimit(pid, Resource::Nofile, limit(0)).unwrap();
    assert!(before.current.is_none_or(|most| most > 0));
    assert!(broker.hang_up().contains("everything stays"));
    rustix::process::prlimit(pid, Resource::Nofile, before).unwrap();
    unchanged(&mut raw, "no descriptors");

    std::fs::remove_file(&broker.policy).unwrap();
    assert!(broker.hang_up().contains("everything stays"));
    unchanged(&mut raw, "the file is gone");

    assert!(broker.reload(&better).contains("read again"));
    assert_eq!(raw.register("other").kind, Kind::Done);
}

#[test]
fn a_named_pipe_in_the_place_of_a_file_holds_nobody_up() {
    let good = format!("[[allow]]\nuid = {}\nconnect = true\nown = \"mine\"\n", own_uid());
    let folder = tempfile::tempdir().unwrap();
    let (policy, settings) = (folder.path().join("p.toml"), folder.path().join("s.toml"));
    let endpoint = format!("unix:{}", folder.path().join("b.sock").display());
    std::fs::write(&policy, &good).unwrap();
    std::fs::write(&settings, "arbiters = 0\n").unwrap();
    let broker = Broker::start_at(folder, &endpoint, |command| {
        command
            .arg("--policy")
            .arg(&policy)
            .arg("--config")
            .arg(&settings);
    });
    let broker = Guarded { broker, policy };
    let mut raw = Raw::connect(&broker.socket());
    assert_eq!(raw.register("mine").kind, Kind::Done);
    for file in [&broker.policy, &settings] {
        let before = std::fs::read(file).unwrap();
        std::fs::remove_file(file).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        broker.broker.process.signal(Signal::HUP);
        let why = broker.broker.process.wait_for_error_line("not reloaded");
        assert!(
            why.contains("no regular file") && why.contains(file.to_str().unwrap()),
            "{why}"
        );
        // Who is there is served, who comes gets in, and the last good policy decides.
        denied(&raw.register("other"));
        let mut again = Raw::connect(&broker.socket());
        assert_eq!(again.register("mine").error().0, ErrorCode::NameTaken);
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, before).unwrap();
        broker.broker.process.wait_for_error_line("everything stays");
    }
    assert!(
        broker
            .reload(&good.replace("\"mine\"", "\"**\""))
            .contains("read again")
    );
    assert_eq!(raw.register("other").kind, Kind::Done);
}

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

#[test]
fn a_policy_is_checked_and_asked_without_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let ask = |words: &str| {
        let mut command = broker_command();
        command
            .args(words.split_whitespace())
            .arg("--policy")
            .arg(&path)
            .env("HOME", folder.path());
        run(&mut command)
    };
    std::fs::write(&path, "[[allow]]\nuid = [1000, 1001]\nconnect = true\ncall = \"math\"\n\n[[deny]]\ngid = 7\ncall = { object = \"math\", method = \"stop\" }\n").unwrap();
    let checked = ask("config check");
    assert_eq!(
        checked.success(),
        "the settings are in order\nthe policy has 2 rules\n\
         line 1: [[allow]] for uid 1000, uid 1001: connect, call \"math\"\n\
         line 6: [[deny]] for gid 7: call \"math\" \"stop\"\n"
    );
    let table = [
        (
            "--uid 1000 call math add",
            0,
            "allowed by the rule in line 1: [[allow]] for uid 1000, uid 1001\n",
        ),
        (
            "--uid 1000 call math stop",
            1,
            "denied by the rule in line 6: [[deny]] for gid 7\n",
        ),
        (
            "--uid 1000 --gid 8 call math stop",
            0,
            "allowed by the rule in line 1: [[allow]] for uid 1000, uid 1001\n",
        ),
        (
            "--uid 1000 own math",
            1,
            "denied: no rule speaks of it; [[allow]] with own would allow it\n",
        ),
        (
            "--uid 7 connect",
            1,
            "denied: no rule speaks of it; [[allow]] with connect would allow it\n",
        ),
    ];
    for (question, code, answer) in table {
        let asked = ask(&format!("policy explain {question}"));
        assert_eq!(
            (asked.code(), asked.stdout.as_str()),
            (code, answer),
            "{question} {asked:?}"
        );
    }
    for (question, says) in [
        ("--uid 1 cal math", "did you mean call?"),
        ("--uid 1 call", "name it"),
        ("--name * connect", "'*'"),
    ] {
        let asked = ask(&format!("policy explain {question}"));
        assert!(
            asked.code() == 2 && asked.stderr.contains(says),
            "{question} {asked:?}"
        );
    }
}

#[test]
fn everything_that_is_wrong_with_a_policy_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(
        &path,
        "[[allow]]\nuid = 1\npubish = \"a\"\n[[allow]]\nown = \"*a\"\n",
    )
    .unwrap();
    let mut command = broker_command();
    command
        .args(["config", "check", "--policy"])
        .arg(&path)
        .env("HOME", folder.path());
    let checked = run(&mut command);
    assert_eq!(checked.code(), 78);
    let lines: Vec<&str> = checked.stderr.lines().collect();
    assert!(
        lines.len() >= 3 && lines[0].contains("policy.toml: line 1: the rule gives no right"),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("line 3: unknown key \"pubish\"; did you mean publish?")),
        "{lines:#?}"
    );
}
