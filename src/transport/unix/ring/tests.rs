//! The two queues between two ends of one memory, honest and hostile, and what may not become a ring.

use super::memory::{Lane, Word};
use super::*;
use crate::message::Attachment;
use crate::transport::Stream;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub(super) const CAPACITY: u32 = 64 * 1024;

pub(super) fn pair() -> (Ring, Ring) {
    let (maker, given) = make(CAPACITY).unwrap();
    let taker = take(&given, CAPACITY).unwrap();
    (maker, taker)
}

/// Two streams with a ring beside them.
fn offered() -> (Stream, Stream) {
    let (one, other) = UnixStream::pair().unwrap();
    let stream = |socket: UnixStream| {
        socket.set_nonblocking(true).unwrap();
        Stream::Unix(crate::transport::unix::Stream::register(socket.into()).unwrap())
    };
    let (one, other) = (stream(one), stream(other));
    let given = one.offer_ring(CAPACITY, |_| true).unwrap();
    other.accept_ring(&given, CAPACITY).unwrap();
    assert!(
        one.offer_ring(CAPACITY, |_| true).is_err(),
        "one ring for a connection"
    );
    (one, other)
}

/// Two streams whose bytes go through a ring both ways.
pub(super) fn streams() -> (Stream, Stream) {
    let (one, other) = offered();
    for stream in [&one, &other] {
        stream.write_to_ring();
        stream.read_from_ring(false);
    }
    (one, other)
}

pub(super) fn write(stream: &Stream, bytes: &[u8], attachments: &[Attachment]) -> io::Result<usize> {
    stream.try_write(&[IoSlice::new(bytes)], attachments)
}

