//! `rob bench bus`: the label bus from endpoint to endpoint, with payloads of several sizes.
//!
//! Owns its two processes: one hosts a bus of its own and sends, a second one takes. Both find it in a temporary folder, which is gone after
//! them. There is no bare floor beside it: what a message costs less than a call or an event is told by `rpc` and `pubsub`. Called by `bench`.

use super::figures::memory;
use crate::arguments::bench::Bus;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use crate::output::Output;
use actix_ipc::bus::{
    self, BytesMessage, EndpointReceiver, EndpointSender, Message, RecvError, Report, Selector, label,
};
use actix_ipc::platform::scratch::{Kind, Scratch};
use actix_ipc::platform::signals::EndSignals;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The payloads that are measured, in bytes.
const SIZES: [usize; 5] = [16, 64, 1_024, 4_096, 16_384];
/// How long the second process has to join, and the last message of a size to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the news of a signal may come behind that of a process which it has ended as well.
const NEWS_PATIENCE: Duration = Duration::from_millis(200);
/// Messages between two looks at the clock.
const BURST: u32 = 64;

/// The bus, which is alone in its folder. The names of its files follow from it; `tests/rob_bench` sees that they do.
const BUS: &str = "rob-bench";
/// The folder that both take for that of the run-time: what a bus has there, its files before their folders.
const FOLDER: Kind = Kind {
    prefix: "rob-bench.bus-",
    contents: &[
        "actix-ipc/bus/20aaafe57e0694a4571d1387d087c39f.lock",
        "actix-ipc/bus/20aaafe57e0694a4571d1387d087c39f.sock",
        "actix-ipc/bus",
        "actix-ipc",
    ],
};

type Sender = EndpointSender<BytesMessage>;
type Receiver = EndpointReceiver<BytesMessage>;

/// What one size gave.
#[derive(Debug)]
struct Figure {
    size: usize,
    taken: u64,
    lost: u64,
    seconds: f64,
}

impl Figure {
    fn rate(&self) -> f64 {
        self.taken as f64 / self.seconds
    }

    fn megabytes(&self) -> f64 {
        self.rate() * self.size as f64 / 1e6
    }

    fn json(&self) -> Value {
        json!({
            "size": self.size,
            "rate": self.rate().round(),
            "mb_per_s": (self.megabytes() * 1_000.0).round() / 1_000.0,
            "lost": self.lost,
        })
    }

    fn line(&self) -> String {
        let lost = match self.lost {
            0 => String::new(),
            lost => format!("  {lost} lost"),
        };
        let size = memory(self.size as u64);
        format!(
            "{size:>8}  {:>10.0}/s  {:>8.1} MB/s{lost}\n",
            self.rate(),
            self.megabytes()
        )
    }
}

/// Has another process measure, whose files are gone when it has ended, however it does.
pub(super) async fn run(wanted: &Bus, options: &Options) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::new(Exit::Refused, format!("bench: {error}"));
    let mut signals = EndSignals::receive().map_err(refused)?;
    let folder = Scratch::new(FOLDER).map_err(refused)?;
    let mut command = rob()?;
    command.args(["bench", "bus", "--source", "--seconds"]);
    command.arg(wanted.seconds.as_secs_f64().to_string());
    command.args(options.json.then_some("--json"));
    command
        .envs(["XDG_RUNTIME_DIR", "LOCALAPPDATA"].map(|name| (name, folder.path())))
        .stdin(Stdio::piped());
    let mut source = command.spawn().map_err(refused)?;
    let held = source.stdin.take();
    let (done, mut ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(source.wait()));
    let gone = |_| Err(io::Error::other("the working thread has ended"));
    let status = tokio::select! {
        biased;
        signal = signals.next() => {
            // The end of its standard input is its end.
            drop(held);
            let _ = ended.await;
            return Err(Failure::new(Exit::of_signal(signal), ""));
        }
        status = &mut ended => status.unwrap_or_else(gone).map_err(refused)?,
    };
    match status.code().map(u8::try_from) {
        Some(Ok(0)) => Ok(()),
        // It has said why.
        Some(Ok(code)) => Err(Failure::new(Exit::of_number(code), "")),
        // Ctrl+c is for both.
        _ => match tokio::time::timeout(NEWS_PATIENCE, signals.next()).await {
            Ok(signal) => Err(Failure::new(Exit::of_signal(signal), "")),
            Err(_) => Err(broken("the process that measures was ended")),
        },
    }
}

