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

#[path = "policy/changes.rs"]
mod changes;
#[path = "policy/operator.rs"]
mod operator;
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
