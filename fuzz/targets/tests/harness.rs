//! The harness itself: it can fail, it replays, and what it begins with is there.
#![allow(clippy::expect_used, reason = "what is not as expected fails the test")]

use actix_ipc_fuzz_targets::allocation::measure;
use actix_ipc_fuzz_targets::corpus;
use actix_ipc_fuzz_targets::mutate::Mutator;
use actix_ipc_fuzz_targets::smoke::{execute, run};

/// What a bug would be: two bytes in a row.
fn planted(bytes: &[u8]) {
    let found = bytes.windows(2).position(|pair| pair == [0x36, 0x00]);
    assert_eq!(found, None, "planted");
}

#[test]
fn a_planted_bug_is_found_shortened_and_replayed() {
    let failure = run("frames", planted, 1, 100_000).expect_err("a run that finds nothing proves nothing");
    assert_eq!(failure.input, [0x36, 0x00]);
    assert!(
        failure.message.contains("planted") && failure.message.contains("harness.rs"),
        "{failure:?}"
    );
    assert_eq!(
        run("frames", planted, 1, 100_000),
        Err(failure.clone()),
        "the same seed, the same failure"
    );
    assert!(execute(planted, &failure.input).is_err());
    assert_eq!(run("frames", |_| (), 1, 100), Ok(()));
}

#[test]
fn equal_seeds_give_equal_inputs() {
    let inputs = |seed| {
        let mut mutator = Mutator::new("frames", seed);
        (0..200).map(|_| mutator.next_input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
    let longest = inputs(7).iter().map(Vec::len).max();
    assert!(
        longest.is_some_and(|length| (100..=4096).contains(&length)),
        "{longest:?}"
    );
}

#[test]
fn the_documents_give_seeds() {
    let seeds = corpus::seeds("frames");
    assert!(seeds.len() > 40, "{}", seeds.len());
    assert!(
        seeds.iter().any(|bytes| bytes.len() > 400),
        "a side of the transcript"
    );
}

#[test]
fn memory_that_is_reserved_is_seen() {
    let (vector, peak) = measure(|| Vec::<u8>::with_capacity(100_000));
    assert!((100_000..101_000).contains(&peak), "{peak}");
    let ((), peak) = measure(|| drop(vector));
    assert_eq!(peak, 0);
}
