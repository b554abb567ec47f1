//! The files that describe services.
//!
//! Owns both formats: TOML of our own (`*.toml`), and the JSON of ipc-broker 1.1.5 (`*.json`), with everything that may be wrong with either,
//! each said with its file and what to write. What a service must keep, `service` knows. Called by the daemon and `config check`.

use super::run::NO_UNITS;
use super::service::{AtEnd, Program, Service, Services, ServicesError, Start};
use crate::platform::child::{self, HAS_UNITS};
use crate::platform::trusted;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where ipc-broker 1.1.5 looks, below the home folder.
const OLD_FOLDER: &str = "service-activation";
/// The example in texts about the TOML format.
const LIKE: &str = "write [[service]] with objects = [\"math\"] and process = [\"/usr/bin/math-worker\"], user_unit or system_unit";
/// The example in texts about the JSON format.
const LIKE_JSON: &str = "write [{\"type\":\"RegisterService\",\"object_name\":\"math\",\"service_name\":\"math-worker.service\"}]";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    objects: Vec<String>,
    process: Option<Vec<String>>,
    user_unit: Option<String>,
    system_unit: Option<String>,
    folder: Option<PathBuf>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    start_ms: Option<u32>,
    starts: Option<u32>,
    rest_ms: Option<u32>,
    at_end: Option<End>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Stop,
    Leave,
}

#[derive(Deserialize)]
struct Old {
    object_name: String,
    service_name: String,
    /// Not of 1.1.5, which starts system units only and reads over it.
    #[serde(default)]
    scope: Scope,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    User,
    #[default]
    System,
}

/// The folder where ipc-broker 1.1.5 looks, if there is one.
#[must_use]
pub fn usual_folder() -> Option<PathBuf> {
    let folder = Path::new(&std::env::var_os("HOME")?).join(OLD_FOLDER);
    folder.is_dir().then_some(folder)
}

