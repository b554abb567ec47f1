//! What is open between a request and its answer: one reusable slot per call, acknowledged publish, ping or query.
//!
//! Owns the assembly of replies, the items of a streamed reply and the credit they hold; knows no socket and no
//! clock. Slots live in a [`super::slab::Slab`] under the connection's lock; the socket's task completes them.

use super::dead::Dead;
use super::peer::Again;
use super::waiters::replace;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachments, Batch, Encoding, Flags, Metadata, Payload};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A reply as it arrived: its payload, and what its handler put beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The value, in the encoding of the call. It may share a buffer of 8 KiB, or of four times its length and 8 KiB, with
    /// other replies; copy what is kept for long.
    pub payload: Payload,
    /// The handler's metadata.
    pub metadata: Metadata,
    /// What the handler attached.
    pub attachments: Attachments,
}

/// How a request ended well.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    /// Done, Accepted or Pong, with the number of the frame.
    Number(u32),
}

/// An open request.
#[derive(Debug)]
pub(crate) struct Request {
    /// The task that waits for the answer, for an item, or for credit.
    pub(crate) waker: Option<Waker>,
    pub(crate) answer: Option<Result<Answer, CallError>>,
    /// When the client itself gives up, because the broker did not.
    pub(crate) expires: Instant,
    /// What a streamed reply may take between two items.
    pub(crate) patience: Duration,
    /// Where the request ends in the bytes of the connection; `u64::MAX` while pieces are missing.
    pub(crate) end: u64,
    /// What the pieces of this call may still use.
    pub(crate) window: i64,
    /// How many receivers take its payload as a region, once the broker has said so.
    pub(crate) takes: Option<u32>,
    /// Whether dropping the future tells the broker.
    pub(crate) cancellable: bool,
    /// Items follow it: their credit is a sign of life.
    pub(crate) uploads: bool,
    /// The reply that is arriving in pieces.
    partial: Option<Box<Partial>>,
    /// The items of a streamed reply that nobody has taken yet.
    pub(crate) items: Option<Box<Items>>,
    /// Credit to give back, in bytes.
    owed: usize,
}

/// Items of a streamed reply.
#[derive(Debug, Default)]
pub(crate) struct Items {
    queue: VecDeque<(Reply, usize)>,
    /// What the queue holds of the window, in bytes.
    unread: usize,
    /// The largest frame that has come, in bytes.
    largest: usize,
    /// The last reply is in the queue, or was taken.
    pub(crate) complete: bool,
}

#[derive(Debug)]
struct Partial {
    bytes: BytesMut,
    encoding: Encoding,
    metadata: Metadata,
    attachments: Attachments,
    more: bool,
    /// Credit that is held because unread items are in front.
    held: usize,
}

/// What a frame did to its request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to see yet.
    Quiet,
    /// The waiting task has something to look at.
    Wake,
    /// The message is larger than this client takes: the call must be cancelled.
    TooLarge,
}

impl Request {
    pub(crate) fn new(expires: Instant, patience: Duration, window: u32) -> Self {
        Self {
            waker: None,
            answer: None,
            expires,
            patience,
            end: u64::MAX,
            window: i64::from(window),
            takes: None,
            cancellable: true,
            uploads: false,
            partial: None,
            items: None,
            owed: 0,
        }
    }

    /// Notes who waits for it; what it returns is to be dropped when no lock is held.
    #[must_use]
    pub(crate) fn watch(&mut self, waker: &Waker) -> Option<Waker> {
        replace(&mut self.waker, waker)
    }

    /// What else than its answer it holds: to be dropped when no lock is held.
    pub(crate) fn strip(&mut self) -> impl Sized + use<> {
        (self.waker.take(), self.partial.take(), self.items.take())
    }

    /// Ends the request; the first ending counts.
    pub(crate) fn finish(&mut self, answer: Result<Answer, CallError>, dead: &mut Dead) {
        self.give_up_partial(dead);
        match (&self.answer, answer) {
            (None, answer) => self.answer = Some(answer),
            (Some(_), Ok(Answer::Reply(reply))) => dead.bury(reply.attachments),
            (Some(_), _) => {}
        }
    }

