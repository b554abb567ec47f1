//! What a hostile client does: forged answers, frames of the wrong direction, exceeded windows, garbage, half a handshake.
//!
//! What would end its connection is rare, so that it lives long enough to try the rest. It is told tickets of calls that were given to
//! others: a forger guesses well.

use crate::behaviour::{OBJECTS, spend};
use crate::client::{Client, Stage};
use crate::rng::Rng;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Origin, PeerId};

/// One thing against the rules.
pub fn act(client: &mut Client, rng: &mut Rng, tickets: &[u64]) {
    match (client.stage, rng.below(100)) {
        (Stage::Greeting, 0..10) => greeting(client, rng),
        (Stage::Ready, 0..70) => forge(client, rng, tickets),
        (Stage::Ready, 70..80) => noise(client, rng),
        (Stage::Ready, 80..83) => fatal(client, rng),
        _ => {}
    }
}

/// A handshake that is none, or does not end.
fn greeting(client: &mut Client, rng: &mut Rng) {
    if client.written > 0 || client.out.len() < 2 {
        return;
    }
    client.out.clear();
    let bytes = match rng.below(4) {
        0 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        1 => actix_ipc::message::handshake::PREFACE
            .get(..5)
            .unwrap_or_default()
            .to_vec(),
        2 => {
            client
                .out
                .push_back(actix_ipc::message::handshake::PREFACE.to_vec());
            Draft::new(Kind::Hello, 77)
                .aux(99)
                .payload(Encoding::RAW, &[0])
                .to_vec()
        }
        _ => {
            client
                .out
                .push_back(actix_ipc::message::handshake::PREFACE.to_vec());
            Draft::new(Kind::Ping, 1).to_vec()
        }
    };
    client.out.push_back(bytes);
}

/// Answers and credit for calls of others.
fn forge(client: &mut Client, rng: &mut Rng, tickets: &[u64]) {
    // Not a guess: what it was given itself and has not read yet it may answer.
    let ticket = rng.pick(tickets).unwrap_or(1_000_000);
    let payload = client.payload(8);
    let draft = match rng.below(10) {
        0..5 => Draft::new(Kind::Reply, ticket).flags(Flags::NONE.with_if(rng.chance(20), Flags::MORE)),
        5 => Draft::new(Kind::Error, ticket).aux(3),
        6 => Draft::new(Kind::ReplyPiece, ticket),
        7 => Draft::new(Kind::CallCredit, ticket).aux(100_000),
        8 => Draft::new(Kind::ReplyCredit, ticket).aux(u32::MAX),
        _ => Draft::new(Kind::Cancel, ticket.saturating_add(1_000)),
    };
    let credit = matches!(draft.kind, Kind::CallCredit | Kind::ReplyCredit | Kind::Cancel);
    let draft = if credit {
        draft
    } else {
        draft.payload(Encoding::RAW, &payload)
    };
    client.send(&draft);
}

/// What is refused without ending the connection.
fn noise(client: &mut Client, rng: &mut Rng) {
    let id = client.id();
    match rng.below(6) {
        0 => client.ask(&Draft::new(Kind::Register, id).key(b"sys.mine")),
        1 => client.ask(&Draft::new(Kind::Register, id).key(b"")),
        2 => client.ask(&Draft::new(Kind::Call, id).key(b"no pair")),
        3 => client.ask(&Draft::new(Kind::Wait, id).payload(Encoding::RAW, &[200, 1])),
        4 => client.ask(&Draft::new(Kind::Subscribe, id).aux(9).pair("t.1", "e")),
        _ => client.ask(&Draft::new(Kind::Unregister, id).key(rng.pick(&OBJECTS).unwrap_or("q").as_bytes())),
    }
}

/// What ends the connection.
fn fatal(client: &mut Client, rng: &mut Rng) {
    let id = client.id();
    match rng.below(6) {
        0 => {
            let mut draft = Draft::new(Kind::Call, id).pair("o.1", "m");
            draft.origin = Some(Origin {
                peer: PeerId(1),
                uid: 0,
                pid: 1,
            });
            client.send(&draft);
        }
        1 => {
            client.send(&Draft::new(Kind::Event, 1).payload(Encoding::RAW, b"x"));
        }
        2 => {
            let payload = vec![1; client.frame_bytes()];
            for _ in 0..40 {
                let draft = Draft::new(Kind::Publish, 0)
                    .pair("t.1", "e")
                    .payload(Encoding::RAW, &payload);
                spend(client, draft.wire_len());
                client.send(&draft);
            }
        }
        3 => {
            let bytes = (0..rng.between(24, 90))
                .map(|_| rng.next().to_le_bytes()[0])
                .collect();
            client.out.push_back(bytes);
        }
        4 => {
            client.send(&Draft::new(Kind::CallPiece, id).payload(Encoding::RAW, b"x"));
            client.send(&Draft::new(Kind::Welcome, id).aux(1));
        }
        _ => {
            let mut bytes = Draft::new(Kind::Ping, id).to_vec();
            bytes.splice(..4, u32::MAX.to_le_bytes());
            client.out.push_back(bytes);
        }
    }
}
