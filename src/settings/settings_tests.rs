//! Precedence of the layers, origins, and every complaint.

use super::*;
use std::path::Path;

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn origin_of(settings: &Settings, key: &str) -> String {
    settings
        .entries()
        .iter()
        .find(|entry| entry.key == key)
        .unwrap()
        .origin
        .clone()
}

fn complaints(sources: &Sources) -> Vec<String> {
    Settings::load(sources)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn defaults_are_those_of_the_config_module() {
    let settings = Settings::load(&Sources::default()).unwrap();
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(
        (settings.arbiters, settings.log.as_str(), settings.listen.len()),
        (0, "info", 0)
    );
    assert!(settings.entries().iter().all(|entry| entry.origin == "default"));
    let keys = serde_json::to_value(Limits::default())
        .unwrap()
        .as_object()
        .unwrap()
        .len();
    assert_eq!(settings.entries().len(), keys + 20);
}

#[test]
fn each_layer_wins_over_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let system = write(
        folder.path(),
        "system.toml",
        "log = \"error\"\narbiters = 1\n[limits]\nnames = 1\nhold_ms = 1\n",
    );
    let user = write(
        folder.path(),
        "user.toml",
        "log = \"warn\"\narbiters = 2\n[limits]\nnames = 2\nwatches = 2\n",
    );
    let asked = write(
        folder.path(),
        "asked.toml",
        "log = \"trace\"\narbiters = 3\nlisten = [\"tcp:127.0.0.1:1\"]\n",
    );
    let sources = Sources {
        usual_files: vec![system.clone(), folder.path().join("missing.toml"), user.clone()],
        ignored: Vec::new(),
        file: Some(asked.clone()),
        environment: variables(&[
            ("IPC_BROKER_LOG", "warn"),
            ("IPC_BROKER_ARBITERS", "4"),
            ("IPC_BROKER_LIMITS__WATCHES", "4"),
            ("IPC_BROKER_ADDR", "unix:/the/clients/business"),
            ("IPC_BROKER_CONFIG", "/read/already"),
            ("UNRELATED", "x"),
        ]),
        flags: Flags {
            log: Some("debug".into()),
            ..Flags::default()
        },
    };
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(
        (settings.log.as_str(), origin_of(&settings, "log").as_str()),
        ("debug", "--log")
    );
    assert_eq!(
        (settings.arbiters, origin_of(&settings, "arbiters").as_str()),
        (4, "IPC_BROKER_ARBITERS")
    );
    assert_eq!(settings.limits.watches, 4);
    assert_eq!(
        origin_of(&settings, "limits.watches"),
        "IPC_BROKER_LIMITS__WATCHES"
    );
    assert_eq!(
        (settings.limits.names, origin_of(&settings, "limits.names")),
        (2, user.display().to_string())
    );
    assert_eq!(
        (settings.limits.hold_ms, origin_of(&settings, "limits.hold_ms")),
        (1, system.display().to_string())
    );
    assert_eq!(settings.listen, [Endpoint::Tcp("127.0.0.1:1".into())]);
    assert_eq!(origin_of(&settings, "listen"), asked.display().to_string());
    assert_eq!(origin_of(&settings, "limits.frame_bytes"), "default");
}

#[test]
fn what_show_prints_is_a_file_that_can_be_loaded() {
    let sources = Sources {
        environment: variables(&[("IPC_BROKER_LISTEN", "unix:/tmp/a \"b\".sock, tcp:[::1]:7")]),
        ..Sources::default()
    };
    let first = Settings::load(&sources).unwrap();
    assert_eq!(
        first.listen,
        [
            Endpoint::Unix("/tmp/a \"b\".sock".into()),
            Endpoint::Tcp("[::1]:7".into())
        ]
    );
    let text: String = first
        .entries()
        .iter()
        .map(|entry| format!("{} = {}\n", entry.key, entry.value))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "shown.toml", &text);
    let second = Settings::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(
        (second.listen, second.limits, second.log),
        (first.listen, first.limits, first.log)
    );
}

