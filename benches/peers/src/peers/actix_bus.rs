//! actix-ipc's label bus through its public API, as a user would write it: endpoints that join by name. `actix-ipc-bus` has the host where
//! `ipmb` has its controller, in the worker's or publisher's process; `actix-ipc-bus-3p` in a process of its own.

use super::{Broker, Env, Peer};
use crate::role::{CallMeter, Ctx, Role, SubConn, ack, read_through};
use crate::workload::{Cell, Kind};
use actix_ipc::bus::{
    self, BytesMessage, EndpointReceiver, EndpointSender, MemoryRegion, Message, Options, Selector, label,
};
use anyhow::{Result, bail};
use std::sync::Arc;
use std::time::Duration;

/// True: the host has a process of its own.
struct P(bool);

pub fn peers() -> Vec<Box<dyn Peer>> {
    vec![Box::new(P(false)), Box::new(P(true))]
}

type Tx = EndpointSender<BytesMessage>;
type Rx = EndpointReceiver<BytesMessage>;

impl Peer for P {
    fn name(&self) -> &'static str {
        if self.0 { "actix-ipc-bus-3p" } else { "actix-ipc-bus" }
    }

    fn about(&self) -> &'static str {
        if self.0 {
            "actix-ipc's label bus, host in a third process; a call is two unicasts"
        } else {
            "actix-ipc's label bus, host in the worker/publisher; a call is two unicasts"
        }
    }

    fn version(&self) -> String {
        "this tree".into()
    }

    fn supports(&self, c: Cell) -> bool {
        matches!(c.kind, Kind::W1 | Kind::W2 | Kind::W3 | Kind::W4 | Kind::W5 | Kind::W5r)
    }

    fn any_bulk(&self) -> bool {
        true
    }

    fn start(&self, env: &Env, _: Cell) -> Result<Broker> {
        let addr = format!("peerbench.{}", env.id);
        if self.0 {
            Broker::own(self, addr, env)
        } else {
            Ok(Broker::none(addr))
        }
    }

    fn role(&self, ctx: &Ctx) -> Result<()> {
        match ctx.spec.role {
            Role::Broker => {
                let (_tx, rx) = join(ctx, "host", true)?;
                ctx.ready();
                loop {
                    let _ = rx.recv(None);
                }
            }
            Role::Worker => {
                let (tx, rx) = join(ctx, "worker", !self.0)?;
                ctx.ready();
                let to = Selector::unicast("caller");
                loop {
                    let came = rx.recv(None)?;
                    tx.send(Message::new(to.clone(), came.payload))?;
                }
            }
            Role::Caller => caller(ctx),
            Role::Pub => {
                let (tx, _rx) = join(ctx, "pub", !self.0)?;
                let (body, last) = (ctx.body(), ctx.last_body());
                ctx.ready();
                ctx.wait_go();
                let mut clock = ctx.pub_clock();
                let to = Selector::multicast("sub");
                while clock.more() {
                    tx.send(Message::new(to.clone(), BytesMessage::new(0, body.clone())))?;
                }
                tx.send(Message::new(to, BytesMessage::new(0, last)))?;
                ctx.pub_done(clock.t0, clock.n);
                ctx.park()
            }
            Role::Sub => {
                let subs: Vec<Arc<SubConn>> = (0..ctx.spec.conns).map(|_| SubConn::new()).collect();
                let (done, joined) = std::sync::mpsc::channel();
                for sub in &subs {
                    let (sub, addr, done) = (sub.clone(), ctx.spec.addr.clone(), done.clone());
                    std::thread::spawn(move || {
                        let (tx, rx) = join_bus(&addr, "sub", false).expect("the bus has a host");
                        let _ = done.send(());
                        while let Ok(message) = rx.recv(None) {
                            sub.hit(message.payload.data[0]);
                        }
                        drop(tx);
                    });
                }
                if self.0 {
                    for _ in &subs {
                        joined.recv()?;
                    }
                }
                ctx.ready();
                ctx.finish_subs(&subs);
                ctx.park()
            }
            Role::BulkSend => {
                let (tx, _rx) = join(ctx, "sender", false)?;
                let mut region = MemoryRegion::new(ctx.spec.size);
                region.map(..)?.fill(b'0');
                ctx.ready();
                ctx.wait_go();
                ctx.bulk_run(|_| {
                    let mut message = Message::new(Selector::unicast("receiver"), BytesMessage::new(0, *b"0"));
                    message.memory_regions.push(region.clone());
                    tx.send(message)?;
                    Ok(())
                })
            }
            Role::BulkRecv => {
                let side = ctx.side_listen()?;
                let (_tx, rx) = join(ctx, "receiver", !self.0)?;
                ctx.ready();
                let (mut side, _) = side.accept()?;
                loop {
                    let mut came = rx.recv(None)?;
                    let Some(mut region) = came.memory_regions.pop() else {
                        bail!("no region came")
                    };
                    let data = region.view(..)?;
                    if ctx.spec.touch {
                        read_through(data);
                    } else {
                        std::hint::black_box(data[0]);
                    }
                    ack(&mut side)?;
                }
            }
            Role::Idle => bail!("idle endpoints are connections: see actix-ipc"),
        }
    }
}

fn join(ctx: &Ctx, name: &str, hosts: bool) -> Result<(Tx, Rx)> {
    join_bus(&ctx.spec.addr, name, hosts)
}

fn join_bus(addr: &str, name: &str, hosts: bool) -> Result<(Tx, Rx)> {
    let options = Options::new(addr, label!(name), "").with_controller_affinity(hosts);
    Ok(bus::join(options, Some(Duration::from_secs(10)))?)
}

fn caller(ctx: &Ctx) -> Result<()> {
    let (tx, rx) = join(ctx, "caller", false)?;
    let body = ctx.body();
    let to = Selector::unicast("worker").with_ttl(Duration::from_secs(5));
    let send = || tx.send(Message::new(to.clone(), BytesMessage::new(0, body.clone())));
    ctx.ready();
    ctx.wait_go();
    if ctx.spec.inflight == 1 {
        return ctx.latency_run(|| {
            send()?;
            rx.recv(None)?;
            Ok(())
        });
    }
    let meter = CallMeter::start(ctx);
    for _ in 0..ctx.spec.inflight {
        send()?;
    }
    loop {
        rx.recv(None)?;
        if !meter.tick() {
            break;
        }
        send()?;
    }
    meter.report(ctx);
    Ok(())
}
