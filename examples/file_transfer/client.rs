//! The client's half: sends a file, and goes on where it was when the connection breaks.
//!
//! Owns the order of a transfer and what the client hears of it. Where to begin is decided in `transfer.rs`, what comes back is
//! shown by `main.rs`.

use super::program::said;
use super::protocol::{FileSender, file_protocol::Commands as _, progress_protocol};
use super::source::Source;
use super::transfer::{CHECK_MAX, Checksum, Start, Summing, bar, human, percent, place, start};
use actix_ipc::client::{ConnectionEvent, ConnectionEvents};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::{ProtocolSender, RpcClient, protocol_handler};
use futures::FutureExt;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Broken connections after which it gives up.
const TRIES: usize = 10;
/// What putting a whole file on the server's disk may take.
const STORED: Duration = Duration::from_secs(600);
/// How long the last push is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a bar.
const WIDTH: u64 = 40;

/// Why a file is not at the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the file cannot be sent: {0}")]
    Read(#[from] std::io::Error),
    #[error("{}", called(.0))]
    Call(#[from] CallError),
    #[error("the transfer failed at the server: {reason}")]
    Failed { name: String, reason: String },
    #[error("the connection broke {TRIES} times")]
    GaveUp,
    #[error("there will be no other connection: {0}")]
    Closed(String),
}

/// Who has said no: the server's program, or the connection.
fn called(error: &CallError) -> String {
    match error.code {
        ErrorCode::Handler => format!("the server refuses it: {}", said(error)),
        ErrorCode::BrokerGone | ErrorCode::NotConnected => said(error),
        _ => format!("a call of the server failed: {error}"),
    }
}

impl SendError {
    /// Whether another connection may do better.
    const fn is_broken(&self) -> bool {
        matches!(
            self,
            Self::Call(CallError {
                code: ErrorCode::BrokerGone | ErrorCode::NotConnected | ErrorCode::Draining,
                ..
            })
        )
    }

    /// Whether the server knows nothing of the transfer: another client has the name now, or the command went over a connection that
    /// has followed the one of the transfer.
    fn is_unknown(&self) -> bool {
        match self {
            Self::Call(error) => error.name.as_deref() == Some("NoTransfer"),
            Self::Failed { name, .. } => name == "NoTransfer",
            _ => false,
        }
    }
}

/// What is sent, and how.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) chunk: u32,
    /// Waits at this hundredth until the connection breaks: to see how a transfer is resumed.
    pub(crate) hold_at: Option<u64>,
    /// Told when it waits there.
    pub(crate) held: Arc<Notify>,
}

/// A file that is at the server.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) success: bool,
    pub(crate) size: u64,
    pub(crate) checksum: Checksum,
}

/// What the server tells of a transfer.
pub(crate) struct Progress {
    /// The last tenth that was shown, where there is no terminal.
    tenth: AtomicU64,
    /// The transfer and how much of it has arrived.
    seen: watch::Sender<(u64, u64)>,
    failed: watch::Sender<Option<(u64, String, String)>>,
}

/// Where it is heard.
pub(crate) struct News {
    seen: watch::Receiver<(u64, u64)>,
    failed: watch::Receiver<Option<(u64, String, String)>>,
}

impl News {
    /// The last push came before the answer to the last command; who shows it may still be at work. So that the bar ends before what
    /// follows.
    async fn last_shown(&self, id: u64, size: u64) {
        let mut seen = self.seen.clone();
        let shown = seen.wait_for(|seen| *seen == (id, size));
        drop(tokio::time::timeout(PATIENCE, shown).await);
    }
}

protocol_handler!(pub ProgressReceiver impl [progress_protocol] with Progress);

impl Progress {
    pub(crate) fn new() -> (Self, News) {
        let ((seen, seeing), (failed, failing)) = (watch::channel((0, 0)), watch::channel(None));
        let tenth = AtomicU64::new(0);
        let news = News {
            seen: seeing,
            failed: failing,
        };
        (Self { tenth, seen, failed }, news)
    }
}

impl progress_protocol::Receive for Progress {
    async fn progress(&self, file_id: u64, received: u64, total: u64) -> actix_ipc::protocol::Result<()> {
        self.show(received, total);
        self.seen.send_replace((file_id, received));
        Ok(())
    }

    async fn failed(&self, file_id: u64, name: String, reason: String) -> actix_ipc::protocol::Result<()> {
        self.failed.send_replace(Some((file_id, name, reason)));
        Ok(())
    }
}

impl Progress {
    fn show(&self, received: u64, total: u64) {
        let mut out = std::io::stdout().lock();
        if out.is_terminal() {
            let end = if received == total { "\n" } else { "" };
            // As in `say!`: the transfer goes on without somebody who looks on.
            // `1.0 MiB` is shorter than the `1023.9 KiB` before it.
            let _ = write!(
                out,
                "\r{} {:<10}{end}",
                bar(received, total, WIDTH),
                human(received)
            );
            let _ = out.flush();
            return;
        }
        drop(out);
        let tenth = percent(received, total) / 10;
        if self.tenth.swap(tenth, Ordering::Relaxed) != tenth {
            say!(
                "Progress: {:3}% ({received} of {total} bytes)",
                percent(received, total)
            );
        }
    }
}

