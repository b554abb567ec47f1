//! Tests of the first lane: what is written, and what is kept alive.

use super::*;
use crate::message::{CallId, Decoder, Draft, Encoding, Kind};

const FRAMES: u32 = 100;

fn forwards() -> (Arc<Batch>, Vec<Answer>) {
    let mut bytes = Vec::new();
    for frame in 0..FRAMES {
        let payload = [frame as u8; 100];
        let draft = Draft::new(Kind::Reply, u64::from(frame)).payload(Encoding::RAW, &payload);
        draft.encode(&mut bytes);
    }
    let answer = |frame| Answer {
        frame,
        call: CallId(1_000 + u64::from(frame)),
        ticket: Ticket(u64::from(frame)),
        last: true,
    };
    let batch = Batch::from_bytes(bytes.into(), 4096).unwrap();
    (Arc::new(batch), (0..FRAMES).map(answer).collect())
}

/// Writes about `max` bytes; returns them and what they were charged.
fn written(lane: &mut Lane, max: usize) -> (Vec<u8>, usize) {
    let mut out = WriteBuf::default();
    let charged = lane.fill(Instant::now(), max, &mut out);
    (out.copied, charged)
}

#[test]
fn what_is_left_of_a_run_is_copied_out_once_it_is_little_and_written_all_the_same() {
    for first in [0, 1, 4_000, 11_000, 12_000] {
        let mut lane = Lane::default();
        let (batch, answers) = forwards();
        let large = batch.buffer_len();
        lane.push_forwards(batch.clone(), answers);
        lane.push_own(Draft::new(Kind::Pong, 7).to_vec().into());
        assert_eq!(lane.own_bytes(), 64);
        let (mut bytes, mut charged) = written(&mut lane, first);
        lane.compact();
        if let Some(Run::Forwards(frames)) = lane.queue.as_ref().and_then(|queue| queue.runs.front()) {
            let kept = frames.batch.buffer_len();
            assert_eq!(kept < large, first >= 11_000, "{first}: {kept} of {large}");
        }
        // The rest in steps, looked at again after each.
        while !lane.is_empty() {
            let (more, cost) = written(&mut lane, 500);
            bytes.extend(more);
            charged += cost;
            lane.compact();
        }
        assert_eq!((lane.own_bytes(), charged), (0, FRAMES as usize * 124));
        let read = Decoder::new(4096).decode(&bytes).unwrap();
        assert_eq!(read.len(), FRAMES as usize + 1);
        for frame in 0..FRAMES as usize {
            let view = read.view(frame).unwrap();
            assert_eq!(
                (view.header.id, view.payload),
                (1_000 + frame as u64, &[frame as u8; 100][..])
            );
        }
    }
}

#[test]
fn one_by_one_the_same_frames_come_out() {
    let mut lane = Lane::default();
    let (batch, answers) = forwards();
    lane.push_own(Box::new([0; 70]));
    lane.push_forwards(batch, answers);
    assert!(matches!(lane.take(), Some(Out::Frame(frame)) if frame.len() == 70));
    assert_eq!(lane.own_bytes(), 0);
    for expected in 0..FRAMES {
        let Some(Out::Forward { frame, id, .. }) = lane.take() else {
            panic!("{expected} is missing");
        };
        assert_eq!((frame, id), (expected, 1_000 + u64::from(expected)));
    }
    assert!(lane.take().is_none() && lane.is_empty());
}

#[test]
fn what_is_left_of_one_call_is_forgotten_and_nothing_else() {
    let mut lane = Lane::default();
    let (batch, mut answers) = forwards();
    // A piece for this peer, under a ticket that is the same number.
    let piece = Draft::new(Kind::CallPiece, 1).to_vec();
    let piece = Arc::new(Batch::from_bytes(piece.into(), 4096).unwrap());
    for answer in &mut answers {
        answer.call = CallId(1 + u64::from(answer.frame % 2));
    }
    let of_ticket = Answer {
        frame: 0,
        last: false,
        ..answers[0]
    };
    lane.push_forwards(batch, answers);
    lane.push_forwards(piece, vec![of_ticket]);
    lane.push_own(Draft::new(Kind::Error, 2).to_vec().into());
    let (mut bytes, mut charged) = written(&mut lane, 1);
    let one = lane.forget_answers(CallId(1));
    assert_eq!((one.charged, one.ended), ((FRAMES as usize / 2 - 1) * 124, false));
    assert!(lane.forget_answers(CallId(2)).ended && lane.forget_answers(CallId(3)) == Forgotten::default());
    while !lane.is_empty() {
        let (more, cost) = written(&mut lane, 500);
        bytes.extend(more);
        charged += cost;
    }
    assert_eq!(charged, 124 + 64);
    let read = Decoder::new(4096).decode(&bytes).unwrap();
    let kinds: Vec<Kind> = read.headers().map(|header| header.kind).collect();
    assert_eq!(kinds, [Kind::Reply, Kind::CallPiece, Kind::Error]);
    assert_eq!(lane.own_bytes(), 0);
}
