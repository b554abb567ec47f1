//! What comes for a request whose number another one has got since.

use super::*;
use crate::actors::connection::outbox::Out;
use crate::actors::inbox::Deaf;
use crate::actors::peer::{Account, Peer, ReplyTo};
use crate::config::Limits;
use crate::message::{Encoding, Epoch, Origin};
use std::cell::RefCell;
use std::time::Instant;

/// Keeps what Registry is asked.
struct Alone {
    shared: Arc<Shared>,
    asked: RefCell<Vec<RegistryItem>>,
}

impl Rooms for Alone {
    fn registry(&self, batch: RegistryBatch) {
        self.asked.borrow_mut().extend(batch.items);
    }

    fn hub(&self, _: HubBatch) {}

    fn drained(&self, _: PeerId) {}

    fn joined(&self, _: PeerRef) {}

    fn gone(&self, _: PeerId, _: bool) {}

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

struct World {
    rooms: Alone,
    session: Session,
    outbox: Outbox,
}

impl World {
    fn new() -> Self {
        let shared = Shared::with_clock(Limits::default(), Epoch([1; 16]), Instant::now);
        let account = Account::new(shared.limits.outbox_bytes, 1);
        let me = Peer::new(Origin::default(), "", 0, account, Box::new(Deaf));
        let session = Session::new(me, shared.limits.clone(), shared.tickets.clone());
        let asked = RefCell::default();
        Self {
            rooms: Alone { shared, asked },
            session,
            outbox: Outbox::default(),
        }
    }

    /// Asks to wait for an object; returns the answer that Registry owes.
    fn wait(&mut self, id: u64) -> ReplyTo {
        let wait = Draft::new(Kind::Wait, id).aux(60_000);
        let frame = wait.payload(Encoding::RAW, b"\x01a").to_vec();
        let batch = Arc::new(Batch::from_bytes(frame.into(), 1_000).unwrap());
        let (session, outbox, rooms) = (&mut self.session, &mut self.outbox, &self.rooms);
        let closing = with_effects(|effects| {
            session.handle(Instant::now(), &batch, effects);
            perform(session, outbox, rooms, effects, Some(&batch), None)
        });
        assert!(closing.is_none());
        match self.rooms.asked.borrow_mut().pop() {
            Some(RegistryItem::Request(_, reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn told(&mut self, control: Control) {
        let delivery = Deliver::Control(control);
        let (session, outbox) = (&mut self.session, &mut self.outbox);
        assert!(deliver(session, outbox, &self.rooms, delivery, true).is_none());
    }

    /// Kinds of the frames that were said since the last time.
    fn said(&mut self) -> Vec<Kind> {
        let mut said = Vec::new();
        while let Some(out) = self.outbox.take_first() {
            let Out::Frame(frame) = out else { panic!("{out:?}") };
            let batch = Batch::from_bytes(frame.to_vec().into(), 1_000).unwrap();
            said.push(batch.header(0).unwrap().kind);
        }
        said
    }
}

#[test]
fn what_an_earlier_request_of_the_number_waited_for_ends_no_other() {
    let (number, failed) = (CallId(5), Arc::new(CallError::from(ErrorCode::ServiceFailed)));
    let kinds = |ticket| {
        [
            Control::Present(number, ticket),
            Control::WaitDenied(number, ticket),
            Control::WaitFailed(number, ticket, failed.clone()),
        ]
    };
    for which in 0..3 {
        let mut world = World::new();
        let first = world.wait(number.0);
        let (old, frame) = (first.ticket(), Draft::new(Kind::Done, number.0).to_vec());
        first.forget();
        world.told(Control::Answered {
            call: number,
            ticket: old,
            frame: frame.into(),
        });
        assert_eq!(world.said(), [Kind::Done]);
        let second = world.wait(number.0);
        let new = second.ticket();
        assert_ne!(old, new);
        for late in kinds(old) {
            world.told(late);
            assert_eq!(world.said(), [], "it is another's");
            assert!(world.session.open.is_waiting(number, new));
        }
        let expected = if which == 0 { Kind::Done } else { Kind::Error };
        let own = kinds(new).into_iter().nth(which).unwrap();
        world.told(own);
        assert_eq!(world.said(), [expected]);
        assert!(!world.session.open.is_waiting(number, new));
        second.forget();
    }
}
