//! Roles and the driver of the bench of large payloads.

use actix_ipc::client::{Handler, HandlerError, IncomingCall, IpcClient, Response};
use actix_ipc::message::{Attachments, Payload};
use async_trait::async_trait;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const SIZES: [usize; 8] = [
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    2 << 20,
    8 << 20,
    16 << 20,
    64 << 20,
];
/// None: calls of one callee. Else the subscribers of events.
const CONSUMERS: [usize; 3] = [0, 1, 3];

/// How a payload travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Bytes,
    Region,
}

struct Role {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Role {
    fn start(arguments: &[&str], socket: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--role")
            .args(arguments)
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut role = Self { child, out };
        assert_eq!(role.line(), "ready");
        role
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.out.read_line(&mut line).unwrap() > 0, "a role has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

fn broker(socket: &Path) {
    let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
    actix::System::new().block_on(async {
        let limits = actix_ipc::config::Limits {
            outbox_bytes: 512 << 20,
            message_bytes: 128 << 20,
            ..actix_ipc::config::Limits::default()
        };
        let broker = actix_ipc::actors::Broker::builder()
            .limits(limits)
            .listen(endpoint);
        let handle = broker.start().unwrap();
        ready();
        handle.ended().await
    });
}

fn run<F: Future>(socket: &Path, work: impl FnOnce(IpcClient) -> F) {
    let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
    actix::System::new().block_on(async {
        let client = IpcClient::builder().endpoint(endpoint).connect().await.unwrap();
        work(client).await;
    });
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words
        .iter()
        .fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Every word of what came, wherever it lies.
fn read(payload: &Payload, attachments: &Attachments) -> u64 {
    let Some(region) = attachments.get::<OwnedFd>(0) else {
        return sum(&payload.bytes);
    };
    let size = rustix::fs::fstat(region).unwrap().st_size as usize;
    map(region, size)
}

#[allow(
    unsafe_code,
    reason = "a bench maps what the library will map behind a safe type"
)]
fn map(region: &OwnedFd, size: usize) -> u64 {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    // SAFETY: the region is sealed against writing and shrinking, so its bytes stay as they are and as many; the slice ends before
    // the mapping does.
    unsafe {
        let at = mmap(std::ptr::null_mut(), size, ProtFlags::READ, flags, region, 0).unwrap();
        let total = sum(std::slice::from_raw_parts(at.cast::<u8>(), size));
        munmap(at, size).unwrap();
        total
    }
}

fn region(bytes: &[u8]) -> OwnedFd {
    let memory = memfd_create("large", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, bytes.len() as u64).unwrap();
    let mut at = 0;
    while at < bytes.len() {
        at += rustix::io::pwrite(&memory, &bytes[at..], at as u64).unwrap();
    }
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

struct Reads;

#[async_trait]
impl Handler for Reads {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let total = read(&call.payload, &call.context.attachments);
        Ok(Response::payload(Payload::raw(total.to_le_bytes().to_vec())))
    }
}

fn consumer(socket: &Path) {
    run(socket, |client| async move {
        // The first of them serves calls.
        let _registration = client.register("large", Reads).await;
        let mut events = client.subscribe("large", "data").buffer(256 << 20).await.unwrap();
        ready();
        while let Some(event) = events.next().await {
            assert_eq!(event.missed, 0);
            let total = read(&event.payload, event.attachments());
            drop(event);
            client.publish("large", "read", &total).await.unwrap();
        }
    });
}

fn producer(socket: &Path, consumers: usize, rounds: usize) {
    run(socket, |client| async move {
        let mut answers = client.subscribe("large", "read").await.unwrap();
        ready();
        for size in SIZES {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let expected = sum(&bytes);
            let mut took = [Vec::new(), Vec::new()];
            let rounds = rounds
                .max(3)
                .min((rounds * (8 << 20) / size).max(3))
                .min(rounds * 8);
            for round in 0..2 * (rounds + 2) {
                let way = [Way::Bytes, Way::Region][round % 2];
                // A program has its data in a buffer that it hands over.
                let payload = bytes::Bytes::from(bytes.clone());
                let start = Instant::now();
                let (payload, attachments) = match way {
                    Way::Bytes => (Payload::raw(payload), Attachments::new()),
                    Way::Region => (Payload::default(), Attachments::new().with(region(&payload))),
                };
                if consumers == 0 {
                    let call = client.call("large", "read").attachments(attachments);
                    let total = call.send_payload(payload).await.unwrap();
                    assert_eq!(*total.bytes, expected.to_le_bytes());
                } else {
                    let publish = client.publish_payload("large", "data", payload);
                    publish.attachments(attachments).await.unwrap();
                    for _ in 0..consumers {
                        let answer = answers.next().await.unwrap();
                        assert_eq!(answer.decode::<u64>().unwrap(), expected);
                    }
                }
                // The first ones warm up.
                if round >= 4 {
                    took[way as usize].push(start.elapsed().as_secs_f64() * 1e6);
                }
            }
            let [in_bytes, in_region] = took.map(median);
            println!("{size} {in_bytes:.0} {in_region:.0}");
        }
        println!("done");
        std::io::stdout().flush().unwrap();
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn drive(rounds: usize) {
    for consumers in CONSUMERS {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let _broker = Role::start(&["broker"], &socket);
        let _consumers: Vec<Role> = (0..consumers)
            .map(|_| Role::start(&["consumer"], &socket))
            .collect();
        let (many, often) = (consumers.to_string(), rounds.to_string());
        let mut producer = Role::start(&["producer", &many, &often], &socket);
        let what = match consumers {
            0 => "a call until its answer".to_owned(),
            many => format!("an event until {many} have read it"),
        };
        println!("{what}, median µs");
        println!(
            "{:>10} {:>10} {:>10} {:>8}",
            "bytes", "in bytes", "in region", "ratio"
        );
        loop {
            let line = producer.line();
            let [size, in_bytes, in_region] = line.split(' ').collect::<Vec<_>>()[..] else {
                break;
            };
            let ratio = in_region.parse::<f64>().unwrap() / in_bytes.parse::<f64>().unwrap();
            println!("{size:>10} {in_bytes:>10} {in_region:>10} {ratio:>8.2}");
        }
    }
}

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--role", "broker", socket] => broker(Path::new(socket)),
        ["--role", "consumer", socket] => consumer(Path::new(socket)),
        ["--role", "producer", consumers, rounds, socket] => {
            producer(
                Path::new(socket),
                consumers.parse().unwrap(),
                rounds.parse().unwrap(),
            );
        }
        [rounds] => drive(rounds.parse().unwrap()),
        _ => drive(40),
    }
}
