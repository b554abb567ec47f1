//! `rob completions` and `rob man`: what a shell is proposed, and the manual pages.
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
#![cfg(feature = "cli")]

#[path = "protocols/calc.rs"]
mod calc;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/sockets.rs"]
mod sockets;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::IpcClient;
use futures::executor::block_on;
use std::process::Command;
use support::{Broker, rob_command, run};

/// A machine that is busy with other tests is slower than a person: what is typed waits as long as it takes.
const PATIENT: (&str, &str) = ("ROB_COMPLETE_PATIENCE_MS", "30000");

/// Asks as fish does: the words, the last of which is being typed.
fn proposed(command: &mut Command, words: &[&str]) -> Vec<String> {
    proposed_to("fish", command, words)
}

/// Asks as the shell does; the shells of this function get a line for each proposal, with what is said of it behind a tab.
fn proposed_to(shell: &str, command: &mut Command, words: &[&str]) -> Vec<String> {
    command.env("ROB_COMPLETE", shell).args(["--", "rob"]).args(words);
    let ended = run(command);
    assert_eq!(ended.stderr, "", "{words:?}");
    ended
        .success()
        .lines()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

#[test]
fn names_come_from_the_running_broker() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let client = block_on(IpcClient::connect_to(broker.endpoint().parse().unwrap())).unwrap();
    let registration = client.add_protocol("calc", calc::calc(&Default::default()));
    let _calc = block_on(registration.into_future()).unwrap();
    let _bad = block_on(client.register_object("ma$(reboot)", calc_like()).into_future()).unwrap();
    let table: [(&[&str], &[&str]); 13] = [
        (&["call", "ma"], &["math"]),
        (&["describe", "c"], &["calc"]),
        (&["wait", "math", "ca"], &["calc"]),
        (&["ping", "sys."], &["sys.broker"]),
        (&["call", "math", ""], &["add", "echo"]),
        (&["--json", "call", "math", "a"], &["add"]),
        (&["call", "calc", "ech"], &["echo"]),
        (&["call", "nobody", "m"], &[]),
        (&["watch", "ma"], &["math"]),
        (&["monitor", "math", "ad"], &["add"]),
        (&["man", "repl"], &["replay"]),
        (&["list", "--qu"], &["--quiet"]),
        (&["comp"], &["completions"]),
    ];
    for (words, expected) in table {
        let mut command = broker.rob_command([] as [&str; 0]);
        let found = proposed(command.env(PATIENT.0, PATIENT.1), words);
        assert_eq!(found, expected, "{words:?}");
    }
    let found = proposed(
        rob_command().env(PATIENT.0, PATIENT.1),
        &["--addr", broker.endpoint(), "describe", "ma"],
    );
    assert_eq!(found, ["math"], "the broker that the words name");
    let mut command = broker.rob_command([] as [&str; 0]);
    let found = proposed_to("powershell", command.env(PATIENT.0, PATIENT.1), &["call", "ma"]);
    assert_eq!(found, ["math"]);
}

fn calc_like() -> impl actix_ipc::SharedObject + 'static {
    struct Nothing;
    #[actix_ipc::async_trait]
    impl actix_ipc::SharedObject for Nothing {
        async fn call(&self, _: &str, _: &serde_json::Value) -> serde_json::Value {
            serde_json::Value::Null
        }
    }
    Nothing
}

#[test]
fn without_a_broker_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let words = ["--addr", &endpoint, "call", "m"];
    assert_eq!(proposed(&mut rob_command(), &words), [] as [&str; 0]);
    // One that takes the connection and says nothing: the proposal comes without it, and so does the end.
    let place = sockets::Place::new();
    let (_silent, endpoint) = place.listen();
    let endpoint = endpoint.to_string();
    let words = ["--addr", &endpoint, "call", "m"];
    assert_eq!(proposed(&mut rob_command(), &words), [] as [&str; 0]);
    let words = ["--addr", "nonsense", "call", "m"];
    assert_eq!(proposed(&mut rob_command(), &words), [] as [&str; 0]);
    let ended = run(rob_command()
        .env("ROB_COMPLETE", "no such shell")
        .args(["--", "rob", ""]));
    assert_eq!((ended.success(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn every_shell_gets_a_script_that_calls_rob() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(rob_command().args(["completions", shell]));
        let script = ended.success();
        assert!(
            script.contains("ROB_COMPLETE") && script.contains("rob"),
            "{shell}: {script}"
        );
    }
    let ended = run(rob_command().args(["completions", "fsh"]));
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("'fish'"), "{}", ended.stderr);
}

/// bash itself, with the script sourced: what it would put on the line.
#[test]
#[cfg(unix)]
fn bash_completes_with_it() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let script = r#"
        source <(rob completions bash)
        COMP_WORDS=(rob call ma); COMP_CWORD=2; COMP_LINE='rob call ma'; COMP_POINT=11; COMP_TYPE=9
        function_of_rob=$(complete -p rob | sed 's/.*-F \([^ ]*\).*/\1/')
        $function_of_rob rob ma call
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    completes(&broker, "bash", &["--norc", "-c", script]);
}

