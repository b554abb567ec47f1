//! Child side of the harness: what a role process (worker, caller, publisher,
//! subscriber, ...) shares with every peer adapter.
//!
//! Control protocol over the child's stdio, one line each:
//!   child -> harness: `READY`, `RESULT {json}`, `ERROR text`
//!   harness -> child: `GO`, `END <messages published>`
//! End of file on stdin means the harness is gone: the child exits.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Broker,
    Worker,
    Caller,
    Pub,
    Sub,
    BulkSend,
    BulkRecv,
    Idle,
}

/// Everything a role process needs to know, passed as JSON in argv.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub peer: String,
    pub role: Role,
    pub addr: String,
    /// Private scratch directory of this measurement (side sockets, ...).
    pub dir: String,
    pub size: usize,
    pub secs: f64,
    pub max_count: u64,
    pub conns: usize,
    pub inflight: usize,
    /// Bulk only: the receiver reads every byte before the clock stops.
    pub touch: bool,
}

/// CLOCK_MONOTONIC in nanoseconds: comparable across processes on one machine.
pub fn now_ns() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: ts is a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

#[derive(Default)]
struct Control {
    go: Mutex<bool>,
    cv: Condvar,
    end: AtomicU64,
    ended: AtomicBool,
}

#[derive(Clone)]
pub struct Ctx {
    pub spec: Spec,
    control: Arc<Control>,
}

