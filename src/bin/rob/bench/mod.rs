//! `rob bench`: what the broker costs on this machine, beside a bare relay of sockets.
//!
//! Owns what each measurement is made of: which processes, how many of each, under which title. `team` starts and ends them,
//! `measure` says when who works, `figures` shows what came out; `role` and what it calls is what runs in those processes.
//! Called by `main`.

mod bus;
mod calls;
mod events;
mod figures;
mod floor;
mod hold;
mod latencies;
mod measure;
mod progress;
mod protocol;
mod role;
mod team;

use crate::arguments::bench::{Bench, Bulk, Idle, Pubsub, Rpc};
use crate::commands::session;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use crate::output::Output;
use actix_ipc::client::parse_address;
use actix_ipc::error::CloseReason;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Hello, Kind, PROTOCOL_VERSION};
use actix_ipc::platform::{local, open_files};
use actix_ipc::transport::Endpoint;
use figures::{Figures, Ratio, memory};
use measure::Crew;
use progress::Progress;
use protocol::{Part, Spec};
use std::path::PathBuf;
use team::{Member, Team};

/// Calls that are open at one worker at most: the broker gives no callee twice as many.
const WORKER_CALLS: u64 = 32_768;
/// Descriptors of a process beside its connections.
const OTHER_FILES: u64 = 64;

/// Measures what is asked for and prints it.
pub(crate) async fn run(bench: &Bench, options: &Options) -> Result<(), Failure> {
    let figures = match bench {
        Bench::Role => {
            role::run(options).await;
            return Ok(());
        }
        Bench::Bus(wanted) => {
            return match &wanted.sink {
                Some(identifier) => bus::sink(identifier.clone()).await,
                None if wanted.source => bus::source(wanted, options).await,
                None => bus::run(wanted, options).await,
            };
        }
        Bench::Rpc(wanted) => rpc(wanted, options).await?,
        Bench::Pubsub(wanted) => pubsub(wanted, options).await?,
        Bench::Bulk(wanted) => bulk(wanted, options).await?,
        Bench::Idle(wanted) => idle(wanted, options).await?,
    };
    let mut output = Output::stdout(options.json);
    if output.json() {
        output.text(&format!("{}\n", figures.json()))?;
    } else {
        output.text(&figures.table())?;
    }
    Ok(())
}

async fn rpc(wanted: &Rpc, options: &Options) -> Result<Figures, Failure> {
    let mut bench = Setup::new(options, wanted.payload)?;
    bench.spec.in_flight = wanted.in_flight;
    let measured = bench.calls(wanted.callers, wanted.seconds).await?;
    Ok(Figures {
        what: "rpc",
        title: format!(
            "rpc: {}, {} in flight each, {} there and back, {} s{}",
            counted(wanted.callers, "caller"),
            wanted.in_flight,
            memory(wanted.payload as u64),
            wanted.seconds.as_secs_f64(),
            match bench.spec.workers {
                1 => place(options),
                workers => format!(", {workers} workers{}", place(options)),
            }
        ),
        unit: "calls",
        payload: wanted.payload,
        ratio: Ratio::Latency,
        measured,
        bytes_each: None,
    })
}

async fn bulk(wanted: &Bulk, options: &Options) -> Result<Figures, Failure> {
    let mut bench = Setup::new(options, wanted.size)?;
    bench.spec.bulk = true;
    let measured = bench.calls(1, wanted.seconds).await?;
    Ok(Figures {
        what: "bulk",
        title: format!(
            "bulk: calls of {}, one at a time, read through, {} s{}",
            memory(wanted.size as u64),
            wanted.seconds.as_secs_f64(),
            place(options)
        ),
        unit: "calls",
        payload: wanted.size,
        ratio: Ratio::Latency,
        measured,
        bytes_each: None,
    })
}

async fn pubsub(wanted: &Pubsub, options: &Options) -> Result<Figures, Failure> {
    let mut bench = Setup::new(options, wanted.payload)?;
    bench.spec.topics = wanted.topics;
    bench.spec.processes = wanted.publishers.saturating_add(wanted.subscribers);
    let broker = bench.broker().await?;
    let sinks = bench.start(Part::Subscriber, wanted.subscribers).await?;
    let sources = bench.start(Part::Publisher, wanted.publishers).await?;
    let crew = Crew {
        sources,
        sinks,
        broker,
    };
    let measured = measure::rounds(&mut bench.team, &crew, wanted.seconds, &Progress::new()).await?;
    Ok(Figures {
        what: "pubsub",
        title: format!(
            "pubsub: {} to {}, {}, {}, {} s{}; events are counted where they are received",
            counted(wanted.publishers, "publisher"),
            counted(wanted.subscribers, "subscriber"),
            counted(wanted.topics, "topic"),
            memory(wanted.payload as u64),
            wanted.seconds.as_secs_f64(),
            place(options)
        ),
        unit: "events",
        payload: wanted.payload,
        ratio: Ratio::Rate,
        measured,
        bytes_each: None,
    })
}

