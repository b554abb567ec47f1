//! What a service is: the objects that it provides, and how it is started.
//!
//! Owns the descriptions and the rules that each of them keeps. It refuses to know files and processes. Made by [`read`](super::read) or
//! by a program that embeds a broker; pure.

use crate::message::metadata::RESERVED_PREFIX;
use crate::message::name;
use crate::platform::child;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Services of one broker, at most: each may have a process and two threads.
pub const SERVICES_MAX: usize = 256;
/// Objects of one service, at most.
pub const OBJECTS_MAX: usize = 256;
/// What the names of units end with.
const UNIT_KINDS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// How a service is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// `systemctl --user start` of this unit.
    UserUnit(String),
    /// `systemctl start` of this unit. Without sudo: the broker's user must be allowed to.
    SystemUnit(String),
    /// A process of the broker's own user, that the broker watches.
    Process(Program),
}

/// A program with all that it is given. No shell has a part in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments. Without a slash it is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Where it runs; none: where the broker does.
    pub folder: Option<PathBuf>,
    /// Variables beside the broker's own.
    pub environment: Vec<(String, String)>,
}

/// What becomes of a process when the broker ends in order. A unit is systemd's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It is asked to end (SIGTERM), and killed when it does not.
    #[default]
    Stop,
    /// It is left alone. Its output goes nowhere, because nobody would read it then.
    Leave,
}

/// A service and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its objects; calls of any of them start it.
    pub objects: Vec<String>,
    /// How.
    pub start: Start,
    /// Time to register in, in ms.
    pub start_ms: u32,
    /// Starts in a row that may fail, or end soon after registering, before it rests.
    pub starts: u32,
    /// How long it rests then, in ms: calls fail at once meanwhile. Who stays registered for so long, or for 10 s, or ends
    /// without an error after registering, has not failed.
    pub rest_ms: u32,
    /// What becomes of its process.
    pub at_end: AtEnd,
}

impl Service {
    /// A service with the usual limits: 15 s to register, 5 starts, 60 s of rest.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = impl Into<String>>, start: Start) -> Self {
        Self {
            objects: objects.into_iter().map(Into::into).collect(),
            start,
            start_ms: 15_000,
            starts: 5,
            rest_ms: 60_000,
            at_end: AtEnd::Stop,
        }
    }

    /// Whether this is another description of what the other one describes: it starts the same way, and an object is common.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.start == other.start && self.objects.iter().any(|object| other.objects.contains(object))
    }

    /// How it is started, in a word: its unit, or its program.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.start {
            Start::UserUnit(unit) | Start::SystemUnit(unit) => unit,
            Start::Process(program) => program.argv.first().map_or("", String::as_str),
        }
    }

    /// Its first object, by which it is told from all others.
    #[must_use]
    pub fn object(&self) -> &str {
        self.objects.first().map_or("", String::as_str)
    }

    /// What is wrong with it and what to write instead; nothing when it can be used.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        if self.objects.is_empty() || self.objects.len() > OBJECTS_MAX {
            return Some(format!(
                "a service has 1 to {OBJECTS_MAX} objects, as in objects = [\"math\"]"
            ));
        }
        for (place, object) in self.objects.iter().enumerate() {
            if self.objects.iter().take(place).any(|before| before == object) {
                return Some(format!("{object:?} is listed twice; leave one of them out"));
            }
            if let Err(error) = name::check_text(object) {
                return Some(format!("{object:?} is no name of an object: {error}"));
            }
            if object == "rob" || object.starts_with(RESERVED_PREFIX) {
                return Some(format!("{object:?} is the broker's own; take it out"));
            }
        }
        if self.start_ms == 0 || self.starts == 0 {
            return Some("start_ms and starts are at least 1; leave them out for the usual limits".into());
        }
        match &self.start {
            Start::UserUnit(unit) | Start::SystemUnit(unit) => wrong_unit(unit),
            Start::Process(program) => wrong_program(program),
        }
    }
}

/// `"math" (/usr/bin/math-worker)`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.object(), self.name())
    }
}

