//! Old clients on the old broker and on ours, by turns, in one run: calls/s, p99 of a call, events/s.
//!
//! `unshare -m compat/measure` gives it a /tmp of its own, because the old broker has one place for its socket. Calls are made by the
//! published library: eight clients, one worker. Events are written and read as the format says, by sockets of our own: the library
//! ends a subscription at its 17th unread value, so that it could not be measured faster than its reader is scheduled.

use super::{Echo, io, say};
use ipc_broker::client::IPCClient;
use ipc_broker::worker::WorkerBuilder;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOCKET: &str = "/tmp/ipc_broker.sock";
const ROUNDS: usize = 9;
const CALLERS: usize = 8;
const CALLS: usize = 3_000;
const SUBSCRIBERS: usize = 4;
const EVENTS: usize = 30_000;

struct Broker(Child);

impl Broker {
    /// The time that it has had of the processors, in µs. The clock ticks a hundred times a second on every Linux there is.
    fn cpu_us(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = behind_name.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|word| word.parse::<f64>().ok()).sum();
        Ok(ticks * 10_000.0)
    }

    async fn start(command: &mut Command) -> io::Result<Self> {
        let child = command
            .env_remove("BROKER_ADDR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self(child);
        while UnixStream::connect(SOCKET).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(SOCKET);
    }
}

/// What one broker did in one round.
#[derive(Clone, Copy)]
struct Round {
    calls: f64,
    p99_us: f64,
    call_cpu_us: f64,
    events: f64,
    event_cpu_us: f64,
}