async fn idle(wanted: &Idle, options: &Options) -> Result<Figures, Failure> {
    // With another limit it were still no address.
    if options
        .addr
        .as_deref()
        .is_some_and(|text| parse_address(text).is_err())
    {
        let _ = session::builder(options)?;
    }
    let connections = wanted.connections;
    // A fifth, at most a thousand, are held at the relay beside them.
    let files = connections
        .saturating_add(connections.div_ceil(5).min(1_000))
        .saturating_add(OTHER_FILES);
    // Inherited by the processes that need them.
    let allowed = open_files::raise_beyond_maximum(files).map_or(u64::MAX, |limit| limit as u64);
    if allowed < files {
        let text = format!(
            "bench: {connections} connections need {files} open files in one process, and this user may have {allowed}; \
             raise the limit (`ulimit -Hn`, LimitNOFILE=, /etc/security/limits.conf) or ask for {} connections",
            allowed.saturating_sub(OTHER_FILES).saturating_mul(5) / 6
        );
        return Err(Failure::new(Exit::Refused, text));
    }
    let mut bench = Setup::new(options, 1)?;
    bench.spec.connections = connections;
    let broker = bench.broker().await?;
    let sources = bench.start(Part::Holder, 1).await?;
    let sinks = Vec::new();
    let crew = Crew {
        sources,
        sinks,
        broker,
    };
    let held = measure::connections(&mut bench.team, &crew, connections, &Progress::new()).await?;
    Ok(Figures {
        what: "idle",
        title: format!(
            "idle: {connections} connections, one after the other{}; latencies are those of connecting",
            place(options)
        ),
        unit: "connections",
        payload: 0,
        ratio: Ratio::Latency,
        measured: held.measured,
        bytes_each: Some(held.bytes_each),
    })
}

/// A measurement that is being set up.
struct Setup {
    team: Team,
    options: Options,
    spec: Spec,
}

impl Setup {
    fn new(options: &Options, payload: usize) -> Result<Self, Failure> {
        let team = Team::new(options.clone())?;
        let spec = Spec {
            part: Part::Relay,
            folder: team.folder().to_path_buf(),
            broker: String::new(),
            relay: String::new(),
            object: format!("rob-bench-{}", std::process::id()),
            payload,
            bulk: false,
            in_flight: 1,
            callers: 1,
            workers: 1,
            topics: 1,
            connections: 0,
            processes: 0,
        };
        let options = options.clone();
        Ok(Self { team, options, spec })
    }

    /// Starts the relay and, unless there is an address, a private broker; returns the broker's process where it is known.
    async fn broker(&mut self) -> Result<Option<u32>, Failure> {
        let mut options = self.options.clone();
        let pid = match options.addr.as_deref().map(parse_address) {
            None => {
                self.spec.broker = private_endpoint(&self.spec).to_string();
                let broker = self.start(Part::Broker, 1).await?;
                options.addr = Some(self.spec.broker.clone());
                broker.first().and_then(|broker| self.team.pid(*broker))
            }
            Some(Ok(Endpoint::Unix(path))) => local::listener_pid(&path, &greeting()),
            Some(_) => None,
        };
        // An address where nobody is is the user's to correct, before anything else is started.
        session::connect(&options, false).await?.close().await;
        let spec = Spec {
            part: Part::Relay,
            ..self.spec.clone()
        };
        (_, self.spec.relay) = self.team.start(&spec).await?;
        Ok(pid)
    }

    /// Starts so many processes of a kind, one after the other.
    async fn start(&mut self, part: Part, count: u64) -> Result<Vec<Member>, Failure> {
        let spec = Spec {
            part,
            ..self.spec.clone()
        };
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(self.team.start(&spec).await?.0);
        }
        Ok(members)
    }

    /// Measures calls.
    async fn calls(
        &mut self,
        callers: u64,
        seconds: std::time::Duration,
    ) -> Result<measure::Measured, Failure> {
        self.spec.callers = callers;
        let open = callers.saturating_mul(self.spec.in_flight);
        self.spec.workers = open.div_ceil(WORKER_CALLS).max(1);
        self.spec.processes = callers.saturating_add(self.spec.workers);
        let broker = self.broker().await?;
        self.start(Part::Worker, 1).await?;
        // At the relay the first one answers all.
        let others = Spec {
            part: Part::Worker,
            callers: 0,
            ..self.spec.clone()
        };
        for _ in 1..self.spec.workers {
            self.team.start(&others).await?;
        }
        let sources = self.start(Part::Caller, callers).await?;
        let sinks = Vec::new();
        let crew = Crew {
            sources,
            sinks,
            broker,
        };
        measure::rounds(&mut self.team, &crew, seconds, &Progress::new()).await
    }
}

/// What a client says that comes and goes in order: who asks whose socket it is is no trouble to anybody.
fn greeting() -> Vec<u8> {
    let hello = Hello {
        name: "rob bench".to_owned(),
        ..Hello::default()
    };
    let mut bytes = PREFACE.to_vec();
    let hello = hello.encode();
    for draft in [
        Draft::new(Kind::Hello, 1)
            .aux(PROTOCOL_VERSION)
            .payload(Encoding::RAW, &hello),
        Draft::goodbye(CloseReason::Finished, ""),
    ] {
        bytes.extend(draft.to_vec());
    }
    bytes
}

/// Where a private broker listens: in the folder, or where there are no Unix sockets at a pipe of this process's own name.
fn private_endpoint(spec: &Spec) -> Endpoint {
    if std::env::consts::FAMILY == "windows" {
        return Endpoint::Pipe(spec.object.clone());
    }
    let folder: PathBuf = spec.folder.clone();
    Endpoint::Unix(folder.join("broker.sock"))
}

/// What the title says of the broker.
fn place(options: &Options) -> String {
    match &options.addr {
        Some(address) => format!(", broker at {}", actix_ipc::terminal::printable(address)),
        None => ", private broker".to_owned(),
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
