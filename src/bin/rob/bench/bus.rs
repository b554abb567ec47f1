//! `rob bench bus`: the label bus from endpoint to endpoint, with payloads of several sizes.
//!
//! Owns its two processes: this one hosts a bus of its own and sends, a second one takes. There is no bare floor beside it: what a
//! message costs less than a call or an event is told by `rpc` and `pubsub`. Called by `bench`.

use super::figures::memory;
use crate::arguments::bench::Bus;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use crate::output::Output;
use actix_ipc::bus::{
    self, BytesMessage, EndpointReceiver, EndpointSender, Message, RecvError, Report, Selector, label,
};
use serde_json::{Value, json};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The payloads that are measured, in bytes.
const SIZES: [usize; 5] = [16, 64, 1_024, 4_096, 16_384];
/// How long the second process has to join, and the last message of a size to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages between two looks at the clock.
const BURST: u32 = 64;

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

/// Measures each size and prints it when it is done.
pub(super) async fn run(wanted: &Bus, options: &Options) -> Result<(), Failure> {
    let (seconds, json) = (wanted.seconds, options.json);
    on_a_thread(move || measure(seconds, json)).await
}

fn measure(seconds: Duration, json: bool) -> Result<(), Failure> {
    let identifier = format!("rob-bench-{}", std::process::id());
    let options = bus::Options::new(identifier.as_str(), label!("source"), "");
    let (sender, _receiver): (Sender, Receiver) =
        bus::join(options, Some(PATIENCE)).map_err(|error| broken(&error.to_string()))?;
    let _sink = Sink::start(&identifier)?;
    let mut output = Output::stdout(json);
    let mut figures = Vec::new();
    if !json {
        output.text(&format!(
            "bus: messages from endpoint to endpoint, {} s of each size; this process hosts the bus and sends, a second one takes\n",
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
    fn start(identifier: &str) -> Result<Self, Failure> {
        let rob = std::env::current_exe().map_err(|error| broken(&error.to_string()))?;
        let child = Command::new(rob)
            .args(["bench", "bus", "--sink", identifier])
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
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // Who measures is gone, or through.
        std::process::exit(0);
    });
    on_a_thread(move || take_all(&identifier)).await
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
