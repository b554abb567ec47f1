//! `rob serve`: a shell command as an object.
//!
//! Owns the registration, what is shown of each call, and the end: the name is given up, commands that run come to theirs, a second ctrl+c
//! kills them. `exec` runs a command for a call,
//! `calls` shows what became of it. Called by `commands`.

mod calls;
mod exec;

use super::news;
use super::session::{PATIENCE, Session, unless_ended};
use crate::exit::{Exit, Failure};
use crate::options::{name, number};
use crate::output::Output;
use crate::say;
use actix_ipc::client::{Balance, ConnectionEvents, Registration, Standing};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::platform::filter;
use actix_ipc::platform::signals::{EndSignal, EndSignals};
use actix_ipc::terminal::printable;
use calls::{Calls, Served};
use clap::{Args, ValueEnum};
use exec::Exec;
use serde_json::json;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const EXAMPLES: &str = "\
Examples:
  rob serve echo --exec cat
  rob serve clock --exec 'date +%H:%M'
  rob serve math --exec 'jq \"{sum: (.a + .b)}\"'         rob call math add {ii} a 10 b 32
  rob serve disk --exec 'case \"$ROB_METHOD\" in free) df --output=avail / | tail -1;; *) exit 1;; esac'
  rob serve build --exec ./build.sh --concurrency 1 --timeout 600

The command gets the call's value as JSON on standard input, and in its environment ROB_OBJECT, ROB_METHOD, ROB_CALLER (the
name that the caller declares), ROB_CALLER_PEER, ROB_CALLER_PID, ROB_CALLER_UID and, where the call has one, TRACEPARENT. What it prints is the
result: JSON as it is, other text as a string, nothing as null. What it prints on standard error goes on to rob's; with an exit
status other than 0 the caller gets it as the text of an error. These values are the caller's: quote them (\"$ROB_METHOD\").
Under Windows cmd.exe runs the command: write !ROB_METHOD!, never %ROB_METHOD%, which would be read as a part of the command;
calls whose method or caller's name has one of & | < > ( ) ^ % ! \" are refused there.";

/// What is said of an object without `--about`. Its command may have secrets in it.
const ABOUT: &str = "a shell command (rob serve)";
/// The variables whose values the caller chooses freely.
const CALLERS: [&str; 3] = ["ROB_METHOD", "ROB_CALLER", "TRACEPARENT"];
/// How long the broker may take to note that the name is given up, and to take the last answers.
const GIVING_UP: Duration = Duration::from_secs(5);
/// Calls that are taken at the same time, most of them to wait. The broker lets no more be open.
const TAKEN_MAX: usize = 65_536;

/// `rob serve`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The object's name.
    #[arg(value_name = "OBJECT", value_parser = name)]
    pub(crate) object: String,
    /// The command that answers each call, as sh (Windows: cmd.exe) understands it.
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true, value_parser = line)]
    exec: String,
    /// How many commands run at the same time, from 1 to 1024; other calls wait in order.
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true, value_parser = |text: &str| number(text, 1_024))]
    concurrency: u64,
    /// The most that a command may print, in MiB, from 1 to 256; more is an error, and the command is killed.
    #[arg(long, value_name = "MIB", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, 256))]
    output_limit: u64,
    /// Share the object with others who ask for the same: each call goes to one of them.
    #[arg(long, value_name = "BALANCE", num_args = 0..=1, require_equals = true, default_missing_value = "round-robin")]
    group: Option<Sharing>,
    /// What `rob describe` says of the object to whoever asks; the command itself is not told.
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// When the name is taken, wait until it is free.
    #[arg(long, conflicts_with = "group")]
    queue: bool,
}

/// A line for the shell. An empty one, as of a variable that is not set, would answer every call with null.
fn line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the command is empty".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Which member of a group gets a call.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Sharing {
    /// One after the other.
    RoundRobin,
    /// Who has the fewest open calls.
    LeastBusy,
    /// Calls with the same `route.key` go to the same one.
    Sticky,
}

