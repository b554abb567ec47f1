//! actix-ipc point to point: typed protocols over a Unix socket, no broker, an actix System in each process, as a user would write it.

use super::{Broker, Env, Peer};
use crate::latency_run_async;
use crate::role::{CallMeter, Ctx, Role, Shim, ack, read_through};
use crate::workload::{BULK, Cell, Kind};
use actix_ipc::protocol::{NoProtocol, Result as Answer, RpcClient, RpcServer, RpcServerHandler, protocol};
use anyhow::{Result, bail};
use serde_bytes::ByteBuf;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

protocol! {
    /// What tarpc's and tokio_ipc's adapters say as well.
    pub mod bench {
        echo { data: ByteBuf } return ByteBuf;
        bulk { data: ByteBuf } return u64;
    }
}

struct P;

pub fn peers() -> Vec<Box<dyn Peer>> {
    vec![Box::new(P)]
}

#[derive(Clone)]
struct Handler {
    side: Option<Arc<(UnixListener, Mutex<Option<UnixStream>>)>>,
    touch: bool,
}

impl bench::Receive for Handler {
    async fn echo(&self, data: ByteBuf) -> Answer<ByteBuf> {
        Ok(data)
    }

    async fn bulk(&self, data: ByteBuf) -> Answer<u64> {
        assert_eq!(data.len(), BULK);
        if self.touch {
            read_through(&data);
        }
        if let Some(side) = &self.side {
            let mut stream = side.1.lock().unwrap_or_else(|poison| poison.into_inner());
            if stream.is_none() {
                // The sender connects before its first call.
                *stream = Some(side.0.accept()?.0);
            }
            if let Some(stream) = stream.as_mut() {
                ack(stream).map_err(|error| actix_ipc::protocol::Error::new(error.to_string()))?;
            }
        }
        Ok(data.len() as u64)
    }
}

struct Server(Handler);

impl RpcServerHandler for Server {
    type ReceiveRpc = bench::Receiver<Handler>;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Self::ReceiveRpc {
        bench::Receiver::new(self.0.clone())
    }
}

impl Peer for P {
    fn name(&self) -> &'static str {
        "actix-rpc"
    }

    fn about(&self) -> &'static str {
        "actix-ipc typed protocols over a Unix socket, postcard, direct (no broker)"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    fn supports(&self, c: Cell) -> bool {
        matches!(c.kind, Kind::W1 | Kind::W2 | Kind::W5 | Kind::W5r)
    }

    fn start(&self, env: &Env, _: Cell) -> Result<Broker> {
        Ok(Broker::none(format!("unix:{}", env.path("rpc.sock"))))
    }

    fn role(&self, ctx: &Ctx) -> Result<()> {
        actix::System::new().block_on(async {
            match ctx.spec.role {
                Role::Worker | Role::BulkRecv => serve(ctx).await,
                Role::Caller => caller(ctx).await,
                Role::BulkSend => bulk_send(ctx).await,
                role => bail!("no role {role:?}"),
            }
        })
    }
}

async fn serve(ctx: &Ctx) -> Result<()> {
    let side = match ctx.spec.role {
        Role::BulkRecv => Some(Arc::new((ctx.side_listen()?, Mutex::default()))),
        _ => None,
    };
    let touch = ctx.spec.touch;
    let _server = RpcServer::bind(ctx.spec.addr.parse()?, Server(Handler { side, touch })).await?;
    ctx.ready();
    std::future::pending().await
}

async fn connect(ctx: &Ctx) -> Result<bench::Sender> {
    let client = RpcClient::<bench::Sender>::connect(ctx.spec.addr.parse()?, ()).await?;
    Ok(client.clone_sender())
}

async fn caller(ctx: &Ctx) -> Result<()> {
    let sender = connect(ctx).await?;
    let body = ByteBuf::from(ctx.body());
    ctx.ready();
    ctx.wait_go();
    if ctx.spec.inflight == 1 {
        let shim = Shim { spec: ctx.spec.clone() };
        latency_run_async!(shim, sender.echo(body.clone()).await?);
        return Ok(());
    }
    let meter = CallMeter::start(ctx);
    let lanes = (0..ctx.spec.inflight).map(|_| {
        let (sender, body, meter) = (sender.clone(), body.clone(), meter.clone());
        actix::spawn(async move {
            loop {
                sender.echo(body.clone()).await?;
                if !meter.tick() {
                    return anyhow::Ok(());
                }
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await??;
    }
    meter.report(ctx);
    Ok(())
}

async fn bulk_send(ctx: &Ctx) -> Result<()> {
    let sender = connect(ctx).await?;
    let data = ByteBuf::from(vec![b'0'; BULK]);
    ctx.ready();
    ctx.wait_go();
    ctx.bulk_run_async(async |_| {
        sender.bulk(data.clone()).await?;
        Ok(())
    })
    .await
}