impl Ctx {
    pub fn new(spec: Spec) -> Ctx {
        let control = Arc::new(Control::default());
        let c = control.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if line == "GO" {
                    *c.go.lock().unwrap() = true;
                    c.cv.notify_all();
                } else if let Some(n) = line.strip_prefix("END ") {
                    c.end.store(n.trim().parse().unwrap_or(0), Ordering::SeqCst);
                    c.ended.store(true, Ordering::SeqCst);
                }
            }
            std::process::exit(0);
        });
        Ctx { spec, control }
    }

    pub fn ready(&self) {
        say("READY");
    }

    pub fn wait_go(&self) {
        let mut go = self.control.go.lock().unwrap();
        while !*go {
            go = self.control.cv.wait(go).unwrap();
        }
    }

    pub fn result(&self, value: serde_json::Value) {
        say(&format!("RESULT {value}"));
    }

    /// Parks for good: the harness ends this process by pid.
    pub fn park(&self) -> ! {
        loop {
            std::thread::park();
        }
    }

    /// Message bodies: every byte '0'; the last message of a run starts with '1'.
    pub fn body(&self) -> Vec<u8> {
        vec![b'0'; self.spec.size]
    }

    pub fn last_body(&self) -> Vec<u8> {
        let mut b = self.body();
        b[0] = b'1';
        b
    }

    pub fn pub_clock(&self) -> PubClock {
        let t0 = now_ns();
        PubClock {
            n: 0,
            t0,
            deadline: t0 + (self.spec.secs * 1e9) as u64,
            // One gibibyte of payload at most, so that unbounded broker queues stay bounded.
            cap: self
                .spec
                .max_count
                .min((1u64 << 30) / self.spec.size.max(1) as u64),
        }
    }

    /// Publisher's report. `n` counts every message, the marked last one included.
    pub fn pub_done(&self, t0: u64, n: u64) {
        self.result(serde_json::json!({"t0": t0, "t1": now_ns(), "n": n}));
    }

    /// Blocks until every connection saw the marked last message, or until
    /// nothing has come for two seconds after the publisher ended; then reports.
    pub fn finish_subs(&self, subs: &[Arc<SubConn>]) {
        let mut seen = 0u64;
        let mut changed = now_ns();
        loop {
            std::thread::sleep(Duration::from_millis(10));
            if subs.iter().all(|s| s.last.load(Ordering::Acquire) != 0) {
                break;
            }
            let total: u64 = subs.iter().map(|s| s.count.load(Ordering::Relaxed)).sum();
            if total != seen {
                seen = total;
                changed = now_ns();
            } else if self.control.ended.load(Ordering::SeqCst)
                && now_ns() - changed > 2_000_000_000
            {
                break;
            }
        }
        let conns: Vec<_> = subs
            .iter()
            .map(|s| {
                let last = s.last.load(Ordering::Acquire);
                serde_json::json!({
                    "count": s.count.load(Ordering::Relaxed),
                    "last": if last != 0 { last } else { changed },
                    "complete": last != 0,
                })
            })
            .collect();
        self.result(serde_json::json!({ "conns": conns }));
    }

    /// Runs `call` for the configured time after a warm-up and reports latencies.
    pub fn latency_run(&self, mut call: impl FnMut() -> Result<()>) -> Result<()> {
        let warm = Instant::now();
        let mut w = 0;
        while w < 2000 && warm.elapsed() < Duration::from_millis(300) {
            call()?;
            w += 1;
        }
        let mut lat = Latencies::new(self.spec.max_count);
        let end = now_ns() + (self.spec.secs * 1e9) as u64;
        let mut t = now_ns();
        while t < end && lat.room() {
            call()?;
            let t2 = now_ns();
            lat.add(t2 - t);
            t = t2;
        }
        self.result(lat.report());
        Ok(())
    }

    pub fn side_path(&self) -> String {
        format!("{}/side.sock", self.spec.dir)
    }

    /// Bulk receiver: accept the sender's side channel (acknowledgements only).
    pub fn side_listen(&self) -> Result<UnixListener> {
        let p = self.side_path();
        let _ = std::fs::remove_file(&p);
        Ok(UnixListener::bind(p)?)
    }

    /// Bulk sender: one transfer at a time; `send` starts a transfer, the
    /// receiver answers with its monotonic receive time over the side channel.
    pub fn bulk_run(&self, mut send: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let mut side = self.side_connect()?;
        let mut lat = Latencies::new(self.spec.max_count);
        let end = now_ns() + ((self.spec.secs + 0.3) * 1e9) as u64;
        let mut i = 0u64;
        while (now_ns() < end || i < 6) && lat.room() {
            let t = now_ns();
            send(i)?;
            let mut b = [0u8; 8];
            side.read_exact(&mut b)
                .context("bulk receiver did not acknowledge")?;
            // The first three transfers are warm-up.
            if i >= 3 {
                lat.add(u64::from_ne_bytes(b).saturating_sub(t));
            }
            i += 1;
        }
        self.result(lat.report());
        Ok(())
    }

    /// The same for senders that are futures: `send` has ended when the receiver has acknowledged.
    pub async fn bulk_run_async(&self, mut send: impl AsyncFnMut(u64) -> Result<()>) -> Result<()> {
        let mut side = self.side_connect()?;
        let mut lat = Latencies::new(self.spec.max_count);
        let end = now_ns() + ((self.spec.secs + 0.3) * 1e9) as u64;
        let mut i = 0u64;
        while (now_ns() < end || i < 6) && lat.room() {
            let t = now_ns();
            send(i).await?;
            let mut b = [0u8; 8];
            side.read_exact(&mut b)
                .context("bulk receiver did not acknowledge")?;
            // The first three transfers are warm-up.
            if i >= 3 {
                lat.add(u64::from_ne_bytes(b).saturating_sub(t));
            }
            i += 1;
        }
        self.result(lat.report());
        Ok(())
    }

    pub fn side_connect(&self) -> Result<UnixStream> {
        let p = self.side_path();
        let t = Instant::now();
        loop {
            match UnixStream::connect(&p) {
                Ok(s) => {
                    s.set_read_timeout(Some(Duration::from_secs(15)))?;
                    return Ok(s);
                }
                Err(e) if t.elapsed() > Duration::from_secs(5) => bail!("side channel {p}: {e}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Stamp and acknowledge one bulk transfer.
pub fn ack(side: &mut UnixStream) -> Result<()> {
    side.write_all(&now_ns().to_ne_bytes())?;
    Ok(())
}

/// Reads a whole buffer, eight bytes at a time.
pub fn read_through(data: &[u8]) -> u64 {
    let (a, b, c) = unsafe { data.align_to::<u64>() };
    let mut sum = 0u64;
    for x in a.iter().chain(c) {
        sum = sum.wrapping_add(*x as u64);
    }
    for x in b {
        sum = sum.wrapping_add(*x);
    }
    std::hint::black_box(sum)
}

pub struct PubClock {
    pub n: u64,
    pub t0: u64,
    deadline: u64,
    cap: u64,
}

impl PubClock {
    /// True while another body should be published; looks at the clock every 32.
    #[inline]
    pub fn more(&mut self) -> bool {
        self.n += 1;
        if self.n & 31 == 0 && now_ns() >= self.deadline {
            return false;
        }
        self.n < self.cap
    }

    /// For publishers that send `k` messages at a time.
    pub fn more_by(&mut self, k: u64) -> bool {
        self.n += k;
        now_ns() < self.deadline && self.n < self.cap
    }
}

/// One subscription's counters, written by one receiving thread or task.
#[derive(Default)]
pub struct SubConn {
    pub count: AtomicU64,
    pub last: AtomicU64,
}

impl SubConn {
    pub fn new() -> Arc<SubConn> {
        Arc::new(SubConn::default())
    }

    #[inline]
    pub fn hit(&self, first: u8) {
        self.hit_many(1, first == b'1');
    }

    #[inline]
    pub fn hit_many(&self, n: u64, last: bool) {
        self.count
            .store(self.count.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        if last {
            self.last.store(now_ns(), Ordering::Release);
        }
    }
}

pub struct Latencies {
    ns: Vec<u64>,
    cap: usize,
    t0: u64,
}

impl Latencies {
    pub fn new(cap: u64) -> Latencies {
        let cap = cap.min(2_000_000) as usize;
        Latencies {
            ns: Vec::with_capacity(cap.min(400_000)),
            cap,
            t0: now_ns(),
        }
    }

    pub fn room(&self) -> bool {
        self.ns.len() < self.cap
    }

    #[inline]
    pub fn add(&mut self, ns: u64) {
        self.ns.push(ns);
    }

    pub fn report(mut self) -> serde_json::Value {
        let elapsed = now_ns() - self.t0;
        self.ns.sort_unstable();
        let q = |p: f64| -> f64 {
            if self.ns.is_empty() {
                return f64::NAN;
            }
            let i = ((self.ns.len() as f64 * p).ceil() as usize).clamp(1, self.ns.len()) - 1;
            self.ns[i] as f64 / 1000.0
        };
        serde_json::json!({
            "n": self.ns.len(),
            "elapsed_ns": elapsed,
            "p50": q(0.50), "p99": q(0.99), "p999": q(0.999),
            "min": q(0.0), "max": q(1.0),
        })
    }
}

/// Counts finished calls of a windowed throughput run.
pub struct CallMeter {
    done: AtomicU64,
    deadline: AtomicU64,
    t0: AtomicU64,
    max: u64,
}

impl CallMeter {
    pub fn start(ctx: &Ctx) -> Arc<CallMeter> {
        let t0 = now_ns();
        Arc::new(CallMeter {
            done: AtomicU64::new(0),
            deadline: AtomicU64::new(t0 + (ctx.spec.secs * 1e9) as u64),
            t0: AtomicU64::new(t0),
            max: ctx.spec.max_count,
        })
    }

    /// Counts one finished call; false when the run is over.
    #[inline]
    pub fn tick(&self) -> bool {
        let n = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (n & 15 != 0 || now_ns() < self.deadline.load(Ordering::Relaxed)) && n < self.max
    }

    pub fn report(&self, ctx: &Ctx) {
        let t = now_ns() - self.t0.load(Ordering::Relaxed);
        let n = self.done.load(Ordering::Relaxed);
        ctx.result(serde_json::json!({"n": n, "elapsed_ns": t}));
    }
}

pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// Async version of [`Ctx::latency_run`]; spawn it onto the runtime so that the
/// caller's loop lives on a worker thread, as an application task would.
#[macro_export]
macro_rules! latency_run_async {
    ($ctx:expr, $call:expr) => {{
        let ctx = &$ctx;
        let warm = std::time::Instant::now();
        let mut w = 0;
        while w < 2000 && warm.elapsed() < std::time::Duration::from_millis(300) {
            $call;
            w += 1;
        }
        let mut lat = $crate::role::Latencies::new(ctx.spec.max_count);
        let end = $crate::role::now_ns() + (ctx.spec.secs * 1e9) as u64;
        let mut t = $crate::role::now_ns();
        while t < end && lat.room() {
            $call;
            let t2 = $crate::role::now_ns();
            lat.add(t2 - t);
            t = t2;
        }
        ctx.result(lat.report());
    }};
}

/// What the latency macro needs, owned by a spawned task.
pub struct Shim {
    pub spec: Spec,
}

impl Shim {
    pub fn result(&self, v: serde_json::Value) {
        say(&format!("RESULT {v}"));
    }
}
