//! HTTP over a plain socket, for tests of the dashboard: what is sent and what comes is seen byte for byte.
//!
//! Every request has a connection of its own, so that nothing stays open. Every read waits at most thirty seconds.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a line of metrics.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        assert_eq!(self.status, 200, "{self:?}");
        let found = self
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
            .parse()
            .unwrap()
    }
}

/// A dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Page(pub SocketAddr);

impl Page {
    /// From the line that the broker prints.
    #[track_caller]
    pub fn of_line(line: &str) -> Self {
        let address = line
            .strip_prefix("dashboard at http://")
            .and_then(|rest| rest.strip_suffix('/'));
        Self(address.unwrap_or_else(|| panic!("{line}")).parse().unwrap())
    }

    pub fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// GET with the right Host.
    #[track_caller]
    pub fn get(self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// Any request; without a `host` among the headers, with the right one.
    #[track_caller]
    pub fn ask(self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = self.send(method, path, headers);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        assert!(
            !headers.contains_key("transfer-encoding"),
            "whole answers have a length: {head}"
        );
        Answer {
            status,
            headers,
            body: body.to_owned(),
        }
    }

    fn send(self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("Host: {}\r\n", self.0));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream
    }

    /// The stream of samples.
    #[track_caller]
    pub fn stream(self) -> Samples {
        let mut lines = BufReader::new(self.send("GET", "/api/stream", &[]));
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        Samples(lines)
    }
}

/// An open stream.
pub struct Samples(BufReader<TcpStream>);

impl Samples {
    /// The next event that has data: its name and its data. Heads and chunk sizes are passed over.
    #[track_caller]
    pub fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (
                    name,
                    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")),
                );
            }
        }
    }

    /// Reads until the server ends it.
    pub fn drain(mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
    }
}
