//! One client of a server, from its first byte to its last.
//!
//! Owns the order: its Meet, who it is, what the program serves it, the answer, its work, its end; and that each step of the
//! program's is taken on the program's run-time. Frames after the handshake are the client library's.

use super::RpcServerHandler;
use super::accept::{Core, Live};
use super::access::{Place, Refusal};
use crate::client::peer::{Met, Way, answer_of, client_of, let_in, options, receive_meet, refuse, work};
use crate::client::{IpcClient, Shared, new_shared};
use crate::error::CloseReason;
use crate::message::{Decoder, Meet};
use crate::protocol::caller::{Caller, ProtocolSender};
use crate::protocol::dispatch::Dispatch;
use crate::protocol::peer::served;
use crate::text;
use crate::transport::{Endpoint, PeerCredentials, Stream};
use futures::future::{BoxFuture, Either, select};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// What a client may take to say who it is, and the program to say what it serves.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
            let sender = H::SendRpc::new(Caller::new(client, None));
            // The connection may have gone meanwhile; it is told below that it has ended.
            drop(answers.send(Arc::new(self.0.on_rpc_connect(&sender).await)));
            if up.await.is_ok() {
                let ready = pin!(self.0.on_rpc_ready(&sender));
                if let Either::Left(_) = select(ready, &mut ended).await {
                    let _ = (&mut ended).await;
                }
            }
            drop(sender);
            self.0.on_rpc_disconnect(number).await;
            drop(live);
        })
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
        // Whoever does not take it is not waited for.
        let _ = timeout(HANDSHAKE, refuse(&stream, reason, &said)).await;
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
    let failed = |text: &str| Some((CloseReason::Internal, text.to_owned()));
    let answers = match timeout(HANDSHAKE, answered).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(_)) => {
            return Err(failed(
                "the server's program failed before it said what it serves",
            ));
        }
        Err(_) => return Err(failed("the server's program does not say what it serves")),
    };
    let serves = served(&answers.protocols());
    let answer = answer_of(&offer, met.number, &serves).map_err(|text| failed(&text))?;
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
