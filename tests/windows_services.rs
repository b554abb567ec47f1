//! Services on Windows, both kinds: processes that the broker starts when somebody calls, and the broker itself under the service manager.
//!
//! A process that is started is this test program itself in another role, told by variables of its description. Each start leaves a line in
//! a file, and each process keeps a file of its own open that nobody else can open meanwhile: when that goes, the process has ended.
#![cfg(all(windows, feature = "cli"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    unsafe_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part; a control and a wait have no safe call"
)]

#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::{IpcClient, Methods, blocking};
use actix_ipc::{CallError, ErrorCode};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Broker, broker_command, rob_command, run, until};
use tempfile::TempDir;
use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceExitCode, ServiceInfo, ServiceStartType,
    ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Services::{ControlService, SERVICE_CONTROL_PARAMCHANGE, SERVICE_STATUS};
use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_SYNCHRONIZE, WaitForSingleObject};

/// As long as a manager may take to notice the end of a process on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const ROLE: &str = "ACTIX_IPC_TEST_SERVICE";
const FOLDER: &str = "ACTIX_IPC_TEST_FOLDER";

/// Does nothing by itself: it is the service of the tests below.
#[test]
fn as_the_service() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let pid = std::process::id();
    // Until this process has ended.
    let _alive = OpenOptions::new()
        .write(true)
        .create(true)
        .share_mode(0)
        .open(folder.join(format!("{pid}.alive")))
        .unwrap();
    let mut starts = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("starts"))
        .unwrap();
    writeln!(starts, "{pid}").unwrap();
    if role == "fail" {
        println!("no math today");
        std::process::exit(7);
    }
    let typed = folder.join("typed");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(tokio::signal::ctrl_c()).unwrap();
        fs::write(typed, "ctrl+c").unwrap();
    });
    let client = blocking::Client::connect().unwrap();
    let methods = Methods::new()
        .method("pid", |(): (), _| async { Ok(std::process::id()) })
        .method("exit", |(): (), _| async {
            std::process::exit(3);
            #[allow(unreachable_code, reason = "the type of its answer")]
            Ok(())
        });
    let _math = client.register("math", methods).unwrap();
    // A failed test ends the broker, and that ends this.
    loop {
        std::thread::park();
    }
}

/// Describes this test program in that role.
fn describe(folder: &Path, role: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let text = format!(
        "[[service]]\nobjects = [\"math\"]\nprocess = [{program:?}, \"--exact\", \"as_the_service\", \"--nocapture\"]\n\
         environment = {{ {ROLE} = {role:?}, {FOLDER} = {folder:?} }}\n"
    );
    let file = folder.join("services.toml");
    fs::write(&file, text).unwrap();
    file
}

/// The processes that have left their lines, in order.
fn started(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("starts")).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| line.trim().parse().unwrap()).collect()
}

fn has_ended(folder: &Path, pid: u32) -> bool {
    let file = folder.join(format!("{pid}.alive"));
    OpenOptions::new().write(true).share_mode(0).open(file).is_ok()
}

fn scene(role: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let description = describe(folder.path(), role);
    let endpoint = support::endpoint_in(folder.path());
    Broker::start_at(folder, &endpoint, |command| {
        command.arg("--activation").arg(description);
    })
}

async fn client(broker: &Broker) -> IpcClient {
    IpcClient::connect_to(broker.endpoint().parse().unwrap())
        .await
        .unwrap()
}

async fn pid(client: &IpcClient) -> Result<u32, CallError> {
    client.remote_call("math", "pid", ()).await
}

#[actix::test]
async fn a_call_starts_a_process_once_and_again_when_it_has_ended() {
    let broker = scene("serve");
    let client = client(&broker).await;
    let first = pid(&client).await.unwrap();
    assert_eq!(pid(&client).await.unwrap(), first);
    assert_eq!(started(broker.folder()), [first]);
    let gone: Result<(), CallError> = client.remote_call("math", "exit", ()).await;
    gone.unwrap_err();
    until("it has ended", || has_ended(broker.folder(), first));
    let second = pid(&client).await.unwrap();
    assert_eq!(started(broker.folder()), [first, second]);
    assert!(!has_ended(broker.folder(), second));
    // Broken off, as this broker is, it leaves what it has started.
    let ended: Result<(), CallError> = client.remote_call("math", "exit", ()).await;
    ended.unwrap_err();
}

#[actix::test]
async fn ctrl_c_at_the_broker_is_not_typed_for_what_it_has_started() {
    let broker = scene("serve");
    let client = client(&broker).await;
    let own = pid(&client).await.unwrap();
    drop(client);
    signals::interrupt(&broker.process);
    broker.process.wait_for_error_line("draining");
    until("it has ended with its broker", || has_ended(broker.folder(), own));
    assert!(!broker.folder().join("typed").exists());
}

