//! A model of the broker on many cores, fed with costs that are measured here and now, and compared with what is measured.
//!
//! A discrete-event simulation: threads take turns on cores; a turn handles what is queued for the thread, and costs something for
//! each message, for each socket that is touched, and for each other thread that is woken. Clients keep a number of things under
//! way. Two stages know names or topics (the core actors), the others belong to a connection. See docs/performance.md.

use super::load::{Run, call_run, publish_run};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

/// What one turn handles at most.
const TURN: usize = 512;
/// Things that are done in one simulation.
const DONE: usize = 60_000;

/// Costs in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// A message in a core actor.
    core: f64,
    /// A message in a connection, in or out.
    connection: f64,
    /// A read and a write of a socket, in the broker.
    socket: f64,
    /// Waking another thread of the broker.
    wake: f64,
    /// A message in a client, and what a client pays for a read and a write.
    client: f64,
    client_socket: f64,
}

/// One stop of a message.
#[derive(Clone, Copy)]
struct Hop {
    thread: usize,
    cost: f64,
    /// The socket that is read or written here.
    socket: Option<usize>,
}

struct Thread {
    /// Message (its route and place), oldest first.
    queue: VecDeque<(usize, usize)>,
    scheduled: bool,
    /// What touching a socket costs this thread, and waking another one.
    socket: f64,
    wake: f64,
}

/// The plan whose throughput is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Today: both core actors on the first thread, connections on so many others (0: on the first, too).
    OneRoom { arbiters: usize },
    /// So many threads, each with its connections and its share of the names or topics.
    Sharded { threads: usize },
    /// The same, and a publisher's events stay in order over all topics: each of its batches asks every shard, and what came first
    /// is let out first.
    Ordered { threads: usize },
}

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Load {
    pub clients: usize,
    pub under_way: usize,
    /// Those who answer or hear.
    pub servers: usize,
    /// Calls come back; events do not.
    pub calls: bool,
}

impl Plan {
    fn threads(self) -> usize {
        match self {
            Self::OneRoom { arbiters } => arbiters + 1,
            Self::Sharded { threads } | Self::Ordered { threads } => threads,
        }
    }

    /// The thread of a connection.
    fn connection(self, number: usize) -> usize {
        match self {
            Self::OneRoom { arbiters: 0 } => 0,
            Self::OneRoom { arbiters } => 1 + number % arbiters,
            Self::Sharded { threads } | Self::Ordered { threads } => number % threads,
        }
    }

    /// The thread that knows a name or topic.
    fn shard(self, name: usize) -> usize {
        match self {
            Self::OneRoom { .. } => 0,
            Self::Sharded { threads } | Self::Ordered { threads } => {
                name.wrapping_mul(0x9e37_79b9) / 64 % threads
            }
        }
    }
}

/// Things done in a second, on so many cores; clients on the same cores, or on cores of their own.
pub fn simulate(plan: Plan, load: Load, costs: Costs, cores: usize, clients_beside: bool) -> f64 {
    let own = plan.threads();
    let routes = routes(plan, load, costs, own);
    let mut threads = idle_threads(own, load, costs);
    let (mut now, mut done) = (0.0_f64, 0);
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut batches: Vec<Vec<(usize, usize)>> = threads.iter().map(|_| Vec::new()).collect();
    let mut ready = begin(&routes, &mut threads);
    let mut free = cores;
    loop {
        let mut later = VecDeque::new();
        while let Some(at) = ready.pop_front() {
            let costs_core = at < own || clients_beside;
            if costs_core && free == 0 {
                later.push_back(at);
                continue;
            }
            free -= usize::from(costs_core);
            let batch: Vec<_> = {
                let thread = &mut threads[at];
                let count = thread.queue.len().min(TURN);
                thread.queue.drain(..count).collect()
            };
            let end = now + turn(&batch, &routes, &threads, at, own);
            batches[at] = batch;
            ends.push(Reverse(((end * 1e6) as u64, at)));
        }
        ready = later;
        let Some(Reverse((end, at))) = ends.pop() else {
            break;
        };
        now = end as f64 / 1e6;
        free += usize::from(at < own || clients_beside);
        for (route, place) in std::mem::take(&mut batches[at]) {
            let next = (place + 1) % routes[route].len();
            done += usize::from(next == 0);
            let to = routes[route][next].thread;
            threads[to].queue.push_back((route, next));
            if !threads[to].scheduled {
                threads[to].scheduled = true;
                ready.push_back(to);
            }
        }
        if threads[at].queue.is_empty() {
            threads[at].scheduled = false;
        } else if !ready.contains(&at) {
            threads[at].scheduled = true;
            ready.push_back(at);
        }
        if done >= DONE {
            break;
        }
    }
    done as f64 / now * 1e6
}

/// Each thing is where its way begins; the threads that are to handle them.
fn begin(routes: &[Vec<Hop>], threads: &mut [Thread]) -> VecDeque<usize> {
    for (route, hops) in routes.iter().enumerate() {
        threads[hops[0].thread].queue.push_back((route, 0));
    }
    for thread in threads.iter_mut() {
        thread.scheduled = !thread.queue.is_empty();
    }
    (0..threads.len()).filter(|at| threads[*at].scheduled).collect()
}

fn idle_threads(own: usize, load: Load, costs: Costs) -> Vec<Thread> {
    (0..own + load.clients + load.servers)
        .map(|at| Thread {
            queue: VecDeque::new(),
            scheduled: false,
            socket: if at < own {
                costs.socket
            } else {
                costs.client_socket
            },
            wake: if at < own { costs.wake } else { 0.0 },
        })
        .collect()
}

