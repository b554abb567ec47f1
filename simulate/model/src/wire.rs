//! The connection itself: what was sent is what is decoded, who begins, which frames a client may get, pings, the end.
//!
//! Owns the rules `codec`, `handshake`, `direction`, `after-goodbye`, `pong`, `dismissal`. It refuses to know calls, names and topics.

use crate::run::{Found, Run};
use crate::{Core, Frame, What};
use actix_ipc::message::{Flags, Kind, Welcome};
use std::collections::{HashMap, VecDeque};

/// What the wire rules remember of one client.
#[derive(Debug, Default)]
struct Line {
    /// Sent, and not decoded yet.
    on_the_way: VecDeque<Vec<u8>>,
    hello: Option<(u64, u32)>,
    welcomed: bool,
    dismissed: bool,
    pings: VecDeque<(u64, u8, Vec<u8>)>,
    subscribed_disconnect: bool,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    lines: HashMap<u32, Line>,
}

impl Wire {
    /// The bytes that a client puts on the wire.
    pub(crate) fn sent(&mut self, client: u32, bytes: &[u8]) {
        let line = self.lines.entry(client).or_default();
        // A frame of an optional kind is skipped by whoever does not know it.
        if !matches!(Frame::parse(bytes), crate::observation::Parsed::Optional) {
            line.on_the_way.push_back(bytes.to_vec());
        }
    }

    /// The bytes that the broker decoded.
    pub(crate) fn decoded(&mut self, client: u32, bytes: &[u8], at: u64, found: &mut Found) {
        let line = self.lines.entry(client).or_default();
        if line.on_the_way.pop_front().as_deref() != Some(bytes) {
            found.add(
                "codec",
                client,
                at,
                "the broker decoded a frame that is not the next one sent",
            );
        }
    }

    /// A frame that arrived.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame) {
        let line = self.lines.entry(client).or_default();
        match frame.kind {
            Kind::Hello => line.hello = line.hello.or(Some((frame.id, frame.aux))),
            Kind::Ping => line
                .pings
                .push_back((frame.id, frame.encoding, frame.payload.clone())),
            Kind::Subscribe if frame.aux == 1 => line.subscribed_disconnect = true,
            _ => {}
        }
    }

    /// A frame that the client read.
    pub(crate) fn received(&mut self, run: &Run, client: u32, frame: &Frame, at: u64, found: &mut Found) {
        let line = self.lines.entry(client).or_default();
        if line.dismissed {
            found.add(
                "after-goodbye",
                client,
                at,
                format!("{:?} came behind Goodbye", frame.kind),
            );
        }
        if !line.welcomed && !matches!(frame.kind, Kind::Welcome | Kind::Goodbye) {
            found.add(
                "handshake",
                client,
                at,
                format!("{:?} came before Welcome", frame.kind),
            );
        }
        match frame.kind {
            Kind::Welcome => line.welcome(run, client, frame, at, found),
            Kind::Goodbye => line.goodbye(run, client, frame, at, found),
            Kind::Pong => {
                let next = line.pings.pop_front();
                let pong = (frame.id, frame.encoding, frame.payload.clone());
                if next
                    .as_ref()
                    .is_none_or(|ping| (ping.0, &ping.2) != (pong.0, &pong.2))
                {
                    found.add(
                        "pong",
                        client,
                        at,
                        format!("Pong {} answers no Ping in turn", frame.id),
                    );
                }
            }
            Kind::Hello
            | Kind::Register
            | Kind::Unregister
            | Kind::Wait
            | Kind::Watch
            | Kind::Unwatch
            | Kind::List
            | Kind::Describe
            | Kind::Subscribe
            | Kind::Unsubscribe
            | Kind::Publish
            | Kind::PublishPiece
            | Kind::Will => found.add(
                "direction",
                client,
                at,
                format!("a broker sends no {:?}", frame.kind),
            ),
            Kind::Call if frame.origin.is_none() => {
                found.add("direction", client, at, "a Call without origin")
            }
            _ if frame.payload.len() as u64 > u64::from(run.setup.frame_bytes) => {
                found.add(
                    "direction",
                    client,
                    at,
                    format!("{:?} is larger than frame_bytes", frame.kind),
                );
            }
            _ => {}
        }
    }

    /// The client has read the end of the stream.
    pub(crate) fn ended(&mut self, client: u32, what: &What) {
        if matches!(what, What::Closed) {
            self.lines.entry(client).or_default().dismissed = true;
        }
    }

    /// At the end every ping has its pong.
    pub(crate) fn finish(&self, run: &Run, drained: bool, found: &mut Found) {
        let mut all: Vec<_> = self.lines.iter().collect();
        all.sort_by_key(|(client, _)| **client);
        for (client, line) in all {
            if drained && run.lives(*client) {
                if let Some((id, ..)) = line.pings.front() {
                    found.add("pong", *client, u64::MAX, format!("Ping {id} has no Pong"));
                }
                if !line.on_the_way.is_empty() {
                    let text = format!("{} sent frames were never decoded", line.on_the_way.len());
                    found.add("codec", *client, u64::MAX, text);
                }
            }
        }
    }
}

