//! Tests of what waits to be written: its order, its room, and who may write.

use super::*;

#[test]
fn one_writer_at_a_time_and_order_is_kept() {
    let mut out = Outbox::new(4);
    assert!(out.is_idle() && out.claim().is_none());
    assert_eq!(out.push(&[b"ab", b"c"]), 3);
    let mut claim = out.claim().unwrap();
    assert_eq!(claim.part().0, b"abc");
    out.push(&[b"def"]);
    assert!(out.claim().is_none(), "somebody writes");
    assert_eq!(out.written(), 3, "who knows how much of the claim");
    assert!(!claim.advance(2));
    out.release(claim, true);
    assert_eq!((out.written(), out.is_ready(), out.is_idle()), (2, false, false));
    out.unblock();
    let mut claim = out.claim().unwrap();
    assert_eq!(claim.part().0, b"c", "what was left goes before what came later");
    assert!(claim.advance(1));
    out.release(claim, false);
    let mut claim = out.claim().unwrap();
    assert_eq!(claim.part().0, b"def");
    claim.advance(3);
    out.release(claim, false);
    assert!(out.is_empty() && out.is_idle());
    assert_eq!(out.written(), 6);
}

#[test]
fn a_frame_with_attachments_starts_a_write_and_they_go_with_its_first_byte() {
    use crate::message::{Draft, Kind};
    let mut out = Outbox::new(1 << 20);
    let draft = Draft::new(Kind::Ping, 1);
    let len = draft.wire_len();
    let one = Attachments::new().with(1_u8);
    out.encode(&draft);
    out.encode_with(&draft, &one);
    out.encode(&draft);
    out.encode_with(&draft, &one);
    let mut claim = out.claim().unwrap();
    let part = |claim: &Claim| (claim.part().0.len(), claim.part().1.len());
    assert_eq!(part(&claim), (len, 0));
    claim.advance(len);
    assert_eq!(part(&claim), (2 * len, 1));
    claim.advance(0);
    assert_eq!(part(&claim), (2 * len, 1), "nothing was sent");
    claim.advance(3);
    assert_eq!(part(&claim), (2 * len - 3, 0), "they are gone, the rest follows");
    out.release(claim, true);
    let mut claim = out.claim().unwrap();
    claim.advance(2 * len - 3);
    assert_eq!(part(&claim), (len, 1));
    assert!(claim.advance(len));
    out.release(claim, false);
    assert!(out.is_idle());
}

#[test]
fn what_is_written_through_is_in_order_with_what_is_claimed() {
    let full = || Err(io::ErrorKind::WouldBlock.into());
    let mut out = Outbox::new(100);
    assert_eq!(out.write_through(|_| panic!("nothing waits")), None);
    out.push(&[b"abc"]);
    let mut seen = Vec::new();
    let take = |bytes: &[u8], most: usize, seen: &mut Vec<u8>| {
        let count = most.min(bytes.len());
        seen.extend(&bytes[..count]);
        Ok(count)
    };
    assert_eq!(out.write_through(|bytes| take(bytes, 9, &mut seen)), Some(true));
    assert_eq!((out.written(), out.is_idle()), (3, true));
    out.push(&[b"def"]);
    assert_eq!(out.write_through(|bytes| take(bytes, 1, &mut seen)), Some(false));
    out.push(&[b"ghi"]);
    assert!(out.is_blocked() && !out.is_ready() && out.written() == 4);
    assert_eq!(out.write_through(|_| panic!("it is blocked")), None);
    out.unblock();
    assert_eq!(out.write_through(|_| panic!("a claim goes first")), None);
    let mut claim = out.claim().unwrap();
    assert_eq!(claim.part().0, b"ef");
    assert!(claim.advance(2));
    assert_eq!(out.write_through(|_| panic!("somebody writes")), None);
    out.release(claim, false);
    assert_eq!(out.write_through(|_| full()), Some(false));
    assert!(out.is_blocked());
    out.unblock();
    assert_eq!(out.write_through(|bytes| take(bytes, 9, &mut seen)), Some(true));
    assert_eq!(
        (&seen[..], out.written(), out.is_idle()),
        (&b"abcdghi"[..], 9, true)
    );
}

#[test]
fn room_is_asked_before_a_frame() {
    let mut out = Outbox::new(4);
    out.push(&[b"abc"]);
    assert!(out.has_room());
    out.push(&[&[0; 100]]);
    assert!(!out.has_room());
    let mut claim = out.claim().unwrap();
    assert!(out.has_room(), "claimed bytes make room");
    claim.advance(103);
    out.release(claim, false);
    assert!(out.pending.capacity() <= 8);
}

#[test]
fn what_is_owed_is_so_until_it_is_written() {
    let mut out = Outbox::new(4);
    out.push(&[b"abc"]);
    out.owe(3);
    let mut claim = out.claim().unwrap();
    out.owe(2);
    claim.advance(3);
    assert_eq!(out.owing(), 5);
    out.release(claim, false);
    assert_eq!(out.owing(), 2);
}

#[test]
fn a_claim_of_an_earlier_connection_changes_nothing() {
    let mut out = Outbox::new(4);
    out.push(&[b"old"]);
    let stale = out.claim().unwrap();
    out.clear(&mut Dead::default());
    out.push(&[b"new"]);
    let mut claim = out.claim().unwrap();
    out.release(stale, true);
    assert!(
        out.claim().is_none(),
        "the new connection's writer is still at work"
    );
    claim.advance(3);
    out.release(claim, false);
    assert_eq!((out.written(), out.is_idle()), (3, true));
}
