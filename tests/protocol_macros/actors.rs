//! Actix actors as what answers: every command is a message.

use super::serve;
use crate::broker::Place;
use actix::{Actor, AtomicResponse, Context, Handler, ResponseFuture, WrapFuture};
use actix_ipc::ErrorCode;
use actix_ipc::protocol::{ActorHandler, Items, Result, protocol};
use actix_ipc::registry;
use futures::StreamExt;

protocol! {
    pub mod calc {
        add { number: u64 } -> { total: u64 };
        forget;
        pair(u64, u64) return u64;
        last return Option<u64>;
        count { to: u64 } return stream u64;
        sum { start: u64 } stream { number: u64 } return u64;
    }
}

#[derive(Default)]
struct Calc {
    total: u64,
}

impl Actor for Calc {
    type Context = Context<Self>;
}

impl Handler<calc::add::Request> for Calc {
    type Result = Result<calc::add::Response>;

    fn handle(&mut self, asked: calc::add::Request, _: &mut Context<Self>) -> Self::Result {
        self.total += asked.number;
        Ok(calc::add::Response { total: self.total })
    }
}

impl Handler<calc::forget::Request> for Calc {
    type Result = Result<()>;

    fn handle(&mut self, _: calc::forget::Request, _: &mut Context<Self>) -> Self::Result {
        self.total = 0;
        Ok(())
    }
}

impl Handler<calc::pair::Request> for Calc {
    type Result = AtomicResponse<Self, Result<u64>>;

    fn handle(&mut self, asked: calc::pair::Request, _: &mut Context<Self>) -> Self::Result {
        let calc::pair::Request(left, right) = asked;
        AtomicResponse::new(Box::pin(async move { Ok(left * right) }.into_actor(self)))
    }
}

impl Handler<calc::last::Request> for Calc {
    type Result = Result<Option<u64>>;

    fn handle(&mut self, _: calc::last::Request, _: &mut Context<Self>) -> Self::Result {
        Ok(Some(self.total))
    }
}

impl Handler<calc::count::Request> for Calc {
    type Result = Result<Items<u64>>;

    fn handle(&mut self, asked: calc::count::Request, _: &mut Context<Self>) -> Self::Result {
        Ok((1..=asked.to).collect())
    }
}

impl Handler<calc::sum::Streamed> for Calc {
    type Result = ResponseFuture<Result<u64>>;

    fn handle(&mut self, asked: calc::sum::Streamed, _: &mut Context<Self>) -> Self::Result {
        let calc::sum::Streamed { request, mut items } = asked;
        Box::pin(async move {
            let mut sum = request.start;
            while let Some(item) = items.next().await {
                sum += item?.number;
            }
            Ok(sum)
        })
    }
}

#[actix::test]
async fn an_actor_answers_each_command() {
    let place = Place::new();
    let broker = place.start();
    let (_served, calc): (_, calc::Sender) = serve(&broker, calc::actor(Calc::default().start())).await;
    assert_eq!(calc.add(3).await.expect("answered").total, 3);
    assert_eq!(calc.last().await.expect("answered"), Some(3));
    calc.forget().await.expect("sent");
    assert_eq!(calc.add(1).await.expect("answered").total, 1);
    assert_eq!(calc.pair(6, 7).await.expect("answered"), 42);
    let numbers: Vec<u64> = calc
        .count(3)
        .map(|number| number.expect("a number"))
        .collect()
        .await;
    assert_eq!(numbers, [1, 2, 3]);
    let items = (1..=3).map(|number| calc::sum::Item { number });
    assert_eq!(
        calc.sum(10, futures::stream::iter(items))
            .await
            .expect("answered"),
        16
    );
}

/// Stops at once.
struct Gone;

impl Actor for Gone {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        actix::ActorContext::stop(context);
    }
}

protocol! {
    mod gone {
        ask return u64;
    }
}

impl Handler<gone::ask::Request> for Gone {
    type Result = Result<u64>;

    fn handle(&mut self, _: gone::ask::Request, _: &mut Context<Self>) -> Self::Result {
        Ok(0)
    }
}

#[actix::test]
async fn a_stopped_actor_is_an_error_for_its_callers() {
    let place = Place::new();
    let broker = place.start();
    let handler = ActorHandler::new(Gone.start()).with_capacity(4);
    let answers = registry! { gone => gone::ActorReceive::from(handler) };
    let (_served, gone): (_, gone::Sender) = serve(&broker, answers).await;
    assert_eq!(
        gone.ask().await.expect_err("nobody is there").code,
        ErrorCode::CalleeGone
    );
}
