//! Which commands an actor gets, and whose places come back when.

use super::*;
use actix::{AsyncContext, WrapFuture};
use futures::poll;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Does nothing before the gate is opened.
struct Late {
    gate: Arc<Semaphore>,
    handled: Arc<AtomicUsize>,
}

impl Actor for Late {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let gate = Arc::clone(&self.gate);
        ctx.wait(async move { gate.acquire().await.unwrap().forget() }.into_actor(self));
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Message for Counted {
    type Result = Result<usize>;
}

impl Handler<Counted> for Late {
    type Result = Result<usize>;

    fn handle(&mut self, _: Counted, _: &mut Self::Context) -> Self::Result {
        Ok(self.handled.fetch_add(1, Ordering::SeqCst))
    }
}

#[actix::test]
async fn what_is_given_up_keeps_its_place_until_the_mailbox_has_passed_it() {
    let (gate, handled, alive) = (
        Arc::new(Semaphore::new(0)),
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let actor = Late {
        gate: Arc::clone(&gate),
        handled: Arc::clone(&handled),
    };
    let handler = ActorHandler::new(actor.start()).with_capacity(4);
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut given_up = Box::pin(handler.ask(Counted::new(&alive)));
        refused += usize::from(poll!(&mut given_up).is_ready());
    }
    assert_eq!((alive.load(Ordering::SeqCst), refused), (5, 995));
    gate.add_permits(1);
    // The one beyond the capacity is the only one that was not taken back.
    while handled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handler.ask(Counted::new(&alive)).await.unwrap(), 1);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let mut together: Vec<_> = (0..5)
        .map(|_| Box::pin(handler.ask(Counted::new(&alive))))
        .collect();
    let mut places = 0;
    for ask in &mut together {
        places += usize::from(poll!(ask).is_pending());
    }
    assert_eq!(places, 4, "the places are back");
}

#[actix::test]
async fn one_that_was_answered_gives_back_the_places_before_it() {
    let (gate, alive) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let actor = Late {
        gate: Arc::clone(&gate),
        handled: Arc::default(),
    };
    let handler = ActorHandler::new(actor.start()).with_capacity(3);
    for _ in 0..2 {
        assert!(poll!(pin!(handler.ask(Counted::new(&alive)))).is_pending());
    }
    let last = handler.ask(Counted::new(&alive));
    let mut last = pin!(last);
    assert!(poll!(&mut last).is_pending());
    assert!(handler.ask(Counted::new(&alive)).await.is_err(), "no place");
    gate.add_permits(1);
    assert_eq!(last.await.unwrap(), 0, "those before it were taken back");
    assert_eq!(lock(&handler.line).left.len(), 0);
}
