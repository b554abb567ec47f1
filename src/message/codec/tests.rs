//! Batches and decoders at whole, cut and wrong bytes.

use super::super::draft::Draft;
use super::super::frame::{Kind, Origin};
use super::super::id::PeerId;
use super::super::payload::Encoding;
use super::*;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut meta = metadata::Metadata::new();
    meta.insert("k", "v").unwrap();
    Draft::new(Kind::Call, 7)
        .aux(250)
        .pair("math", "add")
        .payload(Encoding::JSON, b"{}")
        .meta(meta.as_bytes())
        .encode(&mut bytes);
    let mut invoke = Draft::new(Kind::Call, 8)
        .pair("o", "m")
        .payload(Encoding::RAW, &[9; 300]);
    invoke.origin = Some(Origin {
        peer: PeerId(3),
        uid: 1000,
        pid: 42,
    });
    invoke.encode(&mut bytes);
    Draft::new(Kind::Ping, 1).encode(&mut bytes);
    bytes
}

fn describe(batch: &Batch) -> Vec<String> {
    (0..batch.len())
        .map(|i| format!("{:?}", batch.view(i).unwrap()))
        .collect()
}

#[test]
fn whole_input_gives_one_batch() {
    let batch = Decoder::new(4096).decode(&sample()).unwrap();
    assert_eq!(batch.len(), 3);
    let view = batch.view(0).unwrap();
    assert_eq!(
        (view.key, view.payload, view.header.aux),
        (&b"math\0add"[..], &b"{}"[..], 250)
    );
    assert_eq!(
        batch.view(1).unwrap().origin,
        Some(Origin {
            peer: PeerId(3),
            uid: 1000,
            pid: 42
        })
    );
    assert_eq!(batch.view(2).unwrap().header.kind, Kind::Ping);
}

#[test]
fn limits_hold_to_the_byte() {
    let frame = Draft::new(Kind::Reply, 1)
        .payload(Encoding::RAW, &[0; 100])
        .to_vec();
    assert!(Decoder::new(100).decode(&frame).is_ok());
    assert_eq!(
        Decoder::new(99).decode(&frame).unwrap_err(),
        FrameError::TooLarge {
            kind: Kind::Reply,
            length: 100,
            limit: 99
        }
    );
}

#[test]
fn unknown_is_ignored_when_optional_and_refused_when_not() {
    let mut optional = Draft::new(Kind::Ping, 5)
        .payload(Encoding::RAW, b"future")
        .to_vec();
    optional[4] = 0x90;
    let mut bytes = optional.clone();
    bytes.extend(Draft::new(Kind::Pong, 6).to_vec());
    for split in 0..bytes.len() {
        let mut decoder = Decoder::new(64);
        let (head, tail) = bytes.split_at(split);
        let mut seen = describe(&decoder.decode(head).unwrap());
        seen.extend(describe(&decoder.decode(tail).unwrap()));
        assert_eq!(seen.len(), 1, "split at {split}");
    }
    optional[4] = 0x70;
    assert_eq!(
        Decoder::new(64).decode(&optional).unwrap_err(),
        FrameError::UnknownKind(0x70)
    );
    let flagged = Draft::new(Kind::Ping, 5).flags(Flags(0x0800)).to_vec();
    assert_eq!(
        Decoder::new(64).decode(&flagged).unwrap_err(),
        FrameError::UnknownFlags(Kind::Ping, Flags(0x0800))
    );
    let optional_flag = Draft::new(Kind::Ping, 5).flags(Flags(0x8000)).to_vec();
    assert_eq!(Decoder::new(64).decode(&optional_flag).unwrap().len(), 1);
}

#[test]
fn parts_longer_than_the_body_are_malformed() {
    let mut frame = Draft::new(Kind::Call, 1).pair("o", "m").to_vec();
    frame[20] = 200;
    assert_eq!(
        Decoder::new(64).decode(&frame).unwrap_err(),
        FrameError::Malformed(Kind::Call)
    );
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_frames(cuts in proptest::collection::vec(0..400_usize, 0..12)) {
        let bytes = sample();
        let whole = describe(&Decoder::new(4096).decode(&bytes).unwrap());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut decoder = Decoder::new(4096);
        let (mut seen, mut from) = (Vec::new(), 0);
        for cut in cuts {
            seen.extend(describe(&decoder.decode(&bytes[from..cut]).unwrap()));
            from = cut;
        }
        prop_assert_eq!(seen, whole);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(batch) = Decoder::new(256).decode(&bytes) {
            for index in 0..batch.len() {
                prop_assert!(batch.view(index).is_some());
            }
        }
    }
}

#[test]
fn who_caused_a_frame_is_known_or_not() {
    let origin = |uid, pid| Origin {
        peer: PeerId(1),
        uid,
        pid,
    };
    let told = |origin: Origin| (origin.user(), origin.process());
    assert_eq!(told(origin(0, 1)), (Some(0), Some(1)), "root is a user");
    assert_eq!(told(origin(u32::MAX, 0)), (None, None));
}
