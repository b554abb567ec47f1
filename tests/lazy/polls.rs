//! What one poll does: everything that was there, in turns, or no more than its budget.

use crate::{Answer, Bench, Command, PREFACE, Raw, frame};
use actix_ipc::lazy::{Budget, Client, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::Duration;

fn greeted(bench: &Bench) -> Raw {
    let mut raw = bench.raw();
    raw.send(PREFACE);
    raw
}

#[test]
fn several_commands_of_one_connection_are_answered_in_order_in_one_poll() {
    let mut bench = Bench::new(Limits::default());
    let mut raw = greeted(&bench);
    let all: Vec<u8> = (0..1_000).flat_map(|x| frame(&Command::Push { x })).collect();
    raw.send(&all);
    assert_eq!(bench.poll(), 1_000);
    assert_eq!(bench.values, (0..1_000).collect::<Vec<_>>());
    for count in 1..=1_000 {
        assert_eq!(raw.done(), Answer::Count(count));
    }
    assert_eq!(bench.poll(), 0);
}

#[test]
fn a_poll_without_budget_takes_turns_between_connections() {
    let mut bench = Bench::new(Limits::default());
    let mut raws: Vec<Raw> = (0..3).map(|_| greeted(&bench)).collect();
    for (number, raw) in (0..).zip(&mut raws) {
        for turn in 0..4 {
            raw.send(&frame(&Command::Push {
                x: turn * 10 + number,
            }));
        }
    }
    assert_eq!(bench.poll(), 12);
    assert_eq!(bench.values, [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]);
}

#[test]
fn a_budget_leaves_the_rest_for_the_next_poll_which_is_due_at_once() {
    let mut bench = Bench::new(Limits::default());
    let mut raw = greeted(&bench);
    for x in 0..10 {
        raw.send(&frame(&Command::Push { x }));
    }
    let budget = Budget {
        commands: Some(4),
        time: None,
    };
    let mut handled = Vec::new();
    loop {
        handled.push(bench.server.handle_within(&mut bench.values, budget).unwrap());
        if bench.server.next_timeout() != Some(Duration::ZERO) {
            break;
        }
    }
    assert_eq!(handled, [4, 4, 2]);
    assert_eq!(bench.server.next_timeout(), None);
    assert_eq!(bench.values.len(), 10);
    let none = Budget {
        commands: None,
        time: Some(Duration::ZERO),
    };
    raw.send(&frame(&Command::Count));
    assert_eq!(bench.server.handle_within(&mut bench.values, none).unwrap(), 0);
    assert_eq!(bench.server.next_timeout(), Some(Duration::ZERO));
    assert_eq!(bench.poll(), 1);
}

#[test]
fn the_descriptor_is_readable_when_a_poll_has_something_to_find() {
    let mut bench = Bench::new(Limits::default());
    let readable = |bench: &Bench| {
        let mut watched = [PollFd::from_borrowed_fd(
            // SAFETY: the server lives while it is borrowed, and the descriptor with it.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(bench.server.raw_fd()) },
            PollFlags::IN,
        )];
        poll(&mut watched, Some(&Timespec::default())).unwrap() == 1
    };
    assert!(!readable(&bench));
    let mut raw = greeted(&bench);
    assert!(readable(&bench));
    assert_eq!(bench.poll(), 0);
    // The socket says once that it can be written.
    assert_eq!(bench.poll(), 0);
    assert!(!readable(&bench));
    raw.send(&frame(&Command::Count));
    assert!(readable(&bench));
    assert_eq!(bench.poll(), 1);
    assert!(!readable(&bench));
    drop(raw);
    assert!(readable(&bench));
    bench.poll();
    assert_eq!(bench.server.connections(), 0);
    let _ = bench.path.as_path();
}

#[test]
fn a_message_of_any_size_up_to_the_limit_comes_and_goes_over_many_polls() {
    let mut bench = Bench::new(Limits::default());
    let path = bench.path.clone();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(&path).unwrap();
        [0, 1, 1_024, 65_536, 3_000_001, 16 * 1024 * 1024 - 8].map(|len| {
            let text: String = ('a'..='y').cycle().take(len).collect();
            let answer = client.send(&Command::Echo(text.clone())).unwrap();
            answer == Answer::Text(text)
        })
    });
    let mut handled = 0;
    while handled < 6 || !client.is_finished() {
        handled += bench.poll();
        std::thread::yield_now();
    }
    assert_eq!(client.join().unwrap(), [true; 6]);
}

#[test]
fn a_panic_is_answered_and_the_next_poll_goes_on() {
    let mut bench = Bench::new(Limits::default());
    let mut raw = greeted(&bench);
    raw.send(&frame(&Command::Panic));
    raw.send(&frame(&Command::Count));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.poll()));
    assert!(unwound.is_err());
    assert_eq!(bench.server.next_timeout(), Some(Duration::ZERO));
    assert_eq!(bench.poll(), 1);
    let (status, text) = raw.answer();
    assert_eq!(status, 4);
    assert!(String::from_utf8(text).unwrap().contains("panicked"));
    assert_eq!(raw.done(), Answer::Count(0));
}

#[test]
fn the_server_may_be_moved_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let bench = Bench::new(Limits::default());
    is_send(&bench.server);
    let _ = bench.raw().socket.as_fd();
}