async fn calls() -> io::Result<(f64, f64)> {
    let (builder, shutdown) = WorkerBuilder::new().with_graceful_shutdown();
    let worker = tokio::spawn(builder.add("echo", Echo).spawn());
    let client = IPCClient::connect().await?;
    client.wait_for_object("echo").await?;
    let args = json!({"a": 10, "b": 32, "text": "x".repeat(64)});
    let began = Instant::now();
    let tasks: Vec<_> = (0..CALLERS)
        .map(|_| {
            let args = args.clone();
            tokio::spawn(async move {
                let client = IPCClient::connect().await?;
                let mut took = Vec::with_capacity(CALLS);
                for _ in 0..CALLS {
                    let began = Instant::now();
                    let _: Value = client.remote_call("echo", "m", args.clone()).await?;
                    took.push(began.elapsed());
                }
                io::Result::Ok(took)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.map_err(io::Error::other)??);
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    all.sort();
    let p99 = all.get(all.len() * 99 / 100).copied().unwrap_or_default();
    let _ = shutdown.send(true);
    let _ = worker.await;
    Ok((rate, p99.as_secs_f64() * 1e6))
}

fn framed(message: &Value) -> Vec<u8> {
    let body = message.to_string().into_bytes();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// Reads whole frames until there were so many.
fn drain(socket: &mut UnixStream, count: usize) -> io::Result<()> {
    let (mut held, mut buffer, mut seen) = (Vec::new(), vec![0; 64 * 1024], 0);
    while seen < count {
        let more = socket.read(&mut buffer)?;
        if more == 0 {
            return Err(io::Error::other(format!(
                "the end after {seen} of {count} events"
            )));
        }
        held.extend_from_slice(&buffer[..more]);
        let mut at = 0;
        while let Some(head) = held.get(at..at + 4) {
            let length = u32::from_be_bytes(head.try_into().map_err(io::Error::other)?) as usize;
            if held.len() < at + 4 + length {
                break;
            }
            at += 4 + length;
            seen += 1;
        }
        held.drain(..at);
    }
    Ok(())
}

fn events() -> io::Result<f64> {
    let topic = json!({"object_name": "sensor", "topic": "temperature"});
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut socket = UnixStream::connect(SOCKET)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.write_all(&framed(&json!({"Subscribe": topic})))?;
        drain(&mut socket, 1)?;
        subscribers.push(socket);
    }
    let event = framed(&json!({"Publish": {
        "object_name": "sensor", "topic": "temperature", "args": {"celsius": 25.6, "text": "x".repeat(64)}
    }}));
    let began = Instant::now();
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut socket| std::thread::spawn(move || drain(&mut socket, EVENTS)))
        .collect();
    let mut publisher = UnixStream::connect(SOCKET)?;
    // As the library writes: one message at a time.
    for _ in 0..EVENTS {
        publisher.write_all(&event)?;
    }
    for reader in readers {
        reader.join().map_err(|_| io::Error::other("a subscriber"))??;
    }
    Ok((EVENTS * SUBSCRIBERS) as f64 / began.elapsed().as_secs_f64())
}

async fn round(command: &mut Command) -> io::Result<Round> {
    let broker = Broker::start(command).await?;
    let began = broker.cpu_us()?;
    let (calls, p99_us) = calls().await?;
    let called = broker.cpu_us()?;
    let events = tokio::task::spawn_blocking(events)
        .await
        .map_err(io::Error::other)??;
    Ok(Round {
        calls,
        p99_us,
        call_cpu_us: (called - began) / (CALLERS * CALLS) as f64,
        events,
        event_cpu_us: (broker.cpu_us()? - called) / (EVENTS * SUBSCRIBERS) as f64,
    })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// What our broker must reach beside the old one: a row, and whether its ratio does.
const ASKED: [(&str, fn(f64) -> bool, &str); 3] = [
    ("calls/s", |ratio| ratio >= 1.0, "at least 1"),
    ("p99 of a call", |ratio| ratio <= 1.0, "at most 1"),
    ("events/s", |ratio| ratio >= 2.0, "at least 2"),
];

/// Both brokers by turns; medians, and the medians of the ratios within a turn.
///
/// # Errors
/// A ratio is not what is asked; all of them are printed before.
pub async fn compare(old: &str, ours: &str) -> io::Result<()> {
    if Path::new(SOCKET).exists() {
        return Err(io::Error::other(format!(
            "there is a {SOCKET} already: run this with a /tmp of its own, as compat/measure does"
        )));
    }
    let mut rounds = Vec::new();
    let listen = format!("unix:{SOCKET}");
    let (mut old, mut ours) = (Command::new(old), Command::new(ours));
    ours.args(["--listen", &listen]);
    for turn in 0..ROUNDS {
        // Neither is always the first.
        rounds.push(if turn % 2 == 0 {
            let theirs = round(&mut old).await?;
            (theirs, round(&mut ours).await?)
        } else {
            let mine = round(&mut ours).await?;
            (round(&mut old).await?, mine)
        });
    }
    say("| old clients on | old broker | ours | ours/old |");
    say("|---|---:|---:|---:|");
    let rows: [(&str, fn(&Round) -> f64); 5] = [
        ("calls/s, 8 callers", |round| round.calls),
        ("p99 of a call, µs", |round| round.p99_us),
        ("broker's processor time of a call, µs", |round| {
            round.call_cpu_us
        }),
        ("events/s, 1 to 4", |round| round.events),
        ("broker's processor time of an event, µs", |round| {
            round.event_cpu_us
        }),
    ];
    let mut missed = Vec::new();
    for (what, of) in rows {
        let theirs = median(rounds.iter().map(|(theirs, _)| of(theirs)).collect());
        let mine = median(rounds.iter().map(|(_, mine)| of(mine)).collect());
        let ratio = median(
            rounds
                .iter()
                .map(|(theirs, mine)| of(mine) / of(theirs))
                .collect(),
        );
        say(&format!("| {what} | {theirs:.1} | {mine:.1} | {ratio:.2} |"));
        let asked = ASKED.iter().filter(|(row, ..)| what.starts_with(row));
        let short = asked.filter(|(_, reached, _)| !reached(ratio));
        missed.extend(short.map(|(row, _, words)| format!("{row}: {ratio:.2}, asked is {words}")));
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(missed.join("; ")))
}
