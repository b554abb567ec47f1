//! What a hostile process of the same user costs another one's calls: their round trips without it, and beside each kind of hostility.
//!
//! `cargo bench --bench neighbour [-- KIND…]`. Broker, worker, caller and neighbour are processes of their own (this program again).
//! `spin` is the control: a neighbour that keeps three threads busy and knows no broker, so what it costs is the machine's, not ours. Alone and
//! beside are interleaved, the medians of the percentiles are compared. The caller fails when anything of its own is refused.
#![allow(
    unreachable_pub,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

#[cfg(unix)]
#[path = "../tests/support/raw.rs"]
mod raw;

#[cfg(unix)]
mod neighbour {
    use super::raw::Raw;
    use actix_ipc::actors::Broker;
    use actix_ipc::message::handshake::PREFACE;
    use actix_ipc::message::{Draft, Encoding, Flags, Kind};
    use actix_ipc::{
        Endpoint, Handler, HandlerError, IncomingCall, IpcClient, Payload, Response, async_trait,
    };
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::time::Instant;

    const CALLS: usize = 10_000;
    const ROUNDS: usize = 3;
    const KINDS: &[&str] = &[
        "spin", "calls", "oneway", "publish", "connect", "frames", "unread", "requests", "bulk",
    ];

    pub fn main() {
        let arguments: Vec<String> = std::env::args()
            .skip(1)
            .filter(|word| word != "--bench")
            .collect();
        if let [flag, role, socket] = &arguments[..]
            && flag == "--role"
        {
            return play(role, Path::new(socket));
        }
        let asked: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let kinds = if asked.is_empty() { KINDS } else { &asked };
        println!(
            "{:<10} {:>30} {:>30} {:>7}",
            "neighbour", "alone p50/p99 µs", "beside p50/p99 µs", "p99 ×"
        );
        for kind in kinds {
            measure(kind);
        }
    }

