//! Histories of names and watches.

use crate::Case;
use crate::history::{History, draft, origin, when};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc_model::What;

fn queues(h: &mut History, client: u32, id: u64) {
    h.says(client, draft(Kind::Register, id).flags(Flags::QUEUE).key(b"o"));
    h.hears(client, draft(Kind::Done, id).aux(1));
}

fn inherits(h: &mut History, client: u32, id: u64) {
    h.hears(client, draft(Kind::Ownership, id).aux(1));
}

fn notice(h: &mut History, what: u32, owner: u32) {
    let mut notice = draft(Kind::Notice, 7).aux(what).key(b"o");
    notice.origin = Some(origin(owner));
    h.hears(1, notice);
}

/// Client 1 watches names.
fn watches(h: &mut History) {
    h.asks(1, draft(Kind::Watch, 7).aux(1).key(b"*"));
}

pub const CASES: &[Case] = &[
    ("two-owners", "one owner at a time", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        if !bad {
            h.says(1, draft(Kind::Unregister, 2).key(b"o"));
        }
        h.registers(2, 1, "o", Flags::NONE);
        if !bad {
            h.hears(1, draft(Kind::Done, 2));
        }
    }),
    ("two-owners", "one that died may have lost it", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        if !bad {
            h.tell(1, What::Broke);
        }
        h.registers(2, 1, "o", Flags::NONE);
    }),
    ("two-owners", "a group has one balance", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::WORKER_GROUP);
        let register = draft(Kind::Register, 1).flags(Flags::WORKER_GROUP);
        h.asks(2, register.aux(u32::from(bad)).key(b"o"));
    }),
    ("name-taken", "only when somebody has it", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        if bad {
            h.asks(1, draft(Kind::Unregister, 2).key(b"o"));
        }
        h.says(2, draft(Kind::Register, 1).key(b"o"));
        h.error(2, 1, 10, false);
    }),
    ("name-taken", "not when its owner is long gone", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        h.tell(1, What::Broke);
        if bad {
            h.settle();
        }
        h.says(2, draft(Kind::Register, 1).key(b"o"));
        h.error(2, 1, 10, false);
    }),
    ("queue-order", "who came first", |h, bad| {
        h.open(3);
        h.registers(1, 1, "o", Flags::NONE);
        queues(h, 2, 1);
        queues(h, 3, 1);
        h.asks(1, draft(Kind::Unregister, 2).key(b"o"));
        inherits(h, if bad { 3 } else { 2 }, 1);
    }),
    ("ownership", "who waits for it", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        queues(h, 2, 1);
        h.asks(1, draft(Kind::Unregister, 2).key(b"o"));
        inherits(h, 2, 1);
        if bad {
            inherits(h, 2, 1);
        }
    }),
    ("ownership", "lost to one who may", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", when(!bad, Flags::ALLOW_REPLACE));
        h.registers(2, 1, "o", Flags::REPLACE);
        h.hears(1, draft(Kind::Ownership, 1).aux(0));
    }),
    ("register", "queued only who asked for it", |h, bad| {
        h.open(2);
        h.registers(1, 1, "o", Flags::NONE);
        h.says(
            2,
            draft(Kind::Register, 1).flags(when(!bad, Flags::QUEUE)).key(b"o"),
        );
        h.hears(2, draft(Kind::Done, 1).aux(1));
    }),
    ("register", "reserved names", |h, bad| {
        h.open(1);
        h.registers(1, 1, if bad { "sys.x" } else { "x.sys" }, Flags::NONE);
    }),
    ("wait", "all of them, at one time", |h, bad| {
        h.open(2);
        h.says(1, draft(Kind::Wait, 4).payload(Encoding::RAW, b"\x01o\x01u"));
        h.registers(2, 1, "o", Flags::NONE);
        if bad {
            h.asks(2, draft(Kind::Unregister, 3).key(b"o"));
        }
        h.registers(2, 2, "u", Flags::NONE);
        h.hears(1, draft(Kind::Done, 4));
    }),
    ("wait", "not in vain", |h, bad| {
        h.open(2);
        if bad {
            h.registers(2, 1, "o", Flags::NONE);
        }
        h.says(1, draft(Kind::Wait, 4).aux(100).payload(Encoding::RAW, b"\x01o"));
        h.settle();
        h.ms = 100;
        h.error(1, 4, 7, false);
    }),
    ("notice", "after the watch's Done", |h, bad| {
        h.open(2);
        h.registers(2, 1, "o", Flags::NONE);
        h.says(1, draft(Kind::Watch, 7).aux(1));
        if bad {
            notice(h, 1, 2);
        }
        h.hears(1, draft(Kind::Done, 7));
        notice(h, 1, 2);
    }),
    ("notice", "of one that asked for the name", |h, bad| {
        h.open(3);
        watches(h);
        h.registers(2, 1, "o", Flags::NONE);
        notice(h, 1, if bad { 3 } else { 2 });
    }),
    ("notice-order", "an end before the next beginning", |h, bad| {
        h.open(3);
        watches(h);
        h.registers(2, 1, "o", Flags::NONE);
        notice(h, 1, 2);
        h.tell(2, What::Broke);
        h.registers(3, 1, "o", Flags::NONE);
        if !bad {
            notice(h, 2, 2);
        }
        notice(h, 1, 3);
    }),
    ("notice-order", "an end before its heir knows", |h, bad| {
        h.open(2);
        watches(h);
        h.registers(2, 1, "o", Flags::NONE);
        notice(h, 1, 2);
        queues(h, 1, 9);
        h.tell(2, What::Broke);
        if !bad {
            notice(h, 2, 2);
        }
        inherits(h, 1, 9);
        if bad {
            notice(h, 2, 2);
        }
        notice(h, 1, 1);
    }),
    ("notice-missing", "in the end it knows what is there", |h, bad| {
        h.open(2);
        watches(h);
        h.registers(2, 1, "o", Flags::NONE);
        if !bad {
            notice(h, 1, 2);
        }
    }),
    ("notice-missing", "and what is not", |h, bad| {
        h.open(2);
        watches(h);
        h.registers(2, 1, "o", Flags::NONE);
        notice(h, 1, 2);
        h.tell(2, What::Broke);
        if !bad {
            notice(h, 2, 2);
        }
    }),
    ("notice-missing", "connections too", |h, bad| {
        h.open(2);
        h.asks(1, draft(Kind::Watch, 7).aux(2));
        let mut there = draft(Kind::Notice, 7).aux(3).key(b"n");
        there.origin = Some(origin(2));
        h.hears(1, there);
        h.tell(2, What::Broke);
        if !bad {
            h.hears(1, Draft { aux: 4, ..there });
        }
    }),
];
