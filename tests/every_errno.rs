//! Every failure of a system call for one connection ends that connection at most: each place with each error, on a live broker.
//!
//! Owns the table of places and errors. Needs the feature `inject-faults`, which no default build has; what fails is chosen for the
//! whole process, so everything is one test after the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(all(feature = "inject-faults", target_os = "linux"))]

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/until.rs"]
mod until;

use actix_ipc::actors::{Broker, BrokerHandle};
use actix_ipc::client::IpcClient;
use actix_ipc::config::Limits;
use actix_ipc::error::{CloseReason, ErrorCode};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Flags, Hello, Kind};
use actix_ipc::transport::Endpoint;
use actix_ipc::transport::inject::{Site, arm, disarm, left};
use descriptors::{Reader, call, closed, pipes, same, send};
use raw::Raw;
use rustix::io::Errno;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use until::until;

/// What the kernel says at one of these places in some version or configuration, and some that it should not say.
const ERRNOS: &[Errno] = &[
    Errno::ACCESS,
    Errno::AGAIN,
    Errno::BADF,
    Errno::CONNABORTED,
    Errno::CONNRESET,
    Errno::INTR,
    Errno::INVAL,
    Errno::IO,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOBUFS,
    Errno::NOMEM,
    Errno::NOSPC,
    Errno::NOTCONN,
    Errno::PERM,
    Errno::PIPE,
    Errno::PROTO,
    Errno::SRCH,
    Errno::TIMEDOUT,
    Errno::TOOMANYREFS,
];
const PATIENCE: Duration = Duration::from_secs(20);

trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

/// A client of either transport, in raw frames.
struct Client {
    socket: Box<dyn Socket>,
    decoder: Decoder,
    pongs: Vec<u64>,
    welcomed: bool,
}

impl Client {
    /// Connects and greets; reads nothing.
    fn open(endpoint: &Endpoint) -> Self {
        let socket: Box<dyn Socket> = match endpoint {
            Endpoint::Unix(path) => {
                let socket = UnixStream::connect(path).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(socket)
            }
            Endpoint::Tcp(address) => {
                let socket = TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(socket)
            }
            other => panic!("{other}"),
        };
        let mut client = Self {
            socket,
            decoder: Decoder::new(1 << 24),
            pongs: Vec::new(),
            welcomed: false,
        };
        let mut bytes = PREFACE.to_vec();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &Hello::default().encode())
            .encode(&mut bytes);
        client.send(&bytes);
        client
    }

    /// A connection that is ending may refuse; reading tells.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    fn ping(&mut self, id: u64) {
        self.send(
            &Draft::new(Kind::Ping, id)
                .payload(Encoding::RAW, &[7; 64])
                .to_vec(),
        );
    }

    /// Reads until the pong of this number. `false`: the connection has ended instead.
    fn pong(&mut self, id: u64) -> bool {
        let mut buffer = [0; 64 * 1024];
        while !self.pongs.contains(&id) {
            let count = match self.socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("neither a pong nor an end: {error}"),
            };
            let batch = self.decoder.decode(&buffer[..count]).unwrap();
            for header in batch.headers() {
                match header.kind {
                    Kind::Pong => self.pongs.push(header.id),
                    Kind::Welcome => self.welcomed = true,
                    Kind::Goodbye => return false,
                    other => panic!("{other:?}"),
                }
            }
        }
        true
    }

    fn lives(&mut self, id: u64) -> bool {
        self.ping(id);
        self.pong(id)
    }
}

fn start(limits: Limits, endpoints: Vec<Endpoint>) -> BrokerHandle {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let builder = endpoints
                .into_iter()
                .fold(Broker::builder().limits(limits), |builder, endpoint| {
                    builder.listen(endpoint)
                });
            let handle = builder.start().unwrap();
            sender.send(handle.clone()).unwrap();
            handle.ended().await
        })
    });
    receiver.recv().unwrap()
}

