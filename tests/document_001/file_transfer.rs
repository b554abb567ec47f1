//! The state of the example `file_transfer`: any way of cutting and resuming brings the same bytes, and what is wrong is refused.

#[path = "../../examples/file_transfer/source.rs"]
mod source;
#[path = "../../examples/file_transfer/transfer.rs"]
mod transfer;

use proptest::prelude::*;
use transfer::{
    Checksum, Incoming, Start, Summing, TransferError, bar, human, percent, place, plain_name, start,
};

/// The bytes that `file_transfer --client --size` sends.
pub(crate) fn made(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    assert_eq!(source::fill(0, &mut bytes), size as u64);
    bytes
}

fn sum(bytes: &[u8]) -> Summing {
    let mut summing = Summing::default();
    summing.add(bytes);
    summing
}

proptest! {
    /// A transfer that is cut at any places, and goes on each time from what is there, ends with the bytes of the file.
    #[test]
    fn a_transfer_resumes(size in 0..5000_usize, chunk in 1..700_usize, cuts in prop::collection::vec(0..9_usize, 0..6)) {
        let file = made(size);
        let whole = sum(&file).sum();
        let mut stored: Vec<u8> = Vec::new();
        for chunks in cuts.into_iter().chain([usize::MAX]) {
            let have = stored.len();
            let theirs = sum(&stored);
            let from = match start(have as u64, have as u64, theirs.sum(), sum(&file[..have]).sum()) {
                Start::Beginning => 0,
                Start::Resume(from) => from as usize,
                Start::Restart => panic!("it is the same file"),
            };
            prop_assert_eq!(from, have);
            let mut incoming = Incoming::new(size as u64, have as u64, theirs);
            for bytes in file[from..].chunks(chunk).take(chunks) {
                incoming.take(incoming.received(), bytes).unwrap();
                stored.extend(bytes);
            }
            match stored.len() == size {
                true => prop_assert_eq!(incoming.finish(whole), Ok(())),
                false => prop_assert_eq!(incoming.finish(whole).map_err(|error| error.name()), Err("Unfinished")),
            }
        }
        prop_assert_eq!(stored, file);
    }

    /// Wherever reading begins, the made-up bytes are the same.
    #[test]
    fn made_bytes_follow_from_their_place(from in 0..900_usize, len in 0..900_usize) {
        let mut part = vec![0; len];
        prop_assert_eq!(source::fill(from as u64, &mut part), (from + len) as u64);
        prop_assert_eq!(&part, &made(from + len)[from..]);
    }

    /// Progress is told at most 101 times and always at the end.
    #[test]
    fn progress_is_told_in_steps(size in 1..100_000_u64, chunk in 1..3000_usize) {
        let told = progress(size, chunk);
        prop_assert!(told.len() <= 101 && told.is_sorted());
        prop_assert_eq!(told.last(), Some(&size));
    }
}

/// What is told of a file that comes in chunks.
fn progress(size: u64, chunk: usize) -> Vec<u64> {
    let mut incoming = Incoming::new(size, 0, Summing::default());
    let mut told = Vec::new();
    while incoming.received() < size {
        let len = chunk.min((size - incoming.received()) as usize);
        incoming.take(incoming.received(), &vec![0; len]).unwrap();
        told.extend(incoming.news());
    }
    told
}

/// A hundredth of such a file is no whole number of bytes.
#[test]
fn progress_of_hardly_more_than_a_hundred_bytes_is_told_in_as_few_steps() {
    for size in 100..=301 {
        assert!(progress(size, 1).len() <= 101, "{size}");
    }
}

#[test]
fn what_is_out_of_place_is_refused_and_changes_nothing() {
    let mut incoming = Incoming::new(10, 0, Summing::default());
    incoming.take(0, b"01234").unwrap();
    let before = (incoming.received(), incoming.sum());
    let table = [
        (4, &b"4"[..], TransferError::OutOfPlace { expected: 5, came: 4 }),
        (6, b"6", TransferError::OutOfPlace { expected: 5, came: 6 }),
        (5, b"567890", TransferError::TooMuch { size: 10, came: 11 }),
    ];
    for (offset, bytes, error) in table {
        assert_eq!(incoming.take(offset, bytes), Err(error));
        assert_eq!((incoming.received(), incoming.sum()), before);
    }
    incoming.take(5, b"56789").unwrap();
    let sent = Checksum(1);
    let arrived = sum(b"0123456789").sum();
    assert_eq!(
        incoming.finish(sent),
        Err(TransferError::Corrupt { arrived, sent })
    );
    assert_eq!(incoming.finish(arrived), Ok(()));
}

#[test]
fn another_file_of_the_same_name_starts_again() {
    assert_eq!(start(0, 0, Checksum(0), Checksum(0)), Start::Beginning);
    assert_eq!(start(5, 5, Checksum(7), Checksum(7)), Start::Resume(5));
    assert_eq!(start(5, 5, Checksum(7), Checksum(8)), Start::Restart);
    // A longer file was not compared at all.
    assert_eq!(start(5, 0, Checksum(0), Checksum(0)), Start::Restart);
}

#[test]
fn names_stay_in_their_folder() {
    for name in ["a", "report.pdf", "Ünïcode x", &"n".repeat(250)] {
        assert_eq!(plain_name(name), Ok(name));
    }
    let long = "n".repeat(251);
    for name in [
        "",
        ".",
        "..",
        ".ssh",
        "a/b",
        "../a",
        "/etc/passwd",
        "a\\b",
        "c:x",
        "a\0b",
        "a\nb",
        "x.part",
        &long,
    ] {
        assert_eq!(plain_name(name).unwrap_err().name(), "Name", "{name:?}");
    }
}

#[test]
fn people_read_progress() {
    let table = [
        (0, 200, "[----------]   0%"),
        (99, 200, "[####------]  49%"),
        (200, 200, "[##########] 100%"),
        (0, 0, "[##########] 100%"),
    ];
    for (received, total, expected) in table {
        assert_eq!(bar(received, total, 10), expected);
    }
    assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    for (hundredth, total, expected) in [(50, 8, 4), (50, 9, 5), (1, 8, 1), (99, 1000, 990), (7, 0, 0)] {
        assert_eq!(place(hundredth, total), expected);
        assert!(percent(expected, total) >= hundredth);
    }
    assert_eq!(place(100, u64::MAX), u64::MAX);
    let sizes = [0, 1023, 1024, 1536, 256 << 20, u64::MAX].map(human);
    assert_eq!(
        sizes,
        [
            "0 bytes",
            "1023 bytes",
            "1.0 KiB",
            "1.5 KiB",
            "256.0 MiB",
            "17179869183.9 GiB"
        ]
    );
}
