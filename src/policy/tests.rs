//! Decisions against tables and a naive model, and what peers are told.

use super::rule::{Rule, Selection, Verdict, Who};
use super::*;
use crate::message::key::join;
use std::sync::Arc;

fn user(uid: u32, gids: &[u32]) -> Principal {
    Principal {
        uid: Some(uid),
        gids: Some(gids.into()),
        ..Principal::default()
    }
}

const ADA: &str = "S-1-5-21-1-2-3-1001";
const BOB: &str = "S-1-5-21-4-5-6-1001";

fn windows(uid: Option<u32>, sid: &str) -> Principal {
    Principal {
        uid,
        sid: Some(sid.into()),
        ..Principal::default()
    }
}

fn named(name: &str) -> Principal {
    Principal {
        name: Some(name.into()),
        ..Principal::default()
    }
}

fn select(object: &str) -> Selection {
    Selection::object(object).unwrap()
}

#[test]
fn whom_a_rule_is_about() {
    let unknown_groups = Principal::of_uid(7);
    let stranger = Principal::default();
    // Rule, peer, about it when it allows, about it when it denies.
    let table = [
        (Who::Uid(7), user(7, &[1]), true, true),
        (Who::Uid(7), user(8, &[1]), false, false),
        (Who::Uid(7), named("x"), false, false),
        (Who::Uid(7), stranger.clone(), false, true),
        (Who::Gid(1), user(7, &[3, 1]), true, true),
        (Who::Gid(1), user(7, &[]), false, false),
        (Who::Gid(1), unknown_groups, false, true),
        (Who::Gid(1), named("x"), false, false),
        (Who::Gid(1), stranger.clone(), false, true),
        (Who::Name("x".into()), named("x"), true, true),
        (Who::Name("x".into()), named("xy"), false, false),
        (Who::Name("x".into()), user(7, &[]), false, false),
        (Who::Name("x".into()), stranger.clone(), false, true),
        (Who::Sid(ADA.into()), windows(None, ADA), true, true),
        (Who::Sid(ADA.into()), windows(None, BOB), false, false),
        (Who::Sid(ADA.into()), user(7, &[]), false, true),
        (Who::Sid(ADA.into()), named("x"), false, false),
        (Who::Sid(ADA.into()), stranger.clone(), false, true),
        // Whose number others may have has none here.
        (Who::Uid(1001), windows(None, ADA), false, false),
        (Who::Uid(1001), windows(Some(1001), ADA), true, true),
        (Who::Gid(1), windows(None, ADA), false, true),
        (Who::Everyone, windows(None, ADA), true, true),
        (Who::Everyone, user(7, &[]), true, true),
        (Who::Everyone, named("x"), true, true),
        (Who::Everyone, stranger, true, true),
    ];
    for (who, peer, allowed, denied) in table {
        assert_eq!(who.is_about(&peer, Verdict::Allow), allowed, "allow {who} {peer}");
        assert_eq!(who.is_about(&peer, Verdict::Deny), denied, "deny {who} {peer}");
    }
}

#[test]
fn nothing_is_allowed_by_default_and_deny_wins_in_any_order() {
    let allow = Rule::allow([Who::Uid(7)])
        .plain(Right::Connect)
        .named(Right::Own, select("a.**"));
    let deny = Rule::deny([Who::Everyone]).named(Right::Own, select("a.secret"));
    for rules in [[allow.clone(), deny.clone()], [deny, allow]] {
        let policy = Policy::new(rules.into());
        let table = [
            (Right::Connect, "", true),
            (Right::Own, "a.b", true),
            (Right::Own, "a.secret", false),
            (Right::Own, "b", false),
            (Right::Call, "a.b", false),
            (Right::Publish, "a.b", false),
            (Right::Subscribe, "a.b", false),
            (Right::Monitor, "", false),
        ];
        for (right, object, allowed) in table {
            assert_eq!(
                policy.decide(&user(7, &[]), right, object, "").allowed,
                allowed,
                "{right} {object}"
            );
            assert!(
                !policy.decide(&user(8, &[]), right, object, "").allowed,
                "{right} {object}"
            );
            assert!(
                !policy.decide(&user(0, &[0]), right, object, "").allowed,
                "root {right} {object}"
            );
        }
    }
    let empty = Policy::default().decide(&user(0, &[0]), Right::Connect, "", "");
    assert_eq!(
        empty,
        Decision {
            allowed: false,
            rule: None
        }
    );
}

