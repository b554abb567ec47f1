//! A page's ```` ```console ```` blocks, executed and compared.
//!
//! Owns how such a block reads. Lines with `$ ` are commands, `> ` continues one; what stands below is what the command prints, both
//! outputs together, as on a terminal. `…` in a line stands for any text, alone on a line for any number of lines. Commands of a section (up to the
//! next heading) share one `sh`, with standard input empty. A command with the remark `# in a terminal of its own` runs beside
//! the others: the next one begins when its first line is there, it gets ctrl+c at `^C`, at the latest at the end of the section, and
//! its whole output is compared then. It knows no page and no program.

use super::support::{PATIENCE, command};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

const REMARK: &str = "# in a terminal of its own";
/// Behind each command's output; the line break before it may be the output's last one or not.
const MARK: &str = "--- the command has ended ---";

/// One command of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where it stands, from 1.
    pub line: usize,
    pub command: String,
    /// Beside the others.
    pub beside: bool,
    pub expected: Vec<String>,
}

/// The commands between two headings.
#[derive(Debug, Default, PartialEq)]
pub struct Section {
    pub heading: String,
    pub steps: Vec<Step>,
}

/// The sections of a page that have commands.
pub fn sections(page: &str) -> Vec<Section> {
    let mut found = vec![Section::default()];
    let mut fence: Option<bool> = None;
    for (index, text) in page.lines().enumerate() {
        let current = found.last_mut().unwrap();
        match fence {
            None if text.starts_with("```") => fence = Some(text == "```console"),
            None if text.starts_with('#') => found.push(Section {
                heading: text.trim_start_matches('#').trim().to_owned(),
                steps: Vec::new(),
            }),
            None => {}
            Some(_) if text == "```" => {
                fence = None;
                current.steps.iter_mut().for_each(Step::trim);
            }
            Some(true) => current.take(index + 1, text),
            Some(false) => {}
        }
    }
    found.retain(|section| !section.steps.is_empty());
    found
}

impl Section {
    fn take(&mut self, line: usize, text: &str) {
        if let Some(command) = text.strip_prefix("$ ") {
            self.steps.push(Step {
                line,
                command: command.trim_end_matches(REMARK).trim_end().to_owned(),
                beside: command.ends_with(REMARK),
                expected: Vec::new(),
            });
            return;
        }
        let step = self.steps.last_mut().expect("a block begins with a command");
        match text.strip_prefix("> ") {
            Some(more) if step.expected.is_empty() => step.command = format!("{}\n{more}", step.command),
            _ => step.expected.push(text.to_owned()),
        }
    }
}

impl Step {
    /// The empty lines between commands are the page's.
    fn trim(&mut self) {
        while self.expected.last().is_some_and(String::is_empty) {
            self.expected.pop();
        }
    }
}

/// Whether the lines are as expected.
pub fn matches(expected: &[String], lines: &[String]) -> bool {
    let Some((first, rest)) = expected.split_first() else {
        return lines.is_empty();
    };
    if first.trim() == "…" {
        return (0..=lines.len()).any(|skip| matches(rest, &lines[skip..]));
    }
    match lines.split_first() {
        Some((line, more)) => line_matches(first, line) && matches(rest, more),
        None => false,
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected.trim_end() == line.trim_end(),
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = line
                .char_indices()
                .map(|(at, _)| at)
                .chain(std::iter::once(line.len()));
            let mut ends = ends;
            ends.any(|at| line_matches(rest, &line[at..]))
        }),
    }
}

/// Executes pages.
pub struct Runner {
    /// Where the programs are.
    pub programs: PathBuf,
    /// Where they run.
    pub folder: PathBuf,
    /// What is set for them.
    pub variables: Vec<(&'static str, String)>,
}

impl Runner {
    /// Executes the sections one after the other.
    ///
    /// # Errors
    /// What is different, with the line of the page.
    pub fn run(&self, sections: &[Section]) -> Result<(), String> {
        let mut differences = String::new();
        for section in sections {
            self.section(section, &mut differences);
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences)
        }
    }

