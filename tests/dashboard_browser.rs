//! The page in a real browser, with real traffic: what people see is what the broker says, and no text of a peer becomes anything but text.
//!
//! Where there is no Chromium the tests say so loudly and pass. With `DASHBOARD_PICTURES=folder` they leave pictures there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(unix)]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/http.rs"]
mod http;
mod support;
#[path = "dashboard/town.rs"]
mod town;

use browser::Browser;
use http::Page;
use serde_json::Value;
use std::path::Path;
use support::Broker;
use town::Town;

fn start(address: &str) -> (Broker, Page) {
    let mut broker = Broker::start_with(|command| {
        command.args(["--dashboard", address]);
    });
    let page = Page::of_line(&broker.process.line());
    page.get("/healthz");
    broker.is_complete();
    (broker, page)
}

/// A page that has drawn rates.
fn open(browser: &mut Browser, page: Page) {
    browser.size(1280, 800);
    browser.scheme("light");
    browser.go(&format!("http://{}/", page.0));
    browser.until(
        "document.body.dataset.drawn > 2 && document.getElementById('state').dataset.state === 'live'",
    );
}

/// What the foot of a tile says, without its commas.
fn total(browser: &mut Browser, tile: &str) -> u64 {
    let text = browser.text(&format!("#tile-{tile} .foot")).replace(',', "");
    text.split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap_or_else(|_| panic!("{text}"))
}

/// Not a test of anything by itself: see `town`.
#[test]
fn a_program_of_the_town() {
    town::live();
}

#[test]
fn people_see_who_is_there_and_what_is_going_on() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (broker, page) = start("127.0.0.1:0");
    let town = Town::start(broker.endpoint());
    open(&mut browser, page);
    browser.until("document.querySelectorAll('.node.object').length >= 5 && document.querySelectorAll('.node.topic').length >= 4");
    browser.until("document.querySelectorAll('.edge.object').length >= 5 && document.querySelectorAll('.edge.topic').length >= 4");
    browser.until("document.querySelectorAll('.edge .flow').length >= 5");
    browser.until("document.querySelectorAll('.histogram .bar').length > 1");
    browser.until("document.querySelectorAll('#panel-objects tbody tr').length >= 5");
    browser.until("/[1-9]/.test(document.querySelector('#tile-calls .now').textContent)");
    browser.until("document.querySelectorAll('.spark').length >= 4");

    // Names that are markup are shown as they are, and what would reorder them as an escape.
    for name in town::HOSTILE {
        let shown = Value::from(actix_ipc::text::printable(name).into_owned());
        browser.until(&format!("[...document.querySelectorAll('#panel-objects tbody th')].some((it) => it.textContent === {shown})"));
    }
    assert_eq!(browser.value("document.querySelectorAll('script').length"), 1);
    assert_eq!(
        browser.value("document.querySelectorAll('img, iframe, object, embed, form').length"),
        0
    );
    assert_eq!(browser.value("typeof window.stolen"), "undefined");

    tables(&mut browser);
    pauses(&mut browser);
    pictures(&mut browser);
    assert_eq!(browser.complaints, Vec::<String>::new());
    drop(browser);
    drop(town);
}

/// Tabs, the filter, the order, and what a chosen object does.
fn tables(browser: &mut Browser) {
    browser.value("document.getElementById('filter').value = 'THERMOMETER'; document.getElementById('filter').dispatchEvent(new Event('input'))");
    browser.until("document.querySelectorAll('#panel-objects tbody tr').length === 1");
    browser.value("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))");
    let names = "[...document.querySelectorAll('#panel-objects tbody th')].map((it) => it.textContent)";
    for order in ["ascending", "descending"] {
        browser.value("document.querySelector('#panel-objects thead button').click()");
        browser.until(&format!(
            "document.querySelector('#panel-objects thead th').getAttribute('aria-sort') === '{order}'"
        ));
        let sorted = if order == "ascending" { "" } else { ".reverse()" };
        browser.until(&format!(
            "JSON.stringify({names}) === JSON.stringify([...{names}].sort(){sorted})"
        ));
    }
    for tab in ["topics", "connections", "recent"] {
        browser.value(&format!("document.getElementById('tab-{tab}').click()"));
        browser.until(&format!("!document.getElementById('panel-{tab}').hidden && document.getElementById('panel-objects').hidden"));
        if tab != "recent" {
            browser.until(&format!(
                "document.querySelectorAll('#panel-{tab} tbody tr').length >= 4"
            ));
        }
    }
    browser.value("document.getElementById('tab-objects').click()");
    browser.value("document.querySelectorAll('#panel-objects thead button')[3].click()");
    browser.value("[...document.querySelectorAll('.node.object')].find((it) => it.dataset.key === 'object math').dispatchEvent(new MouseEvent('click'))");
    browser.until("document.getElementById('latency-of').value === 'math' && document.querySelectorAll('.node.near').length >= 2");
    browser.value("[...document.querySelectorAll('.node.object')].find((it) => it.dataset.key === 'object math').dispatchEvent(new MouseEvent('click'))");
    browser.value("document.querySelector('.counters').open = true");
    browser.until("document.querySelectorAll('#counters dt').length > 40 && document.querySelectorAll('.budget meter').length >= 3");
    browser.value("document.querySelector('.counters').open = false");
}

