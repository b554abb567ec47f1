//! From what a handler returned to frames: one reply, a reply in pieces, a stream with credit, or an error.
//!
//! Owns the sending side of an answer. A panic of the handler ends here, as an error to its caller.

use super::content::Content;
use super::failure::{panicked, unread};
use super::handler::{Body, HandlerError, Response};
use super::large::{Large, is_offered, length_of, region_piece};
use super::outgoing::{WHOLE, too_large};
use super::running::ObjectServer;
use super::serving::OpenCall;
use super::shared::{Shared, Spot};
use super::state::{Direct, State};
use super::turn::{Left, Outcome};
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Encoding, Flags, Kind, Metadata, Payload, metadata};
use crate::text;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What one piece of a large message carries, in bytes: small enough that others get their turn.
pub(crate) const PIECE: usize = 64 * 1024;

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) open: &'a OpenCall,
    /// Whether the caller wants it.
    pub(crate) answered: bool,
}

/// Runs the handler to its end, and sends its answer. Before a stream, which lasts as long as its reader pleases, `handled` is told.
pub(crate) async fn work(
    to: To<'_>,
    server: &ObjectServer,
    left: Left,
    (method, streaming): (&str, bool),
    handled: impl FnOnce() + Send,
) {
    let outcome = match left {
        Left::Answering(outcome) => outcome,
        Left::Handling(handling) => match AssertUnwindSafe(handling).catch_unwind().await {
            Ok(outcome) => outcome.and_then(allowed),
            Err(panic) => Err(panicked(server, method, panic.as_ref())),
        },
    };
    if !to.answered {
        return;
    }
    if let Ok(Response {
        body: Body::Stream(_),
        ..
    }) = &outcome
    {
        handled();
    }
    let sent = match outcome {
        Ok(response) => to.response(response, server, method, streaming).await,
        Err(error) => to.error(&error).await,
    };
    if let Err(error) = sent {
        tracing::debug!(object = %text::name(&server.name), method = %text::name(method), %error, "an answer was not sent");
    }
}

/// Adds an answer that is one frame. Gives back what is more than that, or has to wait for room.
pub(crate) fn at_once(
    shared: &Shared,
    open: &OpenCall,
    outcome: Outcome,
    streaming: bool,
    (registered, direct): (bool, Direct),
) -> Option<Outcome> {
    let mut outcome = outcome;
    let Ok(Response {
        body: Body::One(content),
        metadata,
        attachments,
    }) = &mut outcome
    else {
        return Some(outcome);
    };
    let mut state = shared.lock();
    let most = (state.grants.frame_bytes.min(state.grants.message_bytes) as usize).min(WHOLE);
    let offered = is_offered(&state, content.len(), shared.options.regions_from);
    let whole = content.len() <= most && attachments.is_empty() && !offered;
    // An empty raw reply would end a stream without an item.
    let is_end = streaming && content.is_nothing();
    if !whole || is_end || state.life != open.life || !state.takes_frames() {
        drop(state);
        return Some(outcome);
    }
    let idle = state.out.is_idle();
    let draft = Draft::new(Kind::Reply, open.ticket).meta(metadata.as_bytes());
    let serving = &shared.serving;
    let closed = (registered && state.role.is_peer()).then(|| serving.take_out(open));
    content.add_to(&mut state.out, &draft, attachments);
    let next = state.after_push(idle, direct);
    drop(state);
    closed.into_iter().for_each(|closed| serving.tell(closed));
    shared.perform(next);
    None
}

/// The broker ends the connection of a peer that sends metadata which it may not send.
pub(crate) fn allowed(response: Response) -> Result<Response, HandlerError> {
    if response.metadata.is_empty() {
        return Ok(response);
    }
    match metadata::check_from_peer(response.metadata.as_bytes()) {
        Ok(()) => Ok(response),
        Err(error) => {
            let text = format!("the handler answered with metadata that is not allowed: {error}");
            Err(HandlerError::new(text))
        }
    }
}

/// What goes beside a value.
#[derive(Default)]
struct Beside {
    metadata: Metadata,
    attachments: Attachments,
}

