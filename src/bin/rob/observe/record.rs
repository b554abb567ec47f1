//! `rob record`: the broker's traffic into a file.
//!
//! Owns how the file is made and when it ends; `recording` has its format, `tap` the traffic. Called by `commands`.

use super::ask::BROKER;
use super::monitor::{Kind, PAYLOAD_MAX, Which, interrupted, lost, next_within, parsed};
use super::recording::{Header, VERSION, Writer};
use super::tap::{News, Tap};
use super::words::{count, unix_micros};
use crate::commands::session::{Session, unless_ended};
use crate::exit::{Exit, Failure};
use crate::options::{number, seconds};
use crate::output::Output;
use crate::say::{self, warn};
use actix_ipc::platform::closed::is_closed_pipe;
use actix_ipc::platform::signals::EndSignals;
use actix_ipc::terminal::printable;
use clap::Args;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records a second that are asked for unless `--rate` says another number: so many leave a busy broker four fifths of its rate
/// (`benches/monitor.sh record`).
const RATE: u64 = 2_000;

/// `rob record`.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Record {
    /// The file, which must not be there yet; - for stdout.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    /// So many bytes of each payload; what is longer cannot be replayed.
    #[arg(long, value_name = "BYTES", default_value = "1048576", value_parser = |text: &str| number(text, PAYLOAD_MAX))]
    pub(crate) payloads: u64,
    /// End after so long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// Fail in the end when anything is missing in the recording.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Replace the file if it is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Records until ctrl+c, or as long as was asked for.
pub(crate) async fn run(wanted: &Record, session: &mut Session) -> Result<(), Failure> {
    let mut signals = EndSignals::receive_at_terminal()
        .map_err(|error| Failure::new(Exit::Refused, format!("record: no signals ({error})")))?;
    let mut which = wanted.which.clone();
    if which.kind.is_empty() {
        which.kind = vec![Kind::Call, Kind::Reply, Kind::Event];
    }
    which.rate = which.rate.or(Some(RATE));
    let filter = which.filter(Some(wanted.payloads));
    let opening = Tap::open(&session.client, filter.clone(), &session.options);
    let mut tap = unless_ended(&mut signals, opening).await?;
    let header = Header {
        rob_recording: VERSION,
        rob: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: session.client.epoch().to_string(),
        started_us: unix_micros(),
        filter,
    };
    let cannot = |error| cannot_write(&wanted.file, &error);
    let out = create(&wanted.file, wanted.force).map_err(cannot)?;
    let mut writer = Writer::new(BufWriter::new(out), &header).map_err(cannot)?;
    begin(wanted, session.options.quiet, &mut session.output)?;
    let time = async {
        match wanted.seconds {
            // The time itself is what is waited for.
            Some(seconds) => drop(tokio::time::timeout(seconds, std::future::pending::<()>()).await),
            None => std::future::pending().await,
        }
    };
    let recording = traffic(
        &mut tap,
        session.options.timeout,
        (session.options.count, u64::MAX),
        &mut writer,
        &wanted.file,
    );
    let ended = tokio::select! {
        ended = recording => ended,
        () = time => Ok(()),
        signal = signals.next() => Err(Failure::new(Exit::of_signal(signal), String::new())),
    };
    let most = session.options.count;
    if most.is_none_or(|most| writer.records < most) && is_in_order(&ended) {
        // What has passed until now is on its way. A second signal does not wait for it.
        let whole = tokio::select! {
            // Why not does not matter to what is in the file; one that cannot be written is found at its end.
            rest = rest(&mut tap, most, &mut writer, &wanted.file) => rest.unwrap_or(false),
            _ = signals.next() => false,
        };
        unsure(whole, &mut writer).map_err(cannot)?;
    } else {
        unsure(session.client.is_connected(), &mut writer).map_err(cannot)?;
    }
    // Whatever ended it, the file is complete.
    writer.end(unix_micros()).map_err(cannot)?;
    summary(wanted, &writer, session)?;
    match (missing(writer.dropped, writer.interrupted), ended) {
        // Also when a signal ended it, or that nothing came any more.
        (Some(missing), ended) if wanted.strict && (is_in_order(&ended) || is_late(&ended)) => {
            Err(Failure::new(Exit::Lost, format!("record: {missing} (--strict)")))
        }
        (_, ended) => ended,
    }
}

/// A signal ends it without a word.
fn is_in_order(ended: &Result<(), Failure>) -> bool {
    !matches!(ended, Err(failure) if !failure.message.is_empty())
}