/// Sends a file over as many connections as it takes.
pub(crate) async fn send(
    client: &RpcClient<FileSender>,
    news: &News,
    source: &mut Source,
    mut plan: Plan,
) -> Result<Sent, SendError> {
    // Before the first try, so that no event of it is missed.
    let mut events = client.connection_events();
    for _ in 0..TRIES {
        // A transfer belongs to its connection, and a sender does not: what it sends after a loss goes over the next connection, where
        // nobody knows of the transfer. So the loss is watched for, and not only seen by a call that fails.
        let ended = tokio::select! {
            biased;
            error = broken(&mut events) => Err(error),
            ended = attempt(client, news, source, &plan) => ended,
        };
        let error = match ended {
            Err(error) if error.is_broken() => error,
            // The loss was told before the new server could refuse anything.
            Err(error) if error.is_unknown() => match broken(&mut events).now_or_never() {
                Some(broken) => broken,
                None => return Err(error),
            },
            ended => return ended,
        };
        say!("Connection lost ({error}); waiting for another");
        plan.hold_at = None;
        loop {
            match events.next().await {
                Some(ConnectionEvent::Reconnected { .. }) => break,
                Some(ConnectionEvent::Missed(_)) if client.is_connected() => break,
                Some(ConnectionEvent::Closed { reason }) => return Err(SendError::Closed(reason)),
                Some(_) => {}
                None => return Err(SendError::Closed("the client was closed".to_owned())),
            }
        }
        say!("Connected again");
    }
    Err(SendError::GaveUp)
}

/// Where sending begins.
struct Begun {
    id: u64,
    offset: u64,
    /// Of the bytes before it.
    sum: Summing,
}

/// Asks for the transfer, and compares what the server has of it.
async fn begin(
    sender: &FileSender,
    source: &mut Source,
    plan: &Plan,
    buffer: &mut [u8],
) -> Result<Begun, SendError> {
    let size = source.size();
    say!("Requesting file transfer: {} ({})", plan.name, human(size));
    let ask = |restart| sender.request_transfer(plan.name.clone(), size, plan.chunk, restart);
    let begun = ask(false).await?;
    let (id, offset) = (begun.file_id, begun.offset);
    source.seek(0).await?;
    let (mut sum, mut theirs, mut at) = (Summing::default(), Checksum::default(), 0);
    // A longer one is of another file.
    while offset <= size && at < offset && theirs == sum.sum() {
        let to = offset.min(at + CHECK_MAX);
        // Both read at the same time.
        let check = async { sender.check(id, to).await.map_err(SendError::from) };
        let own = async {
            add(source, &mut sum, to - at, buffer).await?;
            Ok::<_, SendError>(())
        };
        let (checked, ()) = tokio::try_join!(check, own)?;
        (theirs, at) = (Checksum(checked), to);
    }
    match start(offset, at, theirs, sum.sum()) {
        Start::Beginning => {}
        Start::Resume(offset) => say!("Resuming at byte {offset} of {size}"),
        Start::Restart => {
            say!("The server has part of another file of this name; sending it from the beginning");
            let begun = ask(true).await?;
            source.seek(0).await?;
            return Ok(Begun {
                id: begun.file_id,
                offset: begun.offset,
                sum: Summing::default(),
            });
        }
    }
    Ok(Begun { id, offset, sum })
}

async fn attempt(
    client: &RpcClient<FileSender>,
    news: &News,
    source: &mut Source,
    plan: &Plan,
) -> Result<Sent, SendError> {
    let sender = client.sender();
    let size = source.size();
    let mut buffer = vec![0; usize::try_from(plan.chunk).unwrap_or(1024)];
    let begun = begin(sender, source, plan, &mut buffer).await?;
    let Begun { id, mut sum, .. } = begun;
    say!("File transfer initiated: File ID: {id}");
    say!(
        "Sending {} in chunks of {}",
        human(size - begun.offset),
        human(plan.chunk.into())
    );
    let began = Instant::now();
    let hold = plan.hold_at.map(|hundredth| place(hundredth, size));
    let mut offset = begun.offset;
    while offset < size {
        let failure = news.failed.borrow().clone();
        if let Some((_, name, reason)) = failure.filter(|failure| failure.0 == id) {
            return Err(SendError::Failed { name, reason });
        }
        let next = match hold {
            Some(place) if offset >= place => {
                say!(
                    "Holding at {}% until the connection breaks",
                    percent(offset, size)
                );
                plan.held.notify_one();
                // `send` watches for that.
                std::future::pending().await
            }
            Some(place) => place,
            None => size,
        };
        let rest = usize::try_from(next - offset).unwrap_or(usize::MAX);
        let len = buffer.len().min(rest);
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        source.read(bytes).await?;
        sum.add(bytes);
        // It is ready when the chunk is on its way, and waits while the server has too many before it: so neither side holds
        // more than a window of the file in memory.
        sender.chunk(id, offset, bytes).await?;
        offset += u64::try_from(len).unwrap_or(0);
    }
    let patient = FileSender::new(sender.caller().clone().with_deadline(STORED));
    let finished = patient.finish(id, sum.sum().0).await?;
    if begun.offset < size {
        news.last_shown(id, size).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    say!(
        "Transfer completed: {} in {seconds:.2} s",
        human(size - begun.offset)
    );
    Ok(Sent {
        success: finished.success,
        size: finished.size,
        checksum: Checksum(finished.checksum),
    })
}

/// Adds the next bytes of the source to a checksum.
async fn add(source: &mut Source, sum: &mut Summing, bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut rest = bytes;
    while rest > 0 {
        let len = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        source.read(bytes).await?;
        sum.add(bytes);
        rest -= u64::try_from(len).unwrap_or(rest);
    }
    Ok(())
}

/// Until the connection has broken. Cancel safe.
async fn broken(events: &mut ConnectionEvents) -> SendError {
    while let Some(event) = events.next().await {
        if let ConnectionEvent::Lost { reason } | ConnectionEvent::Closed { reason } = event {
            return CallError::new(ErrorCode::BrokerGone, reason).into();
        }
    }
    SendError::Closed("the client was closed".to_owned())
}
