//! What the sources leave out on Windows, against `ci/windows-left-out`: each test has its reason there, and nothing stands there for nothing.
//!
//! Owns the walk through the modules of a program and the meaning of `cfg`. It refuses to know what cargo and wine do: `ci/windows-tests` says which
//! programs run, and its last stage what came of it. Tests that a macro of ours makes have no place of their own and count with their module.

use super::root;
use super::source::{Source, closing, item_end};
use std::path::{Path, PathBuf};

/// Features that a build for Windows has beside the default ones; ci/windows-tests says the same.
const FEATURES: &[&str] = &[
    "bus",
    "cli",
    "lazy",
    "protocol",
    "top",
    "broker",
    "dashboard",
    "inject-panics",
];

/// A test or a module of a program, and whether it is there on Linux and cut on Windows.
#[derive(Debug, PartialEq)]
struct Place {
    path: String,
    cut: bool,
    test: bool,
}

/// Linux with every feature, or Windows as it is built.
#[derive(Clone, Copy)]
enum On {
    Linux,
    Windows,
}

/// Whether a condition of `cfg` holds.
fn holds(condition: &str, on: On) -> bool {
    let condition = condition.trim();
    let inner = |name: &str| {
        let rest = condition.strip_prefix(name)?.trim_start();
        rest.strip_prefix('(')?.strip_suffix(')')
    };
    if let Some(all) = inner("all") {
        return parts(all).into_iter().all(|part| holds(part, on));
    }
    if let Some(any) = inner("any") {
        return parts(any).into_iter().any(|part| holds(part, on));
    }
    if let Some(not) = inner("not") {
        return !holds(not.trim_end_matches(','), on);
    }
    let (name, value) = condition.split_once('=').unwrap_or((condition, ""));
    let value = value.trim().trim_matches('"');
    match (name.trim(), on) {
        ("test" | "debug_assertions", _) => true,
        ("unix", On::Linux) | ("windows", On::Windows) => true,
        ("target_os", On::Linux) => value == "linux",
        ("target_os", On::Windows) => value == "windows",
        ("target_arch", _) => value == "x86_64",
        ("target_pointer_width", _) => value == "64",
        ("feature", On::Linux) => true,
        ("feature", On::Windows) => FEATURES.contains(&value),
        _ => false,
    }
}

/// What commas separate outside of brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                found.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[from..]);
    found.retain(|part| !part.trim().is_empty());
    found
}

/// The attributes before an item.
#[derive(Default)]
struct Attributes {
    on_linux: Vec<bool>,
    on_windows: Vec<bool>,
    test: bool,
    file: Option<String>,
}

impl Attributes {
    /// `text` is what stands between `#[` and `]`.
    fn take(&mut self, text: &str) {
        let inner = |name: &str| text.strip_prefix(name)?.trim_end().strip_suffix(')');
        if let Some(condition) = inner("cfg(") {
            self.on_linux.push(holds(condition, On::Linux));
            self.on_windows.push(holds(condition, On::Windows));
        } else if let Some(both) = inner("cfg_attr(") {
            let both = parts(both);
            if let [condition, path] = both[..]
                && holds(condition, On::Linux)
            {
                self.take(path.trim());
            }
        } else if let Some(file) = text.strip_prefix("path = ") {
            self.file = Some(file.trim().trim_matches('"').to_owned());
        }
        let name = text.split('(').next().unwrap_or_default();
        self.test |= name.rsplit("::").next() == Some("test");
    }

    fn on_linux(&self) -> bool {
        self.on_linux.iter().all(|holds| *holds)
    }

    fn cut(&self) -> bool {
        self.on_linux() && !self.on_windows.iter().all(|holds| *holds)
    }
}

/// A file of a module, and the folder in which its modules are.
struct Module {
    source: Source,
    folder: PathBuf,
    beside: PathBuf,
}

impl Module {
    fn new(path: &Path, folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        Self {
            source: Source::new(path.to_str().unwrap(), &text),
            folder,
            beside: path.parent().unwrap().to_owned(),
        }
    }

    /// The file of `mod name;`.
    fn child(&self, name: &str, file: Option<&str>) -> Option<Self> {
        if let Some(file) = file {
            let path = self.beside.join(file);
            let folder = path.parent().unwrap().to_owned();
            return root().join(&path).exists().then(|| Self::new(&path, folder));
        }
        let folder = self.folder.join(name);
        let [alone, opening] = [self.folder.join(format!("{name}.rs")), folder.join("mod.rs")];
        let path = [alone, opening]
            .into_iter()
            .find(|path| root().join(path).exists())?;
        Some(Self::new(&path, folder))
    }