/// Serves until it is told to stop, or as many calls as were asked for.
pub(crate) async fn run(wanted: &Serve, session: &mut Session) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Remote, format!("serve {}: {error}", wanted.object));
    if let Some(name) = filter::read_as_commands(&wanted.exec, &CALLERS) {
        let text = format!(
            "serve {}: %{name}% is the caller's text, and would be read as a part of the command; write !{name}!",
            wanted.object
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    let mut signals = EndSignals::receive_at_terminal().map_err(failed)?;
    let news = session.client.connection_events();
    let (served, calls) = unbounded_channel();
    let registering = register(wanted, session, served);
    let mut registration = unless_ended(&mut signals, registering).await?;
    say_begin(wanted, &registration, session)?;
    let mut calls = Calls::new(calls, &session.options);
    let ended = {
        let mut serving = Serving {
            object: &wanted.object,
            registration: &mut registration,
            news,
            quiet: session.options.quiet,
        };
        serving
            .until_told(&mut calls, &mut signals, &mut session.output)
            .await?
    };
    // Without a broker there is nobody to tell that the name is given up, and one that hangs need not know it.
    let told = tokio::time::timeout(GIVING_UP, registration.unregister());
    tokio::select! {
        biased;
        signal = signals.next() => return Err(Failure::new(Exit::of_signal(signal), "")),
        _ = told => {}
    }
    drain(&wanted.object, &mut calls, &mut signals, &mut session.output).await?;
    // The last answers are on their way before the connection ends.
    let flushed = tokio::time::timeout(GIVING_UP, session.client.flush());
    tokio::select! {
        _ = flushed => {}
        _ = signals.next() => {}
    }
    match ended {
        None => Ok(()),
        Some(signal) => Err(Failure::new(Exit::of_signal(signal), "")),
    }
}

async fn register(
    wanted: &Serve,
    session: &Session,
    served: UnboundedSender<Served>,
) -> Result<Registration, Failure> {
    let most = usize::try_from(wanted.output_limit << 20).unwrap_or(usize::MAX);
    let places = usize::try_from(wanted.concurrency).unwrap_or(1);
    let several = (places, session.options.count);
    let line = (wanted.exec.as_str(), session.options.addr.clone());
    let exec = Exec::new(line, session.options.timeout, most, served, several);
    let mut register = session
        .client
        .register(&wanted.object, exec)
        // All that come are taken, so that none is lost at the end; how many run, the handler knows.
        .concurrency(TAKEN_MAX)
        .description(json!({ "text": shortened(wanted.about.as_deref().unwrap_or(ABOUT)) }).to_string());
    register = match wanted.group {
        None => register,
        Some(Sharing::RoundRobin) => register.group(Balance::RoundRobin),
        Some(Sharing::LeastBusy) => register.group(Balance::LeastBusy),
        Some(Sharing::Sticky) => register.group(Balance::Sticky),
    };
    if wanted.queue {
        register = register.queue();
    }
    let registered = tokio::time::timeout(PATIENCE, register).await;
    let silent = |_| Err(CallError::new(ErrorCode::Deadline, "the broker did not answer"));
    registered.unwrap_or_else(silent).map_err(|error| {
        let taken = error.code == ErrorCode::NameTaken;
        let mut failure = Failure::of_call(&format!("serve {}", wanted.object), error);
        if taken {
            failure.message.push_str(match wanted.group {
                None => "; --queue waits for the name, --group shares it with others that do the same",
                Some(_) => "; who has it does not share it, or in another way",
            });
        }
        failure
    })
}

/// A description has 4 KiB at most.
fn shortened(about: &str) -> String {
    const MOST: usize = 500;
    match about.char_indices().nth(MOST) {
        None => about.to_owned(),
        Some((end, _)) => format!("{}…", about.get(..end).unwrap_or_default()),
    }
}

fn say_begin(wanted: &Serve, registration: &Registration, session: &mut Session) -> Result<(), Failure> {
    if session.options.quiet {
        return Ok(());
    }
    let object = printable(&wanted.object);
    let text = match registration.standing() {
        Standing::Queued => format!("Waiting for {object}, which another has. Press ctrl+c to exit."),
        _ => format!("Serving {object}. Press ctrl+c to exit."),
    };
    if session.output.json() {
        say::note(&text);
        Ok(())
    } else {
        Ok(session.output.text(&format!("{text}\n"))?)
    }
}

/// Waits for the commands that run; a second signal kills them.
async fn drain(
    object: &str,
    calls: &mut Calls,
    signals: &mut EndSignals,
    output: &mut Output,
) -> Result<(), Failure> {
    calls.catch_up(output)?;
    if calls.running() > 0 {
        let commands = if calls.running() == 1 {
            "command"
        } else {
            "commands"
        };
        let running = calls.running();
        say::warn(&format!(
            "{object} is given up; waiting for {running} {commands}, ctrl+c kills what runs"
        ));
    }
    while calls.running() > 0 {
        tokio::select! {
            signal = signals.next() => return Err(Failure::new(Exit::of_signal(signal), "")),
            call = calls.next() => calls.note(&call, output)?,
        }
    }
    Ok(())
}

/// An object that is served.
struct Serving<'a> {
    object: &'a str,
    registration: &'a mut Registration,
    news: ConnectionEvents,
    quiet: bool,
}

impl Serving<'_> {
    /// Until a signal comes, or as many calls as were asked for have ended.
    async fn until_told(
        &mut self,
        calls: &mut Calls,
        signals: &mut EndSignals,
        output: &mut Output,
    ) -> Result<Option<EndSignal>, Failure> {
        while !calls.enough() {
            tokio::select! {
                signal = signals.next() => return Ok(Some(signal)),
                call = calls.next() => calls.note(&call, output)?,
                standing = self.registration.changed() => self.stands(standing)?,
                Some(news) = self.news.next() => {
                    let doing = "serving; calls in between found no object";
                    news::of_connection(&news, doing).map_err(|why| self.lost(&why))?;
                }
            }
        }
        Ok(None)
    }

    /// What became of the name.
    fn stands(&self, standing: Standing) -> Result<(), Failure> {
        match standing {
            Standing::Owner if !self.quiet => say::warn(&format!("{} is this one's now", self.object)),
            Standing::Lost(why) => return Err(self.lost(&why)),
            _ => {}
        }
        Ok(())
    }

    fn lost(&self, why: &str) -> Failure {
        Failure::new(Exit::Lost, format!("serve {}: {why}", self.object))
    }
}