/// Lets the next call at `site` fail for a victim, then brings the victim to make it.
fn fail(endpoint: &Endpoint, site: Site, errno: Errno) {
    let arm = || arm(site, errno.raw_os_error(), 1);
    let happened = |what: &str| until(&format!("{site:?} {errno:?}: {what}"), || left() == 0);
    match site {
        Site::Accept | Site::Identify | Site::Register | Site::Owner => {
            arm();
            let mut victim = Client::open(endpoint);
            happened("somebody connects");
            // The next one also wakes a listener that was told there is nobody. Without descriptors whoever waits at that moment
            // is turned away, and the one after it is served.
            until(&format!("{site:?} {errno:?}: the next one is served"), || {
                Client::open(endpoint).lives(1)
            });
            victim.lives(1);
        }
        Site::Read | Site::Write => {
            let mut victim = Client::open(endpoint);
            assert!(victim.lives(1));
            arm();
            victim.ping(2);
            happened("a ping");
            victim.lives(3);
        }
        Site::Space => {
            let mut victim = Client::open(endpoint);
            assert!(victim.lives(1));
            arm();
            let many = 20_000;
            for id in 2..many {
                victim.ping(id);
            }
            if matches!(endpoint, Endpoint::Unix(_)) {
                happened("a full socket");
            }
            assert!(victim.lives(many), "it waits in another way");
        }
        Site::Attach => {
            let Endpoint::Unix(path) = endpoint else {
                panic!("{endpoint}")
            };
            let (mut caller, mut callee) = (Raw::connect(path), Raw::connect(path));
            callee.register("o");
            arm();
            let (sent, _ends) = pipes(1);
            send(&caller, &call(9, "o", 1, b""), &sent);
            happened("a call with a descriptor");
            let serving = std::thread::spawn(move || {
                while let Some(got) = callee.try_read() {
                    if got.kind == Kind::Call {
                        callee.reply(&got, b"r");
                    }
                }
            });
            // The receiver's end, an error, or it was written later: the caller hears of it.
            let answer = caller.answer(9);
            assert!(matches!(answer.kind, Kind::Reply | Kind::Error), "{answer:?}");
            drop(serving);
        }
        Site::Shutdown => {
            let mut victim = Client::open(endpoint);
            assert!(victim.lives(1));
            arm();
            victim.send(&Draft::new(Kind::Goodbye, 0).to_vec());
            happened("a goodbye");
            assert!(!victim.pong(2));
        }
        Site::Ring => fail_ring(endpoint, arm),
        _ => unreachable!("{site:?} has no connection of a broker"),
    }
}

/// Memory that cannot be made or shared: its client stays where it is.
fn fail_ring(endpoint: &Endpoint, arm: impl Fn()) {
    let Endpoint::Unix(path) = endpoint else {
        panic!("{endpoint}")
    };
    let mut victim = Raw::connect(path);
    arm();
    victim.send(&Draft::new(Kind::Ring, 0));
    let answer = victim.expect(Kind::Ring);
    assert_eq!((answer.aux, left()), (0, 0), "none is offered");
    victim.ping();
}

fn broker_sites_survive(endpoint: &Endpoint, broker: &BrokerHandle) -> usize {
    let unix = matches!(endpoint, Endpoint::Unix(_));
    let mut bystander = Client::open(endpoint);
    assert!(bystander.lives(1) && bystander.welcomed);
    let (mut cases, mut id) = (0, 1);
    for site in Site::ALL {
        let applies = match site {
            Site::Bind | Site::Connect => false,
            Site::Owner => !unix,
            Site::Space | Site::Attach | Site::Ring => unix,
            _ => true,
        };
        for &errno in ERRNOS.iter().filter(|_| applies) {
            fail(endpoint, site, errno);
            assert_eq!(disarm(), 0, "{site:?} {errno:?} did not happen");
            id += 1;
            assert!(
                bystander.lives(id),
                "{site:?} {errno:?}: an innocent connection ended"
            );
            let mut fresh = Client::open(endpoint);
            assert!(
                fresh.lives(1) && fresh.welcomed,
                "{site:?} {errno:?}: nobody else gets in"
            );
            cases += 1;
        }
    }
    until("every listener goes on", || broker.metrics().accept_pausing == 0);
    cases
}

async fn client_sites_survive(endpoint: &Endpoint) -> usize {
    for &errno in ERRNOS {
        arm(Site::Connect, errno.raw_os_error(), 1);
        let first = IpcClient::connect_to(endpoint.clone()).await;
        assert!(first.is_err() || left() == 0, "{errno:?}");
        assert_eq!(disarm(), 0);
        let client = IpcClient::connect_to(endpoint.clone()).await.unwrap();
        client.ping().await.unwrap();
        client.close().await;
    }
    ERRNOS.len()
}

async fn a_start_that_fails_can_be_repeated(endpoint: impl Fn() -> Endpoint) -> usize {
    for &errno in ERRNOS {
        arm(Site::Bind, errno.raw_os_error(), 1);
        let failed = Broker::builder().listen(endpoint()).start().unwrap_err();
        assert_eq!(disarm(), 0);
        let error = std::io::Error::from(errno).to_string();
        assert!(failed.to_string().contains(&error), "{failed}");
        let broker = Broker::builder().listen(endpoint()).start().unwrap();
        broker.stop().await;
    }
    ERRNOS.len()
}

/// What fails is chosen for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn each_error_at_each_place_ends_one_connection_at_most() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let unix = Endpoint::Unix(folder.path().join("b.sock"));
    let other = Endpoint::Unix(folder.path().join("c.sock"));
    let broker = start(Limits::default(), vec![unix, "tcp:127.0.0.1:0".parse().unwrap()]);
    let mut cases = 0;
    for endpoint in broker.endpoints() {
        cases += broker_sites_survive(endpoint, &broker);
    }
    actix::System::new().block_on(async {
        for endpoint in broker.endpoints() {
            cases += client_sites_survive(endpoint).await;
        }
        cases += a_start_that_fails_can_be_repeated(|| other.clone()).await;
        cases += a_start_that_fails_can_be_repeated(|| "tcp:127.0.0.1:0".parse().unwrap()).await;
        let _ = broker.stop().await;
    });
    // Places times errors: those of a broker over each transport, connecting and binding.
    assert_eq!(cases, (9 + 7 + 2 + 2) * ERRNOS.len());
}

