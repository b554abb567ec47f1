//! Tests of the list of what outlives a connection.

use super::*;

fn object(lasting: &mut Lasting, name: &str) -> u64 {
    let standing = Arc::new(tokio::sync::watch::channel(Ok(Standing::Asked)).0);
    let what = Fact::Object {
        name: name.into(),
        standing,
    };
    lasting.add(what, None, |key| key.to_le_bytes().to_vec()).unwrap()
}

#[test]
fn restoration_goes_in_the_old_order_and_reports_once() {
    let mut lasting = Lasting::new();
    let first = object(&mut lasting, "a");
    let second = object(&mut lasting, "b");
    lasting.forget(first);
    let third = object(&mut lasting, "c");
    assert_eq!(
        first & 0xffff_ffff,
        third & 0xffff_ffff,
        "the slot of a is used again"
    );
    lasting.restore();
    let mut out = Outbox::new(1000);
    lasting.pump(&mut out, Instant::now(), 1);
    let claim = out.claim().unwrap();
    assert_eq!(
        claim.part().0,
        [second.to_le_bytes(), third.to_le_bytes()].concat()
    );
    lasting.note_restored(third, Err(CallError::from(ErrorCode::NameTaken)));
    assert!(lasting.take_restoration().is_none());
    lasting.note_restored(second, Ok(()));
    lasting.note_restored(second, Ok(()));
    let outcome = lasting.take_restoration().unwrap();
    assert_eq!((outcome.restored, outcome.lost.len()), (1, 1));
    assert!(outcome.lost[0].0.contains("object c"));
    assert!(lasting.take_restoration().is_none());
}

#[test]
fn what_goes_away_is_not_waited_for() {
    let mut lasting = Lasting::new();
    let key = object(&mut lasting, "a");
    lasting.restore();
    lasting.forget(key);
    assert!(lasting.take_restoration().is_some());
}

#[test]
fn a_number_in_use_is_given_up_when_it_is_answered() {
    let mut lasting = Lasting::new();
    let key = object(&mut lasting, "a");
    let mut out = Outbox::new(1000);
    lasting.ask(key, &mut out, Instant::now(), 1);
    lasting.forget(key);
    assert_eq!(lasting.give_up(key, b"bye".to_vec()), None);
    assert_eq!(lasting.answered(key), Some(b"bye".to_vec()));
    assert_eq!(lasting.give_up(key, b"bye".to_vec()), Some(b"bye".to_vec()));
}

#[test]
fn a_name_is_asked_for_again_after_it_was_given_up() {
    let mut lasting = Lasting::new();
    let mut out = Outbox::new(1000);
    let (first, other) = (object(&mut lasting, "a"), object(&mut lasting, "b"));
    lasting.ask(first, &mut out, Instant::now(), 1);
    lasting.forget(first);
    assert_eq!(lasting.give_up(first, b"bye".to_vec()), None);
    let second = object(&mut lasting, "a");
    for key in [second, other] {
        lasting.ask(key, &mut out, Instant::now(), 1);
    }
    let bye = lasting.answered(first).unwrap();
    out.push(&[&bye]);
    lasting.pump(&mut out, Instant::now(), 1);
    let expected = [
        &first.to_le_bytes()[..],
        &other.to_le_bytes(),
        b"bye",
        &second.to_le_bytes(),
    ];
    assert_eq!(out.claim().unwrap().part().0, expected.concat());
    assert!(lasting.line.is_empty());
}

#[test]
fn only_so_many_are_asked_at_once() {
    let mut lasting = Lasting::new();
    let keys: Vec<u64> = (0..ASKING_MAX + 2)
        .map(|n| object(&mut lasting, &n.to_string()))
        .collect();
    let mut out = Outbox::new(1);
    keys.iter()
        .for_each(|key| lasting.ask(*key, &mut out, Instant::now(), 1));
    let claim = out.claim().unwrap();
    assert_eq!(claim.part().0.len(), ASKING_MAX * 8);
    out.release(claim, false);
    lasting.forget(keys[ASKING_MAX]);
    assert_eq!(lasting.answered(keys[0]), None);
    lasting.pump(&mut out, Instant::now(), 1);
    out.unblock();
    assert_eq!(lasting.line.len(), 0, "one is gone and the last was asked");
}

#[test]
fn the_will_that_was_set_last_stays_however_late_the_others_are_seen() {
    let mut lasting = Lasting::new();
    let will = |lasting: &mut Lasting| lasting.add(Fact::Will, None, |_| Vec::new()).unwrap();
    let [first, second, third] = [(); 3].map(|()| will(&mut lasting));
    for key in [second, first] {
        drop(lasting.set_will(key));
        assert_eq!(lasting.will, Some(second));
    }
    assert!(lasting.get(first).is_none(), "it is not asked for again");
    drop(lasting.set_will(third));
    assert!(lasting.will == Some(third) && lasting.get(second).is_none());
    // One that is taken back before it is seen is not in force either.
    let late = will(&mut lasting);
    drop(lasting.clear_will(&mut After::default()));
    drop(lasting.set_will(late));
    assert!(lasting.will.is_none() && lasting.get(late).is_none() && lasting.get(third).is_none());
}

#[test]
fn wills_that_are_taken_back_before_they_are_answered_are_not_asked_for_again() {
    let (mut lasting, mut out, mut after) = (Lasting::new(), Outbox::new(1_000), After::default());
    let now = Instant::now();
    // One is asked for, and one waits for its answer.
    let asked = [(); 2].map(|()| {
        let (first, answer) = tokio::sync::oneshot::channel();
        let frame = |key: u64| key.to_le_bytes().to_vec();
        let key = lasting.add(Fact::Will, Some(first), frame).unwrap();
        lasting.ask(key, &mut out, now, 1);
        (key, answer)
    });
    assert_eq!(lasting.clear_will(&mut after).len(), 2);
    after.perform();
    for (key, mut answer) in asked {
        let error = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::Cancelled);
        assert_eq!(lasting.answered(key), None);
        lasting.pump(&mut out, now, 1);
    }
    lasting.restore();
    lasting.pump(&mut out, now, 1);
    assert_eq!(out.claim().unwrap().part().0.len(), 8, "the first, once");
}
