//! Roles and the driver of the floor bench.

mod client;
mod raw;
mod relay;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Payload of every call and event.
pub const PAYLOAD: [u8; 16] = [7; 16];
const CALLS: usize = 20_000;
const EVENTS: usize = 2_000_000;
const FLOOR_EVENTS: usize = 400_000;
const ROUNDS: usize = 5;

/// What a measuring role prints on its last line.
pub fn report(figures: &[(&str, f64)]) {
    let line: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    println!("figures {}", line.join(" "));
}

/// Percentiles of round trips in microseconds.
pub fn report_latencies(mut nanos: Vec<u64>) {
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    report(&[("p50", at(0.5)), ("p99", at(0.99)), ("p999", at(0.999))]);
}

/// Times `CALLS` round trips after a warm-up.
pub fn time_calls(mut call: impl FnMut()) {
    for _ in 0..CALLS / 10 {
        call();
    }
    let nanos = (0..CALLS).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_nanos() as u64
    });
    report_latencies(nanos.collect());
}

/// Tells the driver that this role is ready.
pub fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

struct Role {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Role {
    fn start(role: &str, socket: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--role", role])
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut role = Self { child, out };
        role.line("ready");
        role
    }

    fn line(&mut self, begins: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.out.read_line(&mut line).unwrap() > 0,
                "a role ended before it said {begins:?}"
            );
            if line.starts_with(begins) {
                return line;
            }
        }
    }

    fn figure(&mut self, name: &str) -> f64 {
        let line = self.line("figures");
        let found = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap().parse().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn calls(kind: &str) {
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (kind, into) in [("relay", &mut floor), (kind, &mut ours)] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("s");
            let broker = if kind == "relay" { "relay-calls" } else { "broker" };
            let _broker = Role::start(broker, &socket);
            let _worker = Role::start(&format!("{kind}-worker"), &socket);
            let mut caller = Role::start(&format!("{kind}-caller"), &socket);
            into.push(caller.figure("p50"));
        }
    }
    println!("calls, one at a time, 16 bytes, p50 µs: floor {floor:.1?}, {kind} {ours:.1?}");
    println!(
        "  medians: floor {:.1}, {kind} {:.1}; ratio {:.2}",
        median(floor.clone()),
        median(ours.clone()),
        median(ours) / median(floor)
    );
}

fn events(kind: &str) {
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (kind, into) in [("relay", &mut floor), (kind, &mut ours)] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("s");
            let broker = if kind == "relay" { "relay-events" } else { "broker" };
            let _broker = Role::start(broker, &socket);
            let mut subscriber = Role::start(&format!("{kind}-subscriber"), &socket);
            let mut publisher = Role::start(&format!("{kind}-publisher"), &socket);
            into.push(subscriber.figure("rate"));
            publisher.line("done");
        }
    }
    println!("events, one to one, 16 bytes, 1/s: floor {floor:.0?}, {kind} {ours:.0?}");
    println!(
        "  medians: floor {:.0}, {kind} {:.0}; ratio {:.2}",
        median(floor.clone()),
        median(ours.clone()),
        median(ours) / median(floor)
    );
}

/// Resident memory of a process in bytes, or nothing where the system does not tell it this way.
fn resident(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace()
        .next()?
        .parse::<f64>()
        .ok()
        .map(|kib| kib * 1024.0)
}

fn idle() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let broker = Role::start("broker", &socket);
    let Some(before) = resident(broker.child.id()) else {
        return;
    };
    let mut clients = Role::start("idle-clients", &socket);
    let connections = clients.figure("connections");
    let after = resident(broker.child.id()).unwrap();
    println!(
        "{connections} idle connections: {:.0} bytes of the broker's memory each",
        (after - before) / connections
    );
}

fn broker(socket: &Path) {
    let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
    actix::System::new().block_on(async {
        // One process holds 10,000 idle connections here, more than the share of one process is by default: an eighth of these.
        let limits = actix_ipc::config::Limits {
            connections: 131_072,
            handshakes: 131_072,
            memory_bytes_total: 8 << 30,
            ..actix_ipc::config::Limits::default()
        };
        let handle = actix_ipc::actors::Broker::builder()
            .limits(limits)
            .listen(endpoint)
            .start()
            .unwrap();
        ready();
        handle.ended().await
    });
}

/// Rate of `count` messages, timed from the first.
pub fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}

pub fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--role") {
        let socket = Path::new(&args[2]);
        return match args[1].as_str() {
            "broker" => broker(socket),
            "relay-calls" => relay::run(socket, 16),
            "relay-events" => relay::run(socket, 16),
            "relay-worker" => relay::worker(socket),
            "relay-caller" => relay::caller(socket),
            "relay-subscriber" => relay::subscriber(socket, FLOOR_EVENTS),
            "relay-publisher" => relay::publisher(socket, FLOOR_EVENTS),
            "raw-worker" => raw::worker(socket),
            "raw-caller" => raw::caller(socket),
            "raw-subscriber" => raw::subscriber(socket, EVENTS),
            "raw-publisher" => raw::publisher(socket, EVENTS),
            "client-worker" => client::worker(socket),
            "client-caller" => client::caller(socket),
            "client-subscriber" => client::subscriber(socket, EVENTS),
            "client-publisher" => client::publisher(socket, EVENTS),
            "idle-clients" => raw::idle(socket),
            other => panic!("no role {other}"),
        };
    }
    let has = |word: &str| args.iter().any(|arg| arg == word);
    if has("idle") || args.is_empty() {
        idle();
    }
    if has("idle") {
        return;
    }
    for kind in ["raw", "client"] {
        if has(kind) || !(has("raw") || has("client")) {
            if has("calls") || !has("events") {
                calls(kind);
            }
            if has("events") || !has("calls") {
                events(kind);
            }
        }
    }
}

/// Reads until the buffer is full.
pub fn read_exact(stream: &mut impl Read, buffer: &mut [u8]) {
    stream.read_exact(buffer).expect("the other end");
}
