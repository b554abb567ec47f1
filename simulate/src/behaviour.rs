//! What a client does next: the choices of honest callers, workers, publishers and subscribers.
//!
//! Each function queues frames in its [`Client`] and nothing else. All frames are within the rules; `hostile` breaks them.

use crate::client::{Client, Given, Stage};
use crate::rng::Rng;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata, metadata};

/// Few names, so that clients meet.
pub const OBJECTS: [&str; 4] = ["o.1", "o.2", "p.1", "q"];
const TOPICS: [&str; 3] = ["t.1", "t.2", "u"];
const EVENTS: [&str; 2] = ["e", "f"];
const PATTERNS: [(&str, &str); 5] = [("t.*", "e"), ("**", "**"), ("t.1", "*"), ("*", "f"), ("u", "e")];
const GROUPS: [&str; 2] = ["g", "h"];
const DEADLINES: [u32; 5] = [0, 20, 200, 2_000, 60_000];

/// One thing that an honest client might do.
pub fn act(client: &mut Client, rng: &mut Rng) {
    if client.stage != Stage::Ready {
        return;
    }
    match rng.below(100) {
        0..8 => register(client, rng),
        8..10 => unregister(client, rng),
        10..13 => wait(client, rng),
        13..16 => watch(client, rng),
        16..18 => look(client, rng),
        18..38 => call(client, rng),
        38..46 => call_piece(client, rng),
        46..49 => cancel(client, rng),
        49..64 => answer(client, rng),
        64..69 => give_credit(client, rng.chance(50)),
        69..76 => subscribe(client, rng),
        76..78 => unsubscribe(client, rng),
        78..92 => publish(client, rng),
        92..96 => publish_piece(client, rng, 30),
        96..97 => will(client, rng),
        97..99 => ping(client, rng),
        _ if rng.chance(20) => goodbye(client),
        _ => {}
    }
}

/// What a client still owes when the faults are over: answers, pieces, credit.
pub fn finish(client: &mut Client, rng: &mut Rng) {
    if client.stage != Stage::Ready {
        return;
    }
    give_credit(client, true);
    for _ in 0..client.given.len() {
        answer(client, rng);
    }
    for _ in 0..client.uploads.len() {
        publish_piece(client, rng, 70);
    }
    for _ in 0..4 {
        call_piece(client, rng);
    }
}

/// Says that nothing follows.
pub fn goodbye(client: &mut Client) {
    client.send(&Draft::new(Kind::Goodbye, 0));
    client.stage = Stage::Leaving;
}

fn register(client: &mut Client, rng: &mut Rng) {
    let Some(object) = rng.pick(&OBJECTS) else { return };
    if client.names.values().any(|held| *held == object) {
        return;
    }
    // `q` is a group for everyone.
    let group = object == "q";
    let flags = Flags::NONE
        .with_if(group, Flags::WORKER_GROUP)
        .with_if(!group && rng.chance(60), Flags::QUEUE)
        .with_if(!group && rng.chance(20), Flags::REPLACE)
        .with_if(!group && rng.chance(40), Flags::ALLOW_REPLACE);
    let aux = if group && rng.chance(10) { 1 } else { 0 };
    let id = client.id();
    client.names.insert(id, object);
    client.ask(
        &Draft::new(Kind::Register, id)
            .flags(flags)
            .aux(aux)
            .key(object.as_bytes())
            .payload(Encoding::JSON, b"{}"),
    );
}

fn unregister(client: &mut Client, rng: &mut Rng) {
    let names: Vec<(u64, &str)> = client.names.iter().map(|(id, object)| (*id, *object)).collect();
    let Some((held, object)) = rng.pick(&names).filter(|(id, _)| !client.asked.contains_key(id)) else {
        return;
    };
    client.names.remove(&held);
    let id = client.id();
    client.ask(&Draft::new(Kind::Unregister, id).key(object.as_bytes()));
}

fn wait(client: &mut Client, rng: &mut Rng) {
    let (mut payload, mut names) = (Vec::new(), Vec::new());
    for _ in 0..rng.between(1, 2) {
        let Some(object) = rng.pick(&OBJECTS) else { return };
        payload.push(u8::try_from(object.len()).unwrap_or(0));
        payload.extend_from_slice(object.as_bytes());
        names.push(object);
    }
    let id = client.id();
    let aux = rng.pick(&DEADLINES).unwrap_or(0);
    client.ask(
        &Draft::new(Kind::Wait, id)
            .aux(aux)
            .payload(Encoding::RAW, &payload),
    );
    if let Some(asked) = client.asked.get_mut(&id) {
        asked.names = names;
    }
}

