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
        let (records, dropped) = watching.monitor.drain(last.elapsed());
        last = Instant::now();
        let pause = if dropped > 0 { BUSY_TICK } else { TICK };
        let dropped = tell(&records, dropped, shared.limits.frame_bytes, &mut responder).await?;
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

/// Tells these records, and how many were dropped before them. Returns how many are still to be told as dropped.
async fn tell(
    records: &[Record],
    mut dropped: u64,
    frame_bytes: usize,
    responder: &mut Responder,
) -> Result<u64, CallError> {
    for part in parts(records) {
        let mut left = vec![part];
        while let Some(part) = left.pop() {
            match fitting(part, dropped, frame_bytes)? {
                Fitting::Whole(item) => {
                    responder.more(item).await?;
                    dropped = 0;
                }
                Fitting::Halves(first, second) => left.extend([second, first]),
                Fitting::Never => dropped = dropped.saturating_add(1),
            }
        }
    }
    Ok(dropped)
}

/// How records go into frames of so many bytes. What JSON makes of them is known when it has been made.
enum Fitting<'a> {
    Whole(Payload),
    Halves(&'a [Record], &'a [Record]),
    /// A single record that exceeds a frame.
    Never,
}

fn fitting(records: &[Record], dropped: u64, frame_bytes: usize) -> Result<Fitting<'_>, CallError> {
    let item = item(records, dropped, None)?;
    if item.bytes.len() <= frame_bytes {
        return Ok(Fitting::Whole(item));
    }
    Ok(match records.split_at_checked(records.len().div_euclid(2)) {
        Some((first, second)) if !first.is_empty() => Fitting::Halves(first, second),
        _ => Fitting::Never,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::observe::said::{Said, What};
    use crate::message::{Encoding, PeerId, Ticket};
    use proptest::prelude::*;

    /// The answer of an object, with so much of its payload.
    fn answer(ticket: u64, payload: usize) -> Record {
        let bytes = vec![1; payload];
        let said = Said {
            what: What::Reply {
                ticket: Ticket(ticket),
                last: true,
                us: None,
                error: None,
            },
            from: Some(PeerId(7)),
            to: Some(PeerId(8)),
            object: "math",
            member: "",
            meta: &[],
            payload: (Encoding::RAW, &bytes),
            total: payload,
            pieces: false,
            attachments: 0,
        };
        said.record(0, payload)
    }

    proptest! {
        #[test]
        fn whatever_fits_a_frame_is_told_in_order_and_the_rest_is_counted(
            sizes in prop::collection::vec(0_usize..3_000, 0..40),
        ) {
            const FRAME: usize = 8_000;
            let records: Vec<Record> = sizes.iter().zip(1..).map(|(size, ticket)| answer(ticket, *size)).collect();
            let (mut told, mut never) = (Vec::new(), 0_u64);
            let mut left = vec![&records[..]];
            while let Some(part) = left.pop() {
                match fitting(part, 0, FRAME).unwrap() {
                    Fitting::Whole(item) => {
                        prop_assert!(item.bytes.len() <= FRAME);
                        told.extend(part.iter().cloned());
                    }
                    Fitting::Halves(first, second) => left.extend([second, first]),
                    Fitting::Never => never += 1,
                }
            }
            let fits = |record: &&Record| {
                let alone = item(std::slice::from_ref(*record), 0, None).unwrap();
                alone.bytes.len() <= FRAME
            };
            let expected: Vec<Record> = records.iter().filter(fits).cloned().collect();
            prop_assert_eq!(&told, &expected);
            prop_assert_eq!(never as usize, records.len() - told.len());
        }
    }
}
