//! The service control manager of Windows.
//!
//! Owns the registration, the states that are reported, and the controls that come; the crate `windows-service` owns the raw calls. What is
//! asked is kept until somebody waits for it. `service` calls it.
#![allow(
    unsafe_code,
    reason = "the crate's macro makes the entry that the system calls; its pointers are the system's"
)]

use super::{End, Registration, ServiceError};
use crate::platform::manager::State;
use crate::platform::{access, trusted};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo,
    ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{Error, define_windows_service, service_dispatcher};

/// What people see, with the name behind it.
const SHOWN: &str = "actix-ipc message broker";
const ABOUT: &str = "Carries calls and events between the programs of this machine.";
/// How long after a crash the system starts it again; after a day without one it counts from the beginning.
const RESTART: Duration = Duration::from_secs(2);
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);
/// Until the next report of a start or an end the manager takes the service for alive.
const HINT: Duration = Duration::from_secs(30);
/// While it drains, a report goes out so often.
const REPORT: Duration = Duration::from_secs(2);
/// How long a removal waits for the end: longer than a drain may take by default.
const END_LIMIT: Duration = Duration::from_secs(60);

const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SERVICE_NOT_ACTIVE: i32 = 1062;
const ERROR_NO_MANAGER: i32 = 1063;
const ERROR_NO_SERVICE: i32 = 1060;
const ERROR_SERVICE_MARKED: i32 = 1072;
const ERROR_SERVICE_EXISTS: i32 = 1073;

type Body = Box<dyn FnOnce() -> End + Send>;

/// What this process is to run, until the system calls its entry.
static BODY: Mutex<Option<(String, Body)>> = Mutex::new(None);
/// The service that this process is, and what was reported last.
static SERVING: Mutex<Option<Serving>> = Mutex::new(None);
/// Told when the end is reported.
static ENDED: Condvar = Condvar::new();
static END: Notify = Notify::const_new();
static RELOAD: Notify = Notify::const_new();

struct Serving {
    handle: ServiceStatusHandle,
    state: ServiceState,
    checkpoint: u32,
}

impl Serving {
    fn report(&mut self, state: ServiceState, exit: u32) {
        let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
        self.checkpoint = match pending && state == self.state {
            true => self.checkpoint.saturating_add(1),
            false => 0,
        };
        self.state = state;
        let controls = match state {
            ServiceState::Running => {
                ServiceControlAccept::STOP
                    | ServiceControlAccept::SHUTDOWN
                    | ServiceControlAccept::PARAM_CHANGE
            }
            _ => ServiceControlAccept::empty(),
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: controls,
            exit_code: match exit {
                0 => ServiceExitCode::NO_ERROR,
                code => ServiceExitCode::ServiceSpecific(code),
            },
            checkpoint: self.checkpoint,
            wait_hint: if pending { HINT } else { Duration::ZERO },
            process_id: None,
        };
        if let Err(error) = self.handle.set_service_status(status) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

fn serving() -> MutexGuard<'static, Option<Serving>> {
    SERVING.lock().unwrap_or_else(PoisonError::into_inner)
}

define_windows_service!(entry, serve);

/// What the system runs on a thread of its own.
fn serve(_: Vec<OsString>) {
    let Some((name, body)) = BODY.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let Ok(handle) = service_control_handler::register(name, control) else {
        // Without it nothing can be reported; the system ends this process after a while.
        return;
    };
    serving()
        .insert(Serving {
            handle,
            state: ServiceState::Stopped,
            checkpoint: 0,
        })
        .report(ServiceState::StartPending, 0);
    let code = match body() {
        // Who reports an end is not started again, whatever its code is; neither is one who was asked to end.
        End::Failed(code) if !is_stopping() => std::process::exit(i32::from(code)),
        End::Reported(code) | End::Failed(code) => code,
    };
    if let Some(serving) = serving().as_mut() {
        serving.report(ServiceState::Stopped, u32::from(code));
    }
    ENDED.notify_all();
}

fn control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            stopping();
            END.notify_one();
        }
        ServiceControl::ParamChange => RELOAD.notify_one(),
        ServiceControl::Interrogate => {}
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

