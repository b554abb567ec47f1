//! A hundred clients with a mebibyte each, one of which sends byte by byte.

use crate::{Answer, Bench, Command, PREFACE, frame};
use actix_ipc::lazy::Limits;
use std::io::Write;

const MIB: usize = 1024 * 1024;

#[test]
fn each_is_answered_by_the_poll_after_its_last_byte() {
    let mut bench = Bench::new(Limits::default());
    let whole = [&PREFACE[..], &frame(&Command::Echo("3".repeat(MIB)))].concat();
    let mut slow = bench.raw();
    let mut slow_sent = 0;
    let mut raws: Vec<_> = (0..99).map(|_| (bench.raw(), 0)).collect();
    for (raw, _) in &raws {
        raw.socket.set_nonblocking(true).unwrap();
    }
    let mut open = raws.len();
    while open > 0 {
        slow.send(&whole[slow_sent..=slow_sent]);
        slow_sent += 1;
        let mut complete = 0;
        for (raw, sent) in raws.iter_mut().filter(|(_, sent)| *sent < whole.len()) {
            // As much as the socket takes, until it is full.
            while *sent < whole.len() {
                match raw.socket.write(&whole[*sent..]) {
                    Ok(count) => *sent += count,
                    Err(_) => break,
                }
            }
            complete += usize::from(*sent == whole.len());
        }
        assert_eq!(bench.poll(), complete, "this poll answers whoever is complete");
        open -= complete;
    }
    let reader = std::thread::spawn(move || {
        for (raw, _) in &mut raws {
            raw.socket.set_nonblocking(false).unwrap();
            assert_eq!(raw.done(), Answer::Text("3".repeat(MIB)));
        }
    });
    while !reader.is_finished() {
        assert_eq!(bench.poll(), 0);
        std::thread::yield_now();
    }
    reader.join().unwrap();
    assert!(slow_sent < whole.len());
    slow.send(&whole[slow_sent..=slow_sent]);
    bench.poll();
    assert_eq!(bench.server.connections(), 100 - 99);
}