fn wrong_unit(unit: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-:\\@".contains(c);
    let kind = unit
        .rsplit_once('.')
        .is_none_or(|(start, kind)| !start.is_empty() && UNIT_KINDS.contains(&kind));
    let fits = !unit.is_empty() && unit.len() <= 255 && !unit.starts_with('-') && unit.chars().all(known);
    (!fits || !kind).then(|| format!("{unit:?} is no name of a unit; write one as in math-worker.service"))
}

fn wrong_program(program: &Program) -> Option<String> {
    let nul = |text: &String| text.contains('\0');
    if program.argv.first().is_none_or(String::is_empty) {
        return Some("has no program; write process = [\"/usr/bin/math-worker\", \"--argument\"]".into());
    }
    let relative = |path: &str| child::is_path(path) && !Path::new(path).has_root();
    if let Some(name) = program.argv.first().filter(|name| relative(name)) {
        return Some(format!(
            "{name:?} is no whole path, and nobody knows where the broker runs; write one as in /usr/bin/math-worker (nothing \
             stands for a home folder), or a name alone, which is looked up in PATH"
        ));
    }
    if let Some(folder) = program.folder.as_deref().filter(|folder| !folder.has_root()) {
        return Some(format!(
            "the folder {folder:?} is no whole path; write one as in /var/lib/math (nothing stands for a home folder)"
        ));
    }
    if program.argv.iter().any(nul) {
        return Some("has a zero byte in process; no program can be given one".into());
    }
    let bad = program
        .environment
        .iter()
        .find(|(key, value)| key.is_empty() || key.contains('=') || nul(key) || nul(value));
    bad.map(|(key, _)| format!("{key:?} is no variable; write environment = {{ NAME = \"value\" }}"))
}

/// Two services that are not to be had together, or too many of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// One of them cannot be used.
    #[error("the service of {object:?}: {why}")]
    Wrong {
        /// Its first object.
        object: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// Two services provide one object.
    #[error("{0:?} is provided by two services; leave one of them out")]
    Twice(String),
    /// See [`SERVICES_MAX`].
    #[error("there are {0} services; a broker starts at most {SERVICES_MAX}")]
    TooMany(usize),
}

/// The services of a broker, each object with the one that provides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    all: Vec<Arc<Service>>,
    by_object: HashMap<String, usize>,
}

impl Services {
    /// Checks them, each and together.
    ///
    /// # Errors
    /// [`ServicesError`], for the first that is wrong.
    pub fn new(all: Vec<Service>) -> Result<Self, ServicesError> {
        if all.len() > SERVICES_MAX {
            return Err(ServicesError::TooMany(all.len()));
        }
        let mut by_object = HashMap::new();
        for (index, service) in all.iter().enumerate() {
            if let Some(why) = service.wrong() {
                let object = service.objects.first().cloned().unwrap_or_default();
                return Err(ServicesError::Wrong { object, why });
            }
            for object in &service.objects {
                if by_object.insert(object.clone(), index).is_some() {
                    return Err(ServicesError::Twice(object.clone()));
                }
            }
        }
        let all = all.into_iter().map(Arc::new).collect();
        Ok(Self { all, by_object })
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them; their numbers are their places here.
    #[must_use]
    pub fn all(&self) -> &[Arc<Service>] {
        &self.all
    }

    /// The service with this number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Arc<Service>> {
        self.all.get(index)
    }

    /// The number of the service that provides the object.
    #[must_use]
    pub fn of(&self, object: &str) -> Option<usize> {
        self.by_object.get(object).copied()
    }

    /// Whether the object is described as provided by this unit: what clients of ipc-broker 1.1.5 may ask for.
    #[must_use]
    pub fn lists(&self, object: &str, unit: &str) -> bool {
        let service = self.of(object).and_then(|index| self.get(index));
        // A name without a kind is a service's, for systemctl as well.
        let kind = |name: &'_ str| match name.contains('.') {
            true => name.to_owned(),
            false => format!("{name}.service"),
        };
        service.is_some_and(|service| match &service.start {
            Start::UserUnit(own) | Start::SystemUnit(own) => kind(own) == kind(unit),
            Start::Process(_) => false,
        })
    }
}