/// Says that it is ending, and again from time to time until it has: a drain may take longer than the manager waits for a word.
fn stopping() {
    let mut guard = serving();
    let Some(serving) = guard
        .as_mut()
        .filter(|serving| serving.state != ServiceState::StopPending)
    else {
        return;
    };
    if serving.state == ServiceState::Stopped {
        return;
    }
    serving.report(ServiceState::StopPending, 0);
    drop(guard);
    let report = || {
        let mut guard = SERVING.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            guard = ENDED
                .wait_timeout(guard, REPORT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            match guard
                .as_mut()
                .filter(|serving| serving.state == ServiceState::StopPending)
            {
                Some(serving) => serving.report(ServiceState::StopPending, 0),
                None => return,
            }
        }
    };
    // Without a thread the first word has to do.
    let _ = std::thread::Builder::new().name("stopping".into()).spawn(report);
}

pub(super) fn told(state: &State<'_>) {
    match state {
        State::Ready(_) => {
            // What was asked meanwhile stays asked.
            if let Some(serving) = serving()
                .as_mut()
                .filter(|serving| serving.state == ServiceState::StartPending)
            {
                serving.report(ServiceState::Running, 0);
            }
        }
        State::Stopping => stopping(),
        State::Reloading | State::Alive(_) => {}
    }
}

fn is_stopping() -> bool {
    serving()
        .as_ref()
        .is_some_and(|serving| serving.state == ServiceState::StopPending)
}

pub(super) fn is_serving() -> bool {
    serving().is_some()
}

pub(super) async fn end_asked() {
    END.notified().await;
}

pub(super) async fn reload_asked() {
    RELOAD.notified().await;
}

pub(super) fn run(name: &str, body: Body) -> Result<(), ServiceError> {
    *BODY.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), body));
    service_dispatcher::start(name, entry)
        .map_err(|error| of_system(name, "serve the service manager", error))
}

pub(super) fn install(registration: &Registration) -> Result<(), ServiceError> {
    let name = &registration.name;
    let failed = |action| move |error| of_system(name, action, error);
    let program = std::env::current_exe().map_err(|source| ServiceError::Io {
        action: "find this program's own file",
        source,
    })?;
    check_log(registration.log.as_deref())?;
    let (account_name, account_password) = registration.account.clone().unzip();
    if account_name.as_deref().is_none_or(is_system) {
        judge(&program, registration)?;
        // Now, by an administrator: whoever made it first could put settings there.
        log_folder(true).map_err(|source| ServiceError::Io {
            action: "make the folder of its log",
            source,
        })?;
    }
    let info = ServiceInfo {
        name: name.into(),
        // The system wants these to differ as well.
        display_name: format!("{SHOWN} ({name})").into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: registration.arguments.clone(),
        dependencies: Vec::new(),
        account_name,
        account_password,
    };
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager =
        ServiceManager::local_computer(None::<&str>, access).map_err(failed("open the service manager"))?;
    let service = manager
        .create_service(
            &info,
            ServiceAccess::CHANGE_CONFIG | ServiceAccess::START | ServiceAccess::DELETE,
        )
        .map_err(failed("register the service"))?;
    describe(&service).map_err(|error| {
        // Half a registration would be taken for a whole one.
        let _ = service.delete();
        of_system(name, "describe the service", error)
    })
}

/// A service whose log cannot be opened ends without a word that anybody reads.
fn check_log(log: Option<&Path>) -> Result<(), ServiceError> {
    let Some(path) = log else { return Ok(()) };
    let why = match path.parent() {
        Some(folder) if folder.is_dir() && path.is_dir() => "it is a folder; name a file",
        Some(folder) if folder.is_dir() => return Ok(()),
        _ => "the folder in which it is to lie is not there; make it first",
    };
    Err(ServiceError::Log {
        path: path.to_owned(),
        why,
    })
}

