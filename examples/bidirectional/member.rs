//! One client as the others reach it: what it is told, and what it is asked.
//!
//! Owns the queue in front of it, so that nobody waits for somebody who is slow, and the answer that it owes. Who is a member is
//! `room.rs`'s.

use super::protocol::{ClientSender, client_protocol::Commands as _};
use actix_ipc::error::CallError;
use actix_ipc::protocol::ProtocolSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Most pushes that wait for one client.
pub(crate) const QUEUE: usize = 64;
/// How long a client has to answer before it counts as gone. The connection's end comes before that where it really is.
const GIVEN_UP: Duration = Duration::from_secs(3600);

/// From whom, and what.
type Push = (Arc<str>, Arc<str>);
type Answer = JoinHandle<Result<String, CallError>>;

/// The way to one client. The last clone that goes ends its task.
#[derive(Clone)]
pub(crate) struct Member {
    client: ClientSender,
    pushes: mpsc::Sender<Push>,
    /// The question that it has not answered in time.
    owes: Arc<Mutex<Option<Answer>>>,
}

impl Member {
    pub(crate) fn new(client: &ClientSender) -> Self {
        let (pushes, mut queue) = mpsc::channel::<Push>(QUEUE);
        let teller = client.clone();
        tokio::spawn(async move {
            // A push waits while its client is slow, and fails when the connection has ended: then nobody comes back to this one.
            while let Some((from, text)) = queue.recv().await {
                if teller.notify(from.to_string(), text.to_string()).await.is_err() {
                    return;
                }
            }
        });
        Self {
            client: ClientSender::new(client.caller().clone().with_deadline(GIVEN_UP)),
            pushes,
            owes: Arc::default(),
        }
    }

    /// Tells the client something, without waiting for it: whether it is on its way. It is not when as much as may wait does so already.
    pub(crate) fn tell(&self, from: Arc<str>, text: Arc<str>) -> bool {
        self.pushes.try_send((from, text)).is_ok()
    }

    /// Asks the client, and waits so long for what it says. One that owes an answer already is not asked again, so that a client that
    /// is stopped costs the others this time once.
    pub(crate) async fn ask(&self, question: String, patience: Duration) -> String {
        if self.owes_an_answer() {
            return "(still owes an answer)".to_owned();
        }
        let client = self.client.clone();
        let mut answer: Answer = tokio::spawn(async move { Ok(client.ask(question).await?.answer) });
        match timeout(patience, &mut answer).await {
            Ok(Ok(Ok(said))) => said,
            Ok(Ok(Err(error))) => format!("(did not answer: {error})"),
            Ok(Err(error)) => format!("(could not be asked: {error})"),
            Err(_) => {
                *self.owes.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                "(did not answer in time)".to_owned()
            }
        }
    }

    fn owes_an_answer(&self) -> bool {
        let owes = self.owes.lock().unwrap_or_else(PoisonError::into_inner);
        owes.as_ref().is_some_and(|answer| !answer.is_finished())
    }
}