    fn section(&self, section: &Section, differences: &mut String) {
        let mut shell = Shell::start(self);
        let mut beside = Vec::new();
        for step in &section.steps {
            if let Some(tool) = self.missing_tool(&step.command) {
                eprintln!("skipped: line {}: there is no {tool}", step.line);
                continue;
            }
            if step.beside {
                let mut terminal = Terminal::start(self, step);
                terminal.wait(1);
                beside.push(terminal);
                continue;
            }
            compare(step, &shell.run(&step.command), &step.expected, differences);
        }
        for terminal in beside {
            terminal.end(differences);
        }
    }

    /// A program beside our own that the command needs and that is not installed.
    fn missing_tool(&self, text: &str) -> Option<&'static str> {
        let needed = ["jq"].into_iter().filter(|tool| text.contains(tool));
        let mut missing = needed.filter(|tool| {
            let mut which = self.command("sh");
            which.args(["-c", &format!("command -v {tool}")]);
            !which.stdout(Stdio::null()).status().unwrap().success()
        });
        missing.next()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap());
        command.envs(self.variables.iter().cloned());
        command.current_dir(&self.folder).env("HOME", &self.folder);
        command
    }
}

fn compare(step: &Step, lines: &[String], expected: &[String], differences: &mut String) {
    if matches(expected, lines) {
        return;
    }
    let _ = writeln!(
        differences,
        "line {}: $ {}\n  the page says:\n    {}\n  it is:\n    {}\n",
        step.line,
        step.command,
        expected.join("\n    "),
        lines.join("\n    ")
    );
}

/// The one shell of a section.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    fn start(runner: &Runner) -> Self {
        let (output, writer) = pipe().unwrap();
        let mut child = runner
            .command("sh")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            child,
            lines: lines(output),
        }
    }

    /// Runs a command; the next one finds its exit code.
    fn run(&mut self, text: &str) -> Vec<String> {
        let script =
            format!("{{ {text}\n}} </dev/null\n__code=$?; printf '\\n%s\\n' '{MARK}'; (exit $__code)\n");
        self.input.write_all(script.as_bytes()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut shown = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == MARK => break,
                Ok(line) => shown.push(line),
                Err(why) => panic!("$ {text}: no end ({why}); so far: {shown:#?}"),
            }
        }
        while shown.last().is_some_and(String::is_empty) {
            shown.pop();
        }
        shown
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command beside the others, in a process group of its own as a terminal's job is.
struct Terminal {
    step: Step,
    child: Child,
    output: Receiver<String>,
    shown: Vec<String>,
}

impl Terminal {
    fn start(runner: &Runner, step: &Step) -> Self {
        let (output, writer) = pipe().unwrap();
        let mut command = runner.command("sh");
        command.args(["-c", &step.command]).process_group(0);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        drop(command);
        Self {
            step: step.clone(),
            child,
            output: lines(output),
            shown: Vec::new(),
        }
    }

    /// Waits until the first `count` expected lines are there, or until it is sure that they will not be.
    fn wait(&mut self, count: usize) {
        let expected = &self.step.expected[..count.min(self.step.expected.len())];
        let deadline = Instant::now() + PATIENCE;
        while !matches(expected, &self.shown) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(line) => self.shown.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Lets it come to its end: ctrl+c when all that the page shows before it is there.
    fn end(mut self, differences: &mut String) {
        let before = self.step.expected.iter().position(|line| line == "^C");
        self.wait(before.unwrap_or(self.step.expected.len()));
        let group = rustix::process::Pid::from_child(&self.child);
        // Nobody is there when it has ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::INT);
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .output
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.shown.push(line);
        }
        let _ = self.child.wait();
        while self.shown.last().is_some_and(String::is_empty) {
            self.shown.pop();
        }
        let mut expected = self.step.expected.clone();
        expected.retain(|line| line != "^C");
        compare(&self.step, &self.shown, &expected, differences);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread that reads lines, so that no pipe fills up and every wait has an end.
fn lines(output: PipeReader) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// The folder of an executable.
pub fn folder_of(program: &str) -> PathBuf {
    Path::new(program).parent().unwrap().to_path_buf()
}
