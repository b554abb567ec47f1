//! What the broker says of itself, asked as any peer of it asks.
//!
//! Owns the four questions to `sys.broker`, their time limits, and how many are asked at once. It does not read the answers. Called by
//! `routes` and `sampler`.

use super::refusal::Refusal;
use crate::actors::{CallOptions, LocalHandle};
use crate::message::Payload;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The object that tells.
const BROKER: &str = "sys.broker";
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long the probe may take: what is slower is not well.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// Questions under way at once, whoever asks: a broker that is looked at has other things to do.
const ASKED_AT_ONCE: usize = 4;

/// What there is to ask. The names are those of the methods of `sys.broker` and of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The broker as a whole.
    Status,
    /// Who is connected.
    Connections,
    /// What can be called.
    Objects,
    /// What is heard.
    Topics,
}

impl Question {
    pub(super) const ALL: [Self; 4] = [Self::Status, Self::Connections, Self::Objects, Self::Topics];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Connections => "connections",
            Self::Objects => "objects",
            Self::Topics => "topics",
        }
    }
}

/// The broker, to be asked.
#[derive(Clone, Debug)]
pub(super) struct Source {
    local: LocalHandle,
    asked: Arc<Semaphore>,
}

impl Source {
    pub(super) fn new(local: LocalHandle) -> Self {
        Self {
            local,
            asked: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
        }
    }

    /// The answer, JSON as the broker wrote it. `limit`: so many rows at most. Cancel safe.
    pub(super) async fn ask(&self, question: Question, limit: Option<u32>) -> Result<Bytes, Refusal> {
        let arguments = limit.map_or_else(|| "{}".to_owned(), |limit| format!("{{\"limit\":{limit}}}"));
        let arguments = match question {
            Question::Status => Payload::default(),
            Question::Connections | Question::Objects | Question::Topics => json(arguments),
        };
        let called = self.call(question.name(), arguments, ANSWER_MAX);
        in_turn(&self.asked, ANSWER_MAX, called).await
    }

    /// Returns when a call has gone through Registry and its answer has come back.
    pub(super) async fn probe(&self) -> Result<(), Refusal> {
        self.call("ping", Payload::default(), PROBE_MAX).await.map(drop)
    }

    async fn call(&self, method: &str, arguments: Payload, most: Duration) -> Result<Bytes, Refusal> {
        let options = CallOptions::default().deadline(most);
        // The broker keeps its own deadline; this one holds even if it does nothing any more.
        let called =
            tokio::time::timeout(most, self.local.call_with(BROKER, method, arguments, options)).await;
        match called {
            Ok(Ok(reply)) => Ok(reply.payload.bytes),
            Ok(Err(error)) => Err(Refusal::Broker(error.to_string())),
            Err(_) => Err(silent(most)),
        }
    }
}

/// Does it when there is a place. The time is for both: whoever waits does not care for what.
async fn in_turn<T>(
    places: &Semaphore,
    most: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let done = async {
        let _place = places.acquire().await;
        work.await
    };
    tokio::time::timeout(most, done)
        .await
        .unwrap_or_else(|_| Err(silent(most)))
}

fn silent(most: Duration) -> Refusal {
    Refusal::Broker(format!("nothing came within {} s", most.as_secs()))
}

fn json(text: String) -> Payload {
    Payload {
        encoding: crate::message::Encoding::JSON,
        bytes: text.into_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wait_for_a_place_is_a_part_of_the_time() {
        let places = Semaphore::new(1);
        let work = || async { Ok("done") };
        assert!(in_turn(&places, ANSWER_MAX, work()).await.is_ok());
        let _taken = places.acquire().await.unwrap();
        let refused = in_turn(&places, Duration::from_millis(10), work()).await;
        assert!(matches!(refused, Err(Refusal::Broker(_))));
    }
}
