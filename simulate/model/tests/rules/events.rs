//! Histories of events. Client 1 publishes, client 2 (and 3) hear topic `t`.

use crate::Case;
use crate::history::{History, draft, meta, when};
use actix_ipc::message::{Encoding, Flags, Kind};
use actix_ipc_model::What;

fn hear(h: &mut History) {
    h.open(3);
    h.subscribes(2, 3, Flags::NONE);
}

fn retained(h: &mut History, payload: &[u8]) {
    let event = draft(Kind::Event, 3).flags(Flags::RETAINED);
    h.hears(2, event.payload(Encoding::RAW, payload));
}

fn gap(h: &mut History, missed: u32) {
    h.hears(2, draft(Kind::Gap, 3).aux(missed));
}

/// Clients 2 and 3 are one queue group.
fn group(h: &mut History) {
    h.open(3);
    let group = meta("group", "g");
    for client in [2, 3] {
        h.asks(client, draft(Kind::Subscribe, 3).pair("t", "e").meta(&group));
    }
}

fn will(h: &mut History) {
    h.asks(
        1,
        draft(Kind::Will, 8)
            .pair("t", "e")
            .payload(Encoding::RAW, b"will"),
    );
}

/// Client 1 publishes `ab` in two pieces, and client 2 hears the first.
fn pieces(h: &mut History) {
    hear(h);
    let first = draft(Kind::Publish, 6).flags(Flags::CONTINUED).pair("t", "e");
    h.says(1, first.payload(Encoding::RAW, b"a"));
    h.says(1, draft(Kind::PublishPiece, 6).payload(Encoding::RAW, b"b"));
    let event = draft(Kind::Event, 3).aux(77).flags(Flags::CONTINUED);
    h.hears(2, event.payload(Encoding::RAW, b"a"));
}