fn watch(client: &mut Client, rng: &mut Rng) {
    let open: Vec<u64> = client.watches.iter().copied().collect();
    let open = rng.pick(&open).filter(|id| !client.asked.contains_key(id));
    if let Some(id) = open.filter(|_| rng.chance(40)) {
        client.watches.remove(&id);
        client.ask(&Draft::new(Kind::Unwatch, id));
        return;
    }
    let id = client.id();
    client.watches.insert(id);
    let key: &[u8] = match rng.below(4) {
        0 => b"o.*",
        1 => b"o.1",
        _ => b"",
    };
    let aux = u32::try_from(rng.between(1, 3)).unwrap_or(1);
    client.ask(&Draft::new(Kind::Watch, id).aux(aux).key(key));
}

fn look(client: &mut Client, rng: &mut Rng) {
    let id = client.id();
    match rng.pick(&OBJECTS).filter(|_| rng.chance(60)) {
        Some(object) => client.ask(&Draft::new(Kind::Describe, id).key(object.as_bytes())),
        None => client.ask(&Draft::new(Kind::List, id)),
    }
}

fn call(client: &mut Client, rng: &mut Rng) {
    let Some(object) = rng.pick(&OBJECTS) else { return };
    let silent = rng.chance(10);
    let pieces = if !silent && rng.chance(25) {
        rng.between(1, 4)
    } else {
        0
    };
    let flags = Flags::NONE
        .with_if(silent, Flags::NO_REPLY)
        .with_if(rng.chance(40), Flags::WAIT)
        .with_if(!silent && rng.chance(30), Flags::STREAM)
        .with_if(pieces > 0, Flags::CONTINUED);
    let (id, aux) = (client.id(), rng.pick(&DEADLINES).unwrap_or(0));
    let items = pieces > 0 && id.is_multiple_of(2);
    let flags = flags.with_if(items, Flags::ITEMS);
    let length = some_length(client, rng);
    let payload = client.payload(length);
    let mut meta = Metadata::new();
    if object == "q" && rng.chance(30) {
        let _ = meta.insert(metadata::ROUTE_KEY, "k");
    }
    let draft = Draft::new(Kind::Call, id)
        .flags(flags)
        .aux(aux)
        .pair(object, "m")
        .meta(meta.as_bytes())
        .payload(Encoding::RAW, &payload);
    if silent {
        client.send(&draft);
        return;
    }
    client.ask(&draft);
    let window = client.stream_window();
    if let Some(asked) = client.asked.get_mut(&id) {
        (asked.pieces, asked.window) = (u32::try_from(pieces).unwrap_or(0), window);
        asked.items = items;
        asked.names = vec![object];
    }
}

fn call_piece(client: &mut Client, rng: &mut Rng) {
    let open: Vec<u64> = client
        .asked
        .iter()
        .filter(|(_, asked)| asked.pieces > 0 && asked.window > 0)
        .map(|(id, _)| *id)
        .collect();
    let Some(id) = rng.pick(&open) else { return };
    let length = some_length(client, rng);
    let payload = client.payload(length);
    let left = client
        .asked
        .get(&id)
        .map_or(0, |asked| asked.pieces)
        .saturating_sub(1);
    let given_up = rng.chance(3);
    let flags = match given_up {
        true => Flags::ABORT,
        false => Flags::NONE.with_if(left > 0, Flags::CONTINUED),
    };
    let end_of_items = flags == Flags::NONE && client.asked.get(&id).is_some_and(|asked| asked.items);
    let payload = if end_of_items { Vec::new() } else { payload };
    let spent = client.send(
        &Draft::new(Kind::CallPiece, id)
            .flags(flags)
            .payload(Encoding::RAW, &payload),
    );
    if let Some(asked) = client.asked.get_mut(&id) {
        asked.pieces = if given_up { 0 } else { left };
        asked.window = asked
            .window
            .saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX));
    }
}

fn cancel(client: &mut Client, rng: &mut Rng) {
    let open: Vec<u64> = client
        .asked
        .iter()
        .filter(|(_, asked)| matches!(asked.kind, Kind::Call | Kind::Wait | Kind::Reply))
        .map(|(id, _)| *id)
        .collect();
    if let Some(id) = rng.pick(&open) {
        if let Some(asked) = client.asked.get_mut(&id) {
            asked.pieces = 0;
        }
        client.send(&Draft::new(Kind::Cancel, id));
    }
}

