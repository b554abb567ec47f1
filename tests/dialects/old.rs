//! Old clients, from the bytes up: both formats behind the same operations, over any stream.
//!
//! It knows the formats as `features` of the old programs and nothing of the broker's code. An ipc-broker client takes the next frame
//! for the answer, whatever it is, as the published one does; every read waits at most twenty seconds.

use actix_ipc::Endpoint;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[cfg(windows)]
use super::raw::pipe;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ipc-broker 1.1.5.
    Lengths,
    /// ipc-server 0.1.10.
    Documents,
}

pub const BOTH: [Format; 2] = [Format::Lengths, Format::Documents];

enum Socket {
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(windows)]
    Pipe(pipe::Pipe),
    Tcp(TcpStream),
}

/// A call that every kind of socket has.
macro_rules! forward {
    ($self:ident, $socket:ident => $call:expr) => {
        match $self {
            #[cfg(unix)]
            Self::Unix($socket) => $call,
            #[cfg(windows)]
            Self::Pipe($socket) => $call,
            Self::Tcp($socket) => $call,
        }
    };
}

impl Socket {
    fn connect(endpoint: &Endpoint) -> Self {
        match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => {
                let socket = UnixStream::connect(path).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Self::Unix(socket)
            }
            #[cfg(windows)]
            Endpoint::Pipe(name) => Self::Pipe(pipe::Pipe::connect(&pipe::path(name), PATIENCE).unwrap()),
            Endpoint::Tcp(address) => {
                let socket = TcpStream::connect(address).unwrap();
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Self::Tcp(socket)
            }
            other => panic!("{other}"),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        forward!(self, socket => socket.read(buffer))
    }

    fn write_all(&mut self, bytes: &[u8]) {
        forward!(self, socket => socket.write_all(bytes).unwrap());
    }

    /// As much as it takes at once: 0 when it is full.
    fn write_what_goes(&mut self, bytes: &[u8]) -> usize {
        self.set_nonblocking(true);
        let sent = forward!(self, socket => socket.write(bytes));
        self.set_nonblocking(false);
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            sent => sent.unwrap(),
        }
    }

    fn set_nonblocking(&self, on: bool) {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.set_nonblocking(on).unwrap(),
            #[cfg(windows)]
            Self::Pipe(pipe) => pipe.set_nonblocking(on),
            Self::Tcp(socket) => socket.set_nonblocking(on).unwrap(),
        }
    }

    fn try_clone(&self) -> Self {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => Self::Unix(socket.try_clone().unwrap()),
            #[cfg(windows)]
            Self::Pipe(pipe) => Self::Pipe(pipe.clone()),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone().unwrap()),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.shutdown(how).unwrap(),
            #[cfg(windows)]
            Self::Pipe(pipe) if how == Shutdown::Both => pipe.end(),
            #[cfg(windows)]
            Self::Pipe(_) => panic!("a pipe does not end by halves"),
            Self::Tcp(socket) => socket.shutdown(how).unwrap(),
        }
    }
}

pub struct Old {
    format: Format,
    socket: Socket,
    held: Vec<u8>,
    calls: u32,
}

/// A call that an old owner was given.
pub struct Called {
    id: String,
    object: String,
    pub method: String,
    pub args: Value,
}

impl Old {
    pub fn connect(format: Format, endpoint: &Endpoint) -> Self {
        Self {
            format,
            socket: Socket::connect(endpoint),
            held: Vec::new(),
            calls: 0,
        }
    }

