//! `rob top` in a pseudo-terminal: the numbers on its screen are the broker's, keys do what help says, and the terminal is given back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(unix)]

#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use actix_ipc::client::Registration;
use actix_ipc::{IpcClient, SharedObject, async_trait};
use futures::executor::block_on;
use serde_json::{Value, json};
use support::{Broker, Process, until};
use terminal::Terminal;

struct Math;

#[async_trait]
impl SharedObject for Math {
    async fn call(&self, _: &str, args: &Value) -> Value {
        args.clone()
    }
}

/// A broker with an object, two who hear a topic, and somebody who uses both.
struct Scene {
    client: IpcClient,
    owner: IpcClient,
    _math: Registration,
    _heard: Vec<actix_ipc::client::Subscription>,
    // The last, so that clients are gone before it looks at what is left.
    broker: Broker,
}

impl Scene {
    fn new() -> Self {
        let broker = Broker::start();
        let connect = |name: &str| {
            let builder = IpcClient::builder()
                .endpoint(broker.endpoint().parse().unwrap())
                .name(name);
            block_on(builder.connect()).unwrap()
        };
        let (owner, client) = (connect("owner"), connect("caller"));
        let math = block_on(owner.register_object("math", Math).into_future()).unwrap();
        let heard =
            [&owner, &client].map(|client| block_on(client.subscribe("sensor", "t").into_future()).unwrap());
        Self {
            client,
            owner,
            _math: math,
            _heard: heard.into(),
            broker,
        }
    }

    fn call(&self, times: u64) {
        for _ in 0..times {
            let answer: Value = block_on(self.client.call("math", "echo").send(&json!(1))).unwrap();
            assert_eq!(answer, 1);
        }
    }

    fn publish(&self, times: u64) {
        for number in 0..times {
            block_on(self.client.publish("sensor", "t", &number).acknowledged()).unwrap();
        }
    }

    fn ask(&self, method: &str) -> Value {
        block_on(self.client.call("sys.broker", method).send(&json!({}))).unwrap()
    }

    /// How often anybody asked the broker about itself.
    fn asked(&self) -> u64 {
        let objects = self.ask("objects");
        let own = objects["objects"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "sys.broker");
        own.unwrap()["calls"].as_u64().unwrap()
    }

    fn top(&self, size: (u16, u16), options: &[&str]) -> Terminal {
        let variables = [
            ("IPC_BROKER_ADDR", self.broker.endpoint()),
            ("TERM", "xterm-256color"),
        ];
        let arguments = ["top", "--interval", "0.2"].iter().chain(options);
        Terminal::start(env!("CARGO_BIN_EXE_rob"), arguments.copied(), &variables, size)
    }
}

/// The cells of the row that begins with the name.
fn row(screen: &str, name: &str) -> Option<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    screen
        .lines()
        .map(words)
        .find(|words| words.first().is_some_and(|word| word == name))
}

fn has(screen: &str, name: &str, cells: &[(usize, &str)]) -> bool {
    let rows = screen
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let fits = |row: &[&str], (index, text): &(usize, &str)| row.get(*index) == Some(text);
    rows.filter(|row| row.first() == Some(&name))
        .any(|row| cells.iter().all(|cell| fits(&row, cell)))
}