#[actix::test]
async fn a_start_that_fails_is_told_with_its_exit_code() {
    let broker = scene("fail");
    let client = client(&broker).await;
    let error = pid(&client).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceFailed, "{error}");
    assert!(error.message.contains("exit code: 7"), "{error}");
    assert!(!started(broker.folder()).is_empty());
}

/// A broker that the service manager has been told of. What is left of a failed test is taken out.
struct Registered {
    name: String,
    folder: TempDir,
    endpoint: String,
    /// Where the daemon lies: such that nobody else can replace it, wherever it was built.
    programs: TempDir,
}

impl Registered {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ipc-broker-test-{}-{number}", std::process::id());
        let endpoint = support::endpoint_in(folder.path());
        let description = describe(folder.path(), "serve");
        let programs = tempfile::Builder::new()
            .prefix("actix-ipc tests ")
            .tempdir_in(std::env::var_os("ProgramFiles").unwrap())
            .unwrap();
        let built = broker_command().get_program().to_owned();
        fs::copy(built, programs.path().join("ipc-broker.exe")).unwrap();
        let registered = Self {
            name,
            folder,
            endpoint,
            programs,
        };
        let installed = run(registered
            .install()
            .args(["--listen", &registered.endpoint, "--log", "info"])
            .arg("--log-file")
            .arg(registered.folder.path().join("b.log"))
            .arg("--activation")
            .arg(description));
        assert!(installed.success().contains("is registered"), "{installed:?}");
        registered
    }

    /// Has the folder in which services have their logs.
    fn install(&self) -> std::process::Command {
        let program = self.programs.path().join("ipc-broker.exe");
        let mut command = support::command(program.to_str().unwrap());
        command.envs(std::env::var_os("ProgramData").map(|folder| ("ProgramData", folder)));
        command.args(["service", "install", "--name", &self.name]);
        command
    }

    fn open(&self) -> windows_service::Result<Service> {
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
        let access = ServiceAccess::START
            | ServiceAccess::STOP
            | ServiceAccess::PAUSE_CONTINUE
            | ServiceAccess::QUERY_STATUS;
        manager.open_service(&self.name, access)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("b.log")).unwrap_or_default()
    }

    #[track_caller]
    fn start(&self) -> Service {
        let service = self.open().unwrap();
        service
            .start::<&str>(&[])
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        until("it runs", || {
            let state = service.query_status().unwrap().current_state;
            assert_ne!(state, ServiceState::Stopped, "{}", self.log());
            state == ServiceState::Running
        });
        service
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let removed = run(broker_command().args(["service", "remove", "--name", &self.name]));
        if removed.status.success() {
            return;
        }
        // Wine lets nobody stop one whose process is gone.
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT);
        let service = manager.and_then(|manager| manager.open_service(&self.name, ServiceAccess::DELETE));
        let _ = service.and_then(|service| service.delete());
    }
}

#[actix::test]
async fn the_service_manager_starts_the_broker_and_its_stop_drains_it() {
    let registered = Registered::new();
    let again = run(&mut registered.install());
    assert_eq!(again.code(), 70, "{again:?}");
    assert!(again.stderr.contains("is registered already"), "{again:?}");

    let service = registered.start();
    let client = IpcClient::connect_to(registered.endpoint.parse().unwrap())
        .await
        .unwrap();
    let own = pid(&client).await.unwrap();
    drop(client);
    let listening =
        support::Process::spawn(rob_command().env("IPC_BROKER_ADDR", &registered.endpoint).args([
            "listen",
            "sensor",
            "temperature",
        ]));
    assert!(listening.line().starts_with("Listening for: "));

    service.stop().unwrap();
    until("it has stopped", || {
        service.query_status().unwrap().current_state == ServiceState::Stopped
    });
    let status = service.query_status().unwrap();
    assert_eq!(status.exit_code, ServiceExitCode::NO_ERROR);
    assert!(registered.log().contains("draining"), "{}", registered.log());
    until("the process that it had started has ended", || {
        has_ended(registered.folder.path(), own)
    });
    drop(listening);

    // It can be started again, and a removal ends it first.
    drop(service);
    let service = registered.start();
    drop(service);
    let removed = run(broker_command().args(["service", "remove", "--name", &registered.name]));
    assert!(removed.success().contains("is taken out"), "{removed:?}");
    assert_eq!(
        registered.log().matches("draining").count(),
        2,
        "{}",
        registered.log()
    );
    let missing = run(broker_command().args(["service", "remove", "--name", &registered.name]));
    assert_eq!(missing.code(), 70, "{missing:?}");
    assert!(missing.stderr.contains("there is no service"), "{missing:?}");
}

