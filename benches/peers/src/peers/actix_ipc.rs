//! actix-ipc through its public client library, as a user would write it: an actix System in every process, the broker in one of
//! its own, Unix sockets.

use super::{Broker, Env, Peer};
use crate::latency_run_async;
use crate::role::{CallMeter, Ctx, Role, Shim, SubConn, ack, read_through};
use crate::workload::{BULK, Cell};
use actix_ipc::message::Payload;
use actix_ipc::{Handler, HandlerError, IncomingCall, IpcClient, Response, async_trait};
use anyhow::{Result, bail};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

struct P;

pub fn peers() -> Vec<Box<dyn Peer>> {
    vec![Box::new(P)]
}

/// Answers with what it was sent.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        Ok(Response::payload(call.payload))
    }
}

/// Takes one bulk payload per call, and says over the sender's side channel when it had it.
struct Sink {
    listener: UnixListener,
    side: Mutex<Option<UnixStream>>,
    touch: bool,
}

impl Sink {
    fn acknowledge(&self) -> Result<()> {
        let mut side = self.side.lock().unwrap_or_else(|poison| poison.into_inner());
        if side.is_none() {
            // The sender connects before its first call.
            *side = Some(self.listener.accept()?.0);
        }
        side.as_mut().map_or(Ok(()), ack)
    }
}

#[async_trait]
impl Handler for Sink {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let bytes = &call.payload.bytes;
        assert_eq!(bytes.len(), BULK);
        if self.touch {
            read_through(bytes);
        }
        self.acknowledge().map_err(|error| error.to_string())?;
        Ok(Response::payload(Payload::raw(Vec::new())))
    }
}

impl Peer for P {
    fn name(&self) -> &'static str {
        "actix-ipc"
    }

    fn about(&self) -> &'static str {
        "actix-ipc, its client library over a Unix socket, broker in a process of its own"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    fn supports(&self, _: Cell) -> bool {
        true
    }

    fn start(&self, env: &Env, _: Cell) -> Result<Broker> {
        Broker::own(self, format!("unix:{}", env.path("broker.sock")), env)
    }

    fn role(&self, ctx: &Ctx) -> Result<()> {
        actix::System::new().block_on(async {
            match ctx.spec.role {
                Role::Broker => broker(ctx).await,
                Role::Worker => worker(ctx).await,
                Role::Caller => caller(ctx).await,
                Role::Pub => publisher(ctx).await,
                Role::Sub => subscriber(ctx).await,
                Role::BulkSend => bulk_send(ctx).await,
                Role::BulkRecv => bulk_recv(ctx).await,
                Role::Idle => idle(ctx).await,
            }
        })
    }
}

async fn connect(ctx: &Ctx) -> Result<IpcClient> {
    Ok(IpcClient::connect_to(ctx.spec.addr.parse()?).await?)
}

async fn forever<T>() -> Result<T> {
    std::future::pending().await
}

async fn broker(ctx: &Ctx) -> Result<()> {
    let broker = actix_ipc::Broker::builder().listen(ctx.spec.addr.parse()?).start()?;
    ctx.ready();
    bail!("the broker ended: {:?}", broker.ended().await)
}

async fn worker(ctx: &Ctx) -> Result<()> {
    let client = connect(ctx).await?;
    let _registered = client.register("echo", Echo).await?;
    ctx.ready();
    forever().await
}

async fn caller(ctx: &Ctx) -> Result<()> {
    let client = connect(ctx).await?;
    let body = Payload::raw(ctx.body());
    ctx.ready();
    ctx.wait_go();
    if ctx.spec.inflight == 1 {
        let shim = Shim { spec: ctx.spec.clone() };
        latency_run_async!(shim, client.call("echo", "echo").send_payload(body.clone()).await?);
        return Ok(());
    }
    let meter = CallMeter::start(ctx);
    let lanes = (0..ctx.spec.inflight).map(|_| {
        let (client, body, meter) = (client.clone(), body.clone(), meter.clone());
        actix::spawn(async move {
            loop {
                client.call("echo", "echo").send_payload(body.clone()).await?;
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

async fn publisher(ctx: &Ctx) -> Result<()> {
    let client = connect(ctx).await?;
    let (body, last) = (Payload::raw(ctx.body()), Payload::raw(ctx.last_body()));
    ctx.ready();
    ctx.wait_go();
    let mut clock = ctx.pub_clock();
    while clock.more() {
        client.publish_payload("bench", "event", body.clone()).await?;
    }
    client.publish_payload("bench", "event", last).await?;
    client.flush().await?;
    ctx.pub_done(clock.t0, clock.n);
    forever().await
}

async fn subscriber(ctx: &Ctx) -> Result<()> {
    let subs: Vec<Arc<SubConn>> = (0..ctx.spec.conns).map(|_| SubConn::new()).collect();
    for sub in &subs {
        let client = connect(ctx).await?;
        let mut events = client.subscribe("bench", "event").await?;
        let sub = sub.clone();
        actix::spawn(async move {
            while let Some(event) = events.next().await {
                if let Some(first) = event.payload.bytes.first() {
                    sub.hit(*first);
                }
            }
            drop(client);
        });
    }
    ctx.ready();
    let ctx = ctx.clone();
    tokio::task::spawn_blocking(move || ctx.finish_subs(&subs)).await?;
    forever().await
}

async fn bulk_send(ctx: &Ctx) -> Result<()> {
    let client = connect(ctx).await?;
    let data = Payload::raw(vec![b'0'; BULK]);
    ctx.ready();
    ctx.wait_go();
    ctx.bulk_run_async(async |_| {
        client.call("bulk", "take").send_payload(data.clone()).await?;
        Ok(())
    })
    .await
}

async fn bulk_recv(ctx: &Ctx) -> Result<()> {
    let client = connect(ctx).await?;
    let sink = Sink {
        listener: ctx.side_listen()?,
        side: Mutex::default(),
        touch: ctx.spec.touch,
    };
    let _registered = client.register("bulk", sink).await?;
    ctx.ready();
    forever().await
}

async fn idle(ctx: &Ctx) -> Result<()> {
    let mut keep = Vec::new();
    for _ in 0..ctx.spec.conns {
        keep.push(connect(ctx).await?);
    }
    ctx.ready();
    forever().await
}