#[test]
fn members_are_selected_and_a_whole_object_is_more_than_some_of_them() {
    let some = select("math").member("add").unwrap();
    let policy = Policy::new(vec![
        Rule::allow([Who::Uid(7)]).named(Right::Call, some),
        Rule::allow([Who::Uid(8)]).named(Right::Call, select("math")),
        Rule::deny([Who::Uid(8)]).named(Right::Call, select("math").member("sub").unwrap()),
    ]);
    let table = [
        (7, "add", true),
        (7, "sub", false),
        (7, "", false),
        (8, "add", true),
        (8, "sub", false),
        (8, "", true),
    ];
    for (uid, method, allowed) in table {
        let decision = policy.decide(&user(uid, &[]), Right::Call, "math", method);
        assert_eq!(decision.allowed, allowed, "{uid} {method}");
    }
    let slot = Slot::new(Some(policy));
    for uid in [7, 8] {
        assert!(Rights::default().sees(&slot, &user(uid, &[]), "math"));
        assert!(!Rights::default().sees(&slot, &user(uid, &[]), "other"));
    }
    assert!(!Rights::default().sees(&slot, &user(9, &[]), "math"));
}

#[test]
fn the_brokers_own_names_are_for_those_who_monitor() {
    let everything = [Right::Own, Right::Call, Right::Publish, Right::Subscribe];
    let all = everything
        .iter()
        .fold(Rule::allow([Who::Uid(7), Who::Uid(8)]), |rule, right| {
            rule.named(*right, select("**"))
        });
    let policy = Policy::new(vec![all, Rule::allow([Who::Uid(8)]).plain(Right::Monitor)]);
    let table = [
        (Right::Own, "sys.broker", false, false),
        (Right::Publish, "sys.broker", false, false),
        (Right::Call, "sys.broker", false, true),
        (Right::Call, "rob", false, true),
        (Right::Subscribe, "sys.x", false, true),
        (Right::Call, "system", true, true),
    ];
    for (right, object, ordinary, monitor) in table {
        assert_eq!(
            policy.decide(&user(7, &[]), right, object, "m").allowed,
            ordinary,
            "{right} {object}"
        );
        assert_eq!(
            policy.decide(&user(8, &[]), right, object, "m").allowed,
            monitor,
            "{right} {object}"
        );
    }
    let slot = Slot::new(Some(policy));
    assert!(!Rights::default().sees(&slot, &user(7, &[]), "rob"));
    assert!(Rights::default().sees(&slot, &user(8, &[]), "sys.broker"));
    assert!(
        Rights::default().sees(&slot, &user(8, &[]), "anything"),
        "who monitors sees everything"
    );
}

/// All patterns of at most three levels over `a`, `b`, `*` and a last `**`.
fn patterns() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut beginnings = vec![String::new()];
    for _ in 0..3 {
        let mut longer = Vec::new();
        for start in &beginnings {
            all.push(format!("{start}**"));
            for level in ["a", "b", "*"] {
                all.push(format!("{start}{level}"));
                longer.push(format!("{start}{level}."));
            }
        }
        beginnings = longer;
    }
    all
}

/// All names of at most four levels over `a` and `b`.
fn concrete() -> Vec<String> {
    let mut all: Vec<String> = vec!["a".into(), "b".into()];
    let mut last = all.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|name| [format!("{name}.a"), format!("{name}.b")])
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// A matcher that shares nothing with the real one.
fn naive(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([level, pattern @ ..], [part, name @ ..]) if *level == "*" || level == part => naive(pattern, name),
        _ => false,
    }
}

#[test]
fn every_pair_of_patterns_of_three_levels_decides_as_the_model_does() {
    fn levels(text: &str) -> Vec<&str> {
        text.split('.').collect()
    }
    let (patterns, names) = (patterns(), concrete());
    assert_eq!((patterns.len(), names.len()), (52, 30));
    let peer = user(7, &[]);
    let mut allowed = 0;
    for allow in &patterns {
        for deny in &patterns {
            let policy = Policy::new(vec![
                Rule::allow([Who::Uid(7)]).named(Right::Subscribe, select(allow)),
                Rule::deny([Who::Uid(7)]).named(Right::Subscribe, select(deny)),
            ]);
            let slot = Slot::new(Some(policy.clone()));
            let mut rights = Rights::default();
            let mut overlap = false;
            for name in &names {
                let (gives, takes) = (
                    naive(&levels(allow), &levels(name)),
                    naive(&levels(deny), &levels(name)),
                );
                overlap |= gives && takes;
                let expected = gives && !takes;
                let decided = policy.decide(&peer, Right::Subscribe, name, "e").allowed;
                assert_eq!(decided, expected, "allow {allow} deny {deny} on {name}");
                // The memory gives the same answer, new and old.
                for _ in 0..2 {
                    let remembered = rights.may(&slot, &peer, Right::Subscribe, &join(name, "e"));
                    assert_eq!(remembered, expected, "allow {allow} deny {deny} on {name}");
                }
                allowed += usize::from(expected);
            }
            let found = select(allow).overlaps(&Pattern::new(deny).unwrap(), &Pattern::new("e").unwrap());
            assert_eq!(found, overlap, "{allow} and {deny}");
        }
    }
    assert!(allowed > 1_000, "the pairs must not be all denied: {allowed}");
}