    /// What came of a message is nobody's. Returns whether others were to follow it, and the credit that it holds.
    fn give_up_partial(&mut self, dead: &mut Dead) -> Option<(bool, usize)> {
        let partial = *self.partial.take()?;
        dead.bury(partial.attachments);
        Some((partial.more, partial.held))
    }

    /// Whether nothing more will come.
    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_some() || self.items.as_ref().is_some_and(|items| items.complete)
    }

    /// More may be sent of what follows the call.
    pub(crate) fn credit(&mut self, bytes: u32, again: Again) {
        self.window = self.window.saturating_add(i64::from(bytes));
        if self.uploads {
            self.go_on(again);
        }
    }

    /// There is a sign of life.
    pub(crate) fn go_on(&mut self, again: Again) {
        self.expires = self.expires.max(again.until(self.patience));
    }

    /// A Reply frame arrived.
    pub(crate) fn reply(
        &mut self,
        batch: &Batch,
        view: &FrameView<'_>,
        attachments: Attachments,
        message_bytes: usize,
        dead: &mut Dead,
    ) -> Step {
        let flags = view.header.flags;
        let metadata = Metadata::parse(view.meta).unwrap_or_default();
        let encoding = view.header.encoding;
        let more = flags.has(Flags::MORE);
        if flags.has(Flags::CONTINUED) {
            self.give_up_partial(dead);
            self.partial = Some(Box::new(Partial {
                bytes: BytesMut::new(),
                encoding,
                metadata,
                attachments,
                more,
                held: 0,
            }));
            return self.extend(view, message_bytes);
        }
        let payload = Payload {
            encoding,
            bytes: keep(batch, view.payload),
        };
        self.complete(
            Reply {
                payload,
                metadata,
                attachments,
            },
            more,
            if more { view.header.wire_len() } else { 0 },
            dead,
        )
    }

    /// A ReplyPiece frame arrived.
    pub(crate) fn reply_piece(
        &mut self,
        view: &FrameView<'_>,
        region: Option<&Bytes>,
        message_bytes: usize,
        dead: &mut Dead,
    ) -> Step {
        if view.header.flags.has(Flags::ABORT) {
            return self.void(dead);
        }
        if region.is_some_and(|bytes| bytes.len() > message_bytes) {
            return Step::TooLarge;
        }
        let step = self.extend(view, message_bytes);
        if step != Step::Quiet || view.header.flags.has(Flags::CONTINUED) {
            return step;
        }
        let Some(partial) = self.partial.take() else {
            return Step::Quiet;
        };
        let partial = *partial;
        let payload = Payload {
            encoding: partial.encoding,
            bytes: region.cloned().unwrap_or_else(|| partial.bytes.freeze()),
        };
        self.complete(
            Reply {
                payload,
                metadata: partial.metadata,
                attachments: partial.attachments,
            },
            partial.more,
            partial.held,
            dead,
        )
    }

    /// The sender has given a message up halfway. An item of a stream is missing then; without the closing reply, the
    /// call has no other end.
    fn void(&mut self, dead: &mut Dead) -> Step {
        let Some((more, held)) = self.give_up_partial(dead) else {
            return Step::Quiet;
        };
        // Nobody takes what came of it.
        self.owed = self.owed.saturating_add(held);
        if more {
            return Step::Quiet;
        }
        let text = "the object gave its answer up halfway";
        self.finish(Err(CallError::new(ErrorCode::Handler, text).ran(true)), dead);
        Step::Wake
    }

    fn extend(&mut self, view: &FrameView<'_>, message_bytes: usize) -> Step {
        let unread = self.items.as_ref().is_some_and(|items| !items.queue.is_empty());
        let Some(partial) = self.partial.as_mut() else {
            return Step::Quiet;
        };
        if partial.bytes.len().saturating_add(view.payload.len()) > message_bytes {
            return Step::TooLarge;
        }
        partial.bytes.extend_from_slice(view.payload);
        let charge = view.header.wire_len();
        // A message must be able to arrive as a whole, but only one beyond what is unread.
        *(if unread { &mut partial.held } else { &mut self.owed }) += charge;
        Step::Quiet
    }

    fn complete(&mut self, reply: Reply, more: bool, charge: usize, dead: &mut Dead) -> Step {
        match self.items.as_mut() {
            Some(items) => {
                items.complete = !more;
                // The end of a stream without a last item is an empty raw reply.
                let nothing = !more && reply.payload == Payload::default() && reply.attachments.is_empty();
                if !nothing {
                    items.unread = items.unread.saturating_add(charge);
                    items.queue.push_back((reply, charge));
                }
            }
            None if more => {
                let text = "the object answered with a stream; call it with `stream`";
                dead.bury(reply.attachments);
                self.finish(Err(CallError::new(ErrorCode::Invalid, text).ran(true)), dead);
            }
            None => self.finish(Ok(Answer::Reply(reply)), dead),
        }
        Step::Wake
    }

    /// Takes the next item of a streamed reply. Its credit becomes owed.
    pub(crate) fn next_item(&mut self) -> Option<Reply> {
        let items = self.items.as_mut()?;
        let (reply, charge) = items.queue.pop_front()?;
        items.unread = items.unread.saturating_sub(charge);
        self.owed = self.owed.saturating_add(charge);
        let none_left = items.queue.is_empty();
        if let Some(partial) = self.partial.as_mut().filter(|_| none_left) {
            self.owed = self.owed.saturating_add(std::mem::take(&mut partial.held));
        }
        Some(reply)
    }

    /// Whether unread items are there: the sender is not late then.
    pub(crate) fn has_items(&self) -> bool {
        self.items.as_ref().is_some_and(|items| !items.queue.is_empty())
    }

    /// Whether more came than the window allows, with this frame. A sender may exceed it by one frame, which lies there while others
    /// come that need no window, as the end; twice the window is no mistake in counting, and a stream that ignores its window has no
    /// bound.
    pub(crate) fn is_flooded(&mut self, window: u32, frame: usize) -> bool {
        let Some(items) = &mut self.items else {
            return false;
        };
        items.largest = items.largest.max(frame);
        let allowed = (window as usize).saturating_mul(2).saturating_add(items.largest);
        items.unread > allowed
    }

    /// Credit to tell the sender now: when half a window has come together.
    pub(crate) fn take_owed(&mut self, window: u32) -> Option<u32> {
        if self.owed == 0 || self.owed < (window / 2) as usize {
            return None;
        }
        let owed = u32::try_from(self.owed).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_sub(owed as usize);
        Some(owed)
    }
}