#[test]
fn every_problem_of_a_file_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = "lsiten = []\narbiters = \"two\"\nlog = 5\noutbox_bytes = 1\n[limits]\noutbox_byte = 1\nnames = -1\nhold_ms = 5000000000\n[limit]\n";
    let file = write(folder.path(), "bad.toml", text);
    let name = file.display();
    let expected = [
        format!("{name}: arbiters: wants a whole number from 0 to 1024, not \"two\""),
        format!("{name}: limit: unknown key; did you mean limits?"),
        format!("{name}: log: wants a string, not 5"),
        format!("{name}: lsiten: unknown key; did you mean listen?"),
        format!("{name}: outbox_bytes: unknown key; did you mean limits.outbox_bytes?"),
        format!("{name}: limits.hold_ms: wants a whole number from 0 to 4294967295, not 5000000000"),
        format!(
            "{name}: limits.names: wants a whole number from 0 to {}, not -1",
            usize::MAX
        ),
        format!("{name}: limits.outbox_byte: unknown key; did you mean limits.outbox_bytes?"),
    ];
    assert_eq!(
        complaints(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        }),
        expected
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let text = complaints(&Sources {
        file: Some(missing.clone()),
        ..Sources::default()
    })
    .join("\n");
    assert!(
        text.starts_with(&format!("{}: the file cannot be read: ", missing.display())),
        "{text}"
    );
    let broken = write(folder.path(), "broken.toml", "log = info\n");
    let text = complaints(&Sources {
        file: Some(broken.clone()),
        ..Sources::default()
    })
    .join("\n");
    assert!(
        text.starts_with(&format!("{}: the file is not TOML: ", broken.display())),
        "{text}"
    );
    assert!(text.contains("line 1"), "{text}");
    let table = write(folder.path(), "table.toml", "limits = 5\nlisten = \"unix:/x\"\n");
    let expected = [
        format!(
            "{}: limits: is a table; write [limits] and its keys below",
            table.display()
        ),
        format!(
            "{}: listen: wants a list, as in listen = [\"unix:/tmp/ipc_broker.sock\"], not \"unix:/x\"",
            table.display()
        ),
    ];
    assert_eq!(
        complaints(&Sources {
            file: Some(table),
            ..Sources::default()
        }),
        expected
    );
}

#[test]
fn variables_are_checked_too() {
    let table = [
        (
            "IPC_BROKER_LISTN",
            "x",
            "IPC_BROKER_LISTN: unknown variable; did you mean IPC_BROKER_LISTEN?",
        ),
        (
            "IPC_BROKER_LIMITS__OUTBOX",
            "1",
            "IPC_BROKER_LIMITS__OUTBOX: unknown variable; did you mean IPC_BROKER_LIMITS__OUTBOX_BYTES?",
        ),
        (
            "IPC_BROKER_ARBITERS",
            "many",
            "IPC_BROKER_ARBITERS: wants a whole number from 0 to 1024, not \"many\"",
        ),
        (
            "IPC_BROKER_SYSTEMCTL",
            "systemctl",
            "IPC_BROKER_SYSTEMCTL: \"systemctl\" is no whole path; write one as in /usr/bin/systemctl",
        ),
        (
            "IPC_BROKER_LISTEN",
            "tmp/b.sock",
            "IPC_BROKER_LISTEN: `tmp/b.sock` is not an endpoint: there is no transport before a colon; write unix:/path, tcp:host:port, tls:host:port, pipe:name or mem:name",
        ),
    ];
    for (name, value, expected) in table {
        let sources = Sources {
            environment: variables(&[(name, value)]),
            ..Sources::default()
        };
        assert_eq!(complaints(&sources), [expected]);
    }
}