    /// Bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes);
    }

    /// Bytes as they are, as far as the socket takes them at once: how many, 0 when it is full.
    pub fn send_what_goes(&mut self, bytes: &[u8]) -> usize {
        self.socket.write_what_goes(bytes)
    }

    /// The next message as ipc-server's library reads it: 4,096 bytes at a time, until a read brings less.
    pub fn hear_in_full_reads(&mut self) -> Value {
        assert!(self.held.is_empty(), "bytes of two messages");
        let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => panic!("the end behind {} bytes", all.len()),
                Ok(count) => {
                    all.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("it waits for more than {} bytes: {error}", all.len()),
            }
        }
        serde_json::from_slice(&all).unwrap_or_else(|error| panic!("{} bytes: {error}", all.len()))
    }

    /// Reads all that comes until the end of the connection, in a thread, and passes it on as it comes.
    pub fn heard_apart(&self) -> std::sync::mpsc::Receiver<Vec<u8>> {
        let mut socket = self.socket.try_clone();
        let (passed, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = socket.read(&mut buffer) {
                let _ = passed.send(buffer[..count].to_vec());
            }
        });
        receiver
    }

    /// Ends both directions, whoever reads.
    pub fn hang_up(self) {
        self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the sending direction, which a pipe cannot.
    pub fn end_sending(&self) {
        self.socket.shutdown(Shutdown::Write);
    }

    pub fn encoded(&self, message: &Value) -> Vec<u8> {
        let body = serde_json::to_vec(message).unwrap();
        match self.format {
            Format::Lengths => [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat(),
            Format::Documents => body,
        }
    }

    pub fn say(&mut self, message: &Value) {
        let bytes = self.encoded(message);
        self.send(&bytes);
    }

    /// The next message, or the end.
    pub fn try_hear(&mut self) -> Option<Value> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(message) = self.first() {
                return Some(message);
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.held.trim_ascii().is_empty(), "a part of a message");
                    return None;
                }
                Ok(count) => self.held.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing within {PATIENCE:?}: {error}"),
            }
        }
    }

    fn first(&mut self) -> Option<Value> {
        match self.format {
            Format::Lengths => {
                let (head, rest) = self.held.split_first_chunk::<4>()?;
                let length = u32::from_be_bytes(*head) as usize;
                assert!(length <= 65_536, "its limit");
                let body = rest.get(..length)?;
                let message = serde_json::from_slice(body).unwrap();
                self.held.drain(..length + 4);
                Some(message)
            }
            Format::Documents => {
                let mut all = serde_json::Deserializer::from_slice(&self.held).into_iter::<Value>();
                let message = all.next()?.ok()?;
                let length = all.byte_offset();
                self.held.drain(..length);
                Some(message)
            }
        }
    }

    /// Reads to the end of the connection, whatever comes before it.
    pub fn ends(&mut self) {
        let mut buffer = vec![0; 1024];
        while matches!(self.socket.read(&mut buffer), Ok(1..)) {}
    }

    pub fn hear(&mut self) -> Value {
        self.try_hear().expect("a message, not the end")
    }

    /// Says this and hears that.
    #[track_caller]
    pub fn ask(&mut self, message: &Value, answer: &Value) {
        self.say(message);
        assert_eq!(self.hear(), *answer, "to {message}");
    }

    /// Registers; whether it is the owner now.
    pub fn register(&mut self, object: &str) -> bool {
        match self.format {
            Format::Lengths => {
                self.say(&json!({"RegisterObject": {"object_name": object}}));
                self.hear() == json!({"Registered": {"object_name": object}})
            }
            Format::Documents => {
                self.say(&json!({"reg_object": object}));
                self.hear() == json!({"success": "OK"})
            }
        }
    }

    /// Calls, without waiting for the answer.
    pub fn call(&mut self, object: &str, method: &str, args: &Value) {
        self.calls += 1;
        let id = self.calls.to_string();
        self.say(&match self.format {
            Format::Lengths => {
                json!({"Call": {"call_id": id, "object_name": object, "method": method, "args": args}})
            }
            Format::Documents => json!({"object": object, "method": method, "param": args}),
        });
    }

    /// The answer, which is the next message: of the call `back` calls ago.
    pub fn answer(&mut self) -> Result<Value, Value> {
        let heard = self.hear();
        match self.format {
            Format::Lengths => {
                if let Some(result) = heard.get("Result") {
                    return Ok(result["value"].clone());
                }
                let error = heard
                    .get("Error")
                    .unwrap_or_else(|| panic!("{heard} is no answer"));
                Err(error["message"].clone())
            }
            Format::Documents => {
                if let Some(result) = heard.get("response") {
                    return Ok(result.clone());
                }
                let error = heard
                    .get("error")
                    .unwrap_or_else(|| panic!("{heard} is no answer"));
                Err(error.clone())
            }
        }
    }

    /// Calls and waits.
    pub fn remote_call(&mut self, object: &str, method: &str, args: &Value) -> Result<Value, Value> {
        self.call(object, method, args);
        self.answer()
    }

    /// A round trip: the broker has read all that was said.
    pub fn settle(&mut self) {
        let error = self.remote_call("nobody", "m", &Value::Null).unwrap_err();
        let expected = match self.format {
            Format::Lengths => "No such object 'nobody'",
            Format::Documents => "Object not found",
        };
        assert_eq!(error, json!(expected));
    }

    /// The call that it is to answer.
    pub fn called(&mut self) -> Called {
        let heard = self.hear();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{heard}")).to_owned();
        match self.format {
            Format::Lengths => {
                let call = &heard["Call"];
                Called {
                    id: text(&call["call_id"]),
                    object: text(&call["object_name"]),
                    method: text(&call["method"]),
                    args: call["args"].clone(),
                }
            }
            Format::Documents => Called {
                id: String::new(),
                object: text(&heard["object"]),
                method: text(&heard["method"]),
                args: heard.get("param").cloned().unwrap_or_default(),
            },
        }
    }

    pub fn reply(&mut self, call: &Called, value: &Value) {
        self.say(&match self.format {
            Format::Lengths => {
                json!({"Result": {"call_id": call.id, "object_name": call.object, "value": value}})
            }
            Format::Documents => json!({"response": value}),
        });
    }

    pub fn fail(&mut self, call: &Called, text: &str) {
        self.say(&match self.format {
            Format::Lengths => {
                json!({"Error": {"call_id": call.id, "object_name": call.object, "message": text}})
            }
            Format::Documents => json!({"error": text}),
        });
    }

    /// The object under which its events are found.
    pub fn place<'a>(&self, object: &'a str) -> &'a str {
        match self.format {
            Format::Lengths => object,
            Format::Documents => "events",
        }
    }

    /// Subscribes; what is published after this is heard.
    pub fn subscribe(&mut self, object: &str, topic: &str) {
        match self.format {
            Format::Lengths => {
                let told = json!({"object_name": object, "topic": topic});
                self.ask(&json!({"Subscribe": told}), &json!({"Subscribed": told}));
            }
            Format::Documents => {
                self.say(&json!({"event_name": topic}));
                self.settle();
            }
        }
    }

    /// Publishes; an acknowledgement is read.
    pub fn publish(&mut self, object: &str, topic: &str, value: &Value) {
        match self.format {
            Format::Lengths => {
                self.say(&json!({"Publish": {"object_name": object, "topic": topic, "args": value}}));
            }
            Format::Documents => {
                self.ask(
                    &json!({"event": topic, "result": value}),
                    &json!({"success": "OK"}),
                );
            }
        }
    }

    /// The next message, which is an event: its topic and value.
    pub fn event(&mut self) -> (String, Value) {
        let heard = self.hear();
        let (topic, value) = match self.format {
            Format::Lengths => (&heard["Event"]["topic"], &heard["Event"]["args"]),
            Format::Documents => (&heard["event"], &heard["result"]),
        };
        let topic = topic.as_str().unwrap_or_else(|| panic!("{heard} is no event"));
        (topic.to_owned(), value.clone())
    }
}
