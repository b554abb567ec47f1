//! Programs that do something, for tests and pictures of the dashboard: objects that are called and topics that are heard, at a steady pace.
//!
//! Each is a process of its own: the test's own executable, started again for the one test that lives as the program that it is told to
//! be. It lives until its standard input ends, so no program outlives its test. Expects the
//! processes beside it, as `crate::support`.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is not as expected fails the test"
)]

use crate::support::this_program;
use actix_ipc::client::{IpcClient, Methods};
use actix_ipc::message::Payload;
use actix_ipc::transport::Endpoint;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// The test that is a program when it is told so.
const TEST: &str = "a_program_of_the_town";
/// Tells which one, and where the broker is.
const NAME: &str = "DASHBOARD_TOWN_NAME";
const ENDPOINT: &str = "DASHBOARD_TOWN_ENDPOINT";
/// Between two turns.
const TURN: Duration = Duration::from_millis(50);

/// Names that would be something else in a document.
pub const HOSTILE: [&str; 2] = [
    "<img src=x onerror=stolen=1>",
    "\u{202e}\"'&lt;<script>stolen=1</script>",
];

/// What a program does. Counts are those of a turn.
#[derive(Clone, Copy)]
struct Program {
    name: &'static str,
    serves: &'static [&'static str],
    /// Object, topic, and whether they are patterns.
    hears: &'static [(&'static str, &'static str, bool)],
    calls: &'static [(&'static str, u64)],
    publishes: &'static [(&'static str, &'static str, u32)],
}

const NOBODY: Program = Program {
    name: "",
    serves: &[],
    hears: &[],
    calls: &[],
    publishes: &[],
};

/// Those who serve come first: the others find them.
const PROGRAMS: [Program; 9] = [
    Program {
        name: "calculator",
        serves: &["math"],
        ..NOBODY
    },
    Program {
        name: "billing",
        serves: &["billing.invoices"],
        hears: &[("orders", "placed", false)],
        publishes: &[("billing", "paid", 3)],
        ..NOBODY
    },
    Program {
        name: "thermostat",
        serves: &["house.thermometer", "house.heating"],
        publishes: &[("sensor", "temperature", 12), ("sensor", "humidity", 6)],
        ..NOBODY
    },
    Program {
        name: "search",
        serves: &["search.index"],
        hears: &[("orders", "*", true)],
        ..NOBODY
    },
    Program {
        name: "</script><b>hostile",
        serves: &HOSTILE,
        calls: &[(HOSTILE[0], 1), (HOSTILE[1], 1)],
        ..NOBODY
    },
    Program {
        name: "display",
        hears: &[("sensor", "temperature", false), ("billing", "paid", false)],
        ..NOBODY
    },
    Program {
        name: "recorder",
        hears: &[("sensor", "**", true), ("log", "line", false)],
        ..NOBODY
    },
    Program {
        name: "alarm",
        hears: &[("log", "line", false)],
        ..NOBODY
    },
    Program {
        name: "front",
        calls: &[
            ("math", 24),
            ("billing.invoices", 9),
            ("search.index", 5),
            ("house.thermometer", 2),
            ("house.heating", 1),
        ],
        publishes: &[("orders", "placed", 4), ("log", "line", 40)],
        ..NOBODY
    },
];

/// The programs. Dropping it ends them.
pub struct Town(Vec<Child>);

impl Town {
    pub fn start(endpoint: &str) -> Self {
        let start = |program: &Program| {
            let mut command = this_program(TEST);
            command.env(NAME, program.name).env(ENDPOINT, endpoint);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        Self(PROGRAMS.iter().map(start).collect())
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        for program in &mut self.0 {
            drop(program.stdin.take());
        }
        for program in &mut self.0 {
            let _ = program.wait();
        }
    }
}

/// Lives as the program that the environment names; does nothing where it names none.
pub fn live() {
    let (Ok(name), Ok(endpoint)) = (std::env::var(NAME), std::env::var(ENDPOINT)) else {
        return;
    };
    let program = PROGRAMS.into_iter().find(|program| program.name == name).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let over = spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            _ = over => {}
            () = work(program, endpoint.parse().unwrap()) => {}
        }
    });
}

async fn work(program: Program, endpoint: Endpoint) {
    let client = IpcClient::builder().endpoint(endpoint).name(program.name);
    let client = client.connect().await.unwrap();
    let mut kept = Vec::new();
    for object in program.serves {
        let same = |value: u64, _| async move { Ok(value) };
        let methods = Methods::new().method("same", same);
        kept.push(client.register(object, methods).await.unwrap());
    }
    for (object, topic, pattern) in program.hears {
        let subscribe = client.subscribe(object, topic);
        let subscribe = if *pattern { subscribe.pattern() } else { subscribe };
        let mut heard = subscribe.await.unwrap();
        tokio::spawn(async move { while heard.next().await.is_some() {} });
    }
    for (object, _) in program.calls {
        client.wait_for_object(object).await.unwrap();
    }
    let mut turns = tokio::time::interval(TURN);
    loop {
        turns.tick().await;
        for (object, count) in program.calls {
            for number in 0..*count {
                let _: u64 = client.remote_call(object, "same", number).await.unwrap();
            }
        }
        for (object, topic, count) in program.publishes {
            for _ in 0..*count {
                let event = client.publish_payload(object, topic, Payload::raw(vec![1; 32]));
                event.await.unwrap();
            }
        }
    }
}
