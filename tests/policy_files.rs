//! Policy files: a corpus of wrong ones with what must be said of each, those of the documentation, which must be right, and the commands
//! that check and ask them without a broker.
//!
//! A wrong file says in its first line, behind `# expect:`, which texts the complaint has; ` && ` lies between them.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

mod support;

use actix_ipc::policy::{Policy, Principal, Right, Users, parse};
use std::path::Path;
use support::{broker_command, run};

/// Users and groups of no real system.
struct People;

impl Users for People {
    fn uid(&self, name: &str) -> Option<u32> {
        [("root", 0), ("alice", 1000), ("bob", 1001)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, uid)| uid)
    }

    fn gid(&self, name: &str) -> Option<u32> {
        [("wheel", 10), ("sensors", 20)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, gid)| gid)
    }
}

/// As Windows has it.
struct Sids;

impl Users for Sids {
    fn uid(&self, _: &str) -> Option<u32> {
        None
    }

    fn gid(&self, _: &str) -> Option<u32> {
        None
    }

    fn are_sids(&self) -> bool {
        true
    }
}

fn corpus(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/policies")
        .join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .map(|path| {
            (
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_wrong_file_is_refused_with_line_reason_and_mend() {
    let files = corpus("invalid");
    assert!(files.len() >= 50, "{} files", files.len());
    for (path, text) in files {
        let first = text.lines().next().unwrap();
        let expected = first
            .strip_prefix("# expect: ")
            .unwrap_or_else(|| panic!("{path} says nothing"));
        let said = parse(&text, &People).expect_err(&path).to_string();
        for part in expected.split(" && ") {
            assert!(said.contains(part), "{path}\nexpected: {part}\nsaid: {said}");
        }
    }
}

#[test]
fn under_windows_users_are_sids_and_names_are_not_looked_up() {
    let of = |who: &str| parse(&format!("[[allow]]\n{who}\nconnect = true\n"), &Sids);
    let policy = of("sid = [\"s-1-5-18\", \"S-1-5-21-1-2-3-1001\"]").unwrap();
    let known = |sid: &str| Principal {
        sid: Some(sid.into()),
        ..Principal::default()
    };
    for (sid, allowed) in [
        ("S-1-5-18", true),
        ("S-1-5-21-1-2-3-1001", true),
        ("S-1-5-21-1-2-4-1001", false),
    ] {
        let decision = policy.decide(&known(sid), Right::Connect, "", "");
        assert_eq!(decision.allowed, allowed, "{sid}");
    }
    for (who, said) in [
        (
            "sid = \"ada\"",
            "line 2: sid \"ada\" is none; `whoami /user` shows one",
        ),
        ("sid = 18", "line 2: sid wants a string"),
        (
            "user = \"ada\"",
            "line 2: user \"ada\": names of users are not looked up under Windows; write sid",
        ),
        (
            "group = \"users\"",
            "line 2: group \"users\": groups are not known under Windows",
        ),
        ("sid = [\"S-1-5-18\", \"S-1-05-18\"]", "is said already"),
    ] {
        let complaint = of(who).unwrap_err().to_string();
        assert!(complaint.contains(said), "{who}: {complaint}");
    }
    of("uid = 1001").unwrap();
}

#[test]
fn nothing_at_all_is_no_policy() {
    for text in ["", " ", "\n", "# a comment", "\u{feff}"] {
        let said = parse(text, &People).unwrap_err().to_string();
        assert!(said.contains("the policy has no rules"), "{text:?}: {said}");
    }
}

/// Every beginning of a good file either is a good file of fewer rules, or is refused; it never gives a right that the whole
/// does not give.
#[test]
fn a_file_that_is_cut_off_gives_no_more_than_the_whole() {
    let whole = "[[allow]]\nuid = 1000\nconnect = true\nown = \"com.alice.**\"\n[[allow]]\neveryone = true\nconnect = true\ncall = [\"com.alice.public\"]\n";
    let all = parse(whole, &People).unwrap();
    let mut good = 0;
    for end in 0..whole.len() {
        let Ok(part) = parse(&whole[..end], &People) else {
            continue;
        };
        good += 1;
        for uid in [0, 100, 1000] {
            for right in Right::ALL {
                for object in ["com.alice.public", "com.alice.x", "com", "x"] {
                    let may =
                        |policy: &Policy| policy.decide(&Principal::of_uid(uid), right, object, "m").allowed;
                    assert!(
                        !may(&part) || may(&all),
                        "{uid} {right} {object} with the first {end} bytes"
                    );
                }
            }
        }
    }
    assert!(good > 0);
}

/// The TOML blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let after_fence = text.split("```toml\n").skip(1);
    after_fence
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_examples_of_the_documentation_are_policies() {
    let examples = blocks("docs/policy.md");
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        if let Err(faults) = parse(&example, &People) {
            panic!("{example}\n{faults}");
        }
    }
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
        ("--user root connect", "--uid NUMBER or --sid SID"),
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