/// ETOOMANYREFS: the kernel counts what was sent and not received, for a whole user.
#[test]
fn too_many_descriptors_in_flight_cost_those_who_do_not_read() {
    let _alone = alone();
    let limits = Limits {
        descriptor_wait_ms: 200,
        ..Limits::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let broker = start(limits, vec![Endpoint::Unix(path.clone())]);
    let [mut caller, mut reading, mut holding] = std::array::from_fn(|_| Raw::connect(&path));
    reading.register("reads");
    holding.register("holds");
    let refuse = |times| arm(Site::Attach, Errno::TOOMANYREFS.raw_os_error(), times);
    let with_one = |caller: &Raw, id, object| {
        let (sent, ends) = pipes(1);
        send(caller, &call(id, object, 1, b""), &sent);
        ends
    };

    // For a while: the pauses grow, and it is sent.
    refuse(3);
    let ends = with_one(&caller, 1, "reads");
    let (got, came) = Reader::default().read(&mut reading);
    same(came, ends);
    reading.reply(&got, b"r");
    assert_eq!((caller.answer(1).kind, disarm()), (Kind::Reply, 0));

    // For good: who holds descriptors unread is closed, the call is answered, its callee stays.
    let held = with_one(&caller, 2, "holds");
    until("it is in its socket", || broker.metrics().attachments_out == 2);
    refuse(usize::MAX);
    let lost = with_one(&caller, 3, "reads");
    assert_eq!(caller.answer(2).error().0, ErrorCode::CalleeGone);
    let answer = caller.answer(3);
    assert_eq!(answer.error(), (ErrorCode::Overloaded, false));
    assert!(
        answer.text().contains("sent and not received"),
        "{}",
        answer.text()
    );
    disarm();
    let (reason, text) = holding.goodbye();
    assert!(
        reason == CloseReason::SlowConsumer && text.contains("has not read"),
        "{text}"
    );
    for end in lost.into_iter().chain(held) {
        assert!(closed(end).is_empty());
    }
    let ends = with_one(&caller, 4, "reads");
    same(Reader::default().read(&mut reading).1, ends);
}

/// EINVAL is about what is attached. The call ends with an error, once: what waits of the stream is dropped, and its callee stops.
#[test]
fn an_item_whose_descriptors_are_refused_ends_its_stream() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.sock");
    let _broker = start(Limits::default(), vec![Endpoint::Unix(path.clone())]);
    let [mut caller, mut callee] = std::array::from_fn(|_| Raw::connect(&path));
    callee.register("o");
    let ask = Draft::new(Kind::Call, 9).flags(Flags::STREAM).pair("o", "m");
    // What comes behind the item: nothing yet, more, or the end.
    for behind in [None, Some(Flags::MORE), Some(Flags::NONE)] {
        caller.send(&ask);
        let ticket = callee.expect(Kind::Call).id;
        callee.send(&Draft::new(Kind::Reply, ticket).flags(Flags::MORE));
        assert!(caller.expect(Kind::Reply).flags.has(Flags::MORE));
        let item = Draft::new(Kind::Reply, ticket).flags(Flags::MORE);
        let item = Draft {
            attachments: 1,
            ..item
        };
        let mut bytes = item.to_vec();
        if let Some(flags) = behind {
            let more = Draft::new(Kind::Reply, ticket).flags(flags);
            more.encode(&mut bytes);
        }
        arm(Site::Attach, Errno::INVAL.raw_os_error(), 1);
        let (sent, ends) = pipes(1);
        send(&callee, &bytes, &sent);
        let lost = caller.expect(Kind::Error);
        assert_eq!((lost.id, lost.error()), (9, (ErrorCode::ReplyLost, true)));
        drop(sent);
        for end in ends {
            assert!(closed(end).is_empty());
        }
        // Its number is free; a late item changes nothing.
        caller.send(&ask);
        callee.send(&Draft::new(Kind::Reply, ticket).flags(Flags::MORE));
        let got = callee.expect_one(&[Kind::Call, Kind::Cancel]);
        let again = match got.kind {
            Kind::Cancel => {
                assert_eq!((got.id, behind == Some(Flags::NONE)), (ticket, false));
                callee.expect(Kind::Call).id
            }
            _ => got.id,
        };
        callee.send(&Draft::new(Kind::Reply, again));
        let answer = caller.expect(Kind::Reply);
        assert_eq!((answer.id, answer.flags), (9, Flags::NONE));
        assert_eq!(disarm(), 0);
    }
}
