//! The stream of records that one monitor is told.
//!
//! Owns the pace: what waits is told at once, then at most every [`TICK`], or every [`BUSY_TICK`] while records are dropped. It waits
//! for its caller's credit and for nobody else: what comes meanwhile is dropped at the tap. Started by the built-in object for each call
//! of `sys.broker`'s `monitor`.

use super::object_call::Responder;
use crate::actors::core::Shared;
use crate::actors::observe::record::Record;
use crate::actors::observe::tap::{Filter, FilterError, Monitor, Tap, Watcher};
use crate::error::{CallError, ErrorCode};
use crate::message::Payload;
use crate::policy::{Principal, Right, Rights};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Records come together for so long, so that a busy broker tells many at a time.
const TICK: Duration = Duration::from_millis(20);
/// The same while more passes than may be told: nobody reads along then, and each time somebody is woken who takes a processor from those
/// whose traffic it is.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// While nothing passes, it is told so often how many were dropped.
const QUIET: Duration = Duration::from_millis(250);
/// About so many bytes of records make an item.
const ITEM_BYTES: usize = 128 * 1024;

/// Leaves the tap when the stream ends, however it does.
pub(super) struct Watching {
    tap: Arc<Tap>,
    monitor: Arc<Monitor>,
}

impl Watching {
    /// Somebody watches from now on.
    ///
    /// # Errors
    /// [`FilterError`].
    pub(super) fn begin(tap: &Arc<Tap>, filter: Filter, who: Watcher) -> Result<Self, FilterError> {
        let (tap, monitor) = (tap.clone(), tap.watch(filter, who)?);
        Ok(Self { tap, monitor })
    }

    /// What is watched.
    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.tap.leave(&self.monitor);
    }
}

/// Tells what passes, until the caller does not want it any more or the broker stops; then what waits is told before the end.
pub(super) async fn run(
    shared: Arc<Shared>,
    watching: Watching,
    principal: Arc<Principal>,
    mut responder: Responder,
) -> Result<(), CallError> {
    let mut rights = Rights::default();
    let (cancelled, stopping) = (responder.cancelled(), shared.stop_rung.notified());
    tokio::pin!(cancelled, stopping);
    stopping.as_mut().enable();
    let mut ends = shared.stopping.load(Ordering::Acquire);
    let mut marked = shared.marks.load(Ordering::Acquire);
    // The first item comes at once: from now on nothing is missed.
    responder.more(item(&[], 0, None)?).await?;
    let mut last = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = &mut cancelled => return Ok(()),
            () = &mut stopping, if !ends => ends = true,
            // Also when nothing comes: what was dropped is to be told.
            _ = tokio::time::timeout(QUIET, watching.monitor.stirred()) => {}
        }
        // The policy may be another one by now; what is done already is not told to who may not see it any more.
        if !rights.may(&shared.policy, &principal, Right::Monitor, b"") {
            return responder.error(CallError::from(ErrorCode::Denied));
        }
        // Before the look: what passed before the mark is among what is found now, or has been told.
        let mark = Some(shared.marks.load(Ordering::Acquire)).filter(|mark| *mark != marked);
        let (records, mut dropped) = watching.monitor.drain(last.elapsed());
        last = Instant::now();
        let pause = if dropped > 0 { BUSY_TICK } else { TICK };
        for part in parts(&records) {
            responder
                .more(item(part, std::mem::take(&mut dropped), None)?)
                .await?;
        }
        if dropped > 0 || mark.is_some() {
            responder.more(item(&[], dropped, mark)?).await?;
            marked = mark.unwrap_or(marked);
        }
        if ends {
            return responder.error(CallError::from(ErrorCode::Draining));
        }
        if !records.is_empty() {
            tick.reset_after(pause);
            tokio::select! {
                () = &mut stopping => ends = true,
                _ = tick.tick() => {}
            }
        }
    }
}

/// The records in runs of about an item's size.
fn parts(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut bytes = 0_usize;
    records.chunk_by(move |before, _| {
        bytes = bytes.saturating_add(before.cost());
        if bytes > ITEM_BYTES {
            bytes = 0;
            return false;
        }
        true
    })
}

/// What is told at once.
#[derive(Serialize)]
struct Item<'a> {
    records: &'a [Record],
    dropped: u64,
    /// Everything that passed before this mark has been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u64>,
}

fn item(records: &[Record], dropped: u64, mark: Option<u64>) -> Result<Payload, CallError> {
    let item = Item {
        records,
        dropped,
        mark,
    };
    Payload::json(&item).map_err(|error| CallError::new(ErrorCode::Encoding, error.to_string()))
}