/// Whether nobody else can change what SYSTEM is to run and to believe, or where it is to write.
fn judge(program: &Path, registration: &Registration) -> Result<(), ServiceError> {
    let untrusted = |path: &Path| {
        let path = path.to_owned();
        move |source| ServiceError::Untrusted { path, source }
    };
    let files = registration.files.iter().map(PathBuf::as_path);
    for path in files.chain([program]) {
        trusted::file(path)
            .and_then(|()| access::judge_above(path.parent().unwrap_or(path)))
            .map_err(untrusted(path))?;
    }
    let folder = registration.log.as_deref().and_then(Path::parent);
    folder.map_or(Ok(()), |folder| {
        trusted::folder_itself(folder)
            .and_then(|()| access::judge_above(folder))
            .map_err(untrusted(folder))
    })
}

/// Whether an account is SYSTEM by another name.
fn is_system(account: &OsStr) -> bool {
    [
        r"LocalSystem",
        r".\LocalSystem",
        r"NT AUTHORITY\SYSTEM",
        r"NT AUTHORITY\LocalSystem",
    ]
    .iter()
    .any(|name| account.eq_ignore_ascii_case(name))
}

fn describe(service: &Service) -> windows_service::Result<()> {
    service.set_description(ABOUT)?;
    let again = ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: RESTART,
    };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGET),
        reboot_msg: None,
        command: None,
        actions: Some(vec![again.clone(), again.clone(), again]),
    })
}

pub(super) fn remove(name: &str, words: &str) -> Result<(), ServiceError> {
    let failed = |action| move |error| of_system(name, action, error);
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(failed("open the service manager"))?;
    let access = ServiceAccess::QUERY_CONFIG
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::STOP
        | ServiceAccess::DELETE;
    let service = manager
        .open_service(name, access)
        .map_err(failed("open the service"))?;
    let config = service.query_config().map_err(failed("ask the service"))?;
    if !config.executable_path.to_string_lossy().contains(words) {
        return Err(ServiceError::NotOurs {
            name: name.to_owned(),
        });
    }
    match service.stop() {
        Ok(_) => {}
        Err(Error::Winapi(error)) if error.raw_os_error() == Some(ERROR_SERVICE_NOT_ACTIVE) => {}
        // It may be ending already.
        Err(error) => match service.query_status() {
            Ok(status) if status.current_state == ServiceState::StopPending => {}
            _ => return Err(of_system(name, "stop the service", error)),
        },
    }
    let until = Instant::now() + END_LIMIT;
    while service
        .query_status()
        .map_err(failed("ask the service"))?
        .current_state
        != ServiceState::Stopped
    {
        if Instant::now() >= until {
            return Err(ServiceError::StillRunning {
                name: name.to_owned(),
                seconds: END_LIMIT.as_secs(),
            });
        }
        // The manager has no event for it that works for every service.
        std::thread::park_timeout(Duration::from_millis(100));
    }
    service.delete().map_err(failed("take the service out"))
}

fn of_system(name: &str, action: &'static str, error: Error) -> ServiceError {
    let source = match error {
        Error::Winapi(source) => source,
        other => io::Error::new(io::ErrorKind::InvalidInput, other),
    };
    match source.raw_os_error() {
        Some(ERROR_ACCESS_DENIED) => ServiceError::NotAllowed,
        Some(ERROR_NO_MANAGER) => ServiceError::NotStartedByManager,
        Some(ERROR_SERVICE_EXISTS) => ServiceError::Exists {
            name: name.to_owned(),
        },
        Some(ERROR_NO_SERVICE) => ServiceError::Missing {
            name: name.to_owned(),
        },
        Some(ERROR_SERVICE_MARKED) => ServiceError::Ending {
            name: name.to_owned(),
        },
        _ => ServiceError::Io { action, source },
    }
}

pub(super) fn log_path(name: &str) -> io::Result<PathBuf> {
    Ok(log_folder(access::is_system()?)?.join(format!("{name}.log")))
}

/// Where logs of services lie; SYSTEM's is made such that nobody else can put anything there.
fn log_folder(of_system: bool) -> io::Result<PathBuf> {
    let variable = if of_system { "ProgramData" } else { "LOCALAPPDATA" };
    let folder = std::env::var_os(variable).map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_absolute()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("the variable {variable} names no folder; set it to one, or name a --log-file"),
        )
    })?;
    let folder = folder.join("ipc-broker");
    match of_system {
        true => access::make_folder(&folder)?,
        false => std::fs::create_dir_all(&folder)?,
    }
    Ok(folder)
}
