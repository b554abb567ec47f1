//! A headless Chromium that is driven through its pipe (the DevTools protocol), for tests that look at the page as people do.
//!
//! Owns finding it, its folder, its end, and the few commands that are needed. Everything waits at most a minute.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// What is tried, the first that is there is taken.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    said: Receiver<Value>,
    session: String,
    last: u64,
    /// What the page complained of: errors of its script, of its policy, of what it could not load.
    pub complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

/// The program, if this machine has one.
pub fn program() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.into_iter().chain(found).find(|path| path.is_file())
}

impl Browser {
    /// Starts one; `None`, said loudly, where there is no Chromium.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("SKIPPED: there is no Chromium here; `ci/chromium` installs it on Debian");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // The pipe is at descriptors 3 and 4 of the browser.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program)
            .args([
                "--headless",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                "--no-first-run",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        let mut child = command.spawn().unwrap();
        let (send, said) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while matches!(output.read_until(0, &mut bytes), Ok(1..)) {
                let value = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes));
                if value.is_ok_and(|value: Value| send.send(value).is_err()) {
                    return;
                }
                bytes.clear();
            }
        });
        let mut browser = Self {
            commands: child.stdin.take().unwrap(),
            child,
            said,
            session: String::new(),
            last: 0,
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = browser.tell("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.tell(
            "Target.attachToTarget",
            json!({ "targetId": target, "flatten": true }),
        );
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log"] {
            browser.tell(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Sends a command and waits for its result; what the page complains of meanwhile is kept.
    #[track_caller]
    pub fn tell(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let said = self.said.recv_timeout(PATIENCE).expect("the browser answers");
            if said["id"] == self.last {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            match said["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(said["params"].to_string()),
                Some("Log.entryAdded") if said["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(said["params"]["entry"].to_string());
                }
                _ => {}
            }
        }
    }

    pub fn go(&mut self, url: &str) {
        self.tell("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression of JavaScript; promises are waited for.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "timeout": 60_000 });
        let result = self.tell("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until the expression is true; fails with what it was about.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let waiting = format!(
            "new Promise((done) => {{ let turns = 0; const look = () => {{ let now = false; try {{ now = Boolean({expression}); }} catch {{}} \
             if (now || ++turns > 800) done(now); else setTimeout(look, 50); }}; look(); }})"
        );
        let happened = self.value(&waiting);
        if happened != true {
            let text = self.value("document.body.innerText.slice(0, 3000)");
            panic!(
                "never true: {expression}; the page says: {text}; it complained: {:?}",
                self.complaints
            );
        }
    }

    /// The text of the first element that the selector finds.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.value(&format!(
            "document.querySelector({}).textContent",
            Value::from(selector)
        ));
        found.as_str().unwrap_or_default().to_owned()
    }

    pub fn size(&mut self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tell("Emulation.setDeviceMetricsOverride", params);
    }

    /// `light` or `dark`.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What is seen, as the bytes of a PNG. Waits until the page has drawn twice since.
    pub fn picture(&mut self) -> Vec<u8> {
        let drawn = self.value("Number(document.body.dataset.drawn)");
        self.until(&format!("Number(document.body.dataset.drawn) > {drawn} + 1"));
        let shot = self.tell("Page.captureScreenshot", json!({ "format": "png" }));
        base64(shot["data"].as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        // It ends when its pipe does, and its own processes with it.
        while self.said.recv_timeout(Duration::from_secs(10)).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for part in digits.chunks(4) {
        let bits = part
            .iter()
            .fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit))
            << (6 * (4 - part.len()));
        bytes.extend(bits.to_be_bytes().iter().skip(1).take(part.len() - 1));
    }
    bytes
}
