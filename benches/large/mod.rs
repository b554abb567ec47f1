//! Roles and the driver of the bench of large payloads.

use actix_ipc::client::{Balance, Handler, HandlerError, IncomingCall, IpcClient, Response, Subscription};
use actix_ipc::message::{Attachments, Payload};
use async_trait::async_trait;
use bytes::Bytes;
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
        // Calls go to one of them.
        let group = client.register("large", Reads).group(Balance::RoundRobin);
        let _registration = group.await.unwrap();
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

/// Nanoseconds of processor time that these processes have used.
fn used(processes: &[u32]) -> f64 {
    let of_thread = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<f64>().ok())
    };
    let of_process = |process: &u32| -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        tasks.filter_map(|task| of_thread(task.ok()?)).sum()
    };
    processes.iter().map(of_process).sum()
}

/// One message and its answers.
async fn send(
    client: &IpcClient,
    answers: &mut Subscription,
    way: Way,
    consumers: usize,
    bytes: Bytes,
    sum: u64,
) {
    let (payload, attachments) = match way {
        Way::Bytes => (Payload::raw(bytes), Attachments::new()),
        Way::Region => (Payload::default(), Attachments::new().with(region(&bytes))),
    };
    if consumers == 0 {
        let call = client.call("large", "read").attachments(attachments);
        let total = call.send_payload(payload).await.unwrap();
        assert_eq!(*total.bytes, sum.to_le_bytes());
        return;
    }
    let publish = client.publish_payload("large", "data", payload);
    publish.attachments(attachments).await.unwrap();
    for _ in 0..consumers {
        let answer = answers.next().await.unwrap();
        assert_eq!(answer.decode::<u64>().unwrap(), sum);
    }
}

fn producer(socket: &Path, consumers: usize, rounds: usize, mut processes: Vec<u32>) {
    processes.push(std::process::id());
    run(socket, |client| async move {
        let mut answers = client.subscribe("large", "read").await.unwrap();
        ready();
        for size in SIZES {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let expected = sum(&bytes);
            let (mut took, mut cost) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            // Blocks of about a hundred megabytes, at least three messages and at most a thousand.
            let block = ((100 << 20) / size).clamp(3, 1000);
            for round in 0..2 * (rounds + 1) {
                let way = [Way::Bytes, Way::Region][round % 2];
                let before = used(&processes);
                for _ in 0..block {
                    // A program has its data in a buffer that it hands over.
                    let payload = Bytes::from(bytes.clone());
                    let start = Instant::now();
                    send(&client, &mut answers, way, consumers, payload, expected).await;
                    took[way as usize].push(start.elapsed().as_secs_f64() * 1e6);
                }
                // The first ones warm up.
                if round >= 2 {
                    cost[way as usize].push((used(&processes) - before) / 1e3 / block as f64);
                }
            }
            let [[bytes, region], [cost_bytes, cost_region]] = [took, cost].map(|all| all.map(median));
            println!("{size} {bytes:.0} {region:.0} {cost_bytes:.0} {cost_region:.0}");
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
        let broker = Role::start(&["broker"], &socket);
        let others: Vec<Role> = (0..consumers.max(1))
            .map(|_| Role::start(&["consumer"], &socket))
            .collect();
        let all = others
            .iter()
            .chain([&broker])
            .map(|role| role.child.id().to_string());
        let processes = all.collect::<Vec<_>>().join(",");
        let (many, often) = (consumers.to_string(), rounds.to_string());
        let mut producer = Role::start(&["producer", &many, &often, &processes], &socket);
        let what = match consumers {
            0 => "a call until its answer".to_owned(),
            many => format!("an event until {many} have read it"),
        };
        println!("{what}: median µs, and processor time of all processes in µs");
        println!("     bytes  in bytes in region  ratio | in bytes in region  ratio");
        loop {
            let line = producer.line();
            let figures: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [size, bytes, region, cost, cost_region] = figures[..] else {
                break;
            };
            let (ratio, costs) = (region / bytes, cost_region / cost);
            println!(
                "{size:>10} {bytes:>9} {region:>9} {ratio:>6.2} | {cost:>8} {cost_region:>9} {costs:>6.2}"
            );
        }
    }
}

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--role", "broker", socket] => broker(Path::new(socket)),
        ["--role", "consumer", socket] => consumer(Path::new(socket)),
        ["--role", "producer", consumers, rounds, processes, socket] => {
            let processes = processes.split(',').map(|one| one.parse().unwrap());
            let (consumers, rounds) = (consumers.parse().unwrap(), rounds.parse().unwrap());
            producer(Path::new(socket), consumers, rounds, processes.collect());
        }
        [rounds] => drive(rounds.parse().unwrap()),
        _ => drive(9),
    }
}