/// The same behind an endpoint, which bash gives in pieces, in the order in which it splits the line.
#[test]
#[cfg(unix)]
fn bash_completes_behind_an_endpoint() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    for option in ["--addr unix:", "--addr=unix:"] {
        let path = broker.socket();
        let script = format!(
            r#"
            source <(rob completions bash)
            COMP_LINE='rob {option}{path} call ma'; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9
            COMP_WORDS=(rob --addr {equals} unix : {path} call ma); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            unset IPC_BROKER_ADDR
            function_of_rob=$(complete -p rob | sed 's/.*-F \([^ ]*\).*/\1/')
            $function_of_rob rob ma call
            printf '%s\n' "${{COMPREPLY[@]}}"
            "#,
            path = path.display(),
            equals = if option.contains('=') { "=" } else { "" },
        );
        completes(&broker, "bash", &["--norc", "-c", &script]);
    }
}

/// zsh itself; what would be shown below the line is printed instead.
#[test]
#[cfg(unix)]
fn zsh_completes_with_it() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let script = r#"
        compdef() { function_of_rob=$1 }
        _describe() { print -l -- ${(P)${@[-1]}} }
        source <(rob completions zsh)
        words=(rob call ma); CURRENT=3
        $function_of_rob
    "#;
    completes(&broker, "zsh", &["-f", "-c", script]);
}

/// fish itself: it is asked what it would complete.
#[test]
#[cfg(unix)]
fn fish_completes_with_it() {
    let broker = Broker::start();
    let _math = objects::serve(broker.endpoint());
    let script = r#"rob completions fish | source; complete -C "rob call ma""#;
    completes(&broker, "fish", &["--no-config", "-c", script]);
}

/// Runs a shell that has this rob on its path; it must propose the object `math` and nothing else.
#[cfg(unix)]
fn completes(broker: &Broker, shell: &str, words: &[&str]) {
    let Ok(_) = Command::new(shell).arg("--version").output() else {
        eprintln!(
            "SKIPPED: there is no {shell}; ci/install installs it, and nobody has seen its completions"
        );
        return;
    };
    let mut command = support::command(shell);
    support::with_rob_on_path(&mut command)
        .env("HOME", broker.folder())
        .env("IPC_BROKER_ADDR", broker.endpoint())
        .env(PATIENT.0, PATIENT.1);
    let ended = run(command.args(words));
    assert_eq!(ended.success().trim(), "math", "{shell}: {}", ended.stderr);
}

#[test]
fn there_is_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let ended = run(rob_command().args(["man", "--dir"]).arg(&dir));
    let written: Vec<&str> = ended.success().lines().collect();
    for name in ["rob", "rob-call", "rob-serve", "rob-bench", "rob-bench-rpc"] {
        let path = dir.join(format!("{name}.1"));
        assert!(written.contains(&path.to_str().unwrap()), "{name}: {written:?}");
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH NAME"), "{name}");
    }
    assert!(
        !written
            .iter()
            .any(|path| path.contains("role") || path.contains("help"))
    );
    let call = run(rob_command().args(["man", "call"]));
    let stored = std::fs::read_to_string(dir.join("rob-call.1")).unwrap();
    assert_eq!(call.success(), stored);
    for section in [
        "SYNOPSIS",
        "EXAMPLES",
        "\"EXIT STATUS\"",
        "\"ENVIRONMENT\"",
        "\"SEE ALSO\"",
    ] {
        assert!(
            stored.contains(&format!(".SH {section}\n")),
            "{section}: {stored}"
        );
    }
    assert!(
        stored.contains("SIGNATURE ARGS") && !stored.contains("EXTRA"),
        "{stored}"
    );
    let serve = std::fs::read_to_string(dir.join("rob-serve.1")).unwrap();
    assert!(
        serve.contains(".B rob serve\n\\-\\-exec COMMAND\n[\\-\\-concurrency N]\n"),
        "{serve}"
    );
    let wrong = run(rob_command().args(["man", "cal"]));
    assert_eq!(wrong.code(), 2);
    assert!(
        wrong.stderr.contains("did you mean \"call\"?"),
        "{}",
        wrong.stderr
    );
}

/// What groff makes of a page: examples stand line by line, as they are typed.
#[test]
#[cfg(unix)]
fn examples_of_a_page_can_be_copied() {
    if Command::new("groff").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no groff; ci/install installs it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    run(rob_command().args(["man", "--dir"]).arg(folder.path())).success();
    let page = folder.path().join("rob-serve.1");
    let mut groff = support::command("groff");
    let shown = run(groff
        .args(["-man", "-Kutf8", "-Tutf8", "-P-cbou", "-wall"])
        .arg(&page));
    assert_eq!(shown.stderr, "", "groff has nothing to say against it");
    let text = shown.success();
    for line in [
        "rob serve echo --exec cat",
        r#"rob serve math --exec 'jq "{sum: (.a + .b)}"'         rob call math add {ii} a 10 b 32"#,
    ] {
        assert!(text.lines().any(|shown| shown.trim() == line), "{line}: {text}");
    }
}