#[test]
fn the_numbers_on_the_screen_are_those_of_the_broker() {
    for size in [(24, 80), (50, 200)] {
        let scene = Scene::new();
        scene.call(1_234);
        scene.publish(567);
        block_on(scene.client.call("nobody", "m").send::<_, Value>(&json!(null))).unwrap_err();
        let status = scene.ask("status");
        assert_eq!(
            (&status["totals"]["calls"], &status["metrics"]["events_published"]),
            (&json!(1_234), &json!(567)),
            "{status}"
        );
        let mut top = scene.top(size, &[]);
        let screen = top.wait("the totals", |screen| {
            has(screen, "math", &[(2, "1,234"), (3, "0"), (4, "0")])
        });
        assert!(screen.contains("total 1,234  errors 0  open 0"), "{screen}");
        assert!(screen.contains("missed 0  total 567 in  1,134 out"), "{screen}");
        assert!(screen.lines().count() <= usize::from(size.0), "{screen}");
        assert!(screen.lines().last().unwrap().starts_with("q quit"), "{screen}");
        // What happens while it is looked at.
        scene.call(66);
        let screen = top.wait("more calls", |screen| has(screen, "math", &[(2, "1,300")]));
        assert!(screen.contains("total 1,300"), "{screen}");
        top.keys("2");
        let screen = top.wait("topics", |screen| {
            has(screen, "sensor.t", &[(2, "567"), (3, "2")])
        });
        assert!(screen.contains("SUBSCRIBERS"), "{screen}");
        assert_eq!(screen.contains("PEERS"), size.1 == 200, "{screen}");
        top.keys("3");
        let screen = top.wait("connections", |screen| screen.contains("WRITTEN/S"));
        let owner = scene.owner.peer_id().0.to_string();
        assert!(
            has(
                &screen,
                &owner,
                &[(1, "owner"), (2, &std::process::id().to_string())]
            ),
            "{screen}"
        );
        top.keys("4");
        let screen = top.wait("queues", |screen| screen.contains("QUEUED▼"));
        assert!(
            has(&screen, &owner, &[(1, "owner"), (3, "0"), (4, "B")]),
            "{screen}"
        );
        top.keys("q");
        assert_eq!(top.end(), Some(0));
    }
}

#[test]
fn latencies_and_rates_are_those_of_the_interval() {
    let scene = Scene::new();
    scene.call(50);
    let mut top = scene.top((24, 100), &[]);
    // Nothing happens any more: no rate, and no latency.
    top.wait("an idle interval", |screen| {
        has(screen, "math", &[(1, "0"), (2, "50"), (5, "-"), (6, "-")])
    });
    top.keys("q");
    assert_eq!(top.end(), Some(0));
}

#[test]
fn keys_filter_sort_pause_and_help() {
    let scene = Scene::new();
    scene.call(10);
    let mut top = scene.top((24, 80), &[]);
    top.wait("the rows", |screen| {
        has(screen, "math", &[(2, "10")]) && row(screen, "sys.broker").is_some()
    });
    top.keys("/mat\r");
    let screen = top.wait("the filter", |screen| {
        screen.contains("filter: mat") && row(screen, "sys.broker").is_none()
    });
    assert!(has(&screen, "math", &[(2, "10")]), "{screen}");
    top.keys("/\u{1b}");
    top.wait("all rows", |screen| row(screen, "sys.broker").is_some());
    // By name, the last first, and then the first first.
    top.keys("S");
    top.wait("the order by name", |screen| screen.contains("NAME▼"));
    top.keys("r");
    let screen = top.wait("the other way round", |screen| screen.contains("NAME▲"));
    let place = |name: &str| {
        screen
            .lines()
            .position(|line| line.split_whitespace().next() == Some(name))
            .unwrap()
    };
    assert!(place("math") < place("sys.broker"), "{screen}");
    top.keys("p");
    top.wait("the pause", |screen| screen.contains("PAUSED"));
    scene.call(5);
    let before = scene.asked();
    // Two whole looks at the broker, and one question of ours each time.
    until("two looks", || scene.asked() >= before + 12);
    assert!(has(&top.screen(), "math", &[(2, "10")]), "{}", top.screen());
    top.keys(" ");
    top.wait("going on", |screen| {
        has(screen, "math", &[(2, "15")]) && !screen.contains("PAUSED")
    });
    top.keys("?");
    top.wait("help", |screen| screen.contains("reverse the order"));
    top.keys("q");
    top.wait("no help", |screen| !screen.contains("reverse the order"));
    top.keys("\u{3}");
    assert_eq!(top.end(), Some(130), "ctrl+c");
}