/// While it is paused nothing moves, though samples come.
fn pauses(browser: &mut Browser) {
    browser.value("document.getElementById('pause').click()");
    browser.until("document.getElementById('state').dataset.state === 'paused'");
    let before = browser.text("#tile-calls .foot");
    browser.until("held !== null");
    assert_eq!(browser.text("#tile-calls .foot"), before);
    browser.value("document.getElementById('pause').click()");
    browser.until(&format!(
        "document.querySelector('#tile-calls .foot').textContent !== {}",
        Value::from(before)
    ));
    assert_eq!(browser.text("#state"), "live");
}

/// Nothing is wider than the screen, in either colour scheme.
fn pictures(browser: &mut Browser) {
    let folder = std::env::var_os("DASHBOARD_PICTURES");
    for (name, width, height) in [("wide", 1280, 800), ("narrow", 390, 844)] {
        browser.size(width, height);
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            let picture = browser.picture();
            assert!(
                picture.starts_with(b"\x89PNG") && picture.len() > 10_000,
                "{}",
                picture.len()
            );
            let most = browser.value("document.documentElement.scrollWidth");
            assert!(most.as_u64().unwrap() <= u64::from(width), "{most} in {width}");
            if let Some(folder) = &folder {
                std::fs::write(Path::new(folder).join(format!("{name}-{scheme}.png")), picture).unwrap();
            }
        }
    }
    browser.size(1280, 800);
}

#[test]
fn what_a_bench_did_is_what_the_page_shows() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (broker, page) = start("127.0.0.1:0");
    open(&mut browser, page);
    let bench = |line: &str| -> u64 {
        let ended = broker.rob(&format!(
            "bench {line} --seconds 0.2 --json --addr {}",
            broker.endpoint()
        ));
        let figures: Value = serde_json::from_str(ended.success()).unwrap();
        figures["total"].as_u64().unwrap()
    };
    let calls = bench("rpc --payload 16 --in-flight 4");
    let events = bench("pubsub --payload 64 --subscribers 2");
    let seen = |browser: &mut Browser| {
        let drawn = browser.value("Number(document.body.dataset.drawn)");
        browser.until(&format!("Number(document.body.dataset.drawn) > {drawn} + 1"));
        ["calls", "events", "delivered", "errors"].map(|tile| total(browser, tile))
    };
    assert_eq!(seen(&mut browser), [calls, events, 2 * events, 0]);
    // And looking does not count.
    assert_eq!(seen(&mut browser), [calls, events, 2 * events, 0]);
    drop(browser);
}

#[test]
fn without_a_stream_the_page_asks() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (broker, page) = start("127.0.0.1:0");
    let cut = "const real = window.fetch; window.fetch = (path, more) => (path === '/api/stream' ? Promise.reject(new Error('cut')) : real(path, more))";
    browser.tell(
        "Page.addScriptToEvaluateOnNewDocument",
        serde_json::json!({ "source": cut }),
    );
    browser.go(&format!("http://{}/", page.0));
    browser.until(
        "document.getElementById('state').dataset.state === 'polling' && document.body.dataset.drawn > 3",
    );
    drop(browser);
    drop(broker);
}

#[test]
fn a_broker_that_goes_is_told_and_one_that_comes_back_is_shown() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (mut broker, page) = start("127.0.0.1:0");
    open(&mut browser, page);
    let epoch = page.get("/api/status").json()["epoch"].clone();
    broker.process.kill();
    drop(broker);
    browser.until("document.getElementById('state').dataset.state === 'gone' && !document.getElementById('banner').hidden");
    assert!(browser.text("#banner").contains("Trying again"));
    let (_broker, page) = start(&page.0.to_string());
    browser.until("document.getElementById('state').dataset.state === 'live'");
    assert_ne!(page.get("/api/status").json()["epoch"], epoch);
    drop(browser);
}
