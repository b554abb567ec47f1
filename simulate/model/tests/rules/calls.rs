//! Histories of calls. Client 1 calls, client 2 serves `o`.

use crate::Case;
use crate::history::{History, draft, meta, origin, when};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc_model::{Core, What};

fn serve(h: &mut History) {
    h.open(3);
    h.registers(2, 1, "o", Flags::NONE);
}

/// Client 2 answers ticket 9 with these frames; client 1 hears the second list under number 5.
fn stream(h: &mut History, said: &[Draft<'_>], heard: &[Draft<'_>]) {
    said.iter().for_each(|draft| h.says(2, Draft { id: 9, ..*draft }));
    heard
        .iter()
        .for_each(|draft| h.hears(1, Draft { id: 5, ..*draft }));
}

/// A call in pieces, delivered.
fn call_in_pieces(h: &mut History) {
    h.calls(5, Flags::CONTINUED);
    h.says(1, draft(Kind::CallPiece, 5).payload(Encoding::RAW, b"end"));
    let name = meta("sys.name", "n");
    let mut call = draft(Kind::Call, 9)
        .aux(400)
        .flags(Flags::CONTINUED)
        .pair("o", "m")
        .meta(&name);
    call.origin = Some(origin(1));
    h.hears(2, call.payload(Encoding::RAW, b"p"));
}