#[test]
fn another_size_is_another_layout() {
    let scene = Scene::new();
    let mut top = scene.top((24, 80), &[]);
    let screen = top.wait("the narrow table", |screen| screen.contains("P99"));
    assert!(!screen.contains("MEMBERS"), "{screen}");
    top.resize((50, 200));
    let screen = top.wait("the wide table", |screen| {
        screen.contains("MEMBERS") && screen.contains("OWNER")
    });
    assert!(
        screen.lines().count() == 50 && screen.lines().last().unwrap().starts_with("q quit"),
        "{screen}"
    );
    top.resize((8, 60));
    top.wait("a tiny table", |screen| {
        !screen.contains("MEMBERS") && screen.contains("? help") && screen.contains("rob top")
    });
    top.resize((4, 20));
    top.wait("no table", |screen| {
        screen.contains("too small") && screen.contains("60×8") && !screen.contains("CALLS")
    });
    top.resize((24, 80));
    top.wait("the narrow table again", |screen| {
        screen.contains("P99") && !screen.contains("MEMBERS")
    });
    top.keys("q");
    assert_eq!(top.end(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_suspended_one_gives_the_terminal_back_and_takes_it_again() {
    let scene = Scene::new();
    let variables = [("IPC_BROKER_ADDR", scene.broker.endpoint()), ("TERM", "xterm")];
    // A shell that stops and continues jobs, as one that somebody types into does.
    let script = "set -m; \"$0\" top; read line; fg; read line; fg";
    let arguments = ["-c", script, env!("CARGO_BIN_EXE_rob")];
    let mut top = Terminal::start("/bin/sh", arguments.into_iter(), &variables, (24, 80));
    let before = top.modes();
    for key in [true, false] {
        top.wait("the table", |screen| screen.contains("P99"));
        top.mean_the_job();
        match key {
            true => top.keys("\u{1a}"),
            false => top.signal(rustix::process::Signal::TSTP),
        }
        top.stopped();
        assert_eq!(top.modes(), before);
        scene.call(1);
        let calls = scene.ask("status")["totals"]["calls"].to_string();
        top.keys("\n");
        top.wait("the table again", |screen| has(screen, "math", &[(2, &calls)]));
        assert!(top.is_alternate() && top.modes() != before);
    }
    top.keys("q");
    assert_eq!(top.end(), Some(0));
    assert_eq!(top.modes(), before);
}

#[test]
fn where_nobody_could_continue_it_it_goes_on() {
    let scene = Scene::new();
    let variables = [("IPC_BROKER_ADDR", scene.broker.endpoint()), ("TERM", "xterm")];
    let rob = env!("CARGO_BIN_EXE_rob");
    // Without any shell, and behind one that waits for it and is not waited for by another.
    for (program, arguments) in [
        (rob, vec!["top"]),
        ("/bin/sh", vec!["-c", "\"$0\" top; exit $?", rob]),
    ] {
        let mut top = Terminal::start(program, arguments.into_iter(), &variables, (24, 80));
        let before = top.modes();
        top.wait("the table", |screen| screen.contains("P99"));
        top.keys("\u{1a}");
        scene.call(1);
        let calls = scene.ask("status")["totals"]["calls"].to_string();
        top.wait("what is new", |screen| has(screen, "math", &[(2, &calls)]));
        top.keys("q");
        assert_eq!((top.end(), top.modes()), (Some(0), before), "{program}");
    }
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let scene = Scene::new();
    for (how, code) in [
        ("q", Some(0)),
        ("\u{3}", Some(130)),
        ("TERM", Some(143)),
        ("INT", Some(130)),
    ] {
        let mut top = scene.top((24, 80), &[]);
        let before = top.modes();
        top.wait("the table", |screen| screen.contains("P99"));
        assert!(top.is_alternate() && top.modes() != before, "{how}");
        match how {
            "TERM" => top.signal(rustix::process::Signal::TERM),
            "INT" => top.signal(rustix::process::Signal::INT),
            keys => top.keys(keys),
        }
        assert_eq!(top.end(), code, "{how}");
        assert!(
            !top.is_alternate() && !top.hides_cursor() && top.modes() == before,
            "{how}"
        );
    }
    // A refusal is read where the command was typed, and nothing was taken.
    let variables = [("IPC_BROKER_ADDR", "unix:/nowhere"), ("TERM", "xterm")];
    let mut top = Terminal::start(
        env!("CARGO_BIN_EXE_rob"),
        ["top"].into_iter(),
        &variables,
        (24, 80),
    );
    assert_eq!(top.end(), Some(5));
    assert!(
        top.screen().contains("rob: ") && !top.was_alternate(),
        "{}",
        top.screen()
    );
}

#[test]
fn a_broker_that_comes_back_is_shown_again() {
    let scene = Scene::new();
    let Scene {
        client,
        owner,
        _math,
        _heard,
        broker,
    } = scene;
    let mut top = {
        let variables = [("IPC_BROKER_ADDR", broker.endpoint()), ("TERM", "xterm")];
        Terminal::start(
            env!("CARGO_BIN_EXE_rob"),
            ["top", "--interval", "0.2"].into_iter(),
            &variables,
            (24, 80),
        )
    };
    top.wait("the table", |screen| row(screen, "math").is_some());
    let broker = broker.restart();
    top.wait("the objects that came back", |screen| {
        row(screen, "math").is_some() && screen.lines().last().unwrap().starts_with("q quit")
    });
    top.keys("q");
    assert_eq!(top.end(), Some(0));
    drop((_heard, _math, client, owner));
    drop(broker);
}

#[test]
fn without_colours_nothing_is_coloured() {
    let scene = Scene::new();
    for without in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let variables = [
            ("IPC_BROKER_ADDR", scene.broker.endpoint()),
            ("TERM", "xterm-256color"),
            without,
        ];
        let mut plain = Terminal::start(
            env!("CARGO_BIN_EXE_rob"),
            ["top"].into_iter(),
            &variables,
            (24, 80),
        );
        plain.wait("the table", |screen| screen.contains("P99"));
        assert!(!plain.is_coloured(), "{without:?}");
        plain.keys("q");
        plain.end();
    }
    let mut top = scene.top((24, 80), &[]);
    top.wait("the table", |screen| screen.contains("P99"));
    assert!(top.is_coloured());
    top.keys("q");
    top.end();
}

#[test]
fn without_a_terminal_it_refuses_and_programs_get_samples() {
    let scene = Scene::new();
    let refused = scene.broker.rob("top");
    assert_eq!(refused.code(), 2);
    assert_eq!(
        refused.stderr,
        "rob: top: this is no terminal; --json gives a sample per line, and `rob status` one page\n"
    );
    scene.call(7);
    let ended = scene.broker.rob("--json top --interval 0.1 --count 3");
    let samples: Vec<Value> = ended
        .success()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(samples.len(), 3);
    for (index, sample) in samples.iter().enumerate() {
        assert_eq!(sample["rates"]["since_start"], index == 0, "{sample}");
        assert_eq!(sample["totals"]["calls"], 7, "{sample}");
    }
    assert_eq!(samples[2]["rates"]["calls_per_s"], 0.0);
    let mut command = scene.broker.rob_command(["--json", "top", "--interval", "0.1"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    drop(reader);
    assert_eq!(
        child.wait().unwrap().code(),
        Some(141),
        "as in `rob --json top | head -1`"
    );
}

#[test]
fn samples_end_in_order_with_every_signal_of_a_terminal() {
    use rustix::process::Signal;
    let broker = Broker::start();
    for (signal, code) in [
        (Signal::HUP, 143),
        (Signal::QUIT, 143),
        (Signal::TERM, 143),
        (Signal::INT, 130),
    ] {
        let command = broker.rob_command(["--json", "top", "--interval", "0.1"]);
        let top = Process::spawn(&mut signals::at_a_terminal(command));
        top.line();
        top.signal(signal);
        assert_eq!(top.end().code(), code, "{signal:?}");
    }
}