/// A buffer of so many bytes may be pinned by any part of it: less than that is not worth a copy.
pub(crate) const PINNED_MAX: usize = 8 * 1024;

/// `part` of a batch, by reference when it is most of the buffer it pins or that is small, else as a copy.
pub(crate) fn keep(batch: &Batch, part: &[u8]) -> Bytes {
    if part.len() >= batch.buffer_len().saturating_sub(PINNED_MAX) / 4 {
        batch.share(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Draft, Kind};

    fn feed(request: &mut Request, kind: Kind, flags: Flags, payload: &[u8]) -> Step {
        let frame = Draft::new(kind, 1)
            .flags(flags)
            .payload(Encoding::JSON, payload)
            .to_vec();
        let batch = Batch::from_bytes(frame.into(), 1 << 20).unwrap();
        let view = batch.view(0).unwrap();
        match kind {
            Kind::Reply => request.reply(&batch, &view, Attachments::new(), 100, &mut Dead::default()),
            _ => request.reply_piece(&view, None, 100, &mut Dead::default()),
        }
    }

    fn open(stream: bool) -> Request {
        let mut request = Request::new(Instant::now(), Duration::ZERO, 100);
        request.items = stream.then(Box::default);
        request
    }

    fn text(request: &Request) -> &[u8] {
        match &request.answer {
            Some(Ok(Answer::Reply(reply))) => &reply.payload.bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pieces_come_together_and_return_their_credit() {
        let mut request = open(false);
        assert_eq!(
            feed(&mut request, Kind::Reply, Flags::CONTINUED, b"[1,"),
            Step::Quiet
        );
        assert_eq!(
            feed(&mut request, Kind::ReplyPiece, Flags::CONTINUED, b"2,"),
            Step::Quiet
        );
        assert_eq!(request.take_owed(1000), None, "not half a window yet");
        assert_eq!(request.take_owed(100), Some(24 + 3 + 24 + 2));
        assert_eq!(
            feed(&mut request, Kind::ReplyPiece, Flags::NONE, b"3]"),
            Step::Wake
        );
        assert_eq!(text(&request), b"[1,2,3]");
    }

    #[test]
    fn a_void_message_and_a_large_one() {
        let mut request = open(true);
        let item = Flags::MORE.with(Flags::CONTINUED);
        feed(&mut request, Kind::Reply, item, b"[1,");
        for flags in [Flags::ABORT, Flags::NONE, Flags::ABORT] {
            assert_eq!(feed(&mut request, Kind::ReplyPiece, flags, b""), Step::Quiet);
        }
        assert!(request.answer.is_none(), "other items may follow");
        let mut request = open(false);
        feed(&mut request, Kind::Reply, Flags::CONTINUED, b"[1,");
        assert_eq!(
            feed(&mut request, Kind::ReplyPiece, Flags::ABORT, b""),
            Step::Wake
        );
        let error = request.answer.take().unwrap().unwrap_err();
        assert_eq!((error.code, error.may_have_run), (ErrorCode::Handler, true));
        feed(&mut request, Kind::Reply, Flags::CONTINUED, &[b' '; 60]);
        assert_eq!(
            feed(&mut request, Kind::ReplyPiece, Flags::NONE, &[b' '; 60]),
            Step::TooLarge
        );
    }

    #[test]
    fn items_hold_their_credit_until_they_are_taken() {
        let mut request = open(true);
        assert_eq!(feed(&mut request, Kind::Reply, Flags::MORE, b"1"), Step::Wake);
        assert_eq!(request.take_owed(2), None);
        feed(
            &mut request,
            Kind::Reply,
            Flags::MORE.with(Flags::CONTINUED),
            b"[",
        );
        assert_eq!(request.take_owed(2), None, "an unread item is in front");
        assert_eq!(request.next_item().unwrap().payload.bytes, "1");
        assert_eq!(request.take_owed(2), Some(25 + 25));
        feed(&mut request, Kind::ReplyPiece, Flags::NONE, b"]");
        assert_eq!(request.next_item().unwrap().payload.bytes, "[]");
        assert!(!request.items.as_ref().unwrap().complete);
    }

    #[test]
    fn what_came_of_an_item_that_was_given_up_is_owed() {
        let mut request = open(true);
        feed(&mut request, Kind::Reply, Flags::MORE, b"1");
        let item = Flags::MORE.with(Flags::CONTINUED);
        feed(&mut request, Kind::Reply, item, b"[1,");
        feed(&mut request, Kind::ReplyPiece, Flags::CONTINUED, b"2,");
        assert_eq!(request.take_owed(2), None, "an unread item is in front");
        feed(&mut request, Kind::ReplyPiece, Flags::ABORT, b"");
        assert_eq!(request.take_owed(2), Some(24 + 3 + 24 + 2));
    }

    #[test]
    fn the_last_reply_is_an_item_unless_it_is_empty() {
        let mut request = open(true);
        assert_eq!(feed(&mut request, Kind::Reply, Flags::NONE, b"7"), Step::Wake);
        assert!(request.next_item().is_some() && request.items.as_ref().unwrap().complete);
        let mut request = open(true);
        let frame = Draft::new(Kind::Reply, 1).to_vec();
        let batch = Batch::from_bytes(frame.into(), 100).unwrap();
        let view = batch.view(0).unwrap();
        let step = request.reply(&batch, &view, Attachments::new(), 100, &mut Dead::default());
        assert_eq!(step, Step::Wake);
        assert!(request.next_item().is_none() && request.items.as_ref().unwrap().complete);
    }
}