/// Nothing came for as long as `--timeout` says.
fn is_late(ended: &Result<(), Failure>) -> bool {
    matches!(ended, Err(failure) if failure.exit == Exit::Timeout)
}

/// What is missing, in words.
fn missing(dropped: u64, lost: u64) -> Option<String> {
    let records = match dropped {
        1 => "1 record was dropped".to_owned(),
        many => format!("{} records were dropped", count(many)),
    };
    let connection = match lost {
        1 => "the connection was lost once".to_owned(),
        2 => "the connection was lost twice".to_owned(),
        many => format!("the connection was lost {} times", count(many)),
    };
    match (dropped, lost) {
        (0, 0) => None,
        (_, 0) => Some(records),
        (0, _) => Some(connection),
        _ => Some(format!("{records} and {connection}")),
    }
}

/// A broker that is gone at the end, or does not answer, has not told everything.
fn unsure<W: Write>(whole: bool, writer: &mut Writer<W>) -> io::Result<()> {
    if whole {
        return Ok(());
    }
    let reason = "the broker did not say in the end that this is all".to_owned();
    writer.interrupted(unix_micros(), reason, false)
}

/// How long the end waits for the broker to say that everything is told.
const REST_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a broker that is older and cannot say it.
const OLD_PATIENCE: Duration = Duration::from_millis(400);

/// Writes what has passed until now. Returns whether that is all, as far as the broker says.
async fn rest<W: Write>(
    tap: &mut Tap<'_>,
    most: Option<u64>,
    writer: &mut Writer<W>,
    file: &Path,
) -> Result<bool, Failure> {
    let before = writer.interrupted;
    let (whole, patience, mark) = match tap.mark(REST_PATIENCE).await {
        Ok(Some(mark)) => (false, REST_PATIENCE, mark),
        Ok(None) => (true, OLD_PATIENCE, u64::MAX),
        Err(_) => return Ok(false),
    };
    let rest = traffic(tap, None, (most, mark), writer, file);
    let told = match tokio::time::timeout(patience, rest).await {
        Ok(told) => told.map(|()| true)?,
        Err(_) => whole,
    };
    // What the broker of another connection says is about that one.
    Ok(told || writer.interrupted > before)
}

/// Whether a record is of a question for a mark, which is rob's own and nothing to be recorded. `tickets`: those of such calls.
fn of_mark(raw: &str, tickets: &mut Vec<u64>) -> bool {
    let record = parsed(raw);
    if record.object.as_deref() != Some(BROKER) {
        return false;
    }
    let Some(ticket) = record.ticket else {
        return false;
    };
    if record.member.as_deref() == Some("mark") {
        tickets.push(ticket);
    }
    tickets.contains(&ticket)
}

/// Writes what comes, until there were as many as are wanted or all before the mark is told.
async fn traffic<W: Write>(
    tap: &mut Tap<'_>,
    timeout: Option<Duration>,
    (most, mark): (Option<u64>, u64),
    writer: &mut Writer<W>,
    file: &Path,
) -> Result<(), Failure> {
    let cannot = |error| cannot_write(file, &error);
    let (mut told, mut marks) = (false, Vec::new());
    loop {
        let news = match timeout {
            None => tap.next().await?,
            Some(patience) => next_within("record", tap, patience).await?,
        };
        match news {
            News::Lost { reason } => lost(&reason),
            News::Interrupted { reason, same_broker } => {
                interrupted();
                writer
                    .interrupted(unix_micros(), reason, same_broker)
                    .map_err(cannot)?;
            }
            News::Records(batch) => {
                let left = most.map_or(u64::MAX, |most| most.saturating_sub(writer.records));
                let asking = mark != u64::MAX;
                let wanted = batch
                    .records
                    .iter()
                    .filter(|raw| !(asking && of_mark(raw.get(), &mut marks)));
                for raw in wanted.take(usize::try_from(left).unwrap_or(usize::MAX)) {
                    writer.record(raw.get()).map_err(cannot)?;
                }
                writer.dropped(unix_micros(), batch.dropped).map_err(cannot)?;
                told = batch.mark.is_some_and(|told| told >= mark);
            }
        }
        // Who reads along, and who pulls the plug, finds whole records.
        writer.flush().map_err(cannot)?;
        if told || most.is_some_and(|most| writer.records >= most) {
            return Ok(());
        }
    }
}

