//! The layout of a manual page.
//!
//! Owns the sections and the marks of roff: a synopsis with the options in their order and with their values, examples as they are typed, exit
//! codes, variables, and the pages beside it. What a command takes is clap's. Called by `man`.

use clap::{Arg, ArgAction, Command};
use std::fmt::Write as _;
use std::io;

/// As `docs/rob.md` has them.
const EXIT: &[(&str, &str)] = &[
    ("0", "done"),
    (
        "1",
        "the object answered with an error; a replay ended in another way than the recording",
    ),
    ("2", "the command line or the request is wrong"),
    ("3", "no such object, method or protocol"),
    ("4", "timeout"),
    ("5", "no broker could be reached"),
    ("6", "refused: by a policy, a limit, or a broker that is stopping"),
    (
        "7",
        "the connection or a process was lost; with --strict: something is missing",
    ),
    ("8", "the result could not be written"),
    ("130, 143", "SIGINT or SIGTERM ended it"),
    ("141", "who read the output closed it"),
];

/// What is read from the environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "IPC_BROKER_ADDR",
        "the broker's endpoint, where --addr does not say it",
    ),
    (
        "XDG_RUNTIME_DIR",
        "where the user's own broker is looked for: ipc_broker.sock",
    ),
    ("NO_COLOR", "no colours, when it is not empty"),
    (
        "TRACEPARENT",
        "the trace that a call or an event belongs to (call, send)",
    ),
];

/// The page of a command that was built; `name` is that of the page, `beside` are those of others.
///
/// # Errors
/// As writing to memory gives them: never.
pub(super) fn page(command: Command, name: &str, beside: &[String]) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string);
    let synopsis = synopsis(&command);
    let plain = |argument: Arg| match argument.get_id().as_str() {
        "help" => argument.help("Print help").long_help(None),
        _ => argument,
    };
    let pages = clap_mangen::Man::new(command.mut_args(plain).disable_help_subcommand(true))
        .title(name)
        .source(concat!("rob ", env!("CARGO_PKG_VERSION")))
        .manual("actix-ipc");
    let mut page = Vec::new();
    pages.render_title(&mut page)?;
    pages.render_name_section(&mut page)?;
    page.extend(format!(".SH SYNOPSIS\n{synopsis}\n").into_bytes());
    pages.render_description_section(&mut page)?;
    pages.render_options_section(&mut page)?;
    if name == "rob" || name == "rob-bench" {
        pages.render_subcommands_section(&mut page)?;
    }
    page.extend(rest(after.as_deref(), name, beside).into_bytes());
    Ok(page)
}

/// The command with its own options and arguments, in the order in which they are defined.
fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut text = format!(".B {}", escaped(name));
    let own = |argument: &&Arg| !argument.is_global_set() && !argument.is_hide_set();
    let all: Vec<&Arg> = command.get_arguments().filter(own).collect();
    let (places, options): (Vec<&Arg>, Vec<&Arg>) = all.iter().partition(|argument| argument.is_positional());
    let is_help = |argument: &&&Arg| matches!(argument.get_action(), ArgAction::Help | ArgAction::Version);
    for option in options.iter().filter(|option| !is_help(option)) {
        let long = format!("--{}", option.get_long().unwrap_or_default());
        let value = match option.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => String::new(),
            _ if option.is_require_equals_set() => format!("[={}]", value_name(option)),
            _ => format!(" {}", value_name(option)),
        };
        let one = format!("{long}{value}");
        let one = if option.is_required_set() {
            one
        } else {
            format!("[{one}]")
        };
        let _ = write!(text, "\n{}", escaped(&one));
    }
    text.push_str("\n[OPTIONS]");
    for place in places {
        let many = if place.get_num_args().is_some_and(|range| range.max_values() > 1) {
            "..."
        } else {
            ""
        };
        let one = format!("{}{many}", value_name(place));
        let one = if place.is_required_set() {
            one
        } else {
            format!("[{one}]")
        };
        let _ = write!(text, "\n{}", escaped(&one));
    }
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        text.push_str("\nCOMMAND");
    }
    text
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    match names.is_empty() {
        true => argument.get_id().to_string().to_uppercase(),
        false => names.join(" "),
    }
}

/// What stands behind the options.
fn rest(after: Option<&str>, name: &str, beside: &[String]) -> String {
    let mut text = String::new();
    let (examples, notes) = after.map_or(("", ""), |after| after.split_once("\n\n").unwrap_or((after, "")));
    let examples = examples.strip_prefix("Examples:\n").unwrap_or(examples);
    for (heading, kept) in [("EXAMPLES", examples), ("NOTES", notes)] {
        // What is aligned stays as it is, prose is as wide as the terminal.
        if kept.lines().any(|line| line.starts_with("  ")) {
            let _ = write!(text, ".SH {heading}\n.nf\n{}.fi\n", lines(kept));
        } else if !kept.trim().is_empty() {
            let _ = write!(text, ".SH {heading}\n{}", lines(kept).replace("\n\n", "\n.PP\n"));
        }
    }
    for (heading, all) in [("EXIT STATUS", EXIT), ("ENVIRONMENT", ENVIRONMENT)] {
        let _ = writeln!(text, ".SH \"{heading}\"");
        for (word, meaning) in all {
            let _ = write!(text, ".TP\n.B {}\n{}\n", escaped(word), escaped(meaning));
        }
    }
    let others = beside.iter().filter(|other| *other != name);
    let mut others: Vec<String> = others
        .map(|other| format!("\\fB{}\\fR(1)", escaped(other)))
        .collect();
    others.push("\\fBipc\\-broker\\fR(8)".to_owned());
    let _ = write!(text, ".SH \"SEE ALSO\"\n{}\n", others.join(",\n"));
    text
}

/// Lines as they are.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escaped(line))).collect()
}

/// Text that means itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // A line that begins so would be a command.
    if text.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_means_itself() {
        let table = [
            ("a-b", "a\\-b"),
            (".SH x", "\\&.SH x"),
            ("'x'", "\\&\\(aqx\\(aq"),
            ("a\\n", "a\\en"),
            ("~/x", "\\(ti/x"),
        ];
        for (text, expected) in table {
            assert_eq!(escaped(text), expected);
        }
    }
}