/// What `sc control NAME paramchange` does.
fn settings_have_changed(service: &Service) {
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open while it is borrowed; `status` is a valid place.
    let told = unsafe { ControlService(service.raw_handle(), SERVICE_CONTROL_PARAMCHANGE, &raw mut status) };
    assert_ne!(told, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn the_service_manager_has_it_read_its_settings_again() {
    const AGAIN: &str = "the descriptions of services were read again and are in force";
    const REFUSED: &str = "everything stays as it was";
    let registered = Registered::new();
    let service = registered.start();
    assert!(!registered.log().contains(AGAIN), "{}", registered.log());
    settings_have_changed(&service);
    until("it has read them", || registered.log().contains(AGAIN));
    fs::write(registered.folder.path().join("services.toml"), "nonsense").unwrap();
    settings_have_changed(&service);
    until("it has read what is wrong", || registered.log().contains(REFUSED));
    assert_eq!(registered.log().matches(AGAIN).count(), 1, "{}", registered.log());
    let state = service.query_status().unwrap().current_state;
    assert_eq!(state, ServiceState::Running);
}

/// A failure is no end that is reported: the manager starts again only who ends without a word. Wine starts nobody again.
#[actix::test]
#[cfg_attr(not(feature = "inject-panics"), ignore = "needs the feature inject-panics")]
async fn a_broker_that_has_failed_is_taken_for_crashed() {
    let registered = Registered::new();
    let service = registered.start();
    let pid = service.query_status().unwrap().process_id.unwrap();
    // SAFETY: the call takes plain values; what it gives is new, and nobody else closes it.
    let process = unsafe { OwnedHandle::from_raw_handle(OpenProcess(PROCESS_SYNCHRONIZE, 0, pid)) };
    // Its budget of panics is five authors in ten seconds.
    for _ in 0..8 {
        let endpoint = registered.endpoint.parse().unwrap();
        let Ok(author) = IpcClient::connect_to(endpoint).await else {
            break;
        };
        let _ = author.register("inject.before", Methods::new()).await;
    }
    // SAFETY: the process is open as long as it is borrowed here.
    let ended = unsafe { WaitForSingleObject(process.as_raw_handle(), PATIENCE.as_millis() as u32) };
    assert_eq!(ended, WAIT_OBJECT_0, "{}", registered.log());
    assert!(
        registered.log().contains("the broker failed"),
        "{}",
        registered.log()
    );
    // Who reports an end shows a code of its own. Wine goes on saying that it runs.
    let status = service.query_status().unwrap();
    assert!(
        matches!(status.exit_code, ServiceExitCode::Win32(_)),
        "{status:?}"
    );
}

#[test]
fn two_of_different_names_are_registered_side_by_side() {
    let (first, second) = (Registered::new(), Registered::new());
    assert_ne!(first.name, second.name);
    for registered in [&first, &second] {
        let state = registered.open().unwrap().query_status().unwrap().current_state;
        assert_eq!(state, ServiceState::Stopped, "{}", registered.name);
    }
}

#[test]
fn wrong_settings_are_not_registered() {
    let ended = run(broker_command().args(["service", "install", "--name", "never", "--listen", "nonsense"]));
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(ended.stderr.contains("nonsense"), "{ended:?}");
    let folder = tempfile::tempdir().unwrap();
    for (log, why) in [
        (folder.path().to_owned(), "it is a folder"),
        (folder.path().join("none").join("b.log"), "is not there"),
    ] {
        let mut install = broker_command();
        install.args(["service", "install", "--name", "never", "--log-file"]);
        let ended = run(install.arg(log));
        assert_eq!(ended.code(), 70, "{ended:?}");
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    let missing = run(broker_command().args(["service", "remove", "--name", "never"]));
    assert!(missing.stderr.contains("there is no service"), "{missing:?}");
}

/// Its name is all that somebody who mistypes one has in common with it.
#[test]
fn a_service_of_another_program_is_left_alone() {
    let name = format!("actix-ipc-test-other-{}", std::process::id());
    let info = ServiceInfo {
        name: (&name).into(),
        display_name: (&name).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::OnDemand,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe().unwrap(),
        launch_arguments: Vec::new(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access).unwrap();
    let other = manager.create_service(&info, ServiceAccess::DELETE).unwrap();
    let refused = run(broker_command().args(["service", "remove", "--name", &name]));
    let there = manager.open_service(&name, ServiceAccess::QUERY_STATUS);
    other.delete().unwrap();
    assert_eq!(refused.code(), 70, "{refused:?}");
    assert!(refused.stderr.contains("was not registered by"), "{refused:?}");
    assert!(there.is_ok());
}

#[test]
fn only_the_service_manager_runs_it_as_a_service() {
    let ended = run(broker_command().args(["service", "run", "--name", "never"]));
    assert_eq!(ended.code(), 70, "{ended:?}");
    assert!(
        ended.stderr.contains("is what the service manager starts"),
        "{ended:?}"
    );
}