/// The next bytes, and what came with them.
pub(super) async fn read(stream: &Stream) -> io::Result<(Vec<u8>, Vec<Attachment>)> {
    let (mut buffer, mut attachments) = (vec![0; 1 << 20], Vec::new());
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match stream.try_read(&mut buffer, &mut attachments) {
            Ok(count) => return Ok((buffer[..count].to_vec(), attachments)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_over_every_wrap() {
    let (maker, taker) = pair();
    for (from, to) in [(&maker, &taker), (&taker, &maker)] {
        let (mut written, mut seen) = (0_usize, 0_usize);
        let mut buffer = vec![0_u8; 50_000];
        // Sizes that share no factor with the capacity meet every offset sooner or later.
        for round in 0..400_usize {
            let chunk: Vec<u8> = (0..(round * 7919) % 40_000)
                .map(|at| (written + at) as u8)
                .collect();
            let (first, second) = chunk.split_at(chunk.len() / 3);
            match from.write(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(count) => written += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let most = (round * 6007) % buffer.len();
            let (count, attached) = to.read(&mut buffer[..most]).unwrap();
            assert!(
                buffer[..count]
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == (seen + at) as u8)
            );
            assert_eq!(attached, 0);
            seen += count;
            assert!(written - seen <= CAPACITY as usize);
        }
        assert!(seen > 20 * CAPACITY as usize, "{seen} bytes");
    }
}

#[tokio::test]
async fn who_sleeps_is_woken_reading_and_writing() {
    let (one, other) = streams();
    let total = 40 * CAPACITY as usize;
    let sending = async {
        let mut left = total;
        while left > 0 {
            match write(&one, &vec![7; left.min(100_000)], &[]) {
                Ok(count) => left -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| one.poll_write_ready(cx)).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let receiving = async {
        let mut seen = 0;
        while seen < total {
            seen += read(&other).await.unwrap().0.len();
        }
        write(&other, b"thanks", &[]).unwrap();
    };
    let both = async {
        futures::join!(sending, receiving);
        assert_eq!(read(&one).await.unwrap().0, b"thanks");
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), both)
        .await
        .expect("nobody sleeps for ever");
}

#[tokio::test]
async fn attachments_arrive_with_the_bytes_that_they_go_with() {
    let (one, other) = streams();
    for round in 0..3_u8 {
        let (kept, given) = UnixStream::pair().unwrap();
        let given: Attachment = Arc::new(OwnedFd::from(given));
        write(&one, &[round; 10], &[]).unwrap();
        write(&one, &[round; 5], &[given.clone(), given]).unwrap();
        let (mut bytes, mut came) = (Vec::new(), Vec::new());
        while bytes.len() < 15 {
            let (more, with) = read(&other).await.unwrap();
            bytes.extend(more);
            came.extend(with);
        }
        assert_eq!((bytes, came.len()), (vec![round; 15], 2));
        drop((kept, came));
    }
}

fn descriptor() -> Attachment {
    Arc::new(OwnedFd::from(UnixStream::pair().unwrap().0))
}

#[tokio::test]
async fn what_is_attached_right_behind_the_move_comes_with_the_last_bytes_of_the_socket() {
    let (one, other) = offered();
    write(&one, b"last", &[]).unwrap();
    one.write_to_ring();
    write(&one, b"first", &[descriptor()]).unwrap();
    let (bytes, came) = read(&other).await.unwrap();
    assert_eq!((&bytes[..4], bytes.len(), came.len()), (&b"last"[..], 5, 1));
    other.read_from_ring(true);
    write(&one, b"second", &[]).unwrap();
    let (bytes, came) = read(&other).await.unwrap();
    assert_eq!((&bytes[..], came.len()), (&b"firstsecond"[..], 0));
    write(&one, b"third", &[descriptor(), descriptor()]).unwrap();
    let (bytes, came) = read(&other).await.unwrap();
    assert_eq!(
        (&bytes[..], came.len()),
        (&b"third"[..], 2),
        "none is counted twice"
    );
}

#[tokio::test]
async fn who_cannot_attach_because_the_socket_is_full_waits_for_the_socket() {
    let (one, other) = offered();
    let mut unread = 0;
    while let Ok(count) = write(&one, &[1; 64 * 1024], &[]) {
        unread += count;
    }
    poll_fn(|cx| {
        // The obstacle of the bytes before is gone when it is asked next.
        let _ = one.poll_write_ready(cx);
        Poll::Ready(())
    })
    .await;
    one.write_to_ring();
    let full = write(&one, b"bytes", &[descriptor()]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    poll_fn(|cx| {
        assert!(
            one.poll_write_ready(cx).is_pending(),
            "there is room in the ring, not in the socket"
        );
        Poll::Ready(())
    })
    .await;
    while unread > 0 {
        unread -= read(&other).await.unwrap().0.len();
    }
    poll_fn(|cx| one.poll_write_ready(cx)).await.unwrap();
    assert_eq!(write(&one, b"bytes", &[descriptor()]).unwrap(), 5);
}

#[tokio::test]
async fn the_end_comes_behind_the_last_byte() {
    let (one, other) = streams();
    write(&one, b"last", &[]).unwrap();
    one.shutdown_write().unwrap();
    assert_eq!(read(&other).await.unwrap().0, b"last");
    assert_eq!(read(&other).await.unwrap().0, b"");
    write(&other, b"still heard", &[]).unwrap();
    assert_eq!(read(&one).await.unwrap().0, b"still heard");
    drop(other);
    assert_eq!(read(&one).await.unwrap().0, b"");
    let (one, other) = streams();
    write(&one, b"words of somebody who was killed", &[]).unwrap();
    drop(one);
    assert_eq!(read(&other).await.unwrap().0, b"words of somebody who was killed");
    assert_eq!(read(&other).await.unwrap().0, b"");
}

#[tokio::test]
async fn what_a_hostile_peer_writes_ends_the_connection_and_nothing_else() {
    let wrong = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let (maker, taker) = pair();
    for distance in [CAPACITY + 1, u32::MAX, 1 << 31] {
        maker
            .memory
            .word(Lane::ToMaker, Word::Tail)
            .store(distance, Ordering::Relaxed);
        wrong(maker.read(&mut [0; 8]).map(drop));
        maker
            .memory
            .word(Lane::FromMaker, Word::Head)
            .store(distance.wrapping_neg(), Ordering::Relaxed);
        wrong(maker.write(&[IoSlice::new(b"x")]).map(drop));
    }
    // Bells for nothing, and flags that are always set, only cost their author time.
    maker
        .memory
        .word(Lane::FromMaker, Word::Head)
        .store(0, Ordering::Relaxed);
    for _ in 0..100 {
        maker
            .memory
            .word(Lane::FromMaker, Word::ReaderSleeps)
            .store(9, Ordering::Relaxed);
        maker.write(&[IoSlice::new(b"x")]).unwrap();
    }
    assert_eq!(taker.read(&mut [0; 200]).unwrap().0, 100);
}

#[tokio::test]
async fn attachments_that_were_counted_and_not_sent_do_not_block() {
    let (one, other) = streams();
    let Stream::Unix(liar) = &one else { panic!() };
    for _ in 0..1_000 {
        liar.upgrade().attached();
    }
    write(&one, b"look into the socket", &[]).unwrap();
    let (bytes, came) = read(&other).await.unwrap();
    assert_eq!((&bytes[..], came.len()), (&b"look into the socket"[..], 0));
}

#[tokio::test]
async fn only_memory_that_stays_is_taken() {
    let (_maker, given) = make(CAPACITY).unwrap();
    let length = memory::length(CAPACITY) as u64;
    let file = |size: u64, seals: SealFlags| -> Attachment {
        let file = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, size).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        Arc::new(file)
    };
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let (socket, _other) = UnixStream::pair().unwrap();
    let refused: Vec<Attachment> = vec![
        file(length, SealFlags::empty()),
        file(length, SealFlags::GROW | SealFlags::SEAL),
        file(length - 1, seals),
        file(length + 4096, seals),
        Arc::new(OwnedFd::from(socket)),
        Arc::new(7_u8),
    ];
    for memory in refused {
        let offer = [memory, given[1].clone(), given[2].clone()];
        assert_eq!(
            take(&offer, CAPACITY).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
    for (offer, capacity) in [
        (&given[..2], CAPACITY),
        (&given[..], CAPACITY * 2),
        (&given[..], 1),
        (&given[..], 100_000),
        (&given[..], 1 << 30),
    ] {
        assert_eq!(
            take(offer, capacity).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
    let flags = EventfdFlags::CLOEXEC;
    let (_reader, pipe) = io::pipe().unwrap();
    let bells: Vec<OwnedFd> = vec![
        eventfd(0, flags).unwrap(),
        pipe.into(),
        UnixStream::pair().unwrap().0.into(),
        memfd_create("x", MemfdFlags::CLOEXEC).unwrap(),
    ];
    for bell in bells {
        let bell: Attachment = Arc::new(bell);
        for offer in [[&given[0], &bell, &given[2]], [&given[0], &given[1], &bell]] {
            let error = take(&offer.map(Clone::clone), CAPACITY).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }
    assert!(take(&given, CAPACITY).is_ok());
    for capacity in [0, 1, CAPACITY - 1, CAPACITY / 2, 1 << 25, u32::MAX] {
        assert_eq!(make(capacity).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
