//! What a monitor is given: by its filter, its rate and its queue.

use super::*;
use crate::message::{Encoding, Origin, Ticket};

fn said<'a>(what: What<'a>, object: &'a str, member: &'a str) -> Said<'a> {
    Said {
        what,
        from: Some(PeerId(7)),
        to: Some(PeerId(8)),
        object,
        member,
        meta: &[],
        payload: (Encoding::JSON, b"[]"),
        total: 2,
        pieces: false,
        attachments: 0,
    }
}

const CALL: What<'static> = What::Call {
    ticket: Ticket(1),
    one_way: false,
    stream: false,
    items: false,
    deadline_ms: 0,
};
const EVENT: What<'static> = What::Event {
    subscribers: 1,
    retain: false,
    error: None,
};

fn filter(json: &str) -> Filter {
    serde_json::from_str(json).unwrap()
}

fn seen(json: &str, offered: &[Said<'_>]) -> usize {
    let tap = Tap::new();
    let monitor = tap.watch(filter(json), Watcher::Operator).unwrap();
    monitor.knows([PeerId(8)]);
    offered.iter().for_each(|said| tap.offer(said));
    let (records, dropped) = monitor.drain(Duration::ZERO);
    assert_eq!(dropped, 0, "{json}");
    records.len()
}

#[test]
fn each_condition_selects() {
    let all = [
        said(CALL, "math", "add"),
        said(EVENT, "sensor.1", "add"),
        said(EVENT, "sensor.2", "x"),
    ];
    for (json, count) in [
        ("{}", 3),
        (r#"{"kinds":["event"]}"#, 2),
        (r#"{"kinds":[]}"#, 0),
        (r#"{"object":"sensor.*"}"#, 2),
        (r#"{"member":"add"}"#, 2),
        (r#"{"object":"sensor.*","member":"add"}"#, 1),
        (r#"{"peer":7}"#, 3),
        (r#"{"peer":9}"#, 0),
        (r#"{"pid":12}"#, 3),
    ] {
        assert_eq!(seen(json, &all), count, "{json}");
    }
}

#[test]
fn a_monitor_does_not_hear_itself() {
    let reply = |last, object| Said {
        from: Some(PeerId::BROKER),
        ..said(
            What::Reply {
                ticket: Ticket(1),
                last,
                us: None,
                error: None,
            },
            object,
            "",
        )
    };
    assert_eq!(seen("{}", &[reply(false, TELLS)]), 0);
    assert_eq!(seen("{}", &[reply(true, TELLS), reply(false, "math")]), 2);
}

#[test]
fn filters_that_are_none_are_refused() {
    let tap = Tap::new();
    let refused = |json: &str| {
        tap.watch(filter(json), Watcher::Operator)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(r#"{"rate":0}"#), "rate is a number from 1 to 1000000");
    assert!(refused(r#"{"object":""}"#).starts_with("object: "));
    assert!(refused(r#"{"payloads":1048577}"#).starts_with("payloads"));
    assert!(serde_json::from_str::<Filter>(r#"{"objekt":"x"}"#).is_err());
    assert!(!tap.is_on());
}

#[test]
fn what_exceeds_the_rate_is_dropped_and_counted() {
    let tap = Tap::new();
    let monitor = tap.watch(filter(r#"{"rate":10}"#), Watcher::Operator).unwrap();
    let offer = |count| (0..count).for_each(|_| tap.offer(&said(CALL, "math", "add")));
    offer(15);
    let (records, dropped) = monitor.drain(Duration::from_millis(500));
    assert_eq!((records.len(), dropped), (10, 5));
    offer(15);
    let (records, dropped) = monitor.drain(Duration::from_secs(9));
    assert_eq!((records.len(), dropped), (5, 10), "half a second has earned five");
    offer(15);
    let (records, dropped) = monitor.drain(Duration::ZERO);
    assert_eq!(
        (records.len(), dropped),
        (10, 5),
        "never more than those of a second"
    );
}

#[test]
fn a_low_rate_is_earned_over_many_drains() {
    let tap = Tap::new();
    let monitor = tap.watch(filter(r#"{"rate":1}"#), Watcher::Operator).unwrap();
    let seen: usize = (0..150)
        .map(|_| {
            tap.offer(&said(CALL, "math", "add"));
            monitor.drain(Duration::from_millis(20)).0.len()
        })
        .sum();
    assert_eq!(
        seen, 3,
        "one at once, and one a second in three seconds but for the end of the last"
    );
}

#[test]
fn what_exceeds_the_queue_is_dropped_and_counted() {
    let tap = Tap::new();
    let monitor = tap
        .watch(filter(r#"{"payloads":1048576,"rate":100}"#), Watcher::Operator)
        .unwrap();
    let large = vec![b'x'; 1 << 20];
    let event = Said {
        payload: (Encoding::RAW, &large),
        total: large.len(),
        ..said(EVENT, "a", "b")
    };
    (0..9).for_each(|_| tap.offer(&event));
    let (records, dropped) = monitor.drain(Duration::ZERO);
    assert_eq!((records.len(), dropped), (4, 5));
}

#[test]
fn so_many_monitors_and_no_more() {
    let tap = Tap::new();
    let watch = || tap.watch(Filter::default(), Watcher::Operator);
    let all: Vec<_> = (0..MONITORS_MAX).map(|_| watch().unwrap()).collect();
    assert_eq!(watch().unwrap_err(), FilterError::Full(MONITORS_MAX, ""));
    tap.leave(&all[0]);
    watch().unwrap();
    all.iter().for_each(|monitor| tap.leave(monitor));
    assert_eq!(tap.watching(), 1);
}

#[test]
fn nobody_else_takes_the_operators_places() {
    let tap = Tap::new();
    let watch = |who| tap.watch(Filter::default(), who);
    let user = |uid| Watcher::User(Some(uid));
    for _ in 0..OF_ONE_MAX {
        watch(user(1)).unwrap();
    }
    let error = watch(user(1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "3 monitors are at work already for this user; end one of them"
    );
    for uid in 2..5 {
        watch(user(uid)).unwrap();
    }
    assert!(matches!(
        watch(user(9)).unwrap_err(),
        FilterError::Full(OTHERS_MAX, _)
    ));
    watch(Watcher::Operator).unwrap();
    watch(Watcher::Operator).unwrap();
    assert_eq!(
        watch(Watcher::Operator).unwrap_err(),
        FilterError::Full(MONITORS_MAX, "")
    );
}

#[test]
fn a_process_is_known_by_the_connections_it_makes_later() {
    let tap = Tap::new();
    let monitor = tap.watch(filter(r#"{"pid":12}"#), Watcher::Operator).unwrap();
    let who = Origin {
        peer: PeerId(8),
        uid: 1,
        pid: 12,
    };
    tap.offer(&said(CALL, "math", "add"));
    tap.offer(&Said::presence(Presence::Connected, who, "", ("", "", false)));
    tap.offer(&said(CALL, "math", "add"));
    tap.offer(&Said::presence(Presence::Disconnected, who, "", ("", "", false)));
    tap.offer(&said(CALL, "math", "add"));
    assert_eq!(monitor.drain(Duration::ZERO).0.len(), 3);
}
