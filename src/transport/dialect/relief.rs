//! What a gateway gives up when there is no memory for what it keeps, and who is told so.
//!
//! Owns the order: a message of the client that has begun, then messages for it that come in pieces, then what its codec keeps until its
//! turn. Nothing is given up in silence: a caller gets an error, an event is counted. Steps of [`Gateway`], in a file of their own.

use super::asked::Asked;
use super::gateway::{Broken, Gateway};
use super::pieces::Owner;
use super::said::{Failure, Lost, Told};
use crate::error::ErrorCode;
use crate::message::{Draft, Encoding, Flags, Kind};

impl Gateway {
    /// How many bytes may be kept from now on; who asks for more is told that there is no memory. `usize::MAX`: there is enough.
    pub const fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Gives up what is kept beyond `room` bytes; `why` is for who waits for it. Returns how many messages that were. What is left may
    /// still be more: requests that wait for their answers are not given up.
    ///
    /// # Errors
    /// [`Broken`]: a message has begun of which nobody can say whose answer it is to have.
    pub fn relieve(&mut self, room: usize, why: &str) -> Result<u64, Broken> {
        let mut given_up = 0_u64;
        if self.held() > room && !self.input.is_empty() && !self.may_read() {
            // Whole messages that wait for credit: what is not published is done.
            self.broker.is_short = true;
            let understood = self.go_on();
            self.broker.is_short = false;
            given_up = given_up.saturating_add(std::mem::take(&mut self.broker.dropped));
            understood?;
        }
        // What was left aside for its answers is whole.
        if self.held() > room && !self.input.is_empty() && !self.is_behind() {
            let input = std::mem::take(&mut self.input);
            let lost = self.codec.give_up(&input, why, &mut self.output);
            given_up = given_up.saturating_add(1);
            self.lose(lost, why)?;
        }
        while self.held() > room
            && let Some(owner) = self.broker.pieces.largest()
        {
            given_up = given_up.saturating_add(1);
            self.lose_pieces(owner, why);
        }
        while self.held() > room
            && let Some(lost) = self.codec.shed(why, &mut self.output)
        {
            given_up = given_up.saturating_add(1);
            self.lose(lost, why)?;
        }
        Ok(given_up)
    }

    /// Tells who waits for it.
    pub(super) fn lose(&mut self, lost: Lost, why: &str) -> Result<(), Broken> {
        match lost {
            Lost::Told => {}
            Lost::Event => self.broker.unshown = self.broker.unshown.saturating_add(1),
            Lost::Call(ticket) => self.error(ticket, ErrorCode::TooMany, false, why),
            Lost::Answer(ticket) => self.error(ticket, ErrorCode::ReplyLost, true, why),
            Lost::Unknown => return Err(Broken(why.to_owned())),
        }
        Ok(())
    }

    fn lose_pieces(&mut self, owner: Owner, why: &str) {
        let Some(partial) = self.broker.pieces.give_up(owner) else {
            return;
        };
        match owner {
            Owner::Call(ticket) if partial.answered => self.error(ticket, ErrorCode::TooMany, false, why),
            Owner::Call(_) => {}
            Owner::Event(..) => self.broker.unshown = self.broker.unshown.saturating_add(1),
            Owner::Reply(id) => {
                self.broker.send(Draft::new(Kind::Cancel, id));
                if let Some(Asked::Call(place)) = self.broker.asked.remove(&id) {
                    let failure = Failure::new(ErrorCode::ReplyLost, why);
                    self.say(&Told::Answer(place, Err(&failure)));
                }
            }
        }
    }

    /// Answers a call for the client in its place.
    fn error(&mut self, ticket: u64, code: ErrorCode, ran: bool, why: &str) {
        let draft = Draft::new(Kind::Error, ticket).aux(code.code());
        let flags = Flags::NONE.with_if(ran, Flags::MAY_HAVE_RUN);
        self.broker
            .send(draft.flags(flags).payload(Encoding::RAW, why.as_bytes()));
    }
}
