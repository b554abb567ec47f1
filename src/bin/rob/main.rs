//! `rob`: calls, sends and listens from a terminal.
//!
//! Owns the way from the command line to the exit code, and what is said on standard error when something fails.

mod arguments;
mod bench;
mod colour;
mod commands;
mod completion;
mod exit;
mod observe;
mod options;
mod output;
mod say;
mod signature;
mod slips;
mod value;

use actix_ipc::terminal::printable;
use arguments::Stop;
use clap::error::ErrorKind;
use exit::{Exit, Failure};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    actix_ipc::platform::signals::end_by_interrupt();
    if completion::answered() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let rob = match arguments::parse(words.iter().cloned()) {
        Ok(rob) => rob,
        // What the words mean is not known then, so the word alone decides.
        Err(stop) => {
            let json = words.iter().any(|word| word == "--json");
            return stopped(stop, &words, json);
        }
    };
    let json = rob.options.json;
    say::for_programs(json);
    // One thread: nothing here runs long enough to be worth a second one's start.
    match actix_rt::System::new().block_on(commands::run(rob)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&hinted(failure, &words), json),
    }
}

/// The failure with what a shell has probably made of the words, where these may be what is wrong.
fn hinted(mut failure: Failure, words: &[OsString]) -> Failure {
    let may_be = matches!(failure.exit, Exit::Usage | Exit::NotFound);
    if let Some(hint) = slips::of_shell(words).filter(|_| may_be) {
        failure.message.push('\n');
        failure.message.push_str(hint);
    }
    failure
}

/// Says why the command line is not carried out: clap as it likes for people, one object for programs. Help and version are for
/// people in any case.
fn stopped(stop: Stop, words: &[OsString], json: bool) -> ExitCode {
    match stop {
        Stop::Failure(failure) => report(&hinted(failure, words), json),
        Stop::Clap(error) if json && error.exit_code() != 0 => {
            let text = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    "a command is missing; `rob --help` shows all of them".to_owned()
                }
                _ => error.render().to_string(),
            };
            // What else there is to read is for people.
            let text = text.split("\n\nFor more information").next().unwrap_or_default();
            let text = text.trim().trim_start_matches("error: ");
            report(&Failure::new(Exit::Usage, text), json)
        }
        Stop::Clap(error) => {
            let printed = error.print().and_then(|()| io::stdout().flush());
            match printed {
                // Help and version are results.
                Err(unwritten) if error.exit_code() == 0 => report(&unwritten.into(), json),
                _ => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
            }
        }
    }
}

/// Says on standard error what failed. A peer's text may be part of it.
fn report(failure: &Failure, json: bool) -> ExitCode {
    let text = if json {
        failure_json(failure)
    } else {
        failure_text(failure, colour::wanted(&io::stderr()))
    };
    if !failure.message.is_empty() {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
    failure.exit.into()
}

fn failure_text(failure: &Failure, coloured: bool) -> String {
    let mut text = String::new();
    for (index, line) in failure.message.lines().enumerate() {
        if index == 0 {
            text.push_str(&colour::alarm("rob:", coloured));
        }
        text.push_str(if index == 0 { " " } else { "     " });
        text.push_str(&printable(line));
        text.push('\n');
    }
    // The object's own value beside the text of its error.
    let value = failure
        .call
        .as_ref()
        .map(|error| &error.payload)
        .filter(|payload| !payload.bytes.is_empty());
    text.push_str(&value.map(output::people).unwrap_or_default());
    text
}

fn failure_json(failure: &Failure) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!(
        "{{\"error\":{{\"code\":{},\"exit\":{},\"may_have_run\":{},\"message\":{}",
        text(failure.code()),
        failure.exit as u8,
        failure.may_have_run(),
        text(&failure.message)
    );
    if let Some(call) = &failure.call {
        if let Some(name) = &call.name {
            line.push_str(&format!(",\"name\":{}", text(name)));
        }
        // As it is written, with all of its digits.
        if !call.payload.bytes.is_empty() {
            line.push_str(&format!(",\"value\":{}", output::json_line(&call.payload)));
        }
    }
    line.push_str("}}");
    let mut line = output::compact(&line);
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_ipc::error::{CallError, ErrorCode};
    use actix_ipc::message::Payload;

    fn refused() -> Failure {
        let mut error = CallError::new(ErrorCode::Handler, "disk \u{1b}[31mfull\nreally");
        error.name = Some("disk.full".into());
        error.payload = Payload::json(&serde_json::json!({"free": 0})).unwrap();
        Failure::of_call("call store.put", error)
    }

    #[test]
    fn people_read_the_error_and_the_objects_value() {
        let expected =
            "rob: call store.put: disk \\u{1b}[31mfull\n     really (disk.full)\nMap:\n   free :: 0\n";
        assert_eq!(failure_text(&refused(), false), expected);
        let coloured = expected.replacen("rob:", "\u{1b}[1;31mrob:\u{1b}[0m", 1);
        assert_eq!(failure_text(&refused(), true), coloured);
    }

    #[test]
    fn what_a_shell_made_of_the_words_is_told_where_they_may_be_wrong() {
        let words = ["rob", "listen", "'sensor.*'", "'**'"].map(OsString::from);
        for (exit, told) in [
            (Exit::Usage, true),
            (Exit::NotFound, true),
            (Exit::NoBroker, false),
        ] {
            let failure = hinted(Failure::new(exit, "wrong"), &words);
            assert_eq!(failure.message.contains("cmd.exe"), told, "{exit:?}");
        }
    }

    #[test]
    fn programs_read_one_line() {
        let expected = concat!(
            r#"{"error":{"code":"Handler","exit":1,"may_have_run":true,"#,
            r#""message":"call store.put: disk \u001b[31mfull\nreally (disk.full)","name":"disk.full","value":{"free":0}}}"#,
            "\n"
        );
        assert_eq!(failure_json(&refused()), expected);
        let mut failure = refused();
        let exact = r#"{"z":12345678901234567890123,"a":0.10}"#;
        if let Some(call) = &mut failure.call {
            call.payload.bytes = exact.into();
        }
        let line = failure_json(&failure);
        assert!(line.contains(&format!(r#""value":{exact}}}"#)), "{line}");
    }
}
