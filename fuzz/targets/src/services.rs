//! Descriptions of services out of any file, in both formats: read as a whole or refused with reasons.

use crate::input::Input;
use actix_ipc::activation::{Services, Start, read};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Lines of which TOML files are made.
const LINES: &[&str] = &[
    "[[service]]",
    "objects = [\"a\"]",
    "objects = [\"b\", \"c\"]",
    "objects = []",
    "objects = [\"\"]",
    "objects = [\"rob\", \"sys.x\"]",
    "objects = [\"\\u001b[2J\"]",
    "objects = 3",
    "process = [\"worker\", \"-x\"]",
    "process = []",
    "process = [\"\"]",
    "process = [\"a\\u0000b\"]",
    "user_unit = \"a.service\"",
    "system_unit = \"a b.service\"",
    "system_unit = \"-H.service\"",
    "folder = \"/\"",
    "environment = { A = \"1\" }",
    "environment = { \"A=B\" = \"1\" }",
    "start_ms = 0",
    "start_ms = 4294967296",
    "starts = 1",
    "rest_ms = -1",
    "at_end = \"leave\"",
    "at_end = \"fly\"",
    "[service]",
    "unknown = 1",
    "[",
    "# \u{202e}",
];

/// Parts of which JSON files are made.
const PARTS: &[&str] = &[
    "[",
    "]",
    ",",
    "{\"type\":\"RegisterService\",\"object_name\":\"a\",\"service_name\":\"a.service\"}",
    "{\"type\":\"RegisterService\",\"object_name\":\"b\",\"service_name\":\"a.service\",\"scope\":\"user\"}",
    "{\"type\":\"RegisterService\",\"object_name\":\"\",\"service_name\":\"x\"}",
    "{\"type\":\"RegisterService\",\"object_name\":\"c\",\"service_name\":\"a;b\"}",
    "{\"type\":\"Other\"}",
    "{\"type\":7}",
    "{}",
    "null",
    "\"\\ud800\"",
];

/// A file of this thread's own, written anew each time.
fn file(ending: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    folder
        .path()
        .join(format!("{:?}.{ending}", std::thread::current().id()))
}

/// Input: the format, and the parts of a file.
pub(crate) fn descriptions(data: &[u8]) {
    let mut input = Input::new(data);
    let json = input.flag();
    let (ending, parts, between) = match json {
        true => ("json", PARTS, ""),
        false => ("toml", LINES, "\n"),
    };
    let mut text = Vec::new();
    for _ in 0..input.below(12) {
        match input.byte() {
            0..=229 => text.extend_from_slice(input.pick(parts).as_bytes()),
            _ => {
                let count = input.below(40);
                text.extend_from_slice(input.bytes(count));
            }
        }
        text.extend_from_slice(between.as_bytes());
    }
    let path = file(ending);
    // A file that is written over is flushed by some systems, which takes longer than all the rest.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, &text).expect("a temporary file");
    let name = path.display().to_string();
    match read::services(&path) {
        Ok((services, notes)) => {
            judge(&services);
            assert!(notes.iter().all(|note| note.contains(&name)), "{notes:?}");
        }
        Err(wrong) => {
            assert!(
                !wrong.is_empty() && wrong.iter().all(|text| text.contains(&name)),
                "{wrong:?}"
            );
        }
    }
}

/// What `docs/activation.md` promises of every service that is read.
fn judge(services: &Services) {
    let mut names = HashSet::new();
    for service in services.all() {
        assert_eq!(service.wrong(), None);
        for object in &service.objects {
            assert!(
                names.insert(object) && !object.starts_with("sys.") && object != "rob",
                "{object}"
            );
            assert!(!object.chars().any(char::is_control), "{object:?}");
        }
        assert!(service.start_ms > 0 && service.starts > 0 && !service.objects.is_empty());
        match &service.start {
            Start::Process(program) => assert!(program.argv.first().is_some_and(|word| !word.is_empty())),
            Start::UserUnit(unit) | Start::SystemUnit(unit) => {
                assert!(!unit.is_empty() && !unit.starts_with('-') && !unit.contains([' ', '/', ';']));
            }
        }
    }
}
