//! Histories of connections, requests and credit.

use crate::Case;
use crate::history::{History, draft, hello, welcome};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc_model::{Core, What};

pub const CASES: &[Case] = &[
    ("codec", "decoded is what was sent", |h, bad| {
        h.open(1);
        h.tell(1, What::Sent(draft(Kind::Ping, 2).to_vec()));
        h.tell(
            1,
            What::Arrived(draft(Kind::Ping, if bad { 3 } else { 2 }).to_vec()),
        );
        h.hears(1, draft(Kind::Pong, if bad { 3 } else { 2 }));
    }),
    ("codec", "optional kinds are skipped", |h, bad| {
        h.open(1);
        let mut optional = draft(Kind::Ping, 2).to_vec();
        optional[4] = if bad { 0x7f } else { 0x80 };
        h.tell(1, What::Sent(optional));
        h.says(1, draft(Kind::Pong, 3));
    }),
    ("codec", "bytes of the broker", |h, bad| {
        h.open(1);
        let mut bytes = draft(Kind::Ping, 2).to_vec();
        bytes[4] = if bad { 0x7f } else { bytes[4] };
        h.tell(1, What::Received(bytes));
    }),
    ("handshake", "Welcome is the first frame", |h, bad| {
        h.connect(1, true);
        h.says_bytes(1, hello());
        if bad {
            h.hears(1, draft(Kind::Ping, 1));
        }
        h.tell(1, What::Received(welcome(1)));
    }),
    ("handshake", "every connection has its own number", |h, bad| {
        h.open(1);
        h.connect(2, true);
        h.says_bytes(2, hello());
        h.tell(2, What::Received(welcome(if bad { 1 } else { 2 })));
    }),
    ("direction", "a broker sends no requests", |h, bad| {
        h.open(1);
        h.hears(1, draft(if bad { Kind::Register } else { Kind::Ping }, 2));
    }),
    ("after-goodbye", "nothing behind it", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Goodbye, 0).aux(1));
        if !bad {
            h.hears(1, draft(Kind::Ping, 1));
        }
        h.hears(1, draft(Kind::Goodbye, 0).aux(1));
        if bad {
            h.hears(1, draft(Kind::Ping, 1));
        }
    }),
    ("pong", "once, with the same payload", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Ping, 7).payload(Encoding::RAW, b"x"));
        h.hears(
            1,
            draft(Kind::Pong, 7).payload(Encoding::RAW, if bad { b"y" } else { b"x" }),
        );
    }),
    ("pong", "in the end every ping has one", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Ping, 7));
        if !bad {
            h.hears(1, draft(Kind::Pong, 7));
        }
    }),
    ("dismissal", "an honest client breaks no protocol", |h, bad| {
        h.connect(1, bad);
        h.says_bytes(1, hello());
        h.tell(1, What::Received(welcome(1)));
        h.hears(1, draft(Kind::Goodbye, 0).aux(3));
    }),
    ("dismissal", "Finished only when it is", |h, bad| {
        h.open(1);
        if !bad {
            h.tell(1, What::HalfClosed);
        }
        h.hears(1, draft(Kind::Goodbye, 0).aux(1));
    }),
    ("unasked", "an answer has its request", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Watch, 4).aux(1));
        h.hears(1, draft(Kind::Done, 4));
        if bad {
            h.hears(1, draft(Kind::Done, 4));
        }
    }),
    ("answer-kind", "of its kind", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::List, 4));
        h.hears(1, draft(if bad { Kind::Done } else { Kind::Reply }, 4));
    }),
    ("one-answer", "in the end every request has one", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Unregister, 4).key(b"x"));
        if !bad {
            h.error(1, 4, 11, false);
        }
    }),
    ("internal", "only for the author of a panic", |h, bad| {
        h.open(2);
        h.says(1, draft(Kind::Subscribe, 4).pair("a", "b"));
        h.tell(if bad { 2 } else { 1 }, What::Panicked(Core::TopicHub));
        h.error(1, 4, 16, true);
    }),
    ("cancelled", "only who took it back", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Wait, 4).payload(Encoding::RAW, b"\x01a"));
        if !bad {
            h.says(1, draft(Kind::Cancel, 4));
        }
        h.error(1, 4, 6, false);
    }),
    ("deadline", "a wait ends at its time", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Wait, 4).aux(100).payload(Encoding::RAW, b"\x01a"));
        h.ms = if bad { 99 } else { 100 };
        h.error(1, 4, 7, false);
    }),
    ("late", "and not long after it", |h, bad| {
        h.open(1);
        h.says(1, draft(Kind::Wait, 4).aux(100).payload(Encoding::RAW, b"\x01a"));
        h.tell(0, What::Calm);
        h.ms = if bad { 1_101 } else { 1_100 };
        h.error(1, 4, 7, false);
    }),
    ("publish-credit", "no more than was spent", |h, bad| {
        h.open(1);
        h.publishes(1, 0, Flags::NONE, b"0123456789", None);
        h.hears(1, draft(Kind::PublishCredit, 0).aux(if bad { 38 } else { 37 }));
    }),
    ("publish-credit", "and in the end all but a portion", |h, bad| {
        h.open(1);
        let value = [0; 600];
        h.publishes(1, 0, Flags::NONE, &value, None);
        h.hears(1, draft(Kind::PublishCredit, 0).aux(if bad { 1 } else { 600 }));
    }),
    ("window", "only who overdrew it is dismissed for it", |h, bad| {
        h.connect(1, false);
        h.says_bytes(1, hello());
        h.tell(1, What::Received(welcome(1)));
        h.publishes(1, 0, Flags::NONE, &[0; 1_000], None);
        if !bad {
            h.publishes(1, 0, Flags::NONE, b"more", None);
        }
        let why: Draft<'_> = draft(Kind::Goodbye, 0).aux(5);
        h.hears(1, why.payload(Encoding::RAW, b"the publish window was exceeded"));
    }),
    ("unknown-id", "a reply to nothing", |h: &mut History, bad| {
        h.open(2);
        h.registers(2, 1, "o", Flags::NONE);
        h.call();
        h.answer();
        if bad {
            h.hears(1, draft(Kind::Reply, 6));
        }
    }),
];
