//! Who sleeps is woken, whatever the other end and the other direction do at that moment; and who has nothing to do is not.

use super::memory::{Lane, Word};
use super::tests::{CAPACITY, pair, read, streams, write};
use super::*;
use crate::message::Attachment;
use crate::transport::Stream;
use rustix::fd::OwnedFd;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use std::time::Duration;

/// Longer than anything takes on a machine that is shared by many.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts how often it is woken.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_bell_that_the_other_direction_takes_is_not_lost() {
    for (reads, meant_for) in [
        (true, (Lane::FromMaker, Word::ReaderSleeps)),
        (false, (Lane::ToMaker, Word::WriterWaits)),
    ] {
        let (maker, taker) = pair();
        let full = vec![0; CAPACITY as usize];
        assert_eq!(taker.write(&[IoSlice::new(&full)]).unwrap(), full.len());
        let ask = |reads: bool, cx: &mut Context<'_>| {
            let asked = if reads {
                taker.poll_readable(cx)
            } else {
                taker.poll_writable(cx)
            };
            assert!(asked.is_pending());
        };
        let woken = Arc::new(Counting::default());
        let mut first = true;
        poll_fn(|cx| {
            if std::mem::take(&mut first) {
                ask(reads, cx);
                ask(!reads, cx);
                maker.ring_if(meant_for.0, meant_for.1);
                return Poll::Pending;
            }
            // The bell has woken this task, and now the direction is asked that it was not meant for.
            ask(!reads, &mut Context::from_waker(&Waker::from(woken.clone())));
            Poll::Ready(())
        })
        .await;
        assert_eq!(
            woken.0.load(Ordering::SeqCst),
            1,
            "the other direction is asked again"
        );
    }
}

#[tokio::test]
async fn who_waits_is_not_asked_while_nothing_happens() {
    let (one, other) = streams();
    let (busy, partner) = streams();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let idle = tokio::spawn(poll_fn(move |cx| {
        count.fetch_add(1, Ordering::SeqCst);
        one.poll_read_ready(cx)
    }));
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        write(&busy, b"ping", &[]).unwrap();
        read(&partner).await.unwrap();
        write(&partner, b"pong", &[]).unwrap();
        read(&busy).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    write(&other, b"now", &[]).unwrap();
    idle.await.unwrap().unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// A step of a sequence that is the same in every run.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 33) as usize
}

/// One end: writes `total` bytes and reads as many in one task, in either order, pieces of any size, and sleeps where it can.
async fn exchange(stream: Stream, total: usize, mut seed: u64) {
    let (mut written, mut seen) = (0, 0);
    let mut blocked = false;
    let mut buffer = vec![0; 200_000];
    let chunk = vec![5; 150_000];
    poll_fn(|cx| {
        // As drivers do: a few turns, then whoever waits.
        for _ in 0..64 {
            let mut moved = false;
            let reads_first = next(&mut seed).is_multiple_of(2);
            for reads in [reads_first, !reads_first] {
                if reads && seen < total {
                    if stream.poll_read_ready(cx)?.is_pending() {
                        continue;
                    }
                    let most = 1 + next(&mut seed) % buffer.len();
                    match stream.try_read(&mut buffer[..most], &mut Vec::new()) {
                        Ok(count) => {
                            assert!(count > 0, "the other end stays until all is read");
                            seen += count;
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    moved = true;
                } else if !reads && written < total {
                    if blocked {
                        if stream.poll_write_ready(cx)?.is_pending() {
                            continue;
                        }
                        blocked = false;
                    }
                    let small = next(&mut seed).is_multiple_of(2);
                    let size = 1 + next(&mut seed) % if small { 100 } else { chunk.len() };
                    let size = size.min(total - written);
                    match write(&stream, &chunk[..size], &[]) {
                        Ok(count) => {
                            written += count;
                            blocked = count < size;
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked = true,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    moved = true;
                }
            }
            if written == total && seen == total {
                return Poll::Ready(Ok(()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
    .unwrap();
    // Until the other end has read everything, too.
    stream.shutdown_write().unwrap();
    while !read(&stream).await.unwrap().0.is_empty() {}
}

/// Runs a future on a reactor of its own, for at most [`PATIENCE`].
fn alone<F: Future<Output = ()>>(start: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ended = tokio::time::timeout(PATIENCE, start()).await;
        ended.expect("somebody sleeps for ever");
    });
}

fn registered(socket: UnixStream) -> Stream {
    socket.set_nonblocking(true).unwrap();
    Stream::Unix(crate::transport::unix::Stream::register(socket.into()).unwrap())
}

fn moved(stream: &Stream) {
    stream.write_to_ring();
    stream.read_from_ring(false);
}

/// Two ends on two threads with a reactor each, in which one hands the other the memory.
fn two_threads<A, B>(here: impl FnOnce(Stream) -> A + Send, there: impl FnOnce(Stream) -> B + Send)
where
    A: Future<Output = ()>,
    B: Future<Output = ()>,
{
    let (one, other) = UnixStream::pair().unwrap();
    let (give, given) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            alone(|| {
                let stream = registered(one);
                give.send(stream.offer_ring(CAPACITY, |_| true).unwrap()).unwrap();
                moved(&stream);
                here(stream)
            });
        });
        alone(|| {
            let stream = registered(other);
            stream.accept_ring(&given.recv().unwrap(), CAPACITY).unwrap();
            moved(&stream);
            there(stream)
        });
    });
}

#[test]
fn nobody_sleeps_for_ever_while_both_ends_write_and_read() {
    for seed in 0..8 {
        let total = 300 * CAPACITY as usize;
        two_threads(
            move |stream| exchange(stream, total, seed),
            move |stream| exchange(stream, total, seed + 100),
        );
    }
}

#[test]
fn a_word_each_way_wakes_each_time() {
    const ROUNDS: usize = 20_000;
    two_threads(
        |stream| async move {
            for round in 0..ROUNDS {
                write(&stream, &[round as u8], &[]).unwrap();
                assert_eq!(read(&stream).await.unwrap().0, [round as u8]);
            }
        },
        |stream| async move {
            for _ in 0..ROUNDS {
                let (bytes, _) = read(&stream).await.unwrap();
                write(&stream, &bytes, &[]).unwrap();
            }
            assert!(read(&stream).await.unwrap().0.is_empty());
        },
    );
}

#[tokio::test]
async fn what_comes_with_bytes_between_two_looks_comes_also_when_they_are_the_last() {
    let (one, other) = streams();
    let (Stream::Unix(writer), Stream::Unix(reader)) = (&one, &other) else {
        panic!()
    };
    // The reactor has heard of the socket.
    rustix::io::write(&*writer.fd, b"x").unwrap();
    poll_fn(|cx| other.poll_read_ready(cx)).await.unwrap();
    let (mut buffer, mut came) = ([0; 100], Vec::new());
    let read = reader
        .upgrade()
        .try_read_unless(&reader.fd, &mut buffer, &mut came, |socket| {
            rustix::io::read(socket, &mut [0]).unwrap();
            let given: Attachment = Arc::new(OwnedFd::from(UnixStream::pair().unwrap().0));
            write(&one, b"last", &[given]).unwrap();
            one.shutdown_write().unwrap();
            true
        });
    assert_eq!((read.unwrap().unwrap(), came.len()), (4, 1));
    let end = reader.try_read(&mut buffer, &mut came);
    assert_eq!((end.unwrap(), came.len()), (0, 1));
}
