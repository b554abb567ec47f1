//! A policy that is read again: what it takes back, and what cannot be used.

use super::*;

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

/// A broker that has its policy from its settings, or none.
fn by_settings(text: &str) -> (Broker, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("s.toml");
    let endpoint = format!("unix:{}", folder.path().join("b.sock").display());
    std::fs::write(&settings, text).unwrap();
    let broker = Broker::start_at(folder, &endpoint, |command| {
        command.arg("--config").arg(&settings);
    });
    (broker, settings)
}

#[test]
fn a_policy_that_came_while_it_ran_and_is_named_no_more_is_told_and_stays() {
    let (broker, settings) = by_settings("");
    let policy = settings.with_file_name("p.toml");
    std::fs::write(
        &policy,
        format!("[[allow]]\nuid = {}\nconnect = true\n", own_uid()),
    )
    .unwrap();
    let mut raw = Raw::connect(&broker.socket());
    assert_eq!(raw.register("before").kind, Kind::Done);
    std::fs::write(&settings, format!("policy = {policy:?}\n")).unwrap();
    broker.process.signal(Signal::HUP);
    broker.process.wait_for_error_line("the policy was read again");
    denied(&raw.register("during"));
    for _ in 0..2 {
        std::fs::write(&settings, "").unwrap();
        broker.process.signal(Signal::HUP);
        let line = broker.process.wait_for_error_line("name no policy any more");
        assert!(line.contains("stays until a restart"), "{line}");
        denied(&raw.register("after"));
    }
}

#[test]
fn what_is_wrong_with_tokens_or_services_leaves_the_policy_as_it_is_too() {
    let (broker, settings) = by_settings("");
    let policy = settings.with_file_name("p.toml");
    let tokens = settings.with_file_name("tokens");
    let services = settings.with_file_name("services.toml");
    let allow = |own: &str| {
        let rule = format!("[[allow]]\nuid = {}\nconnect = true\nown = {own:?}\n", own_uid());
        std::fs::write(&policy, rule).unwrap();
    };
    let private = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(&tokens).unwrap();
    private(&tokens, 0o700);
    let token = tokens.join("bob.token");
    std::fs::write(&token, format!("{}\n", "7".repeat(64))).unwrap();
    std::fs::write(&services, "[[service]]\n").unwrap();
    private(&services, 0o600);
    allow("mine");
    let text = format!("policy = {policy:?}\ntokens = {tokens:?}\n");
    for (wrong, text) in [
        ("bob.token", text.clone()),
        (
            "services.toml",
            format!("policy = {policy:?}\nactivation = {services:?}\n"),
        ),
    ] {
        // Readable for others, and without a word of what it is to describe.
        private(&token, 0o644);
        std::fs::write(&settings, &text).unwrap();
        broker.process.signal(Signal::HUP);
        let line = broker.process.wait_for_error_line("not reloaded");
        assert!(line.contains(wrong), "{line}");
        let line = broker.process.error_line();
        assert!(line.contains("everything stays as it was"), "{line}");
        let mut raw = Raw::connect(&broker.socket());
        assert_eq!(raw.register("other").kind, Kind::Done, "there is no policy yet");
    }
    private(&token, 0o600);
    std::fs::write(&settings, text).unwrap();
    broker.process.signal(Signal::HUP);
    broker.process.wait_for_error_line("the policy was read again");
    denied(&Raw::connect(&broker.socket()).register("other"));
}
