//! A broker with one service, and what its tests have in common.

use crate::support::Broker;
pub use crate::support::{through_shell, until};
use actix_ipc::CallError;
use actix_ipc::client::IpcClient;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const ROLE: &str = "ACTIX_IPC_TEST_SERVICE";
pub const STARTS: &str = "ACTIX_IPC_TEST_STARTS";

/// Waits until whoever has started this has gone, as it does when a test fails, so that nothing is left of it.
pub fn end_with_parent() -> ! {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    std::process::exit(0)
}

/// Describes this test program in that role, with these lines more; returns the description, and the file of its starts.
pub fn describe(folder: &Path, role: &str, more: &str) -> (PathBuf, PathBuf) {
    let starts = folder.join("starts");
    let program = std::env::current_exe().unwrap();
    let text = format!(
        "[[service]]\nobjects = [\"math\", \"never\"]\nprocess = [{program:?}, \"--exact\", \"as_the_service\", \"--nocapture\"]\n\
         environment = {{ {ROLE} = {role:?}, {STARTS} = {starts:?} }}\n{more}\n"
    );
    let file = private(folder, "services.toml", &text, 0o600);
    (file, starts)
}

/// The processes that have left their lines, in order.
pub fn started(starts: &Path) -> Vec<u32> {
    let text = fs::read_to_string(starts).unwrap_or_default();
    // The last line may be in the middle of being written.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| line.trim().parse().unwrap()).collect()
}

/// A broker with one service, and what that leaves.
pub struct Scene {
    pub broker: Broker,
    pub starts: PathBuf,
}

impl Scene {
    /// The service in this role, with these lines in its description.
    pub fn new(role: &str, more: &str) -> Self {
        Self::with(role, more, |_| {})
    }

    pub fn with(role: &str, more: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, starts) = describe(folder.path(), role, more);
        let socket = format!("unix:{}", folder.path().join("b.sock").display());
        let broker = Broker::start_at(folder, &socket, |command| {
            command.arg("--activation").arg(file);
            change(command);
        });
        Self { broker, starts }
    }

    pub async fn client(&self) -> IpcClient {
        IpcClient::connect_to(self.broker.endpoint().parse().unwrap())
            .await
            .unwrap()
    }

    /// The processes that were started, in order.
    pub fn started(&self) -> Vec<u32> {
        started(&self.starts)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        stop(&self.broker);
    }
}

/// Ends the broker in order, with what it has started: while a service runs, it has more than at first.
pub fn stop(broker: &Broker) {
    if !is_zombie(broker.process.id()) {
        broker.process.signal(Signal::TERM);
    }
    if !std::thread::panicking() {
        until("the broker has ended", || is_zombie(broker.process.id()));
    }
}

pub fn private(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

pub async fn pid(client: &IpcClient) -> Result<u32, CallError> {
    client.remote_call("math", "pid", ()).await
}

pub fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

pub fn is_there(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).is_ok()
}

/// Whether this process, a child of the test, has ended; it is reaped by its harness, later.
pub fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}
