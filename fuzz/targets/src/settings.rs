//! Settings out of any file, environment and flags: read as a whole or refused with reasons.

use crate::input::Input;
use actix_ipc::settings::{Flags, Settings, Sources};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Lines of which files are made.
const LINES: &[&str] = &[
    "dialects = []",
    "dialects = [\"ipc-broker\"]",
    "compat = [\"ipc-server\"]",
    "listen = [\"unix:/tmp/x\"]",
    "listen = []",
    "listen = 3",
    "listen = [\"tcp:nowhere\"]",
    "arbiters = 2",
    "arbiters = -1",
    "arbiters = 99999999",
    "log = \"debug\"",
    "log = \"actix_ipc=[\"",
    "log = 7",
    "[limits]",
    "outbox_bytes = 1048576",
    "outbox_bytes = 0",
    "frame_bytes = 16777216",
    "frame_bytes = 1",
    "message_bytes = 5",
    "publish_window = 0",
    "limits = 3",
    "[limits.names]",
    "names = 18446744073709551615",
    "names = 4294967296",
    "open_calls = 1.5",
    "hold_ms = 4294967296",
    "unknown = 1",
    "lisetn = []",
    "default_deadline_ms = 4000000",
    "max_deadline_ms = 1",
    "\"\\u001b[2J\" = 1",
    "[",
    "# \u{202e}",
    "[[limits]]",
    "read_bytes = 1",
];

/// Variables and their values.
const VARIABLES: &[&str] = &[
    "IPC_BROKER_LISTEN",
    "IPC_BROKER_ARBITERS",
    "IPC_BROKER_LOG",
    "IPC_BROKER_LIMITS__OUTBOX_BYTES",
    "IPC_BROKER_LIMITS",
    "IPC_BROKER_LIMITS__",
    "IPC_BROKER_",
    "IPC_BROKER_ADDR",
    "IPC_BROKER_LIMITS__NAMES__DEEP",
    "IPC_BROKER_\u{1b}[31m",
];
const VALUES: &[&str] = &[
    "",
    "1",
    "-1",
    "1048576",
    "unix:/a,mem:b",
    ",",
    "info",
    "99999999999999999999",
    "\u{7}",
];

/// A file of this thread's own, written anew each time.
fn file() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let thread = format!("{:?}.toml", std::thread::current().id());
    folder.path().join(thread)
}

fn sources(input: &mut Input<'_>) -> (Sources, Vec<u8>) {
    let mut text = Vec::new();
    for _ in 0..input.below(8) {
        match input.byte() {
            0..=229 => text.extend_from_slice(input.pick(LINES).as_bytes()),
            _ => {
                let count = input.below(60);
                text.extend_from_slice(input.bytes(count));
            }
        }
        text.push(b'\n');
    }
    let environment = (0..input.below(3))
        .map(|_| (input.pick(VARIABLES).into(), OsString::from(input.pick(VALUES))))
        .collect();
    let flags = Flags {
        listen: (0..input.below(2))
            .map(|_| input.pick(VALUES).to_owned())
            .collect(),
        arbiters: (input.byte() > 200).then(|| input.number() as usize),
        log: (input.byte() > 200).then(|| input.pick(VALUES).to_owned()),
        policy: (input.byte() > 200).then(|| input.pick(VALUES).into()),
        system: input.byte() > 230,
        log_format: (input.byte() > 200).then(|| input.pick(&["json", "text", "xml"]).to_owned()),
        dashboard: (input.byte() > 200).then(|| input.pick(VALUES).to_owned()),
        dashboard_anyone: input.byte() > 230,
        bus: (0..input.below(2))
            .map(|_| input.pick(VALUES).to_owned())
            .collect(),
        bus_tokens: (input.byte() > 200).then(|| input.pick(VALUES).into()),
        compat: (0..input.below(2))
            .map(|_| input.pick(&["ipc-server", "ipc-broker", "rob"]).to_owned())
            .collect(),
        activation: (input.byte() > 200).then(|| input.pick(VALUES).into()),
    };
    let sources = Sources {
        usual_files: Vec::new(),
        ignored: Vec::new(),
        file: None,
        environment,
        flags,
    };
    (sources, text)
}

/// Input: lines of a file, variables, flags.
pub(crate) fn settings(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut sources, text) = sources(&mut input);
    if !text.is_empty() {
        let path = file();
        std::fs::write(&path, &text).expect("a temporary file");
        sources.file = Some(path);
    }
    match Settings::load(&sources) {
        Ok(settings) => written_and_read_again(&settings),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let shown = problems.to_string();
            let driving = shown
                .chars()
                .find(|letter| letter.is_control() && *letter != '\n');
            assert_eq!(driving, None, "{shown:?}");
        }
    }
}

/// What `ipc-broker config show` prints is a file that means the same.
fn written_and_read_again(settings: &Settings) {
    let mut text = String::new();
    for entry in settings.entries() {
        text.push_str(&format!("{} = {}\n", entry.key, entry.value));
    }
    let path = file();
    std::fs::write(&path, &text).expect("a temporary file");
    let again = Settings::load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .expect("what was accepted");
    assert_eq!(
        (&again.arbiters, &again.log, &again.limits),
        (&settings.arbiters, &settings.log, &settings.limits)
    );
    let shown = |settings: &Settings| -> Vec<(String, String)> {
        let entries = settings.entries().iter();
        entries
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect()
    };
    assert_eq!(shown(&again), shown(settings));
}