fn is_stdout(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// The file, readable by its owner alone: payloads are in it.
fn create(file: &Path, force: bool) -> io::Result<Box<dyn Write>> {
    if is_stdout(file) {
        return Ok(Box::new(io::stdout()));
    }
    // What is no file, as a device or a pipe, is written to and never replaced; a link stays one, also to what is not there yet.
    let there = std::fs::metadata(file);
    if there
        .as_ref()
        .is_ok_and(|there| !there.is_file() && !there.is_dir())
    {
        return Ok(Box::new(std::fs::OpenOptions::new().write(true).open(file)?));
    }
    let target = match there {
        Ok(_) if force => file.canonicalize()?,
        Err(_) if force => behind_links(file)?,
        _ => file.to_owned(),
    };
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".rob-record-")
        .tempfile_in(folder);
    // The name that the file had for a moment is of no use to anybody.
    let made = made.map_err(|error| io::Error::from(error.kind()))?;
    let placed = if force {
        made.persist(&target)
    } else {
        made.persist_noclobber(&target)
    };
    Ok(Box::new(placed.map_err(|error| error.error)?))
}

/// Links that lead to one another, at most.
const LINKS_MAX: usize = 40;

/// Where a link to nothing leads; what is no link, where it is.
fn behind_links(file: &Path) -> io::Result<PathBuf> {
    let mut place = file.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&place) {
            Ok(next) => place = place.parent().unwrap_or_else(|| Path::new("")).join(next),
            Err(_) => return Ok(place),
        }
    }
    Err(io::Error::other("its links lead to one another"))
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    if is_stdout(file) && is_closed_pipe(error) {
        return Failure::new(Exit::ClosedOutput, String::new());
    }
    let name = file.display();
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists if file.is_dir() => "it is a folder; name a file in it".to_owned(),
        io::ErrorKind::AlreadyExists => "it is there already; --force replaces it".to_owned(),
        io::ErrorKind::NotFound => "its folder is not there; make it, or name another".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this user may not write there; name a file in a folder of your own".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::new(Exit::Output, format!("record: {name} cannot be written: {why}"))
}

fn begin(wanted: &Record, quiet: bool, output: &mut Output) -> Result<(), Failure> {
    let name = wanted.file.to_string_lossy();
    let name = match is_stdout(&wanted.file) {
        true => "standard output".into(),
        false => printable(&name),
    };
    let text = format!("Recording to {name}. Press ctrl+c to end.");
    if quiet {
        return Ok(());
    }
    if output.json() || is_stdout(&wanted.file) {
        say::note(&text);
    } else {
        output.text(&format!("{text}\n"))?;
    }
    Ok(())
}

fn summary<W>(wanted: &Record, writer: &Writer<W>, session: &mut Session) -> Result<(), Failure> {
    let name = wanted.file.to_string_lossy();
    let (records, dropped, lost) = (writer.records, writer.dropped, writer.interrupted);
    if session.output.json() && !is_stdout(&wanted.file) {
        let line = json!({"file": name, "records": records, "dropped": dropped, "interrupted": lost});
        session
            .output
            .text(&format!("{}\n", crate::output::compact(&line.to_string())))?;
    } else if !session.options.quiet || dropped > 0 || lost > 0 {
        let mut missing = missing(dropped, lost).unwrap_or_else(|| "nothing is missing".to_owned());
        if dropped > 0 {
            missing.push_str("; fewer are when a filter lets less through, or --payloads less of each");
        }
        let name = match is_stdout(&wanted.file) {
            true => "standard output".into(),
            false => name,
        };
        let noun = if records == 1 { "record" } else { "records" };
        warn(&format!("{} {noun} in {name}; {missing}", count(records)));
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_one_wherever_it_leads() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [first, second, there] = ["first", "second", "there"].map(|name| folder.path().join(name));
        symlink("second", &first).unwrap();
        symlink(&there, &second).unwrap();
        // To what is not there, and to what is.
        for text in ["one", "two"] {
            assert!(create(&first, false).is_err(), "nothing is replaced unasked");
            let mut out = create(&first, true).unwrap();
            out.write_all(text.as_bytes()).unwrap();
            drop(out);
            assert!(first.is_symlink() && second.is_symlink());
            assert_eq!(std::fs::read_to_string(&there).unwrap(), text);
        }
        std::fs::remove_file(&second).unwrap();
        symlink(&first, &second).unwrap();
        assert!(create(&first, true).is_err(), "they lead to one another");
        assert!(first.is_symlink() && second.is_symlink());
    }
}
