//! One command carried out, and its answer written: wholly, or as an error in its place.
//!
//! Owns that every command gets exactly one answer, also when it, or the reading or writing of it, panics. Called by `server`.

use super::IpcServerCommand;
use super::wire::{self, Status};

/// Carries one command out and writes its answer, of at most `limit` bytes, behind what is in `out`.
pub(super) fn answer<C: IpcServerCommand>(
    body: &[u8],
    out: &mut Vec<u8>,
    context: &mut C::Context<'_>,
    limit: usize,
) {
    let answering = Answering { at: out.len(), out };
    let wrong = match postcard::take_from_bytes::<C>(body) {
        Ok((command, [])) => return answering.respond(&command.process(context), limit),
        Ok((_, rest)) => format!("{} bytes too many", rest.len()),
        Err(error) => error.to_string(),
    };
    let text =
        format!("the command is not understood ({wrong}); do both programs have the same version of it?");
    answering.refuse(Status::Malformed, &text);
}

/// Sees to it that a command is answered, even if it panics: whatever of its answer was written is replaced.
struct Answering<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl Answering<'_> {
    fn respond<R: serde::Serialize>(self, response: &R, limit: usize) {
        let at = wire::begin(self.out, Status::Done.code());
        let sink = Bounded {
            out: &mut *self.out,
            left: limit,
        };
        let result = postcard::serialize_with_flavor(response, sink);
        let text = match result {
            Ok(()) if wire::finish(self.out, at).is_some() => {
                let _answered = std::mem::ManuallyDrop::new(self);
                return;
            }
            Err(postcard::Error::SerializeBufferFull) | Ok(()) => {
                format!("the command was carried out, but its response has more than {limit} bytes")
            }
            Err(error) => {
                format!("the command was carried out, but its response cannot be written: {error}")
            }
        };
        self.refuse(Status::Failed, &text);
    }

    /// Answers with a text instead.
    fn refuse(self, status: Status, text: &str) {
        let mut this = std::mem::ManuallyDrop::new(self);
        this.replace(status, text);
    }

    fn replace(&mut self, status: Status, text: &str) {
        self.out.truncate(self.at);
        wire::text(self.out, status, text);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.replace(
            Status::Failed,
            "the command panicked; it may have done a part of its work",
        );
    }
}

/// Writes postcard behind what is there, up to a limit.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl postcard::ser_flavors::Flavor for Bounded<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(postcard::Error::SerializeBufferFull)?;
        // By doubling, but never beyond what the limit lets it become.
        if self.out.capacity().saturating_sub(self.out.len()) < bytes.len() {
            let most = self.left.saturating_add(bytes.len());
            self.out.reserve_exact(self.out.len().max(bytes.len()).min(most));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
