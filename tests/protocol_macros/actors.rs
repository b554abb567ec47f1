//! Actix actors as what answers: every command is a message.

use crate::ways::{WAYS, serve};
use actix::{Actor, AtomicResponse, Context, Handler, ResponseFuture, WrapFuture};
use actix_ipc::protocol::{ActorHandler, Items, Result, protocol};
use actix_ipc::registry;
use actix_ipc::{CallError, ErrorCode};
use futures::StreamExt;
use std::borrow::Cow;

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
    for way in WAYS {
        let (_served, calc): (_, calc::Sender) = serve(way, calc::actor(Calc::default().start())).await;
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
    for way in WAYS {
        let handler = ActorHandler::new(Gone.start()).with_capacity(4);
        let answers = registry! { gone => gone::ActorReceive::from(handler) };
        let (_served, gone): (_, gone::Sender) = serve(way, answers).await;
        assert_eq!(
            gone.ask().await.expect_err("nobody is there").code,
            ErrorCode::CalleeGone
        );
    }
}

protocol! {
    mod busy {
        ask return u64;
    }
}

/// Never answers.
struct Silent;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<busy::ask::Request> for Silent {
    type Result = ResponseFuture<Result<u64>>;

    fn handle(&mut self, _: busy::ask::Request, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

/// A handler of its own, which has done something before it asks the actor.
struct Clerk<A: Actor> {
    actor: ActorHandler<A>,
}

impl<A> busy::Receive for Clerk<A>
where
    A: Actor<Context = Context<A>> + Handler<busy::ask::Request>,
{
    async fn ask(&self) -> Result<u64> {
        self.actor.ask(busy::ask::Request).await
    }
}

impl Handler<busy::ask::Request> for Gone {
    type Result = Result<u64>;

    fn handle(&mut self, _: busy::ask::Request, _: &mut Context<Self>) -> Self::Result {
        Ok(0)
    }
}

/// What the caller learns: a command that is the message has its fate, a handler that asks has an error of its own.
#[actix::test]
async fn what_befalls_a_message_is_the_commands_fate_or_the_error_of_who_asked() {
    for way in WAYS {
        let full = ActorHandler::new(Silent.start()).with_capacity(1);
        let mut only = Box::pin(full.ask(busy::ask::Request));
        assert!(futures::poll!(&mut only).is_pending(), "it has the only place");
        let told = |error: CallError| (error.code, error.name, error.may_have_run);
        let answers = registry! { busy => busy::ActorReceive::from(full.clone()) };
        let (_served, busy): (_, busy::Sender) = serve(way, answers).await;
        let refused = busy.ask().await.expect_err("there is no place");
        assert!(refused.message.contains("1 commands under way"), "{refused}");
        assert_eq!(told(refused), (ErrorCode::Overloaded, None, false));

        let answers = registry! { busy => Clerk { actor: full.clone() } };
        let (_served, busy): (_, busy::Sender) = serve(way, answers).await;
        let refused = busy.ask().await.expect_err("there is no place");
        assert!(refused.message.contains("1 commands under way"), "{refused}");
        assert_eq!(
            told(refused),
            (ErrorCode::Handler, Some("Overloaded".to_owned()), true)
        );

        let gone = ActorHandler::new(Gone.start());
        let answers = registry! { busy => Clerk { actor: gone } };
        let (_served, busy): (_, busy::Sender) = serve(way, answers).await;
        let refused = busy.ask().await.expect_err("nobody is there");
        assert_eq!(
            told(refused),
            (ErrorCode::Handler, Some("CalleeGone".to_owned()), true)
        );
    }
}

protocol! {
    pub mod lent {
        view<'a> { name: &'a str, #[serde(default)] bytes: &'a [u8], title: Option<Cow<'a, str>> } return usize;
        views<'a, 'b>(&'a str, &'b str) return String;
        peek<'a> { name: &'a str };
        put<'a> { name: &'a str } stream { part: u8 } return String;
        rows<'a> { name: &'a str } return stream char;
        #[cfg(all())]
        there { number: u64 } return u64;
        #[cfg(all())]
        lent_there<'a> { name: &'a str } return usize;
        #[cfg(any())]
        never { number: u64 } return u64;
        #[cfg(any())]
        #[cfg(all())]
        never_lent<'a> { name: &'a str } return u64;
    }
}

