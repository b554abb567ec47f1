//! Tests of one client's buffers: however what comes is cut, and whatever is not read.

use super::*;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// A socket that gives and takes what it is told.
#[derive(Default)]
struct Fake {
    reads: VecDeque<Vec<u8>>,
    closed: bool,
    wrote: Vec<u8>,
    takes: usize,
}

impl Read for Fake {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(mut next) = self.reads.pop_front() else {
            return if self.closed {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        };
        let count = next.len().min(into.len());
        into[..count].copy_from_slice(&next[..count]);
        if count < next.len() {
            self.reads.push_front(next.split_off(count));
        }
        Ok(count)
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.takes);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.takes -= count;
        self.wrote.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn limits() -> Limits {
    Limits {
        message_bytes: 100,
        memory_bytes: 64 * 1024,
        ..Limits::default()
    }
}

fn command(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let at = wire::begin(&mut out, 0);
    out.extend_from_slice(body);
    wire::finish(&mut out, at).unwrap();
    out
}

fn greeted(reads: &[Vec<u8>]) -> Peer<Fake> {
    let fake = Fake {
        takes: usize::MAX,
        ..Fake::default()
    };
    let mut peer = Peer::new(fake, None);
    peer.stream.reads.push_back(PREFACE.to_vec());
    // A read of nothing would be the end.
    peer.stream
        .reads
        .extend(reads.iter().filter(|read| !read.is_empty()).cloned());
    peer
}

/// What a poll takes of it.
fn all(peer: &mut Peer<Fake>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    loop {
        if let Some(range) = peer.next(&limits()) {
            found.push(peer.exchange(range).0.to_vec());
        } else if peer.may_read(1) {
            peer.read(&limits(), 1);
        } else {
            return found;
        }
    }
}

#[test]
fn commands_are_found_however_they_are_cut() {
    let whole = [command(b"one"), command(b""), command(&[7; 100])].concat();
    for cut in 0..whole.len() {
        let (before, after) = whole.split_at(cut);
        let mut peer = greeted(&[before.to_vec()]);
        let mut found = all(&mut peer);
        peer.stream.reads.push_back(after.to_vec());
        peer.readable = true;
        found.extend(all(&mut peer));
        assert_eq!(found, [b"one".to_vec(), Vec::new(), vec![7; 100]], "{cut}");
    }
}

#[test]
fn what_is_wrong_is_said_once_and_ends_the_connection() {
    let mut foreign = command(b"x");
    foreign[4] = 9;
    let table: [(&[u8], Status); 4] = [
        (b"GET / HTTP/1.1", Status::Protocol),
        (b"aipcLZ\x00\x02", Status::Protocol),
        (&[&PREFACE[..], &foreign].concat(), Status::Protocol),
        (&[&PREFACE[..], &[101, 0, 0, 0, 0]].concat(), Status::TooLarge),
    ];
    for (bytes, status) in table {
        let mut peer = greeted(&[]);
        peer.stream.reads = [bytes.to_vec(), command(b"more")].into();
        assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
        peer.write();
        assert_eq!(peer.stream.wrote[4], status.code(), "{bytes:?}");
        assert!(peer.gone);
    }
}

#[test]
fn a_client_that_reads_nothing_is_not_read_and_not_answered_until_it_does() {
    let many: Vec<_> = (0..50).map(|_| command(&[1; 100])).collect();
    let mut peer = greeted(&[many.concat()]);
    peer.stream.takes = 0;
    let mut answered = 0;
    loop {
        if let Some(range) = peer.next(&limits()) {
            wire::text(peer.exchange(range).1, Status::Done, &"0".repeat(20_000));
            answered += 1;
        } else if peer.may_read(1) {
            peer.read(&limits(), 1);
        } else {
            break;
        }
    }
    assert_eq!(answered, RESPONSES.div_ceil(20_005));
    assert!(!peer.has_more());
    peer.write();
    assert_eq!(peer.pending(), answered * 20_005);
    (peer.stream.takes, peer.writable) = (60_000, true);
    peer.write();
    assert_eq!(peer.pending(), answered * 20_005 - 60_000);
    assert!(peer.outgoing.len() <= answered * 20_005 - 60_000 || peer.written <= peer.outgoing.len() / 2);
    assert!(peer.has_more());
    assert!(peer.next(&limits()).is_some());
}

#[test]
fn what_has_come_whole_is_handled_before_more_is_read() {
    let many: Vec<_> = (0..1_000).map(|_| command(&[1; 100])).collect();
    let mut peer = greeted(&[many.concat()]);
    let (mut handled, mut most) = (0, 0);
    loop {
        if peer.next(&limits()).is_some() {
            handled += 1;
        } else if peer.may_read(1) {
            peer.read(&limits(), 1);
            most = most.max(peer.held());
        } else {
            break;
        }
    }
    assert_eq!(handled, 1_000);
    assert!(most <= 2 * KEPT, "{most}");
}

#[test]
fn whole_commands_before_the_end_are_handled() {
    let mut peer = greeted(&[command(b"last"), vec![9, 0, 0]]);
    peer.stream.closed = true;
    peer.write();
    assert!(!peer.gone);
    assert_eq!(all(&mut peer), [b"last"]);
    peer.write();
    assert!(peer.gone);
}

#[test]
fn time_counts_only_while_something_is_under_way() {
    let begun = Instant::now();
    let mut peer = greeted(&[command(b"x")[..3].to_vec()]);
    peer.note(|| unreachable!("nothing is under way"));
    assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
    peer.note(|| begun);
    peer.note(|| begun + Duration::from_secs(9));
    assert_eq!(peer.due(&limits()), Some(begun + Duration::from_secs(30)));
    peer.expire(&limits());
    assert_eq!(peer.stream.wrote[4], Status::Slow.code());
    assert!(peer.gone);
    let mut peer = greeted(&[command(b"x")]);
    assert_eq!(all(&mut peer).len(), 1);
    peer.note(|| unreachable!("everything was handled"));
    assert_eq!(peer.due(&limits()), None);
}

#[test]
fn a_buffer_grows_with_what_came_and_not_with_what_was_promised() {
    let large = Limits {
        message_bytes: 1 << 20,
        ..limits()
    };
    let mut head = PREFACE.to_vec();
    head.extend_from_slice(&(1_u32 << 20).to_le_bytes());
    head.push(0);
    let mut peer = greeted(&[]);
    peer.stream.reads = [head].into();
    for _ in 0..200 {
        peer.readable = true;
        if peer.next(&large).is_some() {
            return;
        }
        let expected = peer.held() + peer.growth(&large);
        peer.read(&large, 1);
        let came = peer.incoming.len();
        assert!(peer.held() <= expected);
        assert!(peer.held() <= (2 * came + READ).min((1 << 20) + wire::HEAD + KEPT));
        peer.stream.reads.push_back(vec![0; 30_000]);
    }
    panic!("the command never came whole");
}

#[test]
fn a_trickle_is_no_progress() {
    let begun = Instant::now();
    let mut peer = greeted(&[command(&[0; 100])[..3].to_vec()]);
    assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
    peer.note(|| begun);
    for later in 1..60 {
        peer.stream.reads.push_back(vec![0]);
        peer.readable = true;
        assert_eq!(all(&mut peer), Vec::<Vec<u8>>::new());
        peer.note(|| begun + Duration::from_secs(later));
    }
    assert_eq!(peer.due(&limits()), Some(begun + Duration::from_secs(30)));
    // What waits for the server is not under way.
    peer.queued = true;
    assert_eq!(peer.due(&limits()), None);
}
