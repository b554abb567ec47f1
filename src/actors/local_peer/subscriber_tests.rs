//! Events in pieces that find no room, and whom they are counted against.

use super::*;
use crate::actors::inbox::Deaf;
use crate::actors::local_peer::port::Port;
use crate::actors::peer::{Account, Peer};
use crate::config::Limits;
use crate::message::{Draft, Encoding, Origin, SubscriptionId};
use actix::{Actor, Context, Handler};
use std::sync::Weak;

struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<TopicEvent> for Silent {
    type Result = ();

    fn handle(&mut self, _: TopicEvent, _: &mut Context<Self>) {}
}

const ID: SubscriptionId = SubscriptionId(5);
/// What one process may have of it.
const PART: usize = 1_000;

fn subscriber() -> Subscriber {
    let account = Account::new(1_000_000, 1);
    // As TopicHub has charged what comes.
    account.charge_events(1_000_000);
    let peer = Peer::new(Origin::default(), "", 0, account, Box::new(Deaf));
    let port = Port::new(Arc::new(Limits::default()));
    let wanted = Wanted {
        object: "o".into(),
        event: "e".into(),
        pattern: false,
        recipient: Silent.start().recipient(),
        gaps: None,
    };
    let keeper = Keeper::new(PART * super::super::kept::PROCESS_PART);
    Subscriber::new(wanted, Flow::new(peer, Weak::new(), port, ID), keeper)
}

fn process(pid: u32) -> Who {
    Who {
        pid,
        ..Who::default()
    }
}

/// A frame of the message `number`.
fn give(to: &mut Subscriber, number: u32, kind: Kind, flags: Flags, bytes: usize) -> Option<TopicEvent> {
    let payload = vec![7; bytes];
    let draft = Draft::new(kind, 1).flags(flags).payload(Encoding::RAW, &payload);
    let draft = match kind {
        Kind::Publish => draft.pair("o", "e"),
        _ => draft,
    };
    let batch = Batch::from_bytes(draft.to_vec().into(), usize::MAX / 2).unwrap();
    let item = EventItem {
        frame: 0,
        count: 1,
        missed: number,
        subscription: ID,
        mark: EventMark(EventMark::NUMBERED),
    };
    to.event(&batch, item, usize::MAX)
}

fn begin(to: &mut Subscriber, number: u32, publisher: Who, bytes: usize) {
    to.begins(number, publisher);
    assert!(give(to, number, Kind::Publish, Flags::CONTINUED, bytes).is_none());
}

fn end(to: &mut Subscriber, number: u32, bytes: usize) -> Option<TopicEvent> {
    give(to, number, Kind::PublishPiece, Flags::NONE, bytes)
}

/// TopicHub tells that it does not come to its end.
fn abort(to: &mut Subscriber, number: u32) {
    let mark = EventMark(EventMark::NUMBERED | EventMark::ABORT);
    let item = EventItem {
        mark,
        missed: number,
        ..EventItem::gap(ID, 0)
    };
    assert!(to.event(&Batch::default(), item, usize::MAX).is_none());
}

#[actix::test]
async fn a_publisher_that_does_not_end_takes_no_room_of_another_one() {
    let mut to = subscriber();
    begin(&mut to, 1, process(1), PART);
    begin(&mut to, 2, process(2), 300);
    let event = end(&mut to, 2, 3).unwrap();
    assert_eq!((event.payload.bytes.len(), event.missed), (303, 0));
    drop(event);
    // Of the same process there is no more room before one of its own has ended.
    begin(&mut to, 3, process(1), 1);
    assert!(end(&mut to, 3, 1).is_none());
    assert_eq!(to.missed, 1);
    abort(&mut to, 1);
    begin(&mut to, 4, process(1), PART - 1);
    let event = end(&mut to, 4, 1).unwrap();
    assert_eq!((event.payload.bytes.len(), event.missed), (PART, 1));
    // What is not handled counts like what is not complete.
    begin(&mut to, 5, process(1), 1);
    drop(event);
    assert!(end(&mut to, 5, 1).is_none());
    begin(&mut to, 6, process(1), PART - 1);
    assert!(end(&mut to, 6, 1).is_some());
}

#[actix::test]
async fn an_event_that_finds_no_room_is_counted_once() {
    let mut to = subscriber();
    for number in 0..3 {
        begin(&mut to, number, process(1), PART + 1);
        // Its pieces come all the same.
        assert!(give(&mut to, number, Kind::PublishPiece, Flags::CONTINUED, 1).is_none());
        assert_eq!(to.missed, 0, "{number}: nobody has told how it ends");
    }
    abort(&mut to, 0);
    assert_eq!(to.missed, 0, "TopicHub counts it");
    assert!(end(&mut to, 1, 1).is_none());
    assert_eq!(to.missed, 1);
    assert!(give(&mut to, 2, Kind::PublishPiece, Flags::REGION, 8).is_none());
    assert_eq!(to.missed, 2);
    assert!(to.partials.is_empty());
}
