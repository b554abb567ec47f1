//! The end of the actor, whatever it is that takes it away.

use super::super::Registry;
use crate::actors::broker::CoreEnded;
use crate::actors::core::Shared;
use crate::actors::messages::{Control, Deliver, Joined};
use crate::actors::peer::{Account, Inbox, Peer};
use crate::config::Limits;
use crate::error::CloseReason;
use crate::message::{Epoch, Origin, PeerId};
use actix::{Actor, Context, Handler};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Keeps why it was closed.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<CloseReason>>>);

impl Inbox for Told {
    fn post(&self, delivery: Deliver) {
        if let Deliver::Control(Control::Close(reason, _)) = delivery {
            self.0.lock().unwrap().push(reason);
        }
    }
}

struct Root;

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<CoreEnded> for Root {
    type Result = ();

    fn handle(&mut self, _: CoreEnded, _: &mut Context<Self>) {}
}

#[actix::test]
async fn peers_are_told_unless_the_broker_stops() {
    for (stopping, expected) in [(false, &[CloseReason::Internal][..]), (true, &[])] {
        let shared = Shared::with_clock(Limits::default(), Epoch([1; 16]), Instant::now);
        let mut registry = Registry::new(shared.clone(), Root.start().recipient(), None);
        let told = Told::default();
        let origin = Origin {
            peer: PeerId(7),
            ..Origin::default()
        };
        let peer = Peer::new(origin, "", 0, Account::new(1_000, 1), Box::new(told.clone()));
        let _ = registry.state.joined(Joined(peer));
        shared.stopping.store(stopping, Ordering::Release);
        drop(registry);
        assert_eq!(*told.0.lock().unwrap(), expected, "{stopping}");
    }
}
