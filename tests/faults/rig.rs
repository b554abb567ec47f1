//! A broker process that can be killed, stopped and started again in its place, and what the system knows of it.
//!
//! Owns the folder, the broker's process and its facts from `/proc`: descriptors, threads, memory, state. Every scenario stands on it and
//! asks at its end that the facts are those of the beginning.

pub use crate::support::until;
use crate::support::{self, PATIENCE, Process};
use actix_ipc::{Endpoint, IpcClient};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A broker and its place.
pub struct Rig {
    pub process: Option<Process>,
    listen: Vec<String>,
    settings: Vec<(String, String)>,
    /// Where it listens, port 0 resolved.
    pub endpoints: Vec<Endpoint>,
    pub folder: TempDir,
    idle: Facts,
}

/// What the system knows of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub descriptors: usize,
    pub threads: usize,
}

impl Rig {
    /// A broker on a Unix socket, with limits such as `("outbox_bytes", 65536)`.
    pub fn start(limits: &[(&str, u64)]) -> Self {
        Self::start_on(&["unix:"], limits)
    }

    /// The same on endpoints; `unix:` alone is a socket in the rig's own folder.
    pub fn start_on(listen: &[&str], limits: &[(&str, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("unix:{}", folder.path().join("b.sock").display());
        let listen = listen.iter().map(|text| {
            if *text == "unix:" {
                own.clone()
            } else {
                (*text).to_owned()
            }
        });
        let settings = limits.iter().map(|(name, value)| {
            (
                format!("IPC_BROKER_LIMITS__{}", name.to_uppercase()),
                value.to_string(),
            )
        });
        let mut rig = Self {
            process: None,
            listen: listen.collect(),
            settings: settings.collect(),
            endpoints: Vec::new(),
            folder,
            idle: Facts {
                descriptors: 0,
                threads: 0,
            },
        };
        rig.start_broker();
        rig.idle = rig.facts();
        rig
    }

    /// Starts the broker (again) and waits until it listens.
    pub fn start_broker(&mut self) {
        let mut command = support::broker_command();
        command.args(["--log", "error"]).env("HOME", self.folder.path());
        self.settings.iter().for_each(|(name, value)| {
            command.env(name, value);
        });
        for endpoint in &self.listen {
            command.args(["--listen", endpoint]);
        }
        let process = Process::spawn(&mut command);
        let lines = self.listen.iter().map(|_| process.line());
        let heard = lines.map(|line| {
            line.strip_prefix("listening on ")
                .unwrap_or_else(|| panic!("{line}"))
                .parse()
                .unwrap()
        });
        self.endpoints = heard.collect();
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill_broker(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoints[0]
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("b.sock")
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub fn facts(&self) -> Facts {
        facts(self.pid())
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> usize {
        resident(self.pid())
    }

    pub async fn client(&self) -> IpcClient {
        self.client_at(0).await
    }

    pub async fn client_at(&self, endpoint: usize) -> IpcClient {
        IpcClient::builder()
            .endpoint(self.endpoints[endpoint].clone())
            .connect_wait(PATIENCE)
            .await
            .unwrap()
    }

    /// A counter of the broker.
    pub async fn metric(client: &IpcClient, name: &str) -> u64 {
        let status: serde_json::Value = client.remote_call("sys.broker", "status", ()).await.unwrap();
        status["metrics"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Everybody has gone, and the broker holds what it held when it had just started; nothing else.
    pub async fn is_as_before(&self) {
        let mut until = Instant::now() + PATIENCE;
        let mut seen = self.facts();
        while seen != self.idle {
            assert!(
                Instant::now() < until,
                "{seen:?}, at first {:?}: {}",
                self.idle,
                open_files(self.pid())
            );
            pause();
            let now = self.facts();
            // A broker that still has work to do is slow, and has not forgotten anything.
            if now != seen {
                until = Instant::now() + PATIENCE;
            }
            seen = now;
        }
        let client = self.client().await;
        let opened = Self::metric(&client, "connections_opened").await;
        let closed = Self::metric(&client, "connections_closed").await;
        assert_eq!(opened - closed, 1, "only the one who asks is connected");
        client.close().await;
    }

    /// Ends the broker in order; what it had on disk is gone.
    pub fn stop(mut self) {
        let process = self.process.take().expect("it runs");
        process.signal(Signal::TERM);
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
        let left: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub fn facts(pid: u32) -> Facts {
    Facts {
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        threads: std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(),
    }
}

fn open_files(pid: u32) -> String {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

pub fn resident(pid: u32) -> usize {
    crate::own_process::resident_of(&pid.to_string())
}

/// The letter of `/proc/PID/stat`: `T` when it is stopped. `None`: it has gone.
pub fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    text.rsplit(')').next()?.trim_start().chars().next()
}

/// Between two looks at something that tells nobody when it changes.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// Numbers that look like chance and come again with their seed.
pub struct Random(pub u64);

impl Random {
    /// A seed from the variable `FAULTS_SEED`, or a new one; printed, so that a run can be made again.
    pub fn from_environment(what: &str) -> Self {
        let given = std::env::var("FAULTS_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| crate::journal::now() | 1);
        eprintln!("{what}: FAULTS_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
