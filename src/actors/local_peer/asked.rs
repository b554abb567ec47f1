//! Who has asked `sys.broker` what there is, and one look for all of them.
//!
//! Owns that a list is made once for all who ask for it at the same time, with the rows of the one who wants most, and that others have
//! their turns meanwhile. What the rows are, `report` knows. Called by the built-in object.

use super::object_call::Responder;
use crate::actors::core::Core;
use crate::actors::observe::listing::Listing;
use crate::actors::observe::report;
use crate::actors::observe::survey::{HubSurvey, RegistrySurvey, SurveyHub, SurveyRegistry};
use crate::error::{CallError, ErrorCode};
use crate::message::{Encoding, Payload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows that are written in one turn.
const ROWS_A_TURN: usize = 256;

/// Somebody who waits for a look at what there is.
pub(super) struct Asking {
    pub(super) wanted: Wanted,
    pub(super) limit: usize,
    pub(super) responder: Responder,
}

/// What can be asked for beside the surveys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Status,
    Connections,
    Objects,
    Topics,
}

/// How many entries of a list are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limit {
    pub(super) limit: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Self { limit: report::LIMIT }
    }
}

/// What both core actors know.
pub(super) async fn survey(core: &Core) -> Result<(RegistrySurvey, HubSurvey), CallError> {
    let (names, hub) = futures::join!(core.registry.send(SurveyRegistry), core.hub.send(SurveyHub));
    names.ok().zip(hub.ok()).ok_or_else(ending)
}

/// Looks once, and tells all who asked. `status` is what is known without a look.
pub(super) async fn tell(core: &Core, mut status: Value, mut asking: Vec<Asking>) {
    let (names, hub) = match survey(core).await {
        Ok(found) => found,
        Err(error) => {
            for asking in asking {
                note(asking.responder.error(error.clone()));
            }
            return;
        }
    };
    if let Some(status) = status.as_object_mut() {
        status.insert("totals".into(), report::totals(&names, &hub));
    }
    let micros = core.shared.micros(core.shared.now()) as u64;
    for wanted in [
        Wanted::Status,
        Wanted::Connections,
        Wanted::Objects,
        Wanted::Topics,
    ] {
        let (mut own, others): (Vec<_>, Vec<_>) =
            asking.into_iter().partition(|asking| asking.wanted == wanted);
        asking = others;
        // The largest first: who wants as many rows is told the same bytes.
        own.sort_by_key(|asking| std::cmp::Reverse(asking.limit));
        let Some(most) = own.first().map(|asking| asking.limit) else {
            continue;
        };
        match wanted {
            Wanted::Status => answer(own, |_| status.to_string().into_bytes()).await,
            Wanted::Connections => {
                let (listing, rows) = report::connections(&names, &hub, micros, most);
                list(own, listing, rows).await;
            }
            Wanted::Objects => {
                let (listing, rows) = report::objects(&names, most);
                list(own, listing, rows.into_iter().map(report::object)).await;
            }
            Wanted::Topics => {
                let (listing, rows) = report::topics(&hub, most);
                list(own, listing, rows.into_iter().map(report::topic)).await;
            }
        }
    }
}

/// Writes the list and tells all who want some of it.
async fn list(asking: Vec<Asking>, mut listing: Listing, rows: impl IntoIterator<Item = impl Serialize>) {
    for (number, row) in (1_usize..).zip(rows) {
        listing.push(&row);
        if number.is_multiple_of(ROWS_A_TURN) {
            tokio::task::yield_now().await;
        }
    }
    answer(asking, |limit| listing.first(limit)).await;
}

/// Tells all of them; the limits descend.
async fn answer(asking: Vec<Asking>, text: impl Fn(usize) -> Vec<u8>) {
    let mut last: Option<(usize, Payload)> = None;
    for Asking { limit, responder, .. } in asking {
        let payload = match &last {
            Some((told, payload)) if *told == limit => payload.clone(),
            _ => Payload {
                encoding: Encoding::JSON,
                bytes: text(limit).into(),
            },
        };
        last = Some((limit, payload.clone()));
        note(responder.reply(payload));
        // Answers may be long, and others have something to do as well.
        tokio::task::yield_now().await;
    }
}

/// Why nothing can be told.
pub(super) fn ending() -> CallError {
    let text = "the broker is ending, and cannot say what is there";
    CallError::new(ErrorCode::Draining, text)
}

/// An answer that did not go out: nobody waits for it any more.
pub(super) fn note(answered: Result<(), CallError>) {
    if let Err(error) = answered {
        tracing::debug!(%error, "an answer of the broker's own objects was not sent");
    }
}
