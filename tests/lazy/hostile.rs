//! Clients that are slow, broken or hostile: each gets its own error, and nobody else notices.

use crate::{Answer, Bench, Command, PREFACE, frame};
use actix_ipc::lazy::{ClientError, Limits, client_send, client_send_within};
use std::time::Duration;

#[test]
fn what_is_wrong_is_told_to_its_sender_and_costs_nobody_else() {
    let mut bench = Bench::new(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    let too_large = [&PREFACE[..], &1_001_u32.to_le_bytes(), &[0]].concat();
    let not_a_command = [&PREFACE[..], &[1, 0, 0, 0, 0, 99]].concat();
    // Bytes, status, text, whether the connection goes on.
    let table: [(&[u8], u8, &str, bool); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", 5, "something else", false),
        (b"{\"object\":1}", 5, "something else", false),
        (b"aipcLZ\x00\x09", 5, "version 1", false),
        (
            &too_large,
            2,
            "1001 bytes, but this server takes at most 1000",
            false,
        ),
        (&not_a_command, 1, "not understood", true),
    ];
    for (bytes, status, text, goes_on) in table {
        let (mut bad, mut good) = (bench.raw(), bench.raw());
        bad.send(bytes);
        good.send(PREFACE);
        good.send(&frame(&Command::Echo("good".into())));
        assert_eq!(bench.poll(), 1 + usize::from(goes_on), "{bytes:?}");
        assert_eq!(good.done(), Answer::Text("good".into()));
        let (told, why) = bad.answer();
        let why = String::from_utf8(why).unwrap();
        assert_eq!(told, status, "{why}");
        assert!(why.contains(text), "{why}");
        if goes_on {
            bad.send(&frame(&Command::Count));
            assert_eq!(bench.poll(), 1);
            assert_eq!(bad.done(), Answer::Count(0));
        } else {
            bench.poll();
            assert!(bad.is_over());
        }
    }
}

#[test]
fn a_client_that_reads_nothing_fills_its_own_place_only() {
    let mut bench = Bench::new(Limits {
        message_bytes: 100_000,
        ..Limits::default()
    });
    let mut deaf = bench.raw();
    deaf.send(PREFACE);
    for _ in 0..100 {
        deaf.send(&frame(&Command::Large { bytes: 90_000 }));
    }
    let mut handled = 0;
    // Two polls that find nothing for it: it is full.
    let mut idle = 0;
    while idle < 2 {
        let now = bench.poll();
        handled += now;
        idle = if now == 0 { idle + 1 } else { 0 };
    }
    assert!((1..100).contains(&handled), "{handled}");
    let mut good = bench.raw();
    good.send(PREFACE);
    good.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
    assert_eq!(good.done(), Answer::Count(0));
    // Once it reads, everything it asked for comes.
    let reader = std::thread::spawn(move || (0..100).map(|_| deaf.answer().1.len()).min());
    while !reader.is_finished() {
        handled += bench.poll();
        std::thread::yield_now();
    }
    assert_eq!(handled, 100);
    assert!(reader.join().unwrap() > Some(90_000));
}

#[test]
fn whoever_takes_too_long_is_ended_and_told() {
    let mut bench = Bench::new(Limits {
        transfer_time: Duration::ZERO,
        ..Limits::default()
    });
    let (mut slow, mut quiet) = (bench.raw(), bench.raw());
    slow.send(&PREFACE[..5]);
    quiet.send(PREFACE);
    bench.poll();
    assert_eq!(bench.server.connections(), 2);
    assert_eq!(bench.server.next_timeout(), Some(Duration::ZERO));
    bench.poll();
    // Silence is no offence, a beginning without an end is.
    assert_eq!(bench.server.connections(), 1);
    let (status, text) = slow.answer();
    assert_eq!(status, 6);
    assert!(String::from_utf8(text).unwrap().contains("within 0 ms"));
    assert!(slow.is_over());
    quiet.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
}

#[test]
fn one_too_many_is_told_so_and_a_place_is_free_again_afterwards() {
    let mut bench = Bench::new(Limits {
        connections: 2,
        ..Limits::default()
    });
    let first = bench.raw();
    let _second = bench.raw();
    let mut third = bench.raw();
    bench.poll();
    let (status, text) = third.answer();
    assert_eq!(status, 3);
    assert!(String::from_utf8(text).unwrap().contains("2 clients"));
    assert!(third.is_over());
    drop(first);
    bench.poll();
    let mut fourth = bench.raw();
    fourth.send(PREFACE);
    fourth.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 1);
    assert_eq!(fourth.done(), Answer::Count(0));
}

#[test]
fn a_client_that_is_gone_before_it_is_answered_harms_nobody() {
    let mut bench = Bench::new(Limits::default());
    for _ in 0..200 {
        let mut raw = bench.raw();
        raw.send(PREFACE);
        raw.send(&frame(&Command::Large { bytes: 300_000 }));
    }
    let mut good = bench.raw();
    good.send(PREFACE);
    good.send(&frame(&Command::Count));
    assert_eq!(bench.poll(), 201);
    assert_eq!(good.done(), Answer::Count(0));
    bench.poll();
    assert_eq!(bench.server.connections(), 1);
}

#[test]
fn clients_get_typed_errors() {
    let missing = client_send(&Command::Count, "/nowhere/there.sock");
    assert!(
        matches!(missing, Err(ClientError::NoServer { .. })),
        "{missing:?}"
    );
    let mut bench = Bench::new(Limits {
        message_bytes: 1_000,
        ..Limits::default()
    });
    // Nobody polls.
    let late = client_send_within(&Command::Count, &bench.path, Duration::from_millis(1)).unwrap_err();
    assert!(
        matches!(
            late,
            ClientError::Timeout {
                may_have_run: true,
                ..
            }
        ),
        "{late:?}"
    );
    bench.poll();
    let path = bench.path.clone();
    let client = std::thread::spawn(move || {
        [
            Command::Echo("0".repeat(2_000)),
            Command::Large { bytes: 2_000 },
            Command::Count,
        ]
        .map(|command| client_send(&command, &path))
    });
    while !client.is_finished() {
        bench.poll();
        std::thread::yield_now();
    }
    let [large, answer, count] = client.join().unwrap();
    let large = large.unwrap_err();
    assert!(matches!(large, ClientError::TooLarge(_)), "{large:?}");
    assert!(!large.may_have_run());
    let answer = answer.unwrap_err();
    assert!(matches!(answer, ClientError::Failed(_)), "{answer:?}");
    assert!(answer.may_have_run());
    assert_eq!(count.unwrap(), Answer::Count(0));
}
