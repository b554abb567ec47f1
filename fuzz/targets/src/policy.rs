//! Policies: text that is read as a whole or refused, and decisions, against each rule alone.
//!
//! "What no rule allows is denied, and what any rule denies is denied whatever others allow; their order means
//! nothing" (`docs/policy.md`): so a policy must decide as its rules do, each as a policy of its own.

use crate::input::Input;
use actix_ipc::policy::{Policy, Principal, Right, Users, parse};

/// Pieces of rules: whom they are about.
const WHO: &[&str] = &[
    "everyone = true",
    "uid = 0",
    "uid = [1000, 1001]",
    "user = \"alice\"",
    "group = \"wheel\"",
    "gid = [20, 30]",
    "group = [\"wheel\", \"sensors\"]",
    "name = \"a@example.org\"",
    "sid = \"S-1-5-21-1-2-3-1001\"",
    "user = \"nobody-here\"",
    "uid = -1",
    "everyone = false",
    "uid = []",
];
/// About nobody who asks; beside it a rule that only denies is a policy.
const HARMLESS: &str = "[[allow]]\nname = \"z\"\nconnect = true\n";
/// What they say.
const WHAT: &[&str] = &[
    "connect = true",
    "monitor = true",
    "own = \"a.**\"",
    "call = \"**\"",
    "call = { object = \"a.*\", method = \"stop\" }",
    "publish = [\"a.b\", \"b\"]",
    "subscribe = { object = \"*\", event = \"e.**\" }",
    "call = [\"a\", { object = \"**\", method = \"m\" }]",
    "own = \"*a\"",
    "own = 3",
    "connect = false",
    "call = { method = \"m\" }",
    "unknown = 1",
    "\"\\u001b[2J\" = 1",
    "own = \"\\u0007\"",
];
const NAMES: &[&str] = &["a", "b", "a.b", "a.b.c", "sys.broker", "rob"];
const MEMBERS: &[&str] = &["", "stop", "m", "e", "e.x"];

struct People;

impl Users for People {
    fn uid(&self, name: &str) -> Option<u32> {
        [("root", 0), ("alice", 1000)]
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, uid)| *uid)
    }

    fn gid(&self, name: &str) -> Option<u32> {
        [("wheel", 10), ("sensors", 20)]
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, gid)| *gid)
    }
}

/// Input: rules, then questions.
pub(crate) fn policies(data: &[u8]) {
    let mut input = Input::new(data);
    let rules: Vec<String> = (0..1 + input.below(4)).map(|_| rule(&mut input)).collect();
    let whole = read(&rules.concat());
    let alone: Vec<Option<Policy>> = rules
        .iter()
        .map(|rule| read(&format!("{HARMLESS}{rule}")))
        .collect();
    let backwards: String = rules.iter().rev().cloned().collect();
    let Some(whole) = whole else {
        assert_eq!(read(&backwards), None, "the order means nothing");
        return;
    };
    let alone: Vec<Policy> = alone
        .into_iter()
        .map(|policy| policy.expect("a part of what is right"))
        .collect();
    let backwards = read(&backwards).expect("the order means nothing");
    assert_eq!(whole.rules().len(), rules.len());
    while !input.is_empty() {
        let who = principal(&mut input);
        let right = input.pick(&Right::ALL);
        let (object, member) = (input.pick(NAMES), input.pick(MEMBERS));
        let decision = whole.decide(&who, right, object, member);
        let each: Vec<_> = alone
            .iter()
            .map(|policy| policy.decide(&who, right, object, member))
            .collect();
        let denied = each.iter().any(|one| one.rule.is_some() && !one.allowed);
        let allowed = each.iter().any(|one| one.allowed) && !denied;
        assert_eq!(
            decision.allowed, allowed,
            "{who:?} {right} {object} {member}: {rules:?}"
        );
        assert_eq!(
            backwards.decide(&who, right, object, member).allowed,
            allowed,
            "the order means nothing"
        );
        assert!(
            !Policy::default().decide(&who, right, object, member).allowed,
            "no rule, no right"
        );
    }
}

/// Reads it twice: the same policy, or the same complaints, of which none can drive a terminal.
fn read(text: &str) -> Option<Policy> {
    let first = parse(text, &People);
    assert_eq!(first, parse(text, &People));
    match first {
        Ok(policy) => {
            assert!(!policy.rules().is_empty(), "a policy without rules is a mistake");
            Some(policy)
        }
        Err(faults) => {
            assert!(!faults.0.is_empty());
            let shown = faults.to_string();
            let driving = shown
                .chars()
                .find(|letter| letter.is_control() && *letter != '\n');
            assert_eq!(driving, None, "{shown:?}");
            None
        }
    }
}

fn rule(input: &mut Input<'_>) -> String {
    let mut text = input.pick(&["[[allow]]\n", "[[deny]]\n"]).to_owned();
    if input.byte() > 245 {
        let count = input.below(40);
        text.push_str(&String::from_utf8_lossy(input.bytes(count)));
        return text;
    }
    // Mostly right ones: the first eight of each list are.
    let few = input.byte() < 220;
    let (who, what) = if few { (&WHO[..8], &WHAT[..8]) } else { (WHO, WHAT) };
    for piece in [input.pick(who), input.pick(what)] {
        text.push_str(piece);
        text.push('\n');
    }
    text
}

fn principal(input: &mut Input<'_>) -> Principal {
    let groups: [Option<&[u32]>; 4] = [None, Some(&[]), Some(&[10]), Some(&[20, 30])];
    Principal {
        uid: input.pick(&[None, Some(0), Some(1000), Some(7)]),
        sid: input
            .pick(&[None, None, Some("S-1-5-21-1-2-3-1001")])
            .map(Into::into),
        gids: input.pick(&groups).map(Into::into),
        name: input
            .pick(&[None, Some("a@example.org"), Some("b")])
            .map(Into::into),
        local: false,
    }
}
