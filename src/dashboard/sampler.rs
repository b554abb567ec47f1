//! The actor that looks at the broker once a second while somebody watches, for all watchers together.
//!
//! Owns the pace and the newest sample, ready to be sent: so ten open pages cost the broker what one costs, and none at all when none is
//! open. It does not read what it samples. Watchers come from `routes`.

use super::refusal::Refusal;
use super::source::{Question, Source};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use bytes::{BufMut, Bytes, BytesMut};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);
/// Rows of a sample: more than a person reads. `/api/…?limit=` has the rest.
const ROWS: u32 = 250;

/// Asks for the samples from now on: the newest one at once, if there is one that is fresh.
#[derive(Debug, Message)]
#[rtype(result = "watch::Receiver<Option<Bytes>>")]
pub(super) struct Watch;

/// The actor.
#[derive(Debug)]
pub(super) struct Sampler {
    source: Source,
    newest: watch::Sender<Option<Bytes>>,
    awake: bool,
}

impl Sampler {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            newest: watch::Sender::new(None),
            awake: false,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.newest.receiver_count() == 0 {
            self.awake = false;
            self.newest.send_replace(None);
            return;
        }
        let source = self.source.clone();
        let sample = async move { sample(&source).await };
        ctx.spawn(sample.into_actor(self).map(|sample, act, ctx| {
            act.newest.send_replace(Some(sample));
            ctx.run_later(PACE, Self::look);
        }));
    }
}

impl Actor for Sampler {
    type Context = Context<Self>;
}

impl Handler<Watch> for Sampler {
    type Result = MessageResult<Watch>;

    fn handle(&mut self, _: Watch, ctx: &mut Self::Context) -> Self::Result {
        let mut watching = self.newest.subscribe();
        if self.newest.borrow().is_some() {
            // Somebody else looks already: the newest sample is news to this one.
            watching.mark_changed();
        }
        if !self.awake {
            self.awake = true;
            self.look(ctx);
        }
        MessageResult(watching)
    }
}

/// One event of the stream: everything, or why there is nothing.
async fn sample(source: &Source) -> Bytes {
    match everything(source).await {
        Ok(sample) => sample,
        Err(refusal) => event(
            "trouble",
            &serde_json::json!({ "error": refusal.to_string() }).to_string(),
        ),
    }
}

async fn everything(source: &Source) -> Result<Bytes, Refusal> {
    let mut data = BytesMut::from("event: sample\ndata: {");
    for (index, question) in Question::ALL.into_iter().enumerate() {
        let answer = source.ask(question, Some(ROWS)).await?;
        let comma = if index == 0 { "" } else { "," };
        data.put_slice(format!("{comma}\"{}\":", question.name()).as_bytes());
        // A line end inside of the data would end it. Compact JSON has none.
        data.extend(answer.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    }
    data.put_slice(b"}\n\n");
    Ok(data.freeze())
}

fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