#[test]
fn values_that_contradict_each_other_are_named_with_their_origin() {
    let sources = Sources {
        environment: variables(&[
            ("IPC_BROKER_LIMITS__FRAME_BYTES", "300000000"),
            ("IPC_BROKER_LIMITS__MAX_DEADLINE_MS", "10"),
            ("IPC_BROKER_LIMITS__STREAM_WINDOW", "0"),
        ]),
        flags: Flags {
            listen: vec!["mem:x".into(), "unix:/a".into(), "unix:/a".into()],
            arbiters: Some(5_000),
            log: Some("a=b=c".into()),
            ..Flags::default()
        },
        ..Sources::default()
    };
    let found = complaints(&sources);
    let expected = [
        "--listen: mem:x: mem: is for brokers inside a program; nobody could reach it here",
        "--listen: unix:/a is there twice",
        "--arbiters: at most 1024 (each is a thread), not 5000",
        "--log: \"a=b=c\" is no log filter (",
        "IPC_BROKER_LIMITS__STREAM_WINDOW: must be above 0",
        "IPC_BROKER_LIMITS__MAX_DEADLINE_MS: 10 is less than limits.default_deadline_ms 30000",
        "IPC_BROKER_LIMITS__FRAME_BYTES: 300000000 is more than limits.message_bytes 268435456",
        "IPC_BROKER_LIMITS__FRAME_BYTES: 300000000 is more than one process alone gets of limits.memory_bytes_total, 67108864",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "nasty.toml", "\"a\\u001b[2Jb\" = 1\n");
    let text = complaints(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .join("\n");
    assert!(text.contains("a\\u{1b}[2Jb: unknown key"), "{text}");
}

#[test]
fn a_broker_for_several_users_has_a_socket_of_its_own_and_needs_a_policy() {
    let flags = |system, policy: Option<&str>| Sources {
        flags: Flags {
            system,
            policy: policy.map(PathBuf::from),
            ..Flags::default()
        },
        ..Sources::default()
    };
    let own = Settings::load(&flags(false, None)).unwrap();
    assert_eq!(
        (own.socket, own.policy, own.system),
        (UnixOptions::default(), None, false)
    );
    let policy =
        "--system: a broker for several users needs a policy; add --policy FILE, or the key `policy`";
    let Some(endpoint) = system_endpoint() else {
        let place = "--system: here a broker for several users listens only where it is told to; add --listen tcp:127.0.0.1:PORT";
        assert_eq!(complaints(&flags(true, None)), [policy, place]);
        assert_eq!(complaints(&flags(true, Some("/p.toml"))), [place]);
        return;
    };
    assert_eq!(complaints(&flags(true, None)), [policy]);
    let settings = Settings::load(&flags(true, Some("/p.toml"))).unwrap();
    assert_eq!(settings.listen, [endpoint]);
    assert_eq!(settings.policy, Some(PathBuf::from("/p.toml")));
    assert_eq!((settings.socket.mode, settings.socket.own_folder), (0o660, true));
    assert_eq!(origin_of(&settings, "policy"), "--policy");
    let listen = settings
        .entries()
        .iter()
        .find(|entry| entry.key == "listen")
        .unwrap();
    assert_eq!(listen.value, r#"["unix:/run/ipc-broker/ipc_broker.sock"]"#);
}

#[test]
fn the_sockets_mode_and_group_are_checked() {
    let load = |mode: &str, group: &str, policy: &str| {
        let environment = variables(&[
            ("IPC_BROKER_SOCKET__MODE", mode),
            ("IPC_BROKER_SOCKET__GROUP", group),
            ("IPC_BROKER_POLICY", policy),
        ]);
        Settings::load(&Sources {
            environment,
            ..Sources::default()
        })
    };
    for (mode, group, expected) in [
        ("0660", "1234", (0o660, Some(1234))),
        ("640", "", (0o640, None)),
        ("", "7", (0o600, Some(7))),
        ("0666", "", (0o666, None)),
    ] {
        let socket = load(mode, group, "p").unwrap().socket;
        assert_eq!((socket.mode, socket.gid), expected, "{mode:?} {group:?}");
        assert!(socket.own_folder);
    }
    let table = [
        ("0999", "", "p", "IPC_BROKER_SOCKET__MODE: \"0999\" is no mode"),
        ("1777", "", "p", "IPC_BROKER_SOCKET__MODE: \"1777\" is no mode"),
        (
            "0060",
            "",
            "p",
            "IPC_BROKER_SOCKET__MODE: 0060 keeps the broker's own user out",
        ),
        (
            "",
            "no-such-group",
            "p",
            "IPC_BROKER_SOCKET__GROUP: there is no group \"no-such-group\"",
        ),
        (
            "0660",
            "",
            "",
            "IPC_BROKER_SOCKET__MODE: without a policy other users are refused",
        ),
    ];
    for (mode, group, policy, said) in table {
        let problems = load(mode, group, policy).unwrap_err().to_string();
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_file_is_said_with_its_path_and_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "policy.toml",
        "[[allow]]\nuid = 1\nconect = true\nown = \"*x\"\n",
    );
    let said = load_policy(&path).unwrap_err().to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with(&format!("{}: line 3: unknown key", path.display())),
        "{said}"
    );
    assert!(
        lines[1].starts_with(&format!("{}: line 4: own", path.display())),
        "{said}"
    );
    let missing = load_policy(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: the policy cannot be read"), "{missing}");
    let good = write(folder.path(), "good.toml", "[[allow]]\nuid = 1\nconnect = true\n");
    assert_eq!(load_policy(&good).unwrap().rules().len(), 1);
}

#[test]
fn control_characters_of_a_value_do_not_either() {
    let flags = Flags {
        listen: vec!["\u{7}\u{1b}[2J".into()],
        ..Flags::default()
    };
    let problems = Settings::load(&Sources {
        flags,
        ..Sources::default()
    })
    .unwrap_err()
    .to_string();
    assert!(
        problems.contains("`\\u{7}\\u{1b}[2J` is not an endpoint"),
        "{problems}"
    );
}

#[test]
fn a_word_that_is_no_level_is_no_filter() {
    let load = |filter: &str| {
        Settings::load(&Sources {
            flags: Flags {
                log: Some(filter.into()),
                ..Flags::default()
            },
            ..Sources::default()
        })
    };
    for good in [
        "warn",
        "WARN",
        "off",
        "actix_ipc",
        "actix_ipc::actors",
        "info,ipc_broker",
        "warn,tokio=debug",
        "[span{a=1}]=trace,info",
        "",
    ] {
        assert!(load(good).is_ok(), "{good:?}: {:?}", load(good));
    }
    for (wrong, word) in [
        ("wran", "\"wran\""),
        ("info,wran", "\"wran\""),
        ("actix_icp", "\"actix_icp\""),
    ] {
        let said = load(wrong).unwrap_err().to_string();
        assert!(said.contains("--log: ") && said.contains(word), "{said}");
        assert!(said.contains("error, warn, info, debug, trace, off"), "{said}");
    }
    assert!(
        load("wran")
            .unwrap_err()
            .to_string()
            .contains("did you mean warn?")
    );
}