/// How long a turn takes.
fn turn(batch: &[(usize, usize)], routes: &[Vec<Hop>], threads: &[Thread], at: usize, own: usize) -> f64 {
    let hops = batch.iter().map(|(route, place)| (&routes[*route], *place));
    let (mut sum, mut sockets, mut woken) = (0.0, BTreeSet::new(), BTreeSet::new());
    for (route, place) in hops {
        let hop = route[place];
        sum += hop.cost;
        sockets.extend(hop.socket);
        let next = route[(place + 1) % route.len()].thread;
        if next != at && next < own && at < own && !threads[next].scheduled {
            woken.insert(next);
        }
    }
    sum + sockets.len() as f64 * threads[at].socket + woken.len() as f64 * threads[at].wake
}

/// The way of each thing that is under way.
fn routes(plan: Plan, load: Load, costs: Costs, own: usize) -> Vec<Vec<Hop>> {
    let mut routes = Vec::new();
    for client in 0..load.clients {
        for under_way in 0..load.under_way {
            let name = client * 31 + under_way * 17;
            let server = name % load.servers;
            let (caller, callee) = (own + client, own + load.clients + server);
            let at_caller = plan.connection(client);
            let at_callee = plan.connection(load.clients + server);
            let client_hop = |thread, socket| Hop {
                thread,
                cost: costs.client,
                socket: Some(socket),
            };
            let hop = |thread, socket: usize| Hop {
                thread,
                cost: costs.connection,
                socket: Some(socket),
            };
            let mut route = vec![
                client_hop(caller, client),
                hop(at_caller, client),
                Hop {
                    thread: plan.shard(name),
                    cost: costs.core,
                    socket: None,
                },
            ];
            if let Plan::Ordered { threads } = plan {
                // The fence: the publisher's connection hears from the other shards before the event is let out. Its cost is
                // shared by the events of a batch.
                let share = costs.wake * (threads - 1) as f64 / load.under_way as f64;
                route.push(Hop {
                    thread: at_caller,
                    cost: share + costs.core,
                    socket: None,
                });
            }
            route.push(hop(at_callee, load.clients + server));
            route.push(client_hop(callee, load.clients + server));
            if load.calls {
                route.push(hop(at_callee, load.clients + server));
                route.push(hop(at_caller, client));
            }
            routes.push(route);
        }
    }
    routes
}

const ARBITERS: [usize; 3] = [0, 1, 2];
const MANY: usize = 64;

/// The costs of a call, from what the broker paid in four runs.
fn call_costs() -> Costs {
    let [alone, apart, busy, split] = [(0, 1, 1), (1, 1, 1), (0, 4, MANY), (1, 4, MANY)]
        .map(|(arbiters, callers, under_way)| call_run(arbiters, callers, under_way));
    costs(alone, apart, busy, split, 4.0)
}

/// `alone` and `apart`: one thing at a time, with no arbiter and with one; `busy` and `split`: the same with many.
fn costs(alone: Run, apart: Run, busy: Run, split: Run, hops: f64) -> Costs {
    let sum = |run: Run| run.core + run.others;
    let core = split.core.min(sum(busy) / 2.0);
    let connection = (sum(busy) - core) / hops;
    Costs {
        core,
        connection,
        socket: (sum(alone) - sum(busy)).max(0.0) / hops,
        wake: (sum(apart) - sum(alone)).max(0.0) / 3.0,
        client: busy.clients / 2.0,
        client_socket: (alone.clients - busy.clients).max(0.0) / 2.0,
    }
}

pub fn run() {
    let costs = call_costs();
    println!("costs of a call in µs: {costs:.3?}");
    println!("checked on this machine's cores, clients on the same ones:");
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    for (clients, under_way) in [(1, 1), (8, 1), (1, MANY), (4, MANY)] {
        let load = Load {
            clients,
            under_way,
            servers: 1,
            calls: true,
        };
        for arbiters in ARBITERS {
            let plan = Plan::OneRoom { arbiters };
            let (model, measured) = (
                simulate(plan, load, costs, cores, true),
                call_run(arbiters, clients, under_way).rate,
            );
            println!(
                "  {clients} callers, {under_way:>2} under way, {arbiters} arbiters: model {model:>9.0}/s, measured {measured:>9.0}/s, {:.2}",
                model / measured
            );
        }
    }
    let load = Load {
        clients: 64,
        under_way: MANY,
        servers: 32,
        calls: true,
    };
    table("calls, 64 callers, 64 under way each, 32 workers", load, costs);
    let events = event_costs(costs);
    println!("costs of an event in µs: {events:.3?}");
    let load = Load {
        clients: 64,
        under_way: 1_000,
        servers: 32,
        calls: false,
    };
    table(
        "events, 64 publishers, 1,000 under way each, 32 subscribers",
        load,
        events,
    );
}

fn event_costs(calls: Costs) -> Costs {
    let (busy, split) = (publish_run(0, 1), publish_run(1, 1));
    let core = split.core.min((busy.core + busy.others) / 2.0);
    Costs {
        core,
        connection: (busy.core + busy.others - core) / 2.0,
        client: busy.clients / 2.0,
        ..calls
    }
}

/// Throughput for 1 to 16 cores of the broker; the clients have cores of their own.
fn table(what: &str, load: Load, costs: Costs) {
    println!("{what}, in 1,000/s:");
    println!("  cores  arbiters today  sharded  sharded, a publisher's order kept over topics");
    for cores in [1, 2, 4, 8, 16] {
        let plans = [
            Plan::OneRoom { arbiters: cores - 1 },
            Plan::Sharded { threads: cores },
            Plan::Ordered { threads: cores },
        ];
        let [today, sharded, ordered] = plans.map(|plan| simulate(plan, load, costs, cores, false) / 1000.0);
        println!("  {cores:>5}  {today:>14.0}  {sharded:>7.0}  {ordered:>7.0}");
    }
}