    /// What stands in `from..to`, which is the file or the block of a module in it.
    fn walk(&self, from: usize, to: usize, path: &str, cut: bool, found: &mut Vec<Place>) {
        let (code, mut at) = (&self.source.code, from);
        while let Some(next) = code[at..to].find(|c: char| !c.is_whitespace() && c != ';') {
            at += next;
            let mut attributes = Attributes::default();
            while code[at..to].starts_with("#[") {
                let end = closing(code, at + 1);
                attributes.take(&self.source.text[at + 2..end - 1]);
                at = end + code[end..to].len() - code[end..to].trim_start().len();
            }
            if code[at..to].starts_with("#!") {
                at = closing(code, at + 2);
                continue;
            }
            // The last item of a block may be a bracket of what was cut short.
            let end = item_end(code, at).clamp(at + 1, to);
            if attributes.on_linux() {
                self.item(at, end, path, cut, &attributes, found);
            }
            at = end;
        }
    }

    fn item(
        &self,
        from: usize,
        to: usize,
        path: &str,
        cut: bool,
        attributes: &Attributes,
        found: &mut Vec<Place>,
    ) {
        let code = &self.source.code[from..to];
        let head = &code[..code.find(['{', ';', '(', '=']).unwrap_or(code.len())];
        let words: Vec<&str> = head.split_whitespace().collect();
        let named = |keyword: &str| {
            let at = words.iter().position(|word| *word == keyword)?;
            words.get(at + 1).map(|name| format!("{path}::{name}"))
        };
        // `pub(crate)` ends the head.
        let inner = code.find(" mod ").filter(|_| head.trim() == "pub");
        let cut = cut || attributes.cut();
        let module = named("mod").or_else(|| {
            let rest = code[inner? + " mod ".len()..].split(['{', ';']).next()?;
            Some(format!("{path}::{}", rest.trim()))
        });
        if let Some(name) = module {
            let first = found.len();
            found.push(Place {
                path: name.clone(),
                cut,
                test: false,
            });
            if let Some(open) = code.find('{') {
                self.walk(from + open + 1, to - 1, &name, cut, found);
            } else {
                let last = name.rsplit("::").next().unwrap();
                match self.child(last, attributes.file.as_deref()) {
                    Some(child) => child.whole(&name, cut, found),
                    None => panic!("{}: no file for {name}", self.source.path),
                }
            }
            // A module whose file is cut by its own first line.
            let all: Vec<&Place> = found[first + 1..].iter().filter(|place| place.test).collect();
            if !all.is_empty() && all.iter().all(|place| place.cut) {
                found[first].cut = true;
            }
        } else if let (true, Some(name)) = (attributes.test, named("fn")) {
            found.push(Place {
                path: name,
                cut,
                test: true,
            });
        } else if head.trim_end().ends_with('!')
            && let Some(open) = code.find('{')
        {
            self.walk(from + open + 1, to - 1, path, cut, found);
        }
    }

    fn whole(&self, path: &str, cut: bool, found: &mut Vec<Place>) {
        let mut own = Attributes::default();
        let mut at = 0;
        while let Some(next) = self.source.code[at..].find("#![") {
            let end = closing(&self.source.code, at + next + 2);
            own.take(&self.source.text[at + next + 3..end - 1]);
            at = end;
        }
        if own.on_linux() {
            self.walk(0, self.source.code.len(), path, cut || own.cut(), found);
        }
    }
}

/// The tests and modules of a program of `ci/windows-tests`.
fn places(program: &str) -> Vec<Place> {
    let roots: Vec<(&str, PathBuf)> = match program {
        "lib" => vec![("lib", "src/lib.rs".into())],
        "programs" => vec![
            ("rob", "src/bin/rob/main.rs".into()),
            ("ipc-broker", "src/bin/ipc-broker.rs".into()),
        ],
        test => {
            let [alone, folder] = [format!("tests/{test}.rs"), format!("tests/{test}/main.rs")];
            let file = if root().join(&alone).exists() {
                alone
            } else {
                folder
            };
            vec![(test, file.into())]
        }
    };
    let mut found = Vec::new();
    for (name, file) in roots {
        let folder = file.parent().unwrap().to_owned();
        Module::new(&file, folder).whole(name, false, &mut found);
    }
    found
}

/// The programs that run under wine, as `ci/windows-tests` lists them.
fn programs() -> Vec<String> {
    let script = std::fs::read_to_string(root().join("ci/windows-tests")).unwrap();
    let lists = ["\npipes=(", "\ntcp=(", "\nlong=("];
    let list = |start: &str| {
        let (_, rest) = script.split_once(start).unwrap();
        rest.split_once(')').unwrap().0.split_whitespace()
    };
    lists.into_iter().flat_map(list).map(str::to_owned).collect()
}