/// The services of a file, or of all `*.toml` and `*.json` of a folder; with what was left out, for the log.
///
/// # Errors
/// Everything that is wrong, each with its file and what to write.
pub fn services(path: &Path) -> Result<(Services, Vec<String>), Vec<String>> {
    let files = match path.is_dir() {
        true => listed(path)?,
        false => {
            trusted::place(path)
                .map_err(|error| vec![format!("{}: the file cannot be used: {error}", path.display())])?;
            vec![path.to_owned()]
        }
    };
    let (mut found, mut wrong, mut notes) = (Vec::<(PathBuf, Service)>::new(), Vec::new(), Vec::new());
    for file in files {
        let (services, texts) = one_file(&file, &mut notes);
        found.extend(services.into_iter().map(|service| (file.clone(), service)));
        wrong.extend(texts);
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let all = found.iter().map(|(_, service)| service.clone()).collect();
    match Services::new(all) {
        Ok(services) => Ok((services, notes)),
        Err(error) => Err(vec![format!("{}: {error}", whose(&found, &error, path))]),
    }
}

/// The same of the folder where ipc-broker 1.1.5 looks, which nobody has named to this broker: what is wrong with it is left out and told,
/// as it was then, and stops no start. Of two descriptions of an object the last one counts.
#[must_use]
pub fn usual(folder: &Path) -> (Services, Vec<String>) {
    let (mut all, mut notes) = (Vec::<Service>::new(), Vec::new());
    let files = listed(folder).unwrap_or_else(|wrong| {
        notes.extend(wrong);
        Vec::new()
    });
    for file in files {
        let (services, wrong) = one_file(&file, &mut notes);
        notes.extend(wrong.iter().map(|text| format!("left out: {text}")));
        for service in services {
            replace(&mut all, service, &file, &mut notes);
        }
    }
    let services = Services::new(all).unwrap_or_else(|error| {
        notes.push(format!("{}: left out: {error}", folder.display()));
        Services::default()
    });
    (services, notes)
}

/// Adds a service, and takes its objects from those before it.
fn replace(all: &mut Vec<Service>, service: Service, file: &Path, notes: &mut Vec<String>) {
    for other in &mut *all {
        other.objects.retain(|object| {
            let again = service.objects.contains(object);
            if again {
                notes.push(format!(
                    "{}: {object:?} is described twice; this one counts",
                    file.display()
                ));
            }
            !again
        });
    }
    all.retain(|other| !other.objects.is_empty());
    all.push(service);
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, Vec<String>> {
    let wrong = |error: std::io::Error| {
        vec![format!(
            "{}: the folder cannot be used: {error}",
            folder.display()
        )]
    };
    trusted::folder(folder).map_err(wrong)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("toml" | "json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The file that an error about several services is about: the last that has the object.
fn whose(found: &[(PathBuf, Service)], error: &ServicesError, path: &Path) -> String {
    let object = match error {
        ServicesError::Twice(object) | ServicesError::Wrong { object, .. } => Some(object),
        ServicesError::TooMany(_) => None,
    };
    let has = |service: &Service| object.is_some_and(|object| service.objects.contains(object));
    let file = found.iter().rev().find(|(_, service)| has(service));
    file.map_or(path, |(file, _)| file).display().to_string()
}

/// The services of a file that can be used, and what is wrong with the others.
fn one_file(file: &Path, notes: &mut Vec<String>) -> (Vec<Service>, Vec<String>) {
    let json = file.extension().is_some_and(|ending| ending == "json");
    let mut note = |note: String| notes.push(format!("{}: {note}", file.display()));
    let text = trusted::read(file).map_err(|error| vec![format!("the file cannot be used: {error}")]);
    let described = text.and_then(|text| match json {
        true => old(&text, &mut note),
        false => own(&text),
    });
    let (mut services, mut wrong) = (Vec::new(), Vec::new());
    match described {
        Err(texts) => wrong = texts,
        Ok(described) => {
            for (service, number) in described.into_iter().zip(1..) {
                match service.and_then(|service| looked_at(service, number, json, &mut note)) {
                    Ok(service) => services.push(service),
                    Err(text) => wrong.push(text),
                }
            }
        }
    }
    let told = |text: String| format!("{}: {text}", file.display());
    (services, wrong.into_iter().map(told).collect())
}

/// The service, unless something is wrong with it. What may be in order by the time that somebody calls is told.
fn looked_at(
    service: Service,
    number: usize,
    json: bool,
    note: &mut dyn FnMut(String),
) -> Result<Service, String> {
    // What is of one unit is one service, so a number would say nothing there.
    let who = match json {
        true => service.to_string(),
        false => shown(number, &service.objects),
    };
    if let Some(wrong) = service.wrong() {
        return Err(format!("{who}: {wrong}"));
    }
    match &service.start {
        Start::Process(program) => program_is_usable(program, &who, note)?,
        _ if HAS_UNITS => {}
        // Where ipc-broker 1.1.5 ran, its files are there; the rest of the broker is of use without them.
        _ if json => note(format!("{who}: {NO_UNITS}")),
        _ => return Err(format!("{who}: {NO_UNITS}")),
    }
    Ok(service)
}

fn program_is_usable(program: &Program, who: &str, note: &mut dyn FnMut(String)) -> Result<(), String> {
    let name = program.argv.first().filter(|name| child::is_path(name));
    match name.map(|name| (name, trusted::wrong_program(&child::file_of(name)))) {
        Some((name, Ok(Some(wrong)))) => {
            return Err(format!(
                "{who}: others decide what {name} is, and so what the broker runs: {wrong}"
            ));
        }
        Some((name, Err(error))) => note(format!("{who}: {name} cannot be started as it is now: {error}")),
        Some((_, Ok(None))) | None => {}
    }
    if let Some(folder) = program.folder.as_deref().filter(|folder| !folder.is_dir()) {
        note(format!("{who}: there is no folder {} now", folder.display()));
    }
    Ok(())
}

/// Which service of a file is meant.
fn shown(number: usize, objects: &[String]) -> String {
    match objects.first() {
        Some(first) => format!("service {number}, of {first:?}"),
        None => format!("service {number}"),
    }
}

fn own(text: &str) -> Result<Vec<Result<Service, String>>, Vec<String>> {
    let file: File = Toml::from_str(text).map_err(|error| {
        // The reader's complaint has a line for itself and a picture; here it is one line.
        let said: Vec<String> = error
            .to_string()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        vec![format!("{}; {LIKE}", said.join(" ").trim_end())]
    })?;
    let numbered = file.service.into_iter().zip(1..);
    Ok(numbered.map(|(one, number)| described(one, number)).collect())
}

fn described(one: Described, number: usize) -> Result<Service, String> {
    let who = shown(number, &one.objects);
    let is_process = one.process.is_some();
    let start = match (one.process, one.user_unit, one.system_unit) {
        (Some(argv), None, None) => Start::Process(Program {
            argv,
            folder: one.folder.clone(),
            environment: one.environment.clone().into_iter().collect(),
        }),
        (None, Some(unit), None) => Start::UserUnit(unit),
        (None, None, Some(unit)) => Start::SystemUnit(unit),
        _ => {
            return Err(format!(
                "{who}: it is to have one of process, user_unit and system_unit; {LIKE}"
            ));
        }
    };
    if !is_process && (one.folder.is_some() || !one.environment.is_empty() || one.at_end.is_some()) {
        return Err(format!(
            "{who}: folder, environment and at_end are for process; a unit has its own, take them out here"
        ));
    }
    let usual = Service::new(one.objects, start);
    Ok(Service {
        start_ms: one.start_ms.unwrap_or(usual.start_ms),
        starts: one.starts.unwrap_or(usual.starts),
        rest_ms: one.rest_ms.unwrap_or(usual.rest_ms),
        at_end: match one.at_end {
            Some(End::Leave) => AtEnd::Leave,
            Some(End::Stop) | None => AtEnd::Stop,
        },
        ..usual
    })
}

/// Entries of one unit are one service.
fn old(text: &str, note: &mut dyn FnMut(String)) -> Result<Vec<Result<Service, String>>, Vec<String>> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| vec![format!("is no JSON array ({error}); {LIKE_JSON}")])?;
    let (mut services, mut wrong) = (Vec::<Service>::new(), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let number = index.saturating_add(1);
        let kind = entry.get("type").and_then(serde_json::Value::as_str);
        match kind {
            Some("RegisterService") => {}
            Some(kind) => {
                note(format!(
                    "entry {number} has the type {kind:?} and is left out; RegisterService is the one that is known"
                ));
                continue;
            }
            None => {
                wrong.push(format!("entry {number} has no type; {LIKE_JSON}"));
                continue;
            }
        }
        let Old {
            object_name,
            service_name,
            scope,
        } = match Old::deserialize(entry) {
            Ok(entry) => entry,
            Err(error) => {
                wrong.push(format!("entry {number}: {error}; {LIKE_JSON}"));
                continue;
            }
        };
        let start = match scope {
            Scope::User => Start::UserUnit(service_name),
            Scope::System => Start::SystemUnit(service_name),
        };
        match services.iter_mut().find(|service| service.start == start) {
            Some(service) if service.objects.contains(&object_name) => {}
            Some(service) => service.objects.push(object_name),
            None => services.push(Service::new([object_name], start)),
        }
    }
    Ok(services
        .into_iter()
        .map(Ok)
        .chain(wrong.into_iter().map(Err))
        .collect())
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
