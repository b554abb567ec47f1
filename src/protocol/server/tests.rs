//! What a server keeps of its clients' descriptors. Senders carry none, so a client's call is made by hand.

use super::{RpcServer, RpcServerHandler};
use crate::client::{HandlerError, Response};
use crate::error::{CallError, ErrorCode};
use crate::message::Attachments;
use crate::protocol::{
    Answer, CommandInfo, Dispatch, NoProtocol, ProtocolInfo, ProtocolSender, Request, RpcClient, RpcLimits,
    Shape,
};
use crate::transport::Endpoint;
use futures::future::{BoxFuture, join_all};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::sync::Semaphore;

static HOLD: ProtocolInfo = ProtocolInfo::new("tests", "hold", 1, "", COMMANDS);
const COMMANDS: &[CommandInfo] = &[CommandInfo::new(
    "wait",
    "",
    Shape::Empty,
    None,
    Answer::One(Shape::Empty),
)];

/// Holds each call until the gate is opened.
#[derive(Clone)]
struct Hold(Arc<Semaphore>);

impl Dispatch for Hold {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        vec![&HOLD]
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        Box::pin(async move {
            self.0.acquire().await.unwrap().forget();
            request.reply(&request.context().attachments.len())
        })
    }
}

impl RpcServerHandler for Hold {
    type ReceiveRpc = Self;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Self {
        self.clone()
    }
}

/// A call with so many descriptors, and the other ends of these, which see when the last copy is closed.
async fn call(client: &RpcClient<NoProtocol>, count: usize) -> (Result<usize, CallError>, Vec<UnixStream>) {
    let pairs = (0..count).map(|_| UnixStream::pair().unwrap());
    let (mine, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
    let attachments = theirs
        .into_iter()
        .map(OwnedFd::from)
        .fold(Attachments::new(), Attachments::with);
    let builder = client.sender.caller().client().call("hold", "wait");
    let answer = builder.command(HOLD.id).attachments(attachments).send(&()).await;
    (answer, mine)
}

/// Blocks until it is closed everywhere.
fn closed(mine: UnixStream) {
    use std::io::Read;
    let mut mine = mine;
    assert_eq!(mine.read(&mut [0]).unwrap(), 0);
}

#[actix::test]
async fn the_calls_of_one_client_have_so_many_descriptors_together() {
    for concurrency in [1, 100] {
        let folder = tempfile::tempdir().unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let limits = RpcLimits::default().descriptors(10);
        let server = RpcServer::builder()
            .limits(limits)
            .concurrency(concurrency)
            .bind(Endpoint::Unix(folder.path().join("s")), Hold(Arc::clone(&gate)))
            .await
            .unwrap();
        let client = RpcClient::<NoProtocol>::connect(server.endpoint().clone(), ())
            .await
            .unwrap();
        let refused = async {
            // Behind those that are held, on the same connection.
            let (refused, mine) = call(&client, 3).await;
            let refused = refused.unwrap_err();
            assert_eq!(
                (refused.code, refused.may_have_run),
                (ErrorCode::TooMany, false),
                "{refused}"
            );
            mine.into_iter().for_each(closed);
            gate.add_permits(4);
        };
        let held = join_all([4, 4, 2, 0].map(|count| call(&client, count)));
        let (held, ()) = futures::join!(held, refused);
        for ((answer, mine), count) in held.into_iter().zip([4, 4, 2, 0]) {
            assert_eq!(answer.unwrap(), count);
            mine.into_iter().for_each(closed);
        }
        gate.add_permits(1);
        assert_eq!(call(&client, 10).await.0.unwrap(), 10, "they are free again");
        let none = call(&client, 11).await.0.unwrap_err();
        assert_eq!(none.code, ErrorCode::TooMany, "{none}");
    }
}
