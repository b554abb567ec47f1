//! Tokens from end to end: made by `ipc-broker token create`, shown by `rob`, never seen anywhere else.
//!
//! The endpoints are `tls:`, where the kernel never says who a peer is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/signals.rs"]
mod signals;
mod support;

use actix_ipc::actors::tokens::{DELAY, Tokens};
use actix_ipc::client::{ClientBuilder, ConnectError, IpcClient};
use actix_ipc::message::Token;
use actix_ipc::platform::secret;
use actix_ipc::transport::{TlsClient, TlsServer};
use actix_ipc::{Broker, BrokerHandle};
use certificates::{Ca, SERVER};
use futures::future::{Either, select};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use support::{Ended, Process, broker_command, rob_command, run};

/// A folder with a CA and the certificate of a broker that asks its clients for tokens.
struct World {
    folder: tempfile::TempDir,
    server: TlsServer,
    ca: PathBuf,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new(folder.path(), "ca");
        let (certificate, key) = ca.issue(folder.path(), "server", &SERVER);
        Self {
            server: TlsServer {
                certificate,
                key,
                client_ca: None,
            },
            ca: ca.pem,
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon with this world's settings.
    fn broker(&self) -> Command {
        let config = self.path().join("broker.toml");
        let text = format!(
            "tokens = {:?}\n[tls]\ncertificate = {:?}\nkey = {:?}\n",
            self.path().join("tokens"),
            self.server.certificate,
            self.server.key
        );
        std::fs::write(&config, text).unwrap();
        let mut command = broker_command();
        command.arg("--config").arg(config).args(["--log", "trace"]);
        command
    }

    /// `rob` for this world's broker.
    fn rob(&self, endpoint: &str, token: &Path) -> Command {
        let mut command = rob_command();
        command.args(["--addr", endpoint, "--tls-name", "broker.example", "--tls-ca"]);
        command.arg(&self.ca).arg("--token-file").arg(token);
        command
    }

    fn builder(&self, broker: &BrokerHandle, token: &Path) -> ClientBuilder {
        let tls = TlsClient {
            ca: Some(self.ca.clone()),
            server_name: Some("broker.example".into()),
            ..TlsClient::default()
        };
        let builder = IpcClient::builder().endpoint(broker.endpoints()[0].clone());
        builder.reconnect(false).tls(tls).token_file(token)
    }

    async fn connect(&self, broker: &BrokerHandle, token: &Path) -> Result<IpcClient, ConnectError> {
        self.builder(broker, token).connect().await
    }

    /// A file with a token of these bytes.
    fn token(&self, name: &str, fill: u8) -> (PathBuf, Token) {
        let path = self.path().join(name);
        let token = Token::new([fill; 32]);
        secret::create(&path, &token.to_file()).unwrap();
        (path, token)
    }
}

/// Every way in which a token could be written down.
fn traces(hex: &str) -> Vec<String> {
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let list = |format: fn(&u8) -> String| bytes[..6].iter().map(format).collect::<Vec<_>>();
    vec![
        hex[..16].to_owned(),
        hex[..16].to_uppercase(),
        hex[48..].to_owned(),
        list(u8::to_string).join(", "),
        list(|byte| format!("0x{byte:02x}")).join(", "),
        list(|byte| format!("{byte:02x}")).join(" "),
        list(|byte| format!("\\x{byte:02x}")).concat(),
    ]
}

#[track_caller]
fn assert_unseen(what: &str, traces: &[String], text: &str) {
    for trace in traces {
        assert!(!text.contains(trace), "the token is in {what}: {text}");
    }
}

/// What the kernel shows to others of a process: its arguments and its environment.
fn shown_by_the_kernel(process: &Process) -> String {
    let read = |name| std::fs::read(format!("/proc/{}/{name}", process.id())).unwrap_or_default();
    String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned()
}

/// `rob` shows the token, other ones and what is none; nothing that it prints holds the token.
#[track_caller]
fn show_in_every_way(world: &World, endpoint: &str, path: &Path, hex: &str) {
    let traces = traces(hex);
    let wrong = world.token("wrong.token", 0x5a).0;
    #[cfg(unix)]
    show_what_is_not_its_users_alone(world, endpoint, path, &traces);
    // The token in a place where none is expected: its text is not repeated.
    let not_one = world.path().join("not-one.token");
    secret::create(&not_one, format!("token={hex}\n").as_bytes()).unwrap();
    // How it is shown, and what rob says.
    let table: [(&str, &Path, &[&str], i32, &str); 6] = [
        ("the right one", path, &["list"], 0, "rob"),
        (
            "the same for programs",
            path,
            &["--json", "list"],
            0,
            "connections",
        ),
        (
            "the counters",
            path,
            &["--json", "call", "sys.broker", "status"],
            0,
            "unproven_peers",
        ),
        (
            "a wrong one",
            &wrong,
            &["list"],
            6,
            "does not know this token; it reads those in its folder when it starts",
        ),
        (
            "a file with something else",
            &not_one,
            &["--json", "list"],
            2,
            "does not hold a token",
        ),
        (
            "no file",
            Path::new("/nowhere.token"),
            &["list"],
            2,
            "rob: --token-file: /nowhere.token: cannot be opened",
        ),
    ];
    for (what, token, arguments, code, expected) in table {
        let rob = run(world.rob(endpoint, token).args(arguments));
        says(what, &rob, code, expected, &traces);
    }
}

#[track_caller]
fn says(what: &str, rob: &Ended, code: i32, expected: &str, traces: &[String]) {
    assert_eq!(rob.code(), code, "{what}: {rob:?}");
    assert!(
        format!("{}{}", rob.stdout, rob.stderr).contains(expected),
        "{what}: {rob:?}"
    );
    assert_unseen(what, traces, &format!("{rob:?}"));
}

#[cfg(unix)]
#[track_caller]
fn show_what_is_not_its_users_alone(world: &World, endpoint: &str, path: &Path, traces: &[String]) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let wide = world.path().join("wide.token");
    std::fs::copy(path, &wide).unwrap();
    std::fs::set_permissions(&wide, PermissionsExt::from_mode(0o644)).unwrap();
    let link = world.path().join("link.token");
    symlink(path, &link).unwrap();
    for (what, token, expected) in [
        ("one that others can read", &wide, "0644"),
        ("a link to it", &link, "cannot be opened"),
    ] {
        let rob = run(world.rob(endpoint, token).arg("list"));
        says(what, &rob, 2, expected, traces);
    }
}