#[test]
fn a_new_policy_is_seen_by_the_next_question_and_memory_is_bounded() {
    let slot = Slot::default();
    let (peer, mut rights) = (user(7, &[]), Rights::default());
    assert!(rights.may(&slot, &peer, Right::Own, b"x"), "without a policy");
    slot.set(Policy::default());
    assert!(!rights.may(&slot, &peer, Right::Own, b"x"));
    slot.set(Policy::new(vec![
        Rule::allow([Who::Uid(7)]).named(Right::Own, select("x")),
    ]));
    assert!(rights.may(&slot, &peer, Right::Own, b"x"));
    assert!(
        !rights.may(&slot, &peer, Right::Call, &join("x", "m")),
        "each right by itself"
    );
    for number in 0..10_000 {
        assert!(!rights.may(&slot, &peer, Right::Own, format!("n{number}").as_bytes()));
    }
    assert!(rights.remembered() <= 64);
    assert!(rights.may(&slot, &peer, Right::Own, b"x"));
    assert!(
        rights.may(&slot, &Principal::operator(), Right::Own, b"other"),
        "the operator"
    );
}

#[test]
fn what_is_set_by_another_thread_is_seen() {
    let slot = Arc::new(Slot::default());
    let setter = slot.clone();
    std::thread::spawn(move || setter.set(Policy::default()))
        .join()
        .unwrap();
    assert!(slot.is_set());
    assert!(!Rights::default().may(&slot, &user(0, &[]), Right::Connect, b""));
}

#[test]
fn a_denial_names_the_action_and_the_mend() {
    let peer = user(1000, &[]);
    let table = [
        (
            Right::Own,
            &b"x"[..],
            "policy: uid 1000 may not own \"x\"; the operator can add a rule [[allow]] with own to the broker's policy",
        ),
        (
            Right::Call,
            b"math\0add",
            "policy: uid 1000 may not call \"math\" \"add\"; the operator can add a rule [[allow]] with call to the broker's policy",
        ),
        (
            Right::Call,
            b"sys.broker\0status",
            "policy: uid 1000 may not monitor; the operator can add a rule [[allow]] with monitor to the broker's policy",
        ),
        (
            Right::Connect,
            b"",
            "policy: uid 1000 may not connect; the operator can add a rule [[allow]] with connect to the broker's policy",
        ),
    ];
    for (right, name, text) in table {
        assert_eq!(denial(&peer, right, name), text);
    }
}

#[test]
fn sids_are_written_in_one_way() {
    let longest = format!("S-1-5{}", "-4294967295".repeat(15));
    let table = [
        (ADA, Some(ADA)),
        ("s-1-5-018", Some("S-1-5-18")),
        ("S-1-281474976710655-0", Some("S-1-281474976710655-0")),
        (&longest, Some(&longest)),
        ("S-1-281474976710656-0", None),
        ("S-1-5-4294967296", None),
        ("S-1-5-+18", None),
        ("S-1-5--18", None),
        ("S-1-5-", None),
        ("S-1-5", None),
        ("S-2-5-18", None),
        ("S-1-5-18 ", None),
        ("SY", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(sid(text).as_deref(), expected, "{text:?}");
    }
    assert_eq!(sid(&format!("{longest}-1")), None);
}

#[test]
fn a_user_is_shown_by_the_shortest_that_is_known_of_it() {
    let table = [
        (windows(Some(1001), ADA), "uid 1001"),
        (windows(None, ADA), "sid S-1-5-21-1-2-3-1001"),
        (Principal::default(), "an unknown user"),
        (
            Principal {
                name: Some("lamp".into()),
                ..windows(None, ADA)
            },
            "lamp (sid S-1-5-21-1-2-3-1001)",
        ),
    ];
    for (who, text) in table {
        assert_eq!(who.to_string(), text);
        assert_eq!(who.is_known(), text != "an unknown user");
    }
}

#[test]
fn names_of_principals_have_an_alphabet_of_their_own() {
    for good in ["a", "spiffe://example.org/ns/x", "alice@example.org", "a.b-c_d+e"] {
        assert_eq!(check_name(good), Ok(good));
    }
    for (bad, wrong) in [
        ("#", '#'),
        ("+/*", '*'),
        ("a b", ' '),
        ("a\nb", '\n'),
        ("caf\u{e9}", '\u{e9}'),
        ("a\0", '\0'),
    ] {
        assert_eq!(check_name(bad), Err(NameError::Character(wrong)), "{bad:?}");
    }
    assert_eq!(check_name(""), Err(NameError::Length(0)));
    assert_eq!(check_name(&"a".repeat(256)), Err(NameError::Length(256)));
}
