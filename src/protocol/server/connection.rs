//! One client of a server, from its first byte to its last.
//!
//! Owns the order: its Meet, who it is, what the program serves it, the answer, its work, its end; and that each step of the
//! program's is taken on the program's run-time. Frames after the handshake are the client library's.

use super::RpcServerHandler;
use super::accept::{Core, Live};
use super::access::{Place, Refusal};
use crate::client::peer::{Met, Way, answer_of, client_of, let_in, options, receive_meet, refuse, work};
use crate::client::{IpcClient, Shared, new_shared};
use crate::config::peers::HANDSHAKE;
use crate::error::CloseReason;
use crate::message::{Decoder, Draft, Meet};
use crate::protocol::caller::{Caller, ProtocolSender};
use crate::protocol::dispatch::Dispatch;
use crate::protocol::peer::served;
use crate::text;
use crate::transport::{Endpoint, PeerCredentials, Stream};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long the system has to say that a socket to which nothing was written has room.
const ROOM: Duration = Duration::from_millis(100);

/// What is known of somebody who has said nothing.
pub(super) struct Newcomer {
    pub(super) endpoint: Endpoint,
    pub(super) credentials: PeerCredentials,
    pub(super) address: Option<IpAddr>,
}

/// How the program and a connection tell each other of its turns.
pub(super) struct Turns {
    answers: oneshot::Sender<Arc<dyn Dispatch>>,
    up: oneshot::Receiver<()>,
    ended: oneshot::Receiver<()>,
    live: Live,
}

/// What the program does for each client.
pub(super) trait Hooks: Send + Sync {
    /// All of it, for one client.
    fn accompany(self: Arc<Self>, client: IpcClient, number: u64, turns: Turns) -> BoxFuture<'static, ()>;
}

/// See [`Hooks`].
pub(super) struct Typed<H>(pub(super) H);

impl<H: RpcServerHandler> Hooks for Typed<H> {
    fn accompany(self: Arc<Self>, client: IpcClient, number: u64, turns: Turns) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Turns {
                answers,
                up,
                mut ended,
                live,
            } = turns;
            let shared = Arc::clone(&client.handle.shared);
            let sender = H::SendRpc::new(Caller::new(client, None));
            // The connection ends when this takes too long or the server stops, and this with it.
            let connect = step("on_rpc_connect", async { self.0.on_rpc_connect(&sender).await });
            let receiver = unless(&mut ended, connect).await.flatten();
            if let Some(receiver) = receiver {
                // The connection may have gone meanwhile; it is told below that it has ended.
                drop(answers.send(Arc::new(receiver)));
                if up.await.is_ok() {
                    let ready = step("on_rpc_ready", async { self.0.on_rpc_ready(&sender).await });
                    if unless(&mut ended, ready).await.is_some() {
                        let _ = (&mut ended).await;
                    }
                }
            } else {
                drop(answers);
            }
            drop(sender);
            // What a handler takes for the connection is there to be given back.
            let live = live.outlast(&shared, number).await;
            step("on_rpc_disconnect", async {
                self.0.on_rpc_disconnect(number).await;
            })
            .await;
            drop(live);
        })
    }
}

/// A step of the program's, whose panic is no reason to leave out those behind it. `None`: it has panicked.
async fn step<T>(what: &str, work: impl Future<Output = T>) -> Option<T> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome
        .inspect_err(|_| tracing::error!("{what} of a server of protocols has panicked"))
        .ok()
}

/// The outcome of `work`, which is dropped when the connection ends before it.
async fn unless<T>(ended: &mut oneshot::Receiver<()>, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), ended).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// Carries one connection.
pub(super) async fn run(
    core: Arc<Core>,
    stream: Stream,
    newcomer: Newcomer,
    admitted: Result<Place, Refusal>,
    _live: Live,
) {
    let stream = Arc::new(stream);
    let refusal = match admitted {
        Ok(place) => serve(&core, &stream, newcomer, place).await.err().flatten(),
        Err(refusal) => Some(refusal),
    };
    if let Some((reason, said)) = refusal {
        tracing::warn!(%reason, text = %text::text(&said), "refused a connection");
        match core.rules.farewell() {
            // Whoever does not take it is not waited for.
            Some(_farewell) => {
                let _ = timeout(HANDSHAKE, refuse(&stream, reason, &said)).await;
            }
            None => {
                let goodbye = Draft::goodbye(reason, &said).to_vec();
                // Whoever does not take it is not waited for: a socket to which nothing was written has room, but nobody knows it of one that
                // was never asked.
                let room = poll_fn(|cx| stream.poll_write_ready(cx));
                if let Ok(Ok(())) = timeout(ROOM, room).await {
                    let _ = stream.try_write(&[IoSlice::new(&goodbye)], &[]);
                }
            }
        }
    }
}