/// The services that are described now. Other descriptions may take their place while the broker runs.
#[derive(Debug, Default)]
pub struct Described(Mutex<Arc<Services>>);

impl Described {
    /// Those of now.
    #[must_use]
    pub fn get(&self) -> Arc<Services> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These from now on.
    pub fn set(&self, services: Arc<Services>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = services;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: &str) -> Start {
        Start::UserUnit(unit.into())
    }

    fn process(argv: &[&str]) -> Start {
        Start::Process(Program {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            ..Program::default()
        })
    }

    #[test]
    fn what_is_wrong_with_a_service_is_said() {
        let good = [
            unit("math.service"),
            unit("math"),
            unit("math@1.service"),
            unit("a\\x2db.socket"),
            process(&["worker", "", "--flag"]),
        ];
        for start in good {
            assert_eq!(Service::new(["math"], start.clone()).wrong(), None, "{start:?}");
        }
        let long = format!("{}.service", "x".repeat(255));
        for bad in [
            "",
            "-H.service",
            "a b.service",
            "a/b.service",
            ".service",
            "math.sock",
            "--user",
            "a;b",
            &long,
        ] {
            let wrong = Service::new(["math"], unit(bad)).wrong();
            assert!(
                wrong.is_some_and(|text| text.contains("no name of a unit")),
                "{bad:?}"
            );
        }
        for (start, says) in [
            (process(&[]), "has no program"),
            (process(&[""]), "has no program"),
            (process(&["a", "b\0"]), "zero byte"),
            (process(&["./worker"]), "no whole path"),
            (process(&["~/worker"]), "home folder"),
            (process(&["bin/worker"]), "no whole path"),
        ] {
            let wrong = Service::new(["math"], start).wrong();
            assert!(wrong.is_some_and(|text| text.contains(says)), "{says}");
        }
        for (object, says) in [
            ("", "no name"),
            ("a\nb", "no name"),
            ("rob", "own"),
            ("sys.x", "own"),
        ] {
            let wrong = Service::new([object], unit("a")).wrong();
            assert!(wrong.is_some_and(|text| text.contains(says)), "{object:?}");
        }
        assert!(Service::new(Vec::<String>::new(), unit("a")).wrong().is_some());
        let twice = Service::new(["a", "b", "a"], unit("a")).wrong();
        assert!(twice.is_some_and(|text| text.contains("\"a\" is listed twice")));
        let relative = Start::Process(Program {
            argv: vec!["worker".into()],
            folder: Some("~/math".into()),
            environment: Vec::new(),
        });
        let wrong = Service::new(["math"], relative).wrong();
        assert!(wrong.is_some_and(|text| text.contains("the folder")));
    }

    #[test]
    fn an_object_has_one_service_and_a_client_may_name_its_unit_only() {
        let both = vec![
            Service::new(["a", "b"], unit("ab.service")),
            Service::new(["c"], process(&["c"])),
        ];
        let services = Services::new(both).unwrap();
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| services.of(name)),
            [Some(0), Some(0), Some(1), None]
        );
        assert!(services.lists("b", "ab.service"));
        assert!(services.lists("b", "ab"), "it is the same unit");
        for (object, unit) in [
            ("b", "ab.socket"),
            ("b", "other.service"),
            ("c", "c"),
            ("d", "ab.service"),
        ] {
            assert!(!services.lists(object, unit), "{object} {unit}");
        }
        let twice = vec![
            Service::new(["a"], unit("a")),
            Service::new(["b", "a"], unit("b")),
        ];
        assert_eq!(Services::new(twice), Err(ServicesError::Twice("a".into())));
        let many = (0..=SERVICES_MAX)
            .map(|n| Service::new([n.to_string()], unit("a")))
            .collect();
        assert_eq!(Services::new(many), Err(ServicesError::TooMany(SERVICES_MAX + 1)));
    }
}