impl To<'_> {
    async fn response(
        self,
        response: Response,
        server: &ObjectServer,
        method: &str,
        streaming: bool,
    ) -> Result<(), CallError> {
        let Response {
            body,
            metadata,
            attachments,
        } = response;
        let beside = Beside {
            metadata,
            attachments,
        };
        match body {
            // An empty raw reply would end a stream without an item.
            Body::One(content) if streaming && content.is_nothing() => self.only_item(content, &beside).await,
            Body::One(content) => self.one(content, &beside, Flags::NONE).await,
            Body::Stream(items) if streaming => {
                let sending = AssertUnwindSafe(self.stream(items, &beside)).catch_unwind();
                match sending.await {
                    Ok(sent) => sent,
                    Err(panic) => self.error(&panicked(server, method, panic.as_ref())).await,
                }
            }
            Body::Stream(_) => {
                let text = format!(
                    "{}.{method} answers with a stream; the caller must ask for one",
                    server.name
                );
                let error = HandlerError {
                    code: ErrorCode::Invalid,
                    ..HandlerError::new(text)
                };
                self.failed(&error, true).await
            }
        }
    }

    /// Sends a frame as soon as there is room. On another connection than that of the call it sends nothing.
    pub(crate) async fn send(self, draft: &Draft<'_>, attachments: &Attachments) -> Result<(), CallError> {
        self.send_last(draft, attachments, is_last(draft)).await
    }

    /// The same, told whether the call is over with it.
    async fn send_last(
        self,
        draft: &Draft<'_>,
        attachments: &Attachments,
        last: bool,
    ) -> Result<(), CallError> {
        self.add(last, |state| {
            state.out.encode_with(draft, attachments);
        })
        .await
    }

    /// Adds frames as soon as there is room, told whether the call is over with them.
    async fn add(self, last: bool, mut frames: impl FnMut(&mut State)) -> Result<(), CallError> {
        let mut spot = Spot::new(self.shared, |state| &mut state.out.room);
        let direct = if self.shared.serving.is_alone() {
            Direct::Now
        } else {
            Direct::Together
        };
        std::future::poll_fn(|cx| {
            let serving = &self.shared.serving;
            let mut closed = None;
            let sent = self.shared.poll_push(cx, &mut spot.place, direct, |state| {
                if state.life == self.open.life {
                    // Before anybody can read it: the other program may have as many calls open again then.
                    closed = (last && state.role.is_peer()).then(|| serving.take_out(self.open));
                    frames(state);
                }
            });
            closed.into_iter().for_each(|closed| serving.tell(closed));
            sent
        })
        .await
    }

    /// Sends a frame that the caller's window must cover.
    async fn send_charged(self, draft: &Draft<'_>, attachments: &Attachments) -> Result<(), CallError> {
        std::future::poll_fn(|cx| self.open.charge(draft.wire_len(), cx)).await;
        self.send(draft, attachments).await
    }

    /// Sends a value that is one frame; an item of a stream must be covered by the caller's window.
    async fn whole(
        self,
        draft: &Draft<'_>,
        mut content: Content,
        attachments: &Attachments,
    ) -> Result<(), CallError> {
        if draft.flags.has(Flags::MORE) {
            let bytes = content.wire_len(draft);
            std::future::poll_fn(|cx| self.open.charge(bytes, cx)).await;
        }
        self.add(is_last(draft), |state| {
            content.add_to(&mut state.out, draft, attachments);
        })
        .await
    }

    /// One value, with MORE an item of a stream.
    async fn one(self, mut content: Content, beside: &Beside, flags: Flags) -> Result<(), CallError> {
        let Beside {
            metadata,
            attachments,
        } = beside;
        let (role, frame_bytes, message_bytes, carried) = {
            let state = self.shared.lock();
            (
                state.role,
                state.grants.frame_bytes as usize,
                state.grants.message_bytes as usize,
                state.check_attachments(attachments),
            )
        };
        if let Err(CallError { code, message, .. }) = carried {
            let error = HandlerError {
                code,
                ..HandlerError::new(message)
            };
            return self.error(&error).await;
        }
        let length = content.len();
        if length > message_bytes {
            let refused = too_large(role, "the reply", (length, message_bytes), "message_bytes");
            let error = HandlerError {
                code: ErrorCode::TooLarge,
                ..HandlerError::new(refused.message)
            };
            return self.error(&error).await;
        }
        // Kept until it is sent, which is when the caller takes it.
        let mut kept = self.shared.serving.memory.hold();
        if !kept.grow(length) {
            return self.error(&unread(length)).await;
        }
        content.settle();
        let ticket = self.open.ticket;
        let draft = Draft {
            attachments: u8::try_from(attachments.len()).unwrap_or(u8::MAX),
            ..Draft::new(Kind::Reply, ticket)
        }
        .flags(flags)
        .meta(metadata.as_bytes());
        let piece = PIECE.min(frame_bytes).max(1);
        let from = self.shared.options.regions_from;
        let offered = is_offered(&self.shared.lock(), length, from);
        if !offered && length <= frame_bytes.min(WHOLE) {
            return self.whole(&draft, content, attachments).await;
        }
        let Payload { encoding, bytes } = content.into_payload();
        if offered {
            let first = draft
                .flags(flags.with(Flags::CONTINUED).with(Flags::OFFER))
                .payload(encoding, &[]);
            return self.offered(&first, attachments, (&bytes, encoding), piece).await;
        }
        tracing::trace!(bytes = bytes.len(), way = "pieces", "a large answer");
        let (first, rest) = bytes.split_at_checked(piece).unwrap_or((&bytes, &[]));
        let first = draft.flags(flags.with(Flags::CONTINUED)).payload(encoding, first);
        self.send_charged(&first, attachments).await?;
        self.pieces(rest, encoding, piece, flags).await
    }

    /// One value that is offered as a region.
    async fn offered(
        self,
        first: &Draft<'_>,
        attachments: &Attachments,
        (bytes, encoding): (&Bytes, Encoding),
        piece: usize,
    ) -> Result<(), CallError> {
        self.open.offer();
        self.send_charged(first, attachments).await?;
        let mut large = Large::Asked;
        let region = std::future::poll_fn(|cx| large.poll(cx, bytes, || self.open.offer_answered(cx))).await;
        match region {
            Some(region) => {
                let length = length_of(bytes.len());
                let draft = region_piece(Kind::ReplyPiece, self.open.ticket, &length);
                self.send_charged(&draft, &region).await
            }
            None => self.pieces(bytes, encoding, piece, first.flags).await,
        }
    }

    /// The rest of one value, which began with these flags.
    async fn pieces(
        self,
        rest: &[u8],
        encoding: Encoding,
        piece: usize,
        flags: Flags,
    ) -> Result<(), CallError> {
        let mut pieces = rest.chunks(piece).peekable();
        while let Some(part) = pieces.next() {
            let more = Flags::NONE.with_if(pieces.peek().is_some(), Flags::CONTINUED);
            let draft = Draft::new(Kind::ReplyPiece, self.open.ticket)
                .flags(more)
                .payload(encoding, part);
            std::future::poll_fn(|cx| self.open.charge(draft.wire_len(), cx)).await;
            let last = pieces.peek().is_none() && !flags.has(Flags::MORE);
            self.send_last(&draft, &Attachments::new(), last).await?;
        }
        Ok(())
    }

    async fn only_item(self, content: Content, beside: &Beside) -> Result<(), CallError> {
        self.one(content, beside, Flags::MORE).await?;
        self.end(&Beside::default()).await
    }

    /// The end of a stream without a last item.
    async fn end(self, beside: &Beside) -> Result<(), CallError> {
        self.one(Payload::default().into(), beside, Flags::NONE).await
    }

    async fn stream(
        self,
        mut items: BoxStream<'static, Result<Content, HandlerError>>,
        beside: &Beside,
    ) -> Result<(), CallError> {
        while let Some(item) = items.next().await {
            match item {
                Ok(content) => self.one(content, &Beside::default(), Flags::MORE).await?,
                // Whatever its code: the handler has run, and items may have gone.
                Err(error) => return self.failed(&error, true).await,
            }
        }
        self.end(beside).await
    }
}

/// Whether a call is over with this frame; the last piece of its last reply has no flag that says so.
fn is_last(draft: &Draft<'_>) -> bool {
    let open = Flags::MORE.0 | Flags::CONTINUED.0;
    draft.kind == Kind::Error || (draft.kind == Kind::Reply && draft.flags.0 & open == 0)
}