#[derive(Default)]
struct Lent {
    peeked: usize,
}

impl Actor for Lent {
    type Context = Context<Self>;
}

impl Handler<lent::view::Owned> for Lent {
    type Result = Result<usize>;

    fn handle(&mut self, asked: lent::view::Owned, _: &mut Context<Self>) -> Self::Result {
        let lent::view::Request { name, bytes, title } = asked.request()?;
        Ok(name.len() + bytes.len() + title.map_or(0, |title| title.len()) + self.peeked)
    }
}

impl Handler<lent::views::Owned> for Lent {
    type Result = Result<String>;

    fn handle(&mut self, asked: lent::views::Owned, _: &mut Context<Self>) -> Self::Result {
        let lent::views::Request(left, right) = asked.request()?;
        Ok(format!("{left}{right}"))
    }
}

impl Handler<lent::peek::Owned> for Lent {
    type Result = Result<()>;

    fn handle(&mut self, asked: lent::peek::Owned, _: &mut Context<Self>) -> Self::Result {
        self.peeked += asked.request()?.name.len();
        Ok(())
    }
}

impl Handler<lent::put::Streamed> for Lent {
    type Result = ResponseFuture<Result<String>>;

    fn handle(&mut self, asked: lent::put::Streamed, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            // What is borrowed lives as long as the message.
            let name = asked.request.request()?.name;
            let parts = asked.items.count().await;
            Ok(format!("{name} {parts}"))
        })
    }
}

impl Handler<lent::rows::Owned> for Lent {
    type Result = Result<Items<char>>;

    fn handle(&mut self, asked: lent::rows::Owned, _: &mut Context<Self>) -> Self::Result {
        let rows: Vec<char> = asked.request()?.name.chars().collect();
        Ok(rows.into_iter().collect())
    }
}

impl Handler<lent::there::Request> for Lent {
    type Result = Result<u64>;

    fn handle(&mut self, asked: lent::there::Request, _: &mut Context<Self>) -> Self::Result {
        Ok(asked.number)
    }
}

impl Handler<lent::lent_there::Owned> for Lent {
    type Result = Result<usize>;

    fn handle(&mut self, asked: lent::lent_there::Owned, _: &mut Context<Self>) -> Self::Result {
        Ok(asked.request()?.name.len())
    }
}

#[actix::test]
async fn an_actor_answers_commands_that_borrow_and_commands_that_are_not_always_there() {
    for way in WAYS {
        let (_served, lent): (_, lent::Sender) = serve(way, lent::actor(Lent::default().start())).await;
        lent.peek("four").await.expect("sent");
        let found = {
            // What is lent to the caller's method is gone when its future is awaited.
            let (name, title) = (String::from("name"), String::from("title"));
            lent.view(&name, b"bytes", Some(Cow::Borrowed(&title)))
        };
        assert_eq!(found.await.expect("answered"), 18);
        assert_eq!(lent.views("a", "b").await.expect("answered"), "ab");
        let parts = (0..3).map(|part| lent::put::Item { part });
        let put = lent.put("file", futures::stream::iter(parts));
        assert_eq!(put.await.expect("answered"), "file 3");
        let rows: String = lent.rows("xyz").map(|row| row.expect("a row")).collect().await;
        assert_eq!(rows, "xyz");
        assert_eq!(lent.there(5).await.expect("answered"), 5);
        assert_eq!(lent.lent_there("abc").await.expect("answered"), 3);
    }
}