impl Line {
    fn welcome(&mut self, run: &Run, client: u32, frame: &Frame, at: u64, found: &mut Found) {
        let Some((lowest, highest)) = self.hello else {
            return found.add("handshake", client, at, "Welcome without Hello");
        };
        let taken = run.peers.get(&frame.id).is_some_and(|other| *other != client);
        if self.welcomed || frame.id == 0 || taken {
            let text = format!("Welcome with the number {}, which is not its own alone", frame.id);
            found.add("handshake", client, at, text);
        }
        if frame.aux != 1 || lowest > 1 || highest < 1 {
            found.add(
                "handshake",
                client,
                at,
                "Welcome to a version that the client does not speak",
            );
        }
        let said = Welcome::decode(&frame.payload);
        let true_to = said.is_some_and(|said| {
            let setup = &run.setup;
            said.epoch.0 == setup.epoch
                && said.frame_bytes == setup.frame_bytes
                && said.message_bytes == setup.message_bytes
                && said.publish_window == setup.publish_window
                && said.stream_window == setup.stream_window
                && said.default_deadline_ms == setup.default_deadline_ms
                && said.max_deadline_ms == setup.max_deadline_ms
        });
        if !true_to {
            found.add(
                "handshake",
                client,
                at,
                format!("Welcome does not tell what is in force: {said:?}"),
            );
        }
        self.welcomed = true;
    }

    fn goodbye(&mut self, run: &Run, client: u32, frame: &Frame, at: u64, found: &mut Found) {
        self.dismissed = true;
        let Some(who) = run.client(client) else { return };
        let may = match frame.aux {
            1 => who.goodbye.is_some() || who.half_closed.is_some(),
            // A limit of what may be open at once is nobody's dishonesty.
            3 if frame.payload.windows(8).any(|text| text == b"(limits.") => true,
            3 | 5 => !who.opened.honest,
            4 => self
                .hello
                .is_some_and(|(lowest, highest)| lowest > 1 || highest < 1),
            7 => run.panics.iter().any(|(_, _, author)| {
                let author = run.client(*author).map(|author| author.opened);
                author.is_some_and(|author| (author.uid, author.pid) == (who.opened.uid, who.opened.pid))
            }),
            12 => run
                .panics
                .iter()
                .any(|(_, core, _)| matches!(core, Core::Registry | Core::TopicHub)),
            2 | 6 | 8 | 9 | 10 => true,
            _ => false,
        };
        if !may {
            let text = format!(
                "dismissed for reason {} ({}), which does not hold",
                frame.aux,
                crate::run::show(&frame.payload)
            );
            found.add("dismissal", client, at, text);
        }
        let slow = frame.aux == 6 && who.opened.honest && !self.subscribed_disconnect;
        if slow && run.calm.is_some_and(|calm| who.last_arrived > calm.at) {
            found.add(
                "dismissal",
                client,
                at,
                "a reading client was dismissed as a slow consumer",
            );
        }
        if frame.has(Flags::CONTINUED) {
            found.add("direction", client, at, "Goodbye in pieces");
        }
    }
}