pub const CASES: &[Case] = &[
    ("one-outcome", "one end", |h, bad| {
        serve(h);
        h.call();
        if !bad {
            h.answer();
        }
    }),
    ("one-outcome", "also of a caller that left in order", |h, bad| {
        serve(h);
        h.call();
        h.says(1, draft(Kind::Goodbye, 0).aux(1));
        if !bad {
            h.answer();
        }
        h.hears(1, draft(Kind::Goodbye, 0).aux(1));
    }),
    ("after-outcome", "nothing behind it", |h, bad| {
        serve(h);
        h.call();
        h.answer();
        if bad {
            h.error(1, 5, 7, true);
        }
    }),
    ("origin", "who called", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        let name = meta("sys.name", "n");
        let mut call = draft(Kind::Call, 9).aux(400).pair("o", "m").meta(&name);
        call.origin = Some(origin(if bad { 7 } else { 1 }));
        h.hears(2, call.payload(Encoding::RAW, b"p"));
        h.answer();
    }),
    ("origin", "its declared name", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        let name = meta("sys.name", if bad { "m" } else { "n" });
        let mut call = draft(Kind::Call, 9).aux(400).pair("o", "m").meta(&name);
        call.origin = Some(origin(1));
        h.hears(2, call.payload(Encoding::RAW, b"p"));
        h.answer();
    }),
    ("invented", "what was called", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        h.gives(2, 9, if bad { b"q" } else { b"p" });
        h.answer();
    }),
    ("handled-once", "one callee", |h, bad| {
        h.open(3);
        h.registers(2, 1, "o", Flags::WORKER_GROUP);
        h.registers(3, 1, "o", Flags::WORKER_GROUP);
        h.call();
        if bad {
            h.gives(3, 10, b"p");
        }
        h.answer();
    }),
    ("ticket", "tickets are not used twice", |h, bad| {
        serve(h);
        h.call();
        h.answer();
        let second = draft(Kind::Call, 6)
            .aux(500)
            .pair("o", "m")
            .payload(Encoding::RAW, b"q");
        h.says(1, second);
        h.gives(2, if bad { 9 } else { 10 }, b"q");
        let reply = draft(Kind::Reply, if bad { 9 } else { 10 });
        h.says(2, reply);
        h.hears(1, Draft { id: 6, ..reply });
    }),
    ("ticket", "nothing about other tickets", |h, bad| {
        serve(h);
        h.call();
        h.says(1, draft(Kind::Cancel, 5));
        h.error(1, 5, 6, true);
        h.hears(2, draft(Kind::Cancel, if bad { 8 } else { 9 }));
    }),
    ("did-not-run", "told before it is given", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        h.ms = 600;
        h.error(1, 5, 7, !bad);
        h.gives(2, 9, b"p");
    }),
    ("did-not-run", "told after it was given", |h, bad| {
        serve(h);
        h.call();
        h.tell(2, What::Broke);
        h.error(1, 5, 5, !bad);
    }),
    ("may-have-run", "what found no object did not run", |h, bad| {
        h.open(1);
        h.calls(5, Flags::NONE);
        h.error(1, 5, 1, bad);
    }),
    ("may-have-run", "nor what nobody could have", |h, bad| {
        h.open(1);
        h.calls(5, Flags::WAIT);
        h.ms = 500;
        h.error(1, 5, 7, bad);
    }),
    ("call-order", "in the order of the calls", |h, bad| {
        serve(h);
        for (id, payload) in [(5, b"p"), (6, b"q")] {
            let call = draft(Kind::Call, id)
                .aux(500)
                .pair("o", "m")
                .payload(Encoding::RAW, payload);
            h.says(1, call);
        }
        let order: [(u64, &[u8]); 2] = if bad {
            [(10, b"q"), (9, b"p")]
        } else {
            [(9, b"p"), (10, b"q")]
        };
        order
            .iter()
            .for_each(|(ticket, payload)| h.gives(2, *ticket, payload));
        h.answer();
        h.says(2, draft(Kind::Error, 10).aux(2));
        h.error(1, 6, 2, false);
    }),
    ("forged", "the callee's answer", |h, bad| {
        serve(h);
        h.call();
        let reply = draft(Kind::Reply, 9).payload(Encoding::RAW, b"r");
        // A stranger answers under the same ticket.
        h.says(3, reply.payload(Encoding::RAW, b"forged"));
        h.says(2, reply);
        let heard: &[u8] = if bad { b"forged" } else { b"r" };
        h.hears(1, draft(Kind::Reply, 5).payload(Encoding::RAW, heard));
    }),
    ("forged", "not before the callee has it", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        if !bad {
            h.gives(2, 9, b"p");
        }
        h.answer();
    }),
    ("forged", "in pieces, all of them", |h, bad| {
        serve(h);
        h.call();
        let (first, last) = (
            draft(Kind::Reply, 0).flags(Flags::CONTINUED),
            draft(Kind::ReplyPiece, 0),
        );
        let said = [
            first.payload(Encoding::RAW, b"a"),
            last.payload(Encoding::RAW, b"b"),
        ];
        let heard = [
            said[0],
            last.payload(Encoding::RAW, if bad { b"c" } else { b"b" }),
        ];
        stream(h, &said, &heard);
    }),
    ("forged", "a stream in its order", |h, bad| {
        serve(h);
        h.calls(5, Flags::STREAM);
        let name = meta("sys.name", "n");
        let mut call = draft(Kind::Call, 9)
            .aux(400)
            .flags(Flags::STREAM)
            .pair("o", "m")
            .meta(&name);
        call.origin = Some(origin(1));
        h.hears(2, call.payload(Encoding::RAW, b"p"));
        let item = draft(Kind::Reply, 0).flags(Flags::MORE);
        let (one, two) = (
            item.payload(Encoding::RAW, b"1"),
            item.payload(Encoding::RAW, b"2"),
        );
        let end = draft(Kind::Reply, 0);
        let heard = if bad { [two, one, end] } else { [one, two, end] };
        stream(h, &[one, two, end], &heard);
    }),
    ("forged", "a code that only a callee has", |h, bad| {
        serve(h);
        h.call();
        if !bad {
            h.says(2, draft(Kind::Error, 9).aux(3).flags(Flags::MAY_HAVE_RUN));
        }
        h.error(1, 5, 3, true);
    }),
    ("deadline", "not before its time", |h, bad| {
        serve(h);
        h.call();
        h.ms = if bad { 499 } else { 500 };
        h.error(1, 5, 7, true);
    }),
    ("deadline", "what is left is not more than was given", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        let name = meta("sys.name", "n");
        let mut call = draft(Kind::Call, 9)
            .aux(if bad { 501 } else { 500 })
            .pair("o", "m")
            .meta(&name);
        call.origin = Some(origin(1));
        h.hears(2, call.payload(Encoding::RAW, b"p"));
        h.answer();
    }),
    ("late", "not long after its time", |h, bad| {
        serve(h);
        h.call();
        h.tell(0, What::Calm);
        h.ms = if bad { 1_501 } else { 1_500 };
        h.error(1, 5, 7, true);
    }),
    ("cancelled", "by its caller", |h, bad| {
        serve(h);
        h.call();
        if !bad {
            h.says(1, draft(Kind::Cancel, 5));
        }
        h.error(1, 5, 6, true);
    }),
    ("cancel", "a callee stops for a reason", |h, bad| {
        serve(h);
        h.call();
        if !bad {
            h.says(1, draft(Kind::Cancel, 5));
        }
        h.hears(2, draft(Kind::Cancel, 9));
        h.answer();
    }),
    ("cancel", "once", |h, bad| {
        serve(h);
        h.call();
        h.says(1, draft(Kind::Cancel, 5));
        h.error(1, 5, 6, true);
        h.hears(2, draft(Kind::Cancel, 9));
        if bad {
            h.hears(2, draft(Kind::Cancel, 9));
        }
    }),
    ("internal", "only after a panic", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        if !bad {
            h.tell(1, What::Panicked(Core::Registry));
        }
        h.error(1, 5, 16, true);
    }),
    ("callee-gone", "only when one is", |h, bad| {
        serve(h);
        h.call();
        if !bad {
            h.tell(2, What::Broke);
        }
        h.error(1, 5, 5, true);
    }),
    ("misrouted", "to an owner", |h, bad| {
        serve(h);
        h.calls(5, Flags::NONE);
        let callee = if bad { 3 } else { 2 };
        h.gives(callee, 9, b"p");
        let reply = draft(Kind::Reply, 9);
        h.says(callee, reply);
        h.hears(1, Draft { id: 5, ..reply });
    }),
    ("no-such-object", "not while it is owned", |h, bad| {
        serve(h);
        if !bad {
            h.asks(2, draft(Kind::Unregister, 4).key(b"o"));
        }
        h.calls(5, Flags::NONE);
        h.error(1, 5, 1, false);
    }),
    ("arguments", "in pieces, unchanged", |h, bad| {
        serve(h);
        call_in_pieces(h);
        let piece = draft(Kind::CallPiece, 9);
        h.hears(2, piece.payload(Encoding::RAW, if bad { b"eng" } else { b"end" }));
        h.answer();
    }),
    ("call-credit", "what the callee gave", |h, bad| {
        serve(h);
        call_in_pieces(h);
        h.says(2, draft(Kind::CallCredit, 9).aux(20));
        h.hears(1, draft(Kind::CallCredit, 5).aux(if bad { 21 } else { 20 }));
        h.hears(2, draft(Kind::CallPiece, 9).payload(Encoding::RAW, b"end"));
        h.answer();
    }),
    ("reply-credit", "what the caller gave", |h, bad| {
        serve(h);
        h.call();
        let first = draft(Kind::Reply, 0)
            .flags(Flags::CONTINUED)
            .payload(Encoding::RAW, b"a");
        stream(h, &[first], &[first]);
        h.says(1, draft(Kind::ReplyCredit, 5).aux(25));
        h.hears(2, draft(Kind::ReplyCredit, 9).aux(if bad { 26 } else { 25 }));
        let last = draft(Kind::ReplyPiece, 0).flags(when(false, Flags::ABORT));
        stream(h, &[last], &[last]);
    }),
];