/// Measures each size and prints it when it is done; ends when its standard input does.
pub(super) async fn source(wanted: &Bus, options: &Options) -> Result<(), Failure> {
    let (seconds, json) = (wanted.seconds, options.json);
    end_with_input();
    on_a_thread(move || measure(seconds, json)).await
}

fn rob() -> Result<Command, Failure> {
    let path = std::env::current_exe().map_err(|error| broken(&error.to_string()))?;
    Ok(Command::new(path))
}

fn measure(seconds: Duration, json: bool) -> Result<(), Failure> {
    let options = bus::Options::new(BUS, label!("source"), "");
    let (sender, _receiver): (Sender, Receiver) =
        bus::join(options, Some(PATIENCE)).map_err(|error| broken(&error.to_string()))?;
    let _sink = Sink::start()?;
    let mut output = Output::stdout(json);
    let mut figures = Vec::new();
    if !json {
        output.text(&format!(
            "bus: messages from endpoint to endpoint, {} s of each size; one process hosts the bus and sends, a second one takes\n",
            seconds.as_secs_f64()
        ))?;
    }
    for size in SIZES {
        let figure = one_size(&sender, size, seconds)?;
        if !json {
            output.text(&figure.line())?;
        }
        figures.push(figure.json());
    }
    if json {
        output.text(&format!("{}\n", json!({ "bench": "bus", "sizes": figures })))?;
    }
    Ok(())
}

fn one_size(sender: &Sender, size: usize, seconds: Duration) -> Result<Figure, Failure> {
    let to = || Selector::unicast("sink").with_ttl(PATIENCE);
    let message = || Message::new(to(), BytesMessage::new(0, vec![7; size]));
    let confirm = || {
        let last = sender.send_confirmed(message(), PATIENCE);
        last.map_err(|error| broken(&error.to_string()))
    };
    // The sink is there, and has taken everything of the size before.
    confirm()?;
    let reports = sender.undelivered();
    let begun = Instant::now();
    let mut sent = 1_u64;
    while begun.elapsed() < seconds {
        for _ in 0..BURST {
            sender
                .send(message())
                .map_err(|error| broken(&error.to_string()))?;
        }
        sent = sent.saturating_add(u64::from(BURST));
    }
    confirm()?;
    let took = begun.elapsed();
    let lost = std::iter::from_fn(|| reports.try_next()).fold(0_u64, |lost, report| match report {
        Report::Missed(count) => lost.saturating_add(count),
        _ => lost.saturating_add(1),
    });
    Ok(Figure {
        size,
        taken: sent.saturating_sub(lost),
        lost,
        seconds: took.as_secs_f64(),
    })
}

/// The process that takes; it ends with this value, and with the process that holds it.
struct Sink(Child);

impl Sink {
    fn start() -> Result<Self, Failure> {
        let child = rob()?
            .args(["bench", "bus", "--sink", BUS])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        child
            .map(Self)
            .map_err(|error| broken(&format!("a second process cannot be started: {error}")))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The end of its standard input is its end.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Is the process that takes, until its standard input ends.
pub(super) async fn sink(identifier: String) -> Result<(), Failure> {
    end_with_input();
    on_a_thread(move || take_all(&identifier)).await
}

/// Who has started this process is gone, or through, when its standard input ends.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// The blocking API needs a thread on which nothing else runs.
async fn on_a_thread(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(work()));
    ended
        .await
        .unwrap_or_else(|_| Err(broken("the working thread has ended")))
}

fn take_all(identifier: &str) -> Result<(), Failure> {
    let options = bus::Options::new(identifier, label!("sink"), "").with_controller_affinity(false);
    let (_sender, receiver): (Sender, Receiver) =
        bus::join(options, Some(PATIENCE)).map_err(|error| broken(&error.to_string()))?;
    loop {
        match receiver.recv(None) {
            // What does not fit a type would be skipped; here is only one.
            Ok(_) | Err(RecvError::Timeout) => {}
            Err(error) => return Err(broken(&error.to_string())),
        }
    }
}

fn broken(text: &str) -> Failure {
    Failure::new(Exit::Lost, format!("bench: {text}"))
}
