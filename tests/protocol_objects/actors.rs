//! An actor as the handler.

use crate::broker::Place;
use crate::calc::{self, CALC_1, Calc, Echoed, Table};
use actix::{Actor, ActorContext, Context, Handler, Message, ResponseFuture};
use actix_ipc::client::{IpcClient, Registration};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::{self, ActorHandler};
use std::sync::Arc;
use tokio::sync::Semaphore;

struct Say(String);

impl Message for Say {
    type Result = protocol::Result<Echoed>;
}

struct Stop;

impl Message for Stop {
    type Result = ();
}

/// Answers when the gate lets it.
struct Speaker {
    gate: Arc<Semaphore>,
    said: usize,
}

impl Actor for Speaker {
    type Context = Context<Self>;
}

impl Handler<Say> for Speaker {
    type Result = ResponseFuture<protocol::Result<Echoed>>;

    fn handle(&mut self, Say(message): Say, _: &mut Self::Context) -> Self::Result {
        self.said += 1;
        let (gate, said) = (Arc::clone(&self.gate), self.said);
        Box::pin(async move {
            gate.acquire().await?.forget();
            if message == "fail" {
                return Err(protocol::Error::new("the actor refuses").named("speaker.no"));
            }
            Ok(Echoed {
                response: format!("{said}: {message}"),
            })
        })
    }
}

impl Handler<Stop> for Speaker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// What a caller is told when the handler that it called has not got what it wanted of an actor.
fn of_the_handler(error: &CallError) -> (ErrorCode, Option<&str>, bool) {
    (error.code, error.name.as_deref(), error.may_have_run)
}

async fn serve(worker: &IpcClient, handler: ActorHandler<Speaker>) -> Registration {
    let table = Table::new(&CALC_1).on("echo", move |request| {
        let handler = handler.clone();
        async move {
            let calc::Echo { message } = request.decode()?;
            let answer = handler
                .ask(Say(message))
                .await
                .map_err(protocol::Error::into_inner)?;
            request.reply(&answer)
        }
    });
    worker.add_protocol("calc", table).unordered().await.unwrap()
}

#[actix::test]
async fn an_actor_answers_commands() {
    let place = Place::new();
    let broker = place.start();
    let gate = Arc::new(Semaphore::new(0));
    let actor = Speaker {
        gate: Arc::clone(&gate),
        said: 0,
    }
    .start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let handler = ActorHandler::new(actor.clone()).with_capacity(2);
    let _calc = serve(&worker, handler).await;
    let calc: Calc = client.protocol("calc").await.unwrap();
    // A call is sent when it is polled, so that these two come before the third.
    let (mut first, mut second) = (calc.echo("a"), calc.echo("fail"));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    let full = calc.echo("c").await.unwrap_err();
    assert_eq!(
        of_the_handler(&full),
        (ErrorCode::Handler, Some("Overloaded"), true),
        "{full}"
    );
    gate.add_permits(2);
    let refused = second.await.unwrap_err();
    assert_eq!(
        (refused.code, refused.name.as_deref(), refused.message.as_str()),
        (ErrorCode::Handler, Some("speaker.no"), "the actor refuses")
    );
    assert_eq!(first.await.unwrap().response, "1: a");
    gate.add_permits(1);
    assert_eq!(calc.echo("d").await.unwrap().response, "3: d");
    actor.send(Stop).await.unwrap();
    let gone = calc.echo("e").await.unwrap_err();
    assert_eq!(
        of_the_handler(&gone),
        (ErrorCode::Handler, Some("CalleeGone"), true),
        "{gone}"
    );
}