/// What `ci/windows-left-out` names, each with its reason.
fn left_out(list: &str) -> Vec<(&str, &str)> {
    list.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            line.split_once(": ")
                .unwrap_or_else(|| (line.trim_end_matches(':'), ""))
        })
        .collect()
}

/// Whether `name` is `whole` or something in it.
fn within(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What is wrong between the places of the programs that run, and the list.
fn wrong(running: &[Place], listed: &[(&str, &str)]) -> Vec<String> {
    let missing = running
        .iter()
        .filter(|place| place.test && place.cut && !listed.iter().any(|(name, _)| within(&place.path, name)));
    let mut wrong: Vec<String> = missing
        .map(|place| format!("{} is cut on Windows without a reason", place.path))
        .collect();
    for (name, reason) in listed {
        if reason.trim().is_empty() {
            wrong.push(format!("{name} has no reason"));
        }
        if name.contains("::") && !running.iter().any(|place| place.cut && place.path == *name) {
            wrong.push(format!("{name} is not there, or is not cut on Windows"));
        }
    }
    wrong
}

#[test]
fn what_does_not_run_on_windows_is_listed_and_nothing_else_is() {
    let list = std::fs::read_to_string(root().join("ci/windows-left-out")).unwrap();
    let listed = left_out(&list);
    let programs = programs();
    let running: Vec<Place> = programs.iter().flat_map(|name| places(name)).collect();
    assert!(running.iter().filter(|place| place.test).count() > 1_000);
    let mut wrong = wrong(&running, &listed);
    for (name, _) in listed.iter().filter(|(name, _)| !name.contains("::")) {
        if programs.iter().any(|program| program == name) {
            wrong.push(format!("{name} runs under wine, and is listed as left out"));
        }
        if !["", "/main"]
            .iter()
            .any(|end| root().join(format!("tests/{name}{end}.rs")).exists())
        {
            wrong.push(format!("there is no tests/{name}"));
        }
    }
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_program = path.extension().is_some() || path.join("main.rs").exists();
        let known =
            programs.iter().any(|program| program == name) || listed.iter().any(|(one, _)| *one == name);
        if is_program && !known {
            wrong.push(format!("tests/{name} neither runs under wine nor is listed"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} in ci/windows-left-out:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn conditions_mean_what_they_mean_to_the_compiler() {
    for (condition, linux, windows) in [
        ("unix", true, false),
        ("all(test, unix)", true, false),
        ("any(target_os = \"linux\", windows)", true, true),
        ("not(unix)", false, true),
        ("all(feature = \"tls\", any(unix, windows),)", true, false),
        ("feature = \"dashboard\"", true, true),
        ("target_os = \"macos\"", false, false),
    ] {
        assert_eq!(holds(condition, On::Linux), linux, "{condition}");
        assert_eq!(holds(condition, On::Windows), windows, "{condition}");
    }
}

#[test]
fn tests_are_found_in_modules_and_macros_with_their_conditions() {
    let text = "//! A.\n#[cfg(unix)]\n#[test]\nfn a() { \"#[test] fn no()\"; }\n#[actix::test]\nasync fn b() {}\nfn c() {}\n\
        #[cfg(all(test, unix))]\npub(crate) mod d {\n    const X: [u8; 1] = [1];\n    proptest! { #[test] fn e(x in 1..2) {} }\n}\n\
        #[cfg(windows)]\n#[test]\nfn f() {}\n";
    let file = Module {
        source: Source::new("tests/x.rs", text),
        folder: "tests".into(),
        beside: "tests".into(),
    };
    let mut found = Vec::new();
    file.whole("x", false, &mut found);
    let tests: Vec<(&str, bool)> = found
        .iter()
        .filter(|place| place.test)
        .map(|place| (place.path.as_str(), place.cut))
        .collect();
    assert_eq!(tests, [("x::a", true), ("x::b", false), ("x::d::e", true)]);
    let said = |list| wrong(&found, &left_out(list));
    assert!(said("x::a: signals\nx::d: sockets").is_empty());
    assert_eq!(
        said("x::a: signals"),
        ["x::d::e is cut on Windows without a reason"]
    );
    assert_eq!(said("x::a: signals\nx::d: sockets\nx::b: no").len(), 1);
    assert_eq!(said("x::a: signals\nx::d:"), ["x::d has no reason"]);
}