/// The next frame of one of the answers that are owed.
pub fn answer(client: &mut Client, rng: &mut Rng) {
    let open: Vec<u64> = client.given.keys().copied().collect();
    let Some(ticket) = rng.pick(&open) else { return };
    let Some(mut given) = client.given.remove(&ticket) else {
        return;
    };
    let over = given.no_reply || answer_one(client, rng, ticket, &mut given);
    if !over {
        client.given.insert(ticket, given);
    } else if given.no_reply && given.incomplete {
        // Nothing is owed, but more of it comes.
        client.given.insert(ticket, given);
    }
}

/// `true`: that was the end of it.
fn answer_one(client: &mut Client, rng: &mut Rng, ticket: u64, given: &mut Given) -> bool {
    if let Some((left, last)) = given.pieces {
        return reply_piece(client, rng, ticket, given, left.saturating_sub(1), last);
    }
    let length = some_length(client, rng);
    let payload = client.payload(length);
    if rng.chance(8) {
        let code = ErrorCode::Handler.code();
        client.send(
            &Draft::new(Kind::Error, ticket)
                .aux(code)
                .flags(Flags::MAY_HAVE_RUN)
                .payload(Encoding::RAW, &payload),
        );
        return true;
    }
    let more = given.stream && rng.chance(60);
    let continued = rng.chance(20);
    if (more || continued) && given.window <= 0 {
        return false;
    }
    let flags = Flags::NONE
        .with_if(more, Flags::MORE)
        .with_if(continued, Flags::CONTINUED);
    let spent = client.send(
        &Draft::new(Kind::Reply, ticket)
            .flags(flags)
            .payload(Encoding::RAW, &payload),
    );
    if more || continued {
        given.window = given
            .window
            .saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX));
    }
    if continued {
        given.pieces = Some((u32::try_from(rng.between(1, 3)).unwrap_or(1), !more));
    }
    !more && !continued
}

fn reply_piece(
    client: &mut Client,
    rng: &mut Rng,
    ticket: u64,
    given: &mut Given,
    left: u32,
    last: bool,
) -> bool {
    if given.window <= 0 {
        return false;
    }
    let length = some_length(client, rng);
    let payload = client.payload(length);
    let spent = client.send(
        &Draft::new(Kind::ReplyPiece, ticket)
            .flags(Flags::NONE.with_if(left > 0, Flags::CONTINUED))
            .payload(Encoding::RAW, &payload),
    );
    given.window = given
        .window
        .saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX));
    given.pieces = (left > 0).then_some((left, last));
    last && left == 0
}

/// Gives back credit for what was read. `all`: of everything, otherwise of one.
pub fn give_credit(client: &mut Client, all: bool) {
    let most = if all { usize::MAX } else { 1 };
    let owed: Vec<(Kind, u64, u32)> = client
        .asked
        .iter_mut()
        .map(|(id, asked)| (Kind::ReplyCredit, *id, &mut asked.owed))
        .chain(
            client
                .given
                .iter_mut()
                .map(|(ticket, given)| (Kind::CallCredit, *ticket, &mut given.owed)),
        )
        .filter(|(_, _, owed)| **owed > 0)
        .take(most)
        .map(|(kind, id, owed)| (kind, id, std::mem::take(owed)))
        .collect();
    for (kind, id, bytes) in owed {
        client.send(&Draft::new(kind, id).aux(bytes));
    }
}

fn subscribe(client: &mut Client, rng: &mut Rng) {
    let id = client.id();
    let pattern = rng.chance(40);
    let (object, event) = match pattern {
        true => rng.pick(&PATTERNS).unwrap_or(("**", "**")),
        false => (rng.pick(&TOPICS).unwrap_or("u"), rng.pick(&EVENTS).unwrap_or("e")),
    };
    let flags = Flags::NONE
        .with_if(pattern, Flags::PATTERN)
        .with_if(rng.chance(20), Flags::NO_LOCAL)
        .with_if(rng.chance(20), Flags::NO_RETAINED);
    let mut meta = Metadata::new();
    if rng.chance(25) {
        let _ = meta.insert(metadata::GROUP, rng.pick(&GROUPS).unwrap_or("g"));
    }
    let policy = rng.pick(&[0, 0, 0, 0, 2, 3, 1]).unwrap_or(0);
    client.subscriptions.insert(id);
    client.ask(
        &Draft::new(Kind::Subscribe, id)
            .flags(flags)
            .aux(policy)
            .pair(object, event)
            .meta(meta.as_bytes()),
    );
}