#[test]
fn a_token_lets_in_and_is_seen_nowhere() {
    let world = World::new();
    let made = run(world.broker().args(["token", "create", "canary"]));
    let path = PathBuf::from(made.success().trim_end());
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    let hex = std::fs::read_to_string(&path).unwrap().trim_end().to_owned();
    let traces = traces(&hex);
    let again = run(world.broker().args(["token", "create", "canary"]));
    assert_eq!(again.code(), 78, "{again:?}");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().trim_end(),
        hex,
        "never overwritten"
    );

    let broker = Process::spawn(world.broker().args(["--listen", "tls:127.0.0.1:0"]));
    let endpoint = broker.line().strip_prefix("listening on ").unwrap().to_owned();
    show_in_every_way(&world, &endpoint, &path, &hex);
    let listening = Process::spawn(world.rob(&endpoint, &path).args(["listen", "nothing", "ever"]));
    broker.wait_for_error_line("canary");
    for (what, process) in [("rob", &listening), ("the broker", &broker)] {
        assert_unseen(what, &traces, &shown_by_the_kernel(process));
    }
    let settings = run(world.broker().args(["config", "show"]));
    assert_unseen("config show", &traces, settings.success());
    drop(listening);
    signals::terminate(&broker);
    let ended = broker.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.stderr.is_empty(), "it logs everything");
    assert_unseen("the broker's output", &traces, &format!("{ended:?}"));
}

#[test]
#[cfg(unix)]
fn a_broker_does_not_start_with_a_token_that_others_can_read() {
    let world = World::new();
    let made = run(world.broker().args(["token", "create", "canary"]));
    let path = PathBuf::from(made.success().trim_end());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let ended = run(world.broker().args(["--listen", "tls:127.0.0.1:0"]));
    assert_eq!(ended.code(), 78, "{ended:?}");
    assert!(
        ended.stderr.contains("0640") && ended.stderr.contains("canary.token"),
        "{ended:?}"
    );
}

#[actix::test]
async fn many_wrong_tokens_wait_and_the_right_one_does_not() {
    let world = World::new();
    let (wrong, _) = world.token("wrong.token", 1);
    let (right, token) = world.token("right.token", 2);
    let mut tokens = Tokens::new();
    tokens.insert("lamp", token);
    let broker = Broker::builder()
        .listen("tls:127.0.0.1:0".parse().unwrap())
        .tls(world.server.clone())
        .tokens(tokens)
        .start()
        .unwrap();
    for attempt in 1..=5 {
        let error = world.connect(&broker, &wrong).await.unwrap_err().to_string();
        assert!(
            error.contains("does not know this token"),
            "attempt {attempt}: {error}"
        );
    }
    // From now on a wrong one is answered late; a client that is less patient hears nothing.
    let started = Instant::now();
    let late = Box::pin(world.builder(&broker, &wrong).connect_wait(DELAY * 2));
    let right = Box::pin(world.connect(&broker, &right));
    let Either::Right((client, late)) = select(late, right).await else {
        panic!("the right token waited for the wrong one");
    };
    let _client = client.unwrap();
    assert!(late.await.is_err());
    assert!(started.elapsed() >= DELAY, "{:?}", started.elapsed());
    assert_eq!(broker.metrics().connections_opened, 1);
    assert!(broker.metrics().unproven_peers >= 6);
    // Taken back: nobody comes in by it any more, and who is in stays.
    broker.set_tokens(Tokens::new());
    assert!(
        world
            .connect(&broker, &world.path().join("right.token"))
            .await
            .is_err()
    );
    broker.stop().await;
}
