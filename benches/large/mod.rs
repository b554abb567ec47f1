//! Roles and the driver of the bench of large payloads.

use actix_ipc::client::{
    Balance, Handler, HandlerError, IncomingCall, IpcClient, Response, Subscription, Update,
};
use actix_ipc::message::Payload;
use async_trait::async_trait;
use bytes::Bytes;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const SIZES: [usize; 8] = [
    1 << 20,
    4 << 20,
    8 << 20,
    16 << 20,
    24 << 20,
    32 << 20,
    64 << 20,
    128 << 20,
];
/// None: calls of one callee. Else the subscribers of events.
const CONSUMERS: [usize; 3] = [0, 1, 3];

/// What a consumer answers that has missed an event.
const MISSED: u64 = 0;

/// How a payload travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Pieces,
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
        let broker = actix_ipc::actors::Broker::builder().listen(endpoint);
        let handle = broker.start().unwrap();
        ready();
        handle.ended().await
    });
}

/// A client that sends its payloads one way. Both take what comes either way.
async fn client(socket: &Path, way: Way) -> IpcClient {
    let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
    let from = match way {
        Way::Pieces => usize::MAX,
        Way::Region => 1,
    };
    let builder = IpcClient::builder().endpoint(endpoint).regions_from(from);
    builder.connect().await.unwrap()
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words
        .iter()
        .fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

struct Reads;

#[async_trait]
impl Handler for Reads {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let total = sum(&call.payload.bytes);
        Ok(Response::payload(Payload::raw(total.to_le_bytes().to_vec())))
    }
}

fn consumer(socket: &Path) {
    actix::System::new().block_on(async {
        let client = client(socket, Way::Pieces).await;
        // Calls go to one of them.
        let group = client.register("large", Reads).group(Balance::RoundRobin);
        let _registration = group.await.unwrap();
        let mut events = client.subscribe("large", "data").buffer(256 << 20).await.unwrap();
        ready();
        while let Some(update) = events.next_update().await {
            // On a busy machine one of several may be too slow for pieces: that message does not count.
            let total = match update {
                Update::Event(event) => sum(&event.payload.bytes),
                _ => MISSED,
            };
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

/// One message and its answers; whether all have it.
async fn send(
    client: &IpcClient,
    answers: &mut Subscription,
    consumers: usize,
    bytes: Bytes,
    sum: u64,
) -> bool {
    let payload = Payload::raw(bytes);
    if consumers == 0 {
        let total = client.call("large", "read").send_payload(payload).await.unwrap();
        assert_eq!(*total.bytes, sum.to_le_bytes());
        return true;
    }
    client.publish_payload("large", "data", payload).await.unwrap();
    let mut all = true;
    for _ in 0..consumers {
        let answer = answers.next().await.unwrap().decode::<u64>().unwrap();
        assert!(answer == sum || answer == MISSED);
        all &= answer == sum;
    }
    all
}

fn producer(socket: &Path, consumers: usize, rounds: usize, mut processes: Vec<u32>) {
    processes.push(std::process::id());
    actix::System::new().block_on(async {
        let clients = [
            client(socket, Way::Pieces).await,
            client(socket, Way::Region).await,
        ];
        let [client, _] = &clients;
        let mut answers = client.subscribe("large", "read").await.unwrap();
        ready();
        for size in SIZES {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let expected = sum(&bytes);
            let (mut took, mut cost) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            // Blocks of about a hundred megabytes, at least two messages and at most a thousand.
            let block = ((100 << 20) / size).clamp(2, 1000);
            for round in 0..2 * (rounds + 1) {
                let way = [Way::Pieces, Way::Region][round % 2];
                let before = used(&processes);
                for _ in 0..block {
                    // A program has its data in a buffer that it hands over.
                    let payload = Bytes::from(bytes.clone());
                    let start = Instant::now();
                    let client = &clients[way as usize];
                    if send(client, &mut answers, consumers, payload, expected).await {
                        took[way as usize].push(start.elapsed().as_secs_f64() * 1e6);
                    }
                }
                // The first ones warm up.
                if round >= 2 {
                    cost[way as usize].push((used(&processes) - before) / 1e3 / block as f64);
                }
            }
            let [[pieces, region], [cost_pieces, cost_region]] = [took, cost].map(|all| all.map(median));
            println!("{size} {pieces:.0} {region:.0} {cost_pieces:.0} {cost_region:.0}");
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
        println!("     bytes in pieces in region  ratio | in pieces in region  ratio");
        loop {
            let line = producer.line();
            let figures: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [size, pieces, region, cost, cost_region] = figures[..] else {
                break;
            };
            let (ratio, costs) = (region / pieces, cost_region / cost);
            println!(
                "{size:>10} {pieces:>9} {region:>9} {ratio:>6.2} | {cost:>8} {cost_region:>9} {costs:>6.2}"
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
