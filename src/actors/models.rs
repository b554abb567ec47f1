//! Models of what several actors' threads do to the read gates, inboxes and accounts, tried under many interleavings.
//!
//! Owns the situations and what must be true after them; each has at least one slip that it must find. Knows no actor. Run by
//! `cargo test --lib --features models models::`.

use super::accounts::{Accounts, Budget};
use super::inbox::{Inbox, Queue};
use super::memory::Memory;
use super::messages::{Control, Deliver};
use super::peer::Account;
use super::quota::{ReadGate, TotalGate};
use super::shares::Who;
use crate::config::Limits;
use crate::sync::explore::{finds, holds};
use crate::sync::slips::Slip;
use shuttle::future::block_on;
use shuttle::thread::{JoinHandle, spawn};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

const DEADLOCK: &str = "deadlock";

fn open(gate: &Arc<ReadGate>) {
    block_on(poll_fn(|cx| gate.poll_open(cx)));
}

/// A reader waits for its own limit; two permits are dropped in other threads.
fn own_limit() {
    let total = TotalGate::new(1_000);
    let gate = ReadGate::new(10, total.clone());
    let permits = [gate.take(10), gate.take(10)];
    let droppers = permits.map(|permit| spawn(move || drop(permit)));
    open(&gate);
    for dropper in droppers {
        dropper.join().unwrap();
    }
    assert_eq!((gate.used(), total.used()), (0, 0), "given back");
}

/// Two readers wait for the total, which a third connection has used up twice over.
fn total_limit() {
    let total = TotalGate::new(10);
    let holder = ReadGate::new(1_000, total.clone());
    let permits = [holder.take(10), holder.take(10)];
    let readers = [(); 2].map(|()| {
        let gate = ReadGate::new(1_000, total.clone());
        spawn(move || {
            open(&gate);
            drop(gate.take(10));
            gate.used()
        })
    });
    drop(permits);
    assert_eq!(readers.map(|reader| reader.join().unwrap()), [0, 0]);
    assert_eq!((holder.used(), total.used()), (0, 0), "given back");
}

#[test]
fn a_closed_gate_opens_when_its_permits_are_dropped() {
    holds("own limit", own_limit);
    holds("total limit", total_limit);
}

#[test]
fn a_reader_that_looks_once_is_found() {
    finds(Slip::GateLooksOnce, DEADLOCK, own_limit);
}

#[test]
fn a_reader_that_is_never_queued_again_is_found() {
    finds(Slip::GateStaysQueued, DEADLOCK, total_limit);
}

#[test]
fn a_reader_that_sleeps_outside_the_queue_is_found() {
    finds(Slip::GateForgetsQueue, DEADLOCK, total_limit);
}

#[test]
fn a_permit_in_two_steps_is_found() {
    finds(Slip::PermitInTwoSteps, DEADLOCK, own_limit);
}

const fn who(pid: u32) -> Who {
    Who {
        uid: 1,
        pid,
        connection: 0,
    }
}

/// Threads of two processes charge, cover and settle; two of them share one reserve.
fn charges() {
    const MIB: usize = 1024 * 1024;
    let limits = Limits {
        memory_bytes_total: 64 * MIB,
        ..Limits::default()
    };
    let accounts = Accounts::new(&limits);
    let shared = Arc::new(Memory::of(&accounts, who(1)));
    let grow = |bytes| {
        let memory = shared.clone();
        spawn(move || {
            memory.queue().cover(bytes).unwrap();
            memory.queue().settle(0);
        })
    };
    let (first, second) = (grow(100_000), grow(30_000));
    let other = {
        let accounts = accounts.clone();
        spawn(move || {
            let charge = accounts.charge(Budget::Memory, who(2), 1_000).unwrap();
            assert_eq!(accounts.held_by(Budget::Memory, who(2)), 1_000);
            // More than a share: refused, and nothing of it stays.
            accounts.charge(Budget::Memory, who(2), 64 * MIB).unwrap_err();
            drop(charge);
        })
    };
    for thread in [first, second, other] {
        thread.join().unwrap();
    }
    drop(shared);
    let level = accounts.level(Budget::Memory);
    assert_eq!(
        (level.held, level.users, level.processes),
        (0, 0, 0),
        "given back"
    );
}

#[test]
fn what_was_charged_is_zero_at_the_end() {
    holds("charges", charges);
}

#[test]
fn a_reserve_that_reads_before_it_locks_is_found() {
    finds(Slip::ReserveReadsEarly, "given back", charges);
}

/// A full account, and two threads that each give back a half of it and say how often they told that it is drained.
fn two_writers() -> (Arc<Account>, [JoinHandle<usize>; 2]) {
    let account = Arc::new(Account::new(Limits::default().outbox_bytes, 1));
    let part = account.room().resume();
    account.charge_events(part);
    account.charge_events(part);
    let writers = [(); 2].map(|()| {
        let account = account.clone();
        spawn(move || usize::from(account.release_events(part)))
    });
    (account, writers)
}

/// TopicHub finds a receiver slow and asks for Drained while its connection writes what is queued.
fn drained() {
    let (account, writers) = two_writers();
    let asked = usize::from(account.ask_drained());
    let told: usize = writers.map(|writer| writer.join().unwrap()).into_iter().sum();
    assert_eq!(told, asked, "Drained is told once to who waits for it");
    assert_eq!((account.queued(), account.events()), (0, 0), "given back");
}

/// The same with a second question while the first may be owed still.
fn drained_twice() {
    let (account, writers) = two_writers();
    let asked = [account.ask_drained(), account.ask_drained()];
    let told: usize = writers.map(|writer| writer.join().unwrap()).into_iter().sum();
    // Who was told that there is room knows it for both.
    assert!(
        told >= usize::from(asked[1]),
        "Drained is told to who waits for it"
    );
    assert!(
        told <= asked.into_iter().filter(|asked| *asked).count(),
        "and only then"
    );
    assert!(!account.release_events(0), "nothing is owed any more");
}

#[test]
fn drained_is_told_exactly_when_it_is_owed() {
    holds("drained", drained);
    holds("drained twice", drained_twice);
}

#[test]
fn a_question_that_looks_once_is_found() {
    finds(Slip::DrainedLooksOnce, "Drained is told once", drained);
}

/// Two threads post to a connection that takes and sleeps.
fn deliveries() {
    let waker = futures::task::noop_waker();
    let queue = Arc::new(Queue::new(waker));
    let posters = [1, 2].map(|_| {
        let queue = queue.clone();
        spawn(move || {
            queue.post(Deliver::Control(Control::Grant));
            queue.post(Deliver::Control(Control::Drain));
        })
    });
    let mut taken = Vec::new();
    block_on(poll_fn(|cx| {
        while let Some(list) = queue.take(cx.waker()) {
            taken.extend(list);
        }
        if taken.len() < 4 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }));
    for poster in posters {
        poster.join().unwrap();
    }
    let first = |delivery: &Deliver| matches!(delivery, Deliver::Control(Control::Grant));
    assert!(taken.first().is_some_and(first), "in order");
    queue.close();
    queue.post(Deliver::Control(Control::Grant));
    assert!(queue.take(&futures::task::noop_waker()).is_none(), "closed");
}

#[test]
fn a_connection_takes_all_that_was_posted() {
    holds("deliveries", deliveries);
}

#[test]
fn a_connection_that_looks_before_it_registers_is_found() {
    finds(Slip::InboxLooksFirst, DEADLOCK, deliveries);
}