/// Everything but the refusal, which is `Err`; without a text nothing is said.
async fn serve(
    core: &Arc<Core>,
    stream: &Arc<Stream>,
    newcomer: Newcomer,
    mut place: Place,
) -> Result<(), Option<Refusal>> {
    let greeting = timeout(HANDSHAKE, receive_meet(stream));
    let (meet, decoder) = match select(pin!(greeting), pin!(core.stopped())).await {
        Either::Left((Ok(met), _)) => met?,
        Either::Left((Err(_), _)) => {
            let text = format!("no Meet within {} s", HANDSHAKE.as_secs());
            return Err(Some((CloseReason::Timeout, text)));
        }
        Either::Right(_) => return Err(Some(draining())),
    };
    let Newcomer {
        endpoint,
        credentials,
        address,
    } = newcomer;
    let credentials = core
        .rules
        .named(&endpoint, credentials, || stream.named_now().by_number());
    let proven = core
        .rules
        .prove(&endpoint, &credentials, meet.token.as_ref(), stream.proven_name());
    let proven = match proven {
        Ok(proven) => proven,
        Err(refusal) => {
            sleep(core.rules.failed(address)).await;
            return Err(Some(refusal));
        }
    };
    core.rules.take(&mut place).map_err(Some)?;
    let met = Arc::new(Met {
        number: core.next_number(),
        meet: Meet { token: None, ..meet },
        credentials,
        proven,
    });
    welcomed(core, stream, decoder, met, &mut place).await
}

/// The program says what it serves, the client is let in, and the connection does its work.
async fn welcomed(
    core: &Arc<Core>,
    stream: &Arc<Stream>,
    decoder: Decoder,
    met: Arc<Met>,
    place: &mut Place,
) -> Result<(), Option<Refusal>> {
    let offer = core.manner.offer(core.epoch, &[], HANDSHAKE);
    let shared = new_shared(options(offer.clone(), Way::default()));
    shared.lock().met = Some(Arc::clone(&met));
    let client = client_of(&shared);
    let (answers, answered) = oneshot::channel();
    let (up, is_up) = oneshot::channel();
    // Dropped at the end of this, however that comes.
    let (_ended, has_ended) = oneshot::channel();
    let turns = Turns {
        answers,
        up: is_up,
        ended: has_ended,
        live: Live::new(core),
    };
    let accompany = Arc::clone(&core.hooks).accompany(client.clone(), met.number, turns);
    core.home.spawn(accompany);
    let answers = answers_of(core, answered).await?;
    let serves = served(&answers.protocols());
    let answer = answer_of(&offer, met.number, &serves).map_err(failed)?;
    shared
        .serving
        .serve(core.manner.objects(&answers, &core.home), &serves);
    drop(answers);
    let _end = End(&shared);
    let Some(_entry) = Core::enter(core, met.number, &client) else {
        return Err(Some(draining()));
    };
    let letting = let_in(Arc::clone(stream), decoder, &offer, Arc::clone(&met), &answer);
    let Ok(Ok(link)) = timeout(HANDSHAKE, letting).await else {
        return Err(None);
    };
    place.welcomed();
    let name = text::name(&met.meet.name);
    tracing::debug!(peer = met.number, pid = ?met.credentials.pid, %name, "connected");
    shared.connected(&link);
    // The program's task may have ended with its run-time.
    let _ = up.send(());
    work(&shared, link).await;
    Ok(())
}

/// What the program serves this client. Nothing of the wait is left behind for the time of the connection, its timer least of all.
async fn answers_of(
    core: &Core,
    answered: oneshot::Receiver<Arc<dyn Dispatch>>,
) -> Result<Arc<dyn Dispatch>, Option<Refusal>> {
    match select(pin!(timeout(HANDSHAKE, answered)), pin!(core.stopped())).await {
        Either::Left((Ok(Ok(answers)), _)) => Ok(answers),
        Either::Left((Ok(Err(_)), _)) => Err(failed(
            "the server's program failed before it said what it serves".to_owned(),
        )),
        Either::Left((Err(_), _)) => Err(failed(
            "the server's program does not say what it serves".to_owned(),
        )),
        Either::Right(_) => Err(Some(draining())),
    }
}

const fn failed(text: String) -> Option<Refusal> {
    Some((CloseReason::Internal, text))
}

/// However a connection ends: nobody waits for it any more, and it keeps nothing.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.closed("the connection ended");
        self.0.forget_objects();
    }
}

fn draining() -> Refusal {
    (CloseReason::Draining, "this server is shutting down".to_owned())
}
