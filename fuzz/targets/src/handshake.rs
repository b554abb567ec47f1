//! Hello and Welcome: what a reader takes of them, against section 3 of `docs/protocol.md`.

use crate::input::Input;
use actix_ipc::message::handshake::{PREFACE, choose_version};
use actix_ipc::message::{Epoch, Hello, Welcome};

/// Input: the versions (8 and 4 bytes), then a payload that is read as both.
pub(crate) fn payloads(data: &[u8]) {
    let mut input = Input::new(data);
    let small = input.flag();
    let (mut lowest, mut highest) = (
        u64::from(input.number()) << 32 | u64::from(input.number()),
        input.number(),
    );
    if small {
        (lowest, highest) = (lowest % 4, highest % 4);
    }
    let common = (1..=1_u32).rfind(|version| lowest <= u64::from(*version) && *version <= highest);
    assert_eq!(choose_version(lowest, highest), common);
    assert!(std::str::from_utf8(&PREFACE).is_err(), "no text is a preface");
    let payload = input.rest();
    hello(payload);
    welcome(payload);
}

fn hello(payload: &[u8]) {
    let wanted = match payload {
        [] => None,
        [0, ..] => Some(String::new()),
        [length, rest @ ..] if usize::from(*length) <= rest.len() => {
            crate::names::is_name(&rest[..usize::from(*length)]).map(str::to_owned)
        }
        _ => None,
    };
    let got = Hello::decode(payload);
    assert_eq!(got.as_ref().map(|hello| hello.name.as_str()), wanted.as_deref());
    if let Some(hello) = got {
        let behind = &payload[1 + usize::from(payload[0])..];
        let token = behind.first().map_or(0, |length| usize::from(*length));
        let takes = behind.get(1 + token) == Some(&1);
        assert_eq!(hello.regions, takes, "only 1 behind the token means regions");
        let handles = behind.get(2 + token) == Some(&1);
        assert_eq!(hello.handles, handles, "only 1 behind that means handles");
        let bytes = hello.encode();
        // A token of another length is none, and does not come back; nor does a number that means nothing.
        let none = ![0, 32].contains(&token) || behind.get(1 + token).is_some_and(|takes| *takes > 1);
        assert!(
            none || bytes == payload[..bytes.len().min(payload.len())],
            "what is known comes back"
        );
        let mut longer = bytes;
        longer.extend(b"\xffof a later version");
        assert_eq!(Hello::decode(&longer), Some(hello));
    }
}

fn welcome(payload: &[u8]) {
    let Some(got) = Welcome::decode(payload) else {
        assert!(payload.len() < 56);
        return;
    };
    let number = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    let wanted = Welcome {
        epoch: Epoch(payload[..16].try_into().unwrap()),
        frame_bytes: number(16),
        message_bytes: number(20),
        publish_window: number(24),
        stream_window: number(28),
        open_calls: number(32),
        names: number(36),
        subscriptions: number(40),
        default_deadline_ms: number(44),
        max_deadline_ms: number(48),
        attachments: number(52),
        // Numbers that were added later: without them there is none.
        ring_bytes: payload.get(56..60).map_or(0, |_| number(56)),
        send_window: payload.get(60..64).map_or(0, |_| number(60)),
        region_bytes: payload.get(64..68).map_or(0, |_| number(64)),
    };
    assert_eq!(got, wanted);
    let length = (payload.len() / 4 * 4).min(68);
    assert_eq!(got.encode()[..length], payload[..length]);
}
