//! What the caller of a command is told that has failed, and how much of it.
//!
//! Owns which codes say that nothing was done, and the cutting of what does not fit. It refuses to know why a handler failed. Called by
//! [`super::respond`], and for calls that no handler had by [`super::serving`] and [`super::turn`].

use super::handler::HandlerError;
use super::respond::To;
use super::running::ObjectServer;
use super::serving::OpenCall;
use super::shared::Shared;
use super::state::{Next, State};
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachments, Draft, Encoding, Flags, Kind, Metadata, Payload, metadata};
use crate::text::{self, cut};
use std::any::Any;

/// What the text of an error may be long, in bytes; more is cut.
const TEXT_MAX: usize = 64 * 1024;

/// An answer for which there is no room: those before it are not taken.
pub(crate) fn unread(bytes: usize) -> HandlerError {
    let text = format!(
        "the command ran, but its answer of {bytes} bytes does not fit: take the answers before it, or raise RpcLimits::memory"
    );
    HandlerError {
        code: ErrorCode::ReplyLost,
        ..HandlerError::new(text)
    }
}

pub(crate) fn panicked(server: &ObjectServer, method: &str, panic: &(dyn Any + Send)) -> HandlerError {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "with a value that is no text".to_owned());
    tracing::error!(object = %text::name(&server.name), method = %text::name(method), panic = %text::text(&said), "a handler panicked");
    let text = format!("the handler of {}.{method} panicked: {said}", server.name);
    HandlerError {
        code: ErrorCode::HandlerPanicked,
        ..HandlerError::new(text)
    }
}

impl To<'_> {
    /// Tells the caller why there is no answer.
    pub(crate) async fn error(self, error: &HandlerError) -> Result<(), CallError> {
        // What these codes say is known before anything is done.
        let ran = !matches!(
            error.code,
            ErrorCode::NoSuchMethod
                | ErrorCode::NoSuchObject
                | ErrorCode::Invalid
                | ErrorCode::Overloaded
                | ErrorCode::NoSuchProtocol
                | ErrorCode::ProtocolVersion
        );
        self.failed(error, ran).await
    }

    /// Tells the caller why there is no answer, or no more of it, and whether the handler has done anything.
    pub(crate) async fn failed(self, error: &HandlerError, ran: bool) -> Result<(), CallError> {
        let frame_bytes = self.shared.lock().grants.frame_bytes as usize;
        let (metadata, encoding, payload) = error_parts(error, frame_bytes);
        let draft = Draft::new(Kind::Error, self.open.ticket)
            .aux(error.code.code())
            .flags(Flags::NONE.with_if(ran, Flags::MAY_HAVE_RUN))
            .meta(metadata.as_bytes())
            .payload(encoding, &payload);
        self.send(&draft, &Attachments::new()).await
    }
}

/// What of an error fits beside it and in it. Texts are cut rather than refused, and a value that no frame can hold
/// is replaced by the text.
fn error_parts(error: &HandlerError, frame_bytes: usize) -> (Metadata, Encoding, Vec<u8>) {
    let mut block = Metadata::new();
    // A quarter of the block fits twice with the names of its keys.
    let mut note = |key, text| {
        block
            .insert(key, cut(text, metadata::METADATA_MAX / 4))
            .unwrap_or_default();
    };
    if let Some(name) = &error.name {
        note(metadata::ERROR_NAME, name);
    }
    if error.payload == Payload::default() || error.payload.bytes.len() > frame_bytes {
        let text = cut(&error.message, TEXT_MAX.min(frame_bytes));
        return (block, Encoding::RAW, text.as_bytes().to_vec());
    }
    note(metadata::ERROR_TEXT, &error.message);
    (block, error.payload.encoding, error.payload.bytes.to_vec())
}

/// Answers a call whose task is gone, on its own connection.
pub(crate) fn answer_error(shared: &Shared, open: &OpenCall, error: &CallError) {
    let mut state = shared.lock();
    if state.life == open.life {
        let closed = shared.serving.take_out(open);
        let next = push_error(&mut state, open.ticket, error);
        drop(state);
        shared.serving.tell(closed);
        shared.perform(next);
    }
}

/// Adds the error of a call that did not run.
pub(crate) fn push_error(state: &mut State, ticket: u64, error: &CallError) -> Next {
    let draft = Draft::new(Kind::Error, ticket)
        .aux(error.code.code())
        .flags(Flags::NONE.with_if(error.may_have_run, Flags::MAY_HAVE_RUN))
        .payload(Encoding::RAW, error.message.as_bytes());
    state.control(&draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_always_fits() {
        let long = "é".repeat(100_000);
        let (block, encoding, text) = error_parts(&HandlerError::new(&*long).named(&*long), 1 << 20);
        assert_eq!((encoding, text.len()), (Encoding::RAW, TEXT_MAX));
        assert_eq!(
            block.get_str(metadata::ERROR_NAME).unwrap().len(),
            metadata::METADATA_MAX / 4
        );
        let value = Payload {
            encoding: Encoding::JSON,
            bytes: vec![b' '; 11].into(),
        };
        let error = HandlerError::new("näh").with_payload(value);
        let table = [
            (10, Encoding::RAW, 4),
            (2, Encoding::RAW, 1),
            (11, Encoding::JSON, 11),
        ];
        for (frame_bytes, encoding, length) in table {
            let parts = error_parts(&error, frame_bytes);
            assert_eq!((parts.1, parts.2.len()), (encoding, length), "{frame_bytes}");
        }
    }
}
