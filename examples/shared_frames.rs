//! Frames of 8 MiB, sixty a second, from one producer to two consumers, without a copy of a frame on the way: `shared_frames [frames]`.
//!
//! The producer writes each frame into memory of a registry, which uses it again once both consumers are done with it; they read it through, and
//! at the end everybody says what it cost. The program starts itself twice more, as `consume`. No broker is needed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example speaks to its reader"
)]

use actix_ipc::bus::memory::MemoryRegistry;
use actix_ipc::bus::{self, BytesMessage, Message, Selector, label};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const FRAME: usize = 8 << 20;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 60);
const PATIENCE: Duration = Duration::from_secs(20);
/// The format of the last message.
const END: u16 = 1;

fn run() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["consume", bus] => consume(bus),
        [] => produce(120),
        [frames] => produce(frames.parse()?),
        _ => Err("usage: shared_frames [frames]".into()),
    }
}

fn produce(frames: u32) -> Result<(), Failure> {
    let identifier = format!("shared-frames-{}", std::process::id());
    let options = bus::Options::new(identifier.as_str(), label!("camera"), "");
    let (sender, receiver) = bus::join::<BytesMessage, BytesMessage>(options, Some(PATIENCE))?;
    let program = std::env::current_exe()?;
    let consumer = || {
        let mut command = Command::new(&program);
        command.args(["consume", &identifier]).stdin(Stdio::piped());
        command.spawn()
    };
    let mut consumers = [consumer()?, consumer()?];
    for _ in &consumers {
        receiver.recv(Some(PATIENCE))?;
    }
    let mut registry = MemoryRegistry::default();
    let (begun, used) = (Instant::now(), processor_time()?);
    let mut next = begun;
    let frame = vec![0_u8; FRAME];
    for number in 0..frames {
        let region = registry.alloc(FRAME, None);
        region.write_at(0, &frame)?;
        region.write_at(0, &number.to_le_bytes())?;
        let mut message = Message::new(Selector::multicast("screen"), BytesMessage::new(0, *b"frame"));
        message.memory_regions.push(region);
        sender.send(message)?;
        next += INTERVAL;
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
    let end = Message::new(Selector::multicast("screen"), BytesMessage::new(END, *b"end"));
    sender.send_confirmed(end, PATIENCE)?;
    let cost = processor_time()?.saturating_sub(used);
    println!(
        "producer: {frames} frames of 8 MiB in {:.1} s, {:.2} ms of processor time a frame",
        begun.elapsed().as_secs_f64(),
        cost.as_secs_f64() * 1e3 / f64::from(frames.max(1))
    );
    for consumer in &mut consumers {
        consumer.wait()?;
    }
    Ok(())
}

fn consume(bus: &str) -> Result<(), Failure> {
    let options = bus::Options::new(bus, label!("screen"), "").with_controller_affinity(false);
    let (sender, receiver) = bus::join::<BytesMessage, BytesMessage>(options, Some(PATIENCE))?;
    sender.send(Message::new(
        Selector::unicast("camera"),
        BytesMessage::new(0, *b"ready"),
    ))?;
    let used = processor_time()?;
    let (mut frames, mut sum) = (0_u32, 0_u64);
    loop {
        let message = receiver.recv(Some(PATIENCE))?;
        if message.payload.format == END {
            break;
        }
        for region in &message.memory_regions {
            let mut reader = region.reader(..)?;
            while let Some(part) = reader.next_chunk()? {
                sum = part
                    .iter()
                    .fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            }
        }
        frames += 1;
    }
    let cost = processor_time()?.saturating_sub(used);
    println!(
        "consumer: {frames} frames read through (sum {sum}), {:.2} ms of processor time a frame",
        cost.as_secs_f64() * 1e3 / f64::from(frames.max(1))
    );
    Ok(())
}

/// Processor time of this process's threads so far; nothing where the system does not tell by /proc.
fn processor_time() -> Result<Duration, Failure> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Ok(Duration::ZERO);
    };
    let mut nanoseconds = 0_u64;
    for thread in threads {
        // A thread that has just ended has no file any more.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next().unwrap_or("0");
        nanoseconds = nanoseconds.saturating_add(first.parse()?);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shared_frames: {error}");
            ExitCode::FAILURE
        }
    }
}
