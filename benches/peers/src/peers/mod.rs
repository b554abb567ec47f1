//! One adapter per peer.

use crate::proc::Guard;
use crate::role::{Ctx, Role};
use crate::workload::Cell;
use anyhow::{Result, bail};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub mod actix_bus;
pub mod actix_ipc;
pub mod actix_rpc;
#[cfg(feature = "dbus")]
pub mod dbus;
#[cfg(feature = "iceoryx2")]
pub mod iceoryx2;
#[cfg(feature = "ipc_broker")]
pub mod ipc_broker;
#[cfg(feature = "ipmb")]
pub mod ipmb;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
pub mod raw;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "tarpc")]
pub mod tarpc;
#[cfg(feature = "tokio_ipc")]
pub mod tokio_ipc;
#[cfg(feature = "zenoh")]
pub mod zenoh;
#[cfg(feature = "zmq")]
pub mod zmq;

pub trait Peer {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn version(&self) -> String;
    fn supports(&self, cell: Cell) -> bool;
    /// Whether W5 and W5r run with other sizes than 8 MiB.
    fn any_bulk(&self) -> bool {
        false
    }
    /// Harness side: start the broker (if any) and say where it is.
    fn start(&self, env: &Env, cell: Cell) -> Result<Broker>;
    /// Child side: play `ctx.spec.role`.
    fn role(&self, ctx: &Ctx) -> Result<()>;
}

pub fn all() -> Vec<Box<dyn Peer>> {
    #[allow(unused_mut)]
    let mut v: Vec<Box<dyn Peer>> = raw::peers();
    v.extend(actix_ipc::peers());
    v.extend(actix_bus::peers());
    v.extend(actix_rpc::peers());
    #[cfg(feature = "ipc_broker")]
    v.extend(ipc_broker::peers());
    #[cfg(feature = "ipmb")]
    v.extend(ipmb::peers());
    #[cfg(feature = "nats")]
    v.extend(nats::peers());
    #[cfg(feature = "redis")]
    v.extend(redis::peers());
    #[cfg(feature = "dbus")]
    v.extend(dbus::peers());
    #[cfg(feature = "zenoh")]
    v.extend(zenoh::peers());
    #[cfg(feature = "zmq")]
    v.extend(zmq::peers());
    #[cfg(feature = "mqtt")]
    v.extend(mqtt::peers());
    #[cfg(feature = "iceoryx2")]
    v.extend(iceoryx2::peers());
    #[cfg(feature = "tokio_ipc")]
    v.extend(tokio_ipc::peers());
    #[cfg(feature = "tarpc")]
    v.extend(tarpc::peers());
    v
}

/// What a running broker leaves for the roles.
pub struct Broker {
    pub addr: String,
    pub pid: Option<u32>,
    /// Extra environment for the role processes.
    pub env: Vec<(String, String)>,
    _guards: Vec<Keep>,
}

enum Keep {
    Daemon(#[allow(dead_code)] Guard),
    Role(#[allow(dead_code)] crate::proc::RoleProc),
    Socket(#[allow(dead_code)] UnixStream),
}

impl Broker {
    /// No broker: the roles meet at `addr` themselves.
    pub fn none(addr: String) -> Broker {
        Broker {
            addr,
            pid: None,
            env: Vec::new(),
            _guards: Vec::new(),
        }
    }

    pub fn daemon(addr: String, guard: Guard) -> Broker {
        Broker {
            addr,
            pid: Some(guard.pid()),
            env: Vec::new(),
            _guards: vec![Keep::Daemon(guard)],
        }
    }

    /// A daemon that lives as long as this socket stays open.
    pub fn daemon_with(addr: String, guard: Guard, socket: UnixStream) -> Broker {
        let mut b = Broker::daemon(addr, guard);
        b._guards.push(Keep::Socket(socket));
        b
    }

    /// A broker that this binary runs itself, in a process of its own.
    pub fn own(peer: &dyn Peer, addr: String, env: &Env) -> Result<Broker> {
        let spec = crate::role::Spec {
            peer: peer.name().into(),
            role: Role::Broker,
            addr: addr.clone(),
            dir: env.dir.clone(),
            size: 0,
            secs: 0.0,
            max_count: 0,
            conns: 0,
            inflight: 0,
            touch: false,
        };
        let mut p = crate::proc::RoleProc::spawn(&spec, &[])?;
        p.wait_ready(Duration::from_secs(10))?;
        Ok(Broker {
            addr,
            pid: Some(p.pid()),
            env: Vec::new(),
            _guards: vec![Keep::Role(p)],
        })
    }
}

/// One measurement's private directory and names.
pub struct Env {
    pub dir: String,
    pub id: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Env {
    pub fn new() -> Result<Env> {
        let id = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = format!("/tmp/peerbench-{id}");
        std::fs::create_dir_all(&dir)?;
        Ok(Env { dir, id })
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn wait_unix(path: &str) -> Result<()> {
    let t = Instant::now();
    while UnixStream::connect(path).is_err() {
        if t.elapsed() > Duration::from_secs(5) {
            bail!("nobody listens on {path}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn wait_tcp(addr: &str) -> Result<()> {
    let t = Instant::now();
    while std::net::TcpStream::connect(addr).is_err() {
        if t.elapsed() > Duration::from_secs(5) {
            bail!("nobody listens on {addr}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// First line of a program's `--version`.
pub fn tool_version(bin: &str, arg: &str) -> String {
    std::process::Command::new(bin)
        .arg(arg)
        .output()
        .ok()
        .map(|o| {
            let s = if o.stdout.is_empty() {
                o.stderr
            } else {
                o.stdout
            };
            String::from_utf8_lossy(&s)
                .lines()
                .next()
                .unwrap_or("")
                .trim()
                .to_string()
        })
        .unwrap_or_else(|| format!("{bin} not found"))
}
