//! Where the page is served and for whom, and what it says without a broker.

use super::*;

#[test]
fn where_it_is_served_is_a_setting_like_any_other() {
    let shown = run(broker_command().args(["config", "show", "--dashboard", "localhost:0"]));
    assert!(
        shown
            .success()
            .lines()
            .any(|line| line.starts_with("dashboard = \"localhost:0\"") && line.ends_with("# --dashboard"))
    );
    let shown = run(broker_command()
        .args(["config", "show"])
        .env("IPC_BROKER_DASHBOARD", "[::1]:0"));
    assert!(
        shown
            .success()
            .lines()
            .any(|line| line.ends_with("# IPC_BROKER_DASHBOARD")),
        "{shown:?}"
    );
    let shown = run(broker_command().args(["config", "show"]));
    assert!(
        shown.success().contains("dashboard = \"\""),
        "off unless asked: {shown:?}"
    );
    for (arguments, said) in [
        (&["--dashboard", "here"][..], "write an address and a port"),
        (&["--dashboard", "0.0.0.0:0"], "--dashboard-anyone"),
        (&["--dashboard-anyone"], "only with a dashboard"),
    ] {
        let ended = run(broker_command().args(arguments));
        assert_eq!(ended.code(), SETTINGS, "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn an_address_in_use_stops_the_start() {
    let (_broker, page) = start();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = support::endpoint_in(folder.path());
    let ended = run(broker_command().args(["--listen", &endpoint, "--dashboard", &page.0.to_string()]));
    assert_eq!(ended.code(), CANNOT_LISTEN, "{ended:?}");
    assert!(
        ended.stderr.contains("the dashboard cannot listen on") && ended.stderr.contains("choose another"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout, "", "nobody is told of a broker that ends");
}

#[test]
fn a_page_for_anyone_says_so_loudly() {
    let (broker, page) = start_with(&["--dashboard-anyone"]);
    let warning = broker.process.line();
    assert!(
        warning.starts_with("warning: the dashboard answers EVERYBODY"),
        "{warning}"
    );
    broker.process.wait_for_error_line("EVERYBODY");
    assert_eq!(page.get("/api/status").status, 200);
    assert_eq!(
        page.ask("GET", "/", &[("host", "evil.example")]).status,
        421,
        "its name is checked all the same"
    );
}

/// A page in this process whose broker has ended already.
#[test]
fn without_a_broker_nobody_is_healthy() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (done, end) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let folder = tempfile::tempdir().unwrap();
            let endpoint = support::endpoint_in(folder.path());
            let broker = InProcess::builder()
                .listen(endpoint.parse().unwrap())
                .start()
                .unwrap();
            let options = DashboardOptions::new("127.0.0.1:0".parse().unwrap());
            let page = Dashboard::start(&broker, &options).unwrap();
            broker.stop().await;
            sender.send(page.address()).unwrap();
            let _ = end.await;
            page.stop().await;
        });
    });
    let page = Page(receiver.recv().unwrap());
    for path in ["/healthz", "/metrics", "/api/status"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(
            answer.body.starts_with("the broker does not answer: "),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(page.get("/").status, 200, "the page itself says so");
    done.send(()).unwrap();
    thread.join().unwrap();
}