    fn measure(kind: &str) {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("s");
            let _broker = Role::start("broker", &socket);
            let _worker = Role::start("worker", &socket);
            alone.push(Role::start("caller", &socket).figures());
            let neighbour = Role::start(kind, &socket);
            beside.push(Role::start("caller", &socket).figures());
            drop(neighbour);
        }
        let middle = |all: &[(f64, f64)], part: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = all.iter().map(part).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (before, after) = (middle(&alone, |of| of.1), middle(&beside, |of| of.1));
        println!(
            "{kind:<10} {:>20.0} {before:>9.0} {:>20.0} {after:>9.0} {:>7.2}",
            middle(&alone, |of| of.0),
            middle(&beside, |of| of.0),
            after / before
        );
    }

    struct Role {
        child: Child,
        out: BufReader<ChildStdout>,
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
                    "a role ended before {begins:?}"
                );
                if line.starts_with(begins) {
                    return line;
                }
            }
        }

        /// p50 and p99 in microseconds.
        fn figures(mut self) -> (f64, f64) {
            let line = self.line("figures");
            let mut numbers = line.split_whitespace().skip(1).map(|word| word.parse().unwrap());
            (numbers.next().unwrap(), numbers.next().unwrap())
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

    fn play(role: &str, socket: &Path) {
        match role {
            "broker" => broker(socket),
            "worker" => worker(socket, "echo"),
            "caller" => caller(socket),
            "spin" => spin(),
            "calls" => calls(socket, Flags::NONE),
            "oneway" => calls(socket, Flags::NO_REPLY),
            "publish" => publish(socket),
            "connect" => connect(socket),
            "frames" => frames(socket),
            "unread" => unread(socket),
            "requests" => requests(socket),
            "bulk" => bulk(socket),
            other => panic!("no role {other:?}; there are: {KINDS:?}"),
        }
    }

    fn broker(socket: &Path) {
        let endpoint = format!("unix:{}", socket.display()).parse().unwrap();
        actix::System::new().block_on(async {
            let handle = Broker::builder().listen(endpoint).start().unwrap();
            ready();
            handle.ended().await;
        });
    }

    fn worker(socket: &Path, object: &str) {
        let mut raw = Raw::connect(socket);
        assert_eq!(raw.register(object).kind, Kind::Done);
        ready();
        raw.stream.set_read_timeout(None).unwrap();
        while let Some(call) = raw.try_read() {
            if call.kind == Kind::Call {
                raw.reply(&call, &call.payload);
            }
        }
    }

    fn caller(socket: &Path) {
        let mut raw = Raw::connect(socket);
        ready();
        let mut nanos: Vec<u64> = Vec::with_capacity(CALLS);
        for round in 0..CALLS + CALLS / 10 {
            let start = Instant::now();
            let id = raw.call("echo", Flags::NONE, &[7; 16]);
            let got = raw.answer(id);
            assert_eq!(got.kind, Kind::Reply, "{}", got.text());
            if round >= CALLS / 10 {
                nanos.push(start.elapsed().as_nanos() as u64);
            }
        }
        nanos.sort_unstable();
        let at = |share: usize| nanos[(nanos.len() - 1) * share / 100] as f64 / 1000.0;
        println!("figures {} {}", at(50), at(99));
    }

    fn spin() {
        // As many threads as the busiest of the others have.
        for _ in 0..2 {
            std::thread::spawn(|| {
                loop {
                    std::hint::black_box(Instant::now());
                }
            });
        }
        ready();
        loop {
            std::hint::black_box(Instant::now());
        }
    }

    /// Reads and forgets, so that the broker has no reason to stop reading this connection.
    fn swallow(stream: &UnixStream) {
        let mut stream = stream.try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
    }

    /// Small calls at full speed, to an object of its own that answers none of them.
    fn calls(socket: &Path, flags: Flags) {
        let (mut owner, mut raw) = (Raw::connect(socket), Raw::connect(socket));
        owner.register("swamp");
        swallow(&owner.stream);
        swallow(&raw.stream);
        ready();
        let mut id = 10;
        loop {
            let mut bytes = Vec::new();
            for _ in 0..1_000 {
                id += 1;
                let draft = Draft::new(Kind::Call, id)
                    .flags(flags)
                    .aux(1_000)
                    .pair("swamp", "m");
                draft.encode(&mut bytes);
            }
            raw.stream.write_all(&bytes).unwrap();
        }
    }

    /// Events at full speed within the window, heard by itself.
    fn publish(socket: &Path) {
        let (mut heard, mut raw) = (Raw::connect(socket), Raw::connect(socket));
        heard.subscribe("n", "n");
        swallow(&heard.stream);
        let mut window = i64::from(raw.welcome.as_ref().unwrap().publish_window);
        let event = Draft::new(Kind::Publish, 0)
            .pair("n", "n")
            .payload(Encoding::RAW, &[1; 16]);
        let bytes = event.to_vec().repeat(500);
        ready();
        raw.stream.set_read_timeout(None).unwrap();
        loop {
            while window > bytes.len() as i64 {
                raw.stream.write_all(&bytes).unwrap();
                window -= bytes.len() as i64;
            }
            window += i64::from(raw.expect(Kind::PublishCredit).aux);
        }
    }

    /// Answers nothing to whatever it takes.
    struct Take;

    #[async_trait]
    impl Handler for Take {
        async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
            assert_eq!(call.payload.bytes.len(), 8 << 20);
            Ok(Response::payload(Payload::default()))
        }
    }

    /// 8 MiB in ordinary calls of the client library, one after another, to a worker of its own.
    fn bulk(socket: &Path) {
        let endpoint: Endpoint = format!("unix:{}", socket.display()).parse().unwrap();
        let (registered, there) = std::sync::mpsc::channel();
        let workers = endpoint.clone();
        std::thread::spawn(move || {
            actix::System::new().block_on(async {
                let client = IpcClient::connect_to(workers).await.unwrap();
                let _bulk = client.register("bulk", Take).await.unwrap();
                registered.send(()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        there.recv().unwrap();
        actix::System::new().block_on(async {
            let client = IpcClient::connect_to(endpoint).await.unwrap();
            let payload = Payload::raw(vec![b'0'; 8 << 20]);
            ready();
            loop {
                client
                    .call("bulk", "take")
                    .send_payload(payload.clone())
                    .await
                    .unwrap();
            }
        });
    }

    /// Opens connections and begins handshakes until it is refused, and goes on.
    fn connect(socket: &Path) {
        let mut open = Vec::new();
        ready();
        loop {
            let Ok(mut stream) = UnixStream::connect(socket) else {
                continue;
            };
            let _ = stream.write_all(&PREFACE[..4]);
            // As many as it may have descriptors; more are opened and closed.
            if open.len() < 900 {
                open.push(stream);
            }
        }
    }

    /// Frames of 16 MiB without their last bytes, on as many connections as it gets.
    fn frames(socket: &Path) {
        let frame = Draft::new(Kind::Publish, 0)
            .pair("n", "n")
            .payload(Encoding::RAW, &vec![0; 16 * 1024 * 1024])
            .to_vec();
        ready();
        loop {
            let mut open = Vec::new();
            for _ in 0..16 {
                // Refused when its share is used up; then there is no welcome, and the write fails.
                let mut raw = Raw::open(socket);
                raw.greet("");
                let _ = raw.stream.write_all(&frame[..frame.len() - 1]);
                open.push(raw);
            }
        }
    }

    /// Large answers that nobody reads.
    fn unread(socket: &Path) {
        let path = socket.to_owned();
        std::thread::spawn(move || worker(&path, "large"));
        let payload = vec![0; 64 * 1024];
        loop {
            let mut open = Vec::new();
            for _ in 0..16 {
                let mut raw = Raw::open(socket);
                raw.greet("");
                for id in 10..200 {
                    let call = Draft::new(Kind::Call, id).flags(Flags::WAIT).pair("large", "m");
                    let sent = call.payload(Encoding::RAW, &payload).to_vec();
                    if raw.stream.write_all(&sent).is_err() {
                        break;
                    }
                }
                open.push(raw);
            }
        }
    }

    /// Names and subscriptions, as many as it gets, then all of it again.
    fn requests(socket: &Path) {
        let mut raw = Raw::connect(socket);
        swallow(&raw.stream);
        ready();
        let mut id = 10;
        loop {
            let mut bytes = Vec::new();
            for _ in 0..500 {
                id += 1;
                let name = format!("n{id}");
                Draft::new(Kind::Register, id)
                    .key(name.as_bytes())
                    .encode(&mut bytes);
                Draft::new(Kind::Subscribe, id + (1 << 40))
                    .pair(&name, "e")
                    .encode(&mut bytes);
            }
            if raw.stream.write_all(&bytes).is_err() {
                raw = Raw::open(socket);
                raw.greet("");
                swallow(&raw.stream);
            }
        }
    }
}

fn main() {
    #[cfg(unix)]
    neighbour::main();
    #[cfg(not(unix))]
    println!("the neighbour speaks over Unix sockets; there are none here");
}