fn unsubscribe(client: &mut Client, rng: &mut Rng) {
    let open: Vec<u64> = client.subscriptions.iter().copied().collect();
    let Some(id) = rng.pick(&open).filter(|id| !client.asked.contains_key(id)) else {
        return;
    };
    client.subscriptions.remove(&id);
    client.ask(&Draft::new(Kind::Unsubscribe, id));
}

fn publish(client: &mut Client, rng: &mut Rng) {
    let (object, event) = (rng.pick(&TOPICS).unwrap_or("u"), rng.pick(&EVENTS).unwrap_or("e"));
    for _ in 0..rng.between(1, 4) {
        if client.publish_window <= 0 {
            return;
        }
        let most = client.welcome.map_or(0, |welcome| welcome.open_calls as usize);
        let pieces = if client.uploads.len() < most && rng.chance(12) {
            rng.between(1, 3)
        } else {
            0
        };
        let ack = rng.chance(30);
        let flags = Flags::NONE
            .with_if(ack, Flags::ACK)
            .with_if(pieces == 0 && rng.chance(12), Flags::RETAIN)
            .with_if(pieces > 0, Flags::CONTINUED);
        let length = some_length(client, rng);
        let payload = // Only one client clears values: empty payloads do not tell whose they are.
        match client.number == 1 && flags.has(Flags::RETAIN) && rng.chance(30) {
            true => Vec::new(),
            false => client.payload(length),
        };
        let id = client.id();
        let draft = Draft::new(Kind::Publish, id)
            .flags(flags)
            .pair(object, event)
            .payload(Encoding::RAW, &payload);
        spend(client, draft.wire_len());
        match ack {
            true => client.ask(&draft),
            false => {
                client.send(&draft);
            }
        }
        if pieces > 0 {
            client.uploads.insert(id, u32::try_from(pieces).unwrap_or(1));
        }
    }
}

fn publish_piece(client: &mut Client, rng: &mut Rng, last: u64) {
    let open: Vec<u64> = client.uploads.keys().copied().collect();
    let Some(id) = rng.pick(&open).filter(|_| client.publish_window > 0) else {
        return;
    };
    let left = client.uploads.get(&id).map_or(0, |left| left.saturating_sub(1));
    let length = some_length(client, rng);
    let payload = client.payload(length);
    let given_up = rng.chance(5);
    let over = left == 0 || given_up || rng.chance(last);
    let flags = match (given_up, over) {
        (true, _) => Flags::ABORT,
        (false, over) => Flags::NONE.with_if(!over, Flags::CONTINUED),
    };
    let draft = Draft::new(Kind::PublishPiece, id)
        .flags(flags)
        .payload(Encoding::RAW, &payload);
    spend(client, draft.wire_len());
    client.send(&draft);
    match over {
        true => client.uploads.remove(&id),
        false => client.uploads.insert(id, left),
    };
}

fn will(client: &mut Client, rng: &mut Rng) {
    let id = client.id();
    if rng.chance(20) {
        return client.ask(&Draft::new(Kind::Will, id));
    }
    let payload = client.payload(12);
    client.ask(
        &Draft::new(Kind::Will, id)
            .flags(Flags::NONE.with_if(rng.chance(30), Flags::RETAIN))
            .pair(rng.pick(&TOPICS).unwrap_or("u"), "e")
            .payload(Encoding::RAW, &payload),
    );
}

fn ping(client: &mut Client, rng: &mut Rng) {
    let (id, length) = (client.id(), rng.size(65));
    let payload = vec![7; length];
    client.send(&Draft::new(Kind::Ping, id).payload(Encoding::RAW, &payload));
}

/// Takes what a frame costs from the publish window.
pub fn spend(client: &mut Client, bytes: usize) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    client.publish_window = client.publish_window.saturating_sub(bytes);
}

fn some_length(client: &Client, rng: &mut Rng) -> usize {
    let most = client.frame_bytes();
    match rng.below(10) {
        0 => most,
        1..3 => rng.size(most.saturating_add(1)),
        _ => rng.size(40.min(most)),
    }
    .min(most)
}