pub const CASES: &[Case] = &[
    ("unknown-id", "after the Done", |h, bad| {
        h.open(2);
        h.says(2, draft(Kind::Subscribe, 3).pair("t", "e"));
        h.publishes(1, 0, Flags::NONE, b"x", None);
        if bad {
            h.event(2, 3, b"x", 0);
        }
        h.hears(2, draft(Kind::Done, 3));
        if !bad {
            h.event(2, 3, b"x", 0);
        }
    }),
    ("subscribe", "a key of two names", |h, bad| {
        h.open(1);
        let key: &[u8] = if bad { b"a**\0e" } else { b"a.**\0e" };
        h.asks(1, draft(Kind::Subscribe, 3).flags(Flags::PATTERN).key(key));
    }),
    ("event-invented", "what was published", |h, bad| {
        hear(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.event(2, 3, if bad { b"y" } else { b"x" }, u32::from(bad));
    }),
    ("event-topic", "on its topic", |h, bad| {
        hear(h);
        let object = if bad { "u" } else { "t" };
        h.says(
            1,
            draft(Kind::Publish, 0)
                .pair(object, "e")
                .payload(Encoding::RAW, b"x"),
        );
        h.event(2, 3, b"x", 0);
    }),
    ("event-key", "the key only for patterns", |h, bad| {
        h.open(2);
        h.subscribes(2, 3, Flags::PATTERN);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        let event = draft(Kind::Event, 3).payload(Encoding::RAW, b"x");
        h.hears(2, if bad { event } else { event.pair("t", "e") });
    }),
    ("event-once", "once", |h, bad| {
        hear(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.event(2, 3, b"x", 0);
        if bad {
            h.event(2, 3, b"x", 0);
        }
    }),
    ("event-order", "in order", |h, bad| {
        hear(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.publishes(1, 0, Flags::NONE, b"y", None);
        let (first, second) = if bad { (b"y", b"x") } else { (b"x", b"y") };
        h.event(2, 3, first, 0);
        h.event(2, 3, second, 0);
    }),
    ("event-early", "not what was before", |h, bad| {
        h.open(2);
        h.publishes(1, 4, Flags::NONE, b"x", bad.then_some(0));
        h.subscribes(2, 3, Flags::NONE);
        h.event(2, 3, b"x", 0);
    }),
    ("no-local", "not its own", |h, bad| {
        h.open(2);
        h.subscribes(2, 3, Flags::NO_LOCAL);
        h.publishes(if bad { 2 } else { 1 }, 0, Flags::NONE, b"x", None);
        h.event(2, 3, b"x", 0);
    }),
    ("gap-untold", "what was overtaken is told", |h, bad| {
        hear(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.publishes(1, 0, Flags::NONE, b"y", None);
        h.event(2, 3, b"y", u32::from(!bad));
        if bad {
            gap(h, 1);
        }
    }),
    ("gap-untold", "in the end all are told", |h, bad| {
        hear(h);
        h.publishes(1, 4, Flags::NONE, b"x", Some(1));
        if !bad {
            gap(h, 1);
        }
    }),
    ("gap-untold", "what came behind one that was heard", |h, bad| {
        h.open(2);
        h.says(2, draft(Kind::Subscribe, 3).pair("t", "e"));
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.publishes(1, 0, Flags::NONE, b"y", None);
        h.hears(2, draft(Kind::Done, 3));
        h.event(2, 3, b"x", 0);
        if !bad {
            gap(h, 1);
        }
    }),
    ("gap-untold", "a group hears all together", |h, bad| {
        group(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.publishes(1, 0, Flags::NONE, b"y", None);
        h.event(2, 3, b"x", 0);
        if !bad {
            h.event(3, 3, b"y", 0);
        }
    }),
    ("gap-overtold", "no more than there were", |h, bad| {
        hear(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        gap(h, 1 + u32::from(bad));
    }),
    ("group-once", "one member", |h, bad| {
        group(h);
        h.publishes(1, 0, Flags::NONE, b"x", None);
        h.event(2, 3, b"x", 0);
        if bad {
            h.event(3, 3, b"x", 0);
        }
    }),
    ("event-pieces", "the rest of the message", |h, bad| {
        pieces(h);
        let piece = draft(Kind::EventPiece, 3).aux(if bad { 78 } else { 77 });
        h.hears(2, piece.payload(Encoding::RAW, b"b"));
    }),
    ("event-pieces", "to its end", |h, bad| {
        pieces(h);
        if !bad {
            h.hears(2, draft(Kind::EventPiece, 3).aux(77).flags(Flags::ABORT));
            gap(h, 1);
        }
    }),
    ("retained", "what was asked for", |h, bad| {
        h.open(2);
        h.publishes(1, 4, Flags::RETAIN, b"x", Some(0));
        h.subscribes(2, 3, when(bad, Flags::NO_RETAINED));
        retained(h, b"x");
    }),
    ("retained-order", "before live events", |h, bad| {
        h.open(2);
        h.publishes(1, 4, Flags::RETAIN, b"x", Some(0));
        h.subscribes(2, 3, Flags::NONE);
        h.publishes(1, 0, Flags::NONE, b"y", None);
        if bad {
            h.event(2, 3, b"y", 0);
        }
        retained(h, b"x");
        if !bad {
            h.event(2, 3, b"y", 0);
        }
    }),
    ("retained-stale", "the last one", |h, bad| {
        h.open(2);
        h.publishes(1, 4, Flags::RETAIN, b"x", Some(0));
        h.publishes(1, 5, Flags::RETAIN, b"y", Some(0));
        h.subscribes(2, 3, Flags::NONE);
        retained(h, if bad { b"x" } else { b"y" });
    }),
    ("retained-missing", "it comes", |h, bad| {
        h.open(2);
        h.publishes(1, 4, Flags::RETAIN, b"x", Some(0));
        h.subscribes(2, 3, Flags::NONE);
        if !bad {
            retained(h, b"x");
        }
    }),
    ("accepted", "as many as there were", |h, bad| {
        hear(h);
        h.publishes(1, 4, Flags::NONE, b"x", Some(1 + u32::from(bad)));
        h.event(2, 3, b"x", 0);
    }),
    ("accepted", "no fewer than heard it", |h, bad| {
        hear(h);
        h.publishes(1, 4, Flags::NONE, b"x", Some(u32::from(!bad)));
        h.event(2, 3, b"x", 0);
    }),
    ("will", "of one that left without a word", |h, bad| {
        hear(h);
        will(h);
        if bad {
            h.says(1, draft(Kind::Goodbye, 0).aux(1));
            h.hears(1, draft(Kind::Goodbye, 0).aux(1));
        } else {
            h.tell(1, What::Broke);
        }
        h.event(2, 3, b"will", 0);
    }),
    ("will", "not of one that lives", |h, bad| {
        hear(h);
        will(h);
        if !bad {
            h.tell(1, What::Broke);
        }
        h.event(2, 3, b"will", 0);
    }),
    ("will", "the last one", |h, bad| {
        hear(h);
        will(h);
        let other = draft(Kind::Will, 9)
            .pair("t", "e")
            .payload(Encoding::RAW, b"other");
        h.asks(1, other);
        h.tell(1, What::Broke);
        h.event(2, 3, if bad { b"will" } else { b"other" }, 0);
    }),
    ("gap-untold", "a will is published", |h, bad| {
        hear(h);
        will(h);
        h.tell(1, What::Broke);
        if !bad {
            h.event(2, 3, b"will", 0);
        }
    }),
    (
        "gap-untold",
        "nothing is asked of a subscriber that is gone",
        |h, bad| {
            hear(h);
            h.publishes(1, 0, Flags::NONE, b"x", None);
            if !bad {
                h.tell(2, What::Broke);
            }
        },
    ),
];
