//! Memory and objects between processes over a Windows pipe: what a death gives back, and what a hostile process can do.
//!
//! Owns what `memory_processes.rs` and `memory_regions.rs` own on Linux, as far as Windows has it, and events with handles. The other
//! process is this test's own executable, which runs the test `other_process` and joins the bus of its parent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "what is not as expected fails the test; sections of other kinds are made by the system's calls"
)]
#![cfg(windows)]

#[path = "support/place.rs"]
mod place;
mod support;

use actix_ipc::actors::{Broker, BrokerHandle, BusOptions};
use actix_ipc::bus::memory::{Entry, Kind};
use actix_ipc::bus::{
    EndpointReceiver, EndpointSender, MapError, MemoryRegion, MemoryRegistry, Message, Object, Options,
    Selector, join_async, label,
};
use actix_ipc::client::{IpcClient, Subscription, Update};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::Attachments;
use actix_ipc::transport::Endpoint;
use std::fs::File;
use std::io::{Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::time::{Duration, Instant};
use support::{Process, this_program};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Memory::{CreateFileMappingW, PAGE_READWRITE, SEC_RESERVE};

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(60);
const NAME: &str = "MEMORY_PIPES_NAME";
const ROLE: &str = "MEMORY_PIPES_ROLE";

type Ends = (EndpointSender<u8>, EndpointReceiver<u8>);

/// A member of the bus at the pipe `name`.
async fn join(name: &str, label: &'static str) -> Ends {
    let label = match label {
        "one" => label!("one"),
        _ => label!("other"),
    };
    let options = Options::new("", label, "secret").at(Endpoint::Pipe(name.to_owned()));
    join_async(options, Some(LONG)).await.unwrap()
}

/// The bus, this process's end of it, and another process.
struct Here {
    broker: BrokerHandle,
    name: String,
    sender: EndpointSender<u8>,
    receiver: EndpointReceiver<u8>,
}

impl Here {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Endpoint::Pipe(name) = place::endpoint_in(folder.path()) else {
            panic!("this is for pipes")
        };
        let broker = Broker::builder().listen(Endpoint::Pipe(name.clone()));
        let broker = broker.bus(BusOptions::new(b"secret")).start().unwrap();
        let (sender, receiver) = join(&name, "one").await;
        Self {
            broker,
            name,
            sender,
            receiver,
        }
    }

    /// Another process, which does what is written under `role` below.
    async fn other(&self, role: &str) -> Process {
        let mut command = this_program("other_process");
        let other = Process::spawn(command.env(NAME, &self.name).env(ROLE, role));
        assert_eq!(self.hear().await.payload, b'r');
        other
    }

    async fn hear(&self) -> Message<u8> {
        tokio::time::timeout(LONG, self.receiver.recv_async())
            .await
            .expect("the other process is silent")
            .unwrap()
    }

    async fn say(&self, word: u8, regions: Vec<MemoryRegion>) {
        say(&self.sender, "other", word, regions, Vec::new()).await;
    }

    async fn stop(self) {
        drop((self.sender, self.receiver));
        self.broker.stop().await;
    }
}

async fn say(
    sender: &EndpointSender<u8>,
    to: &str,
    word: u8,
    regions: Vec<MemoryRegion>,
    objects: Vec<Object>,
) {
    let mut message = Message::new(Selector::unicast(to), word);
    message.memory_regions = regions;
    message.objects = objects;
    sender.send_confirmed_async(message, LONG).await.unwrap();
}

/// Waits for the end of another process, which has a broker here until then.
async fn end(other: Process) {
    let ended = tokio::task::spawn_blocking(|| other.end());
    ended.await.unwrap().success();
}

/// Does nothing by itself: it is the other process of the tests below.
#[test]
fn other_process() {
    let Ok(name) = std::env::var(NAME) else { return };
    let role = std::env::var(ROLE).unwrap();
    actix::System::new().block_on(async {
        let (sender, receiver) = join(&name, "other").await;
        say(&sender, "one", b'r', Vec::new(), Vec::new()).await;
        match role.as_str() {
            "hold" => hold(&sender, &receiver).await,
            "make" => make(&sender).await,
            "write" => write(&sender, &receiver).await,
            "hostile" => hostile(&sender).await,
            "publish" => publish(&name, &sender, &receiver).await,
            role => panic!("{role}"),
        }
    });
}

/// Takes a region, tells its first byte, and keeps it until the next word comes; ends at the word `e`.
async fn hold(sender: &EndpointSender<u8>, receiver: &EndpointReceiver<u8>) {
    let mut held = receiver.recv_async().await.unwrap();
    while held.payload != b'e' {
        for region in &held.memory_regions {
            let first = region.to_vec(..1).unwrap()[0];
            say(sender, "one", first, Vec::new(), Vec::new()).await;
        }
        held = receiver.recv_async().await.unwrap();
    }
}

async fn make(sender: &EndpointSender<u8>) {
    let mut region = MemoryRegion::new(1 << 16);
    region.map(..).unwrap().fill(5);
    say(sender, "one", b'm', vec![region], Vec::new()).await;
}

/// Writes into what it gets, and says so.
async fn write(sender: &EndpointSender<u8>, receiver: &EndpointReceiver<u8>) {
    let message = receiver.recv_async().await.unwrap();
    message.memory_regions[0].write_at(4_000, b"there").unwrap();
    say(sender, "one", b'w', Vec::new(), Vec::new()).await;
}

/// Sends what is a section, and no memory that may be touched.
async fn hostile(sender: &EndpointSender<u8>) {
    let file = tempfile::tempfile().unwrap();
    let sections = [
        section(INVALID_HANDLE_VALUE, PAGE_READWRITE | SEC_RESERVE),
        section(file.as_raw_handle(), PAGE_READWRITE),
        section(INVALID_HANDLE_VALUE, PAGE_READWRITE),
    ];
    let objects = sections.map(Object::from).into();
    say(sender, "one", b'h', Vec::new(), objects).await;
}

/// A section of 64 KiB: of a file, or of the page file.
fn section(file: *mut core::ffi::c_void, protection: u32) -> OwnedHandle {
    // SAFETY: the file is open, or the page file stands behind it; no attributes and no name are given.
    let made = unsafe { CreateFileMappingW(file, null(), protection, 0, 1 << 16, null()) };
    assert!(!made.is_null(), "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    unsafe { OwnedHandle::from_raw_handle(made) }
}

/// A bus is for its members alone, so events have a broker of their own.
fn events(name: &str) -> Endpoint {
    Endpoint::Pipe(format!("{name}-events"))
}

/// Publishes two events with an end of a pipe, the second one for all who want it.
async fn publish(name: &str, sender: &EndpointSender<u8>, receiver: &EndpointReceiver<u8>) {
    let client = IpcClient::connect_to(events(name)).await.unwrap();
    for share in [false, true] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let attached = Attachments::new().with(OwnedHandle::from(writer));
        let publish = client.publish("o", "e", &share).attachments(attached);
        let publish = if share { publish.shared() } else { publish };
        match publish.acknowledged().await {
            Ok(count) => assert!(share && count == 2, "{count} got it"),
            Err(error) => assert!(!share && error.code == ErrorCode::Invalid, "{error}"),
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        let all = read.await.unwrap();
        assert_eq!(
            all,
            if share { &b"xx"[..] } else { b"" },
            "and nobody has it open"
        );
    }
    say(sender, "one", b'p', Vec::new(), Vec::new()).await;
    assert_eq!(receiver.recv_async().await.unwrap().payload, b'e');
}

fn mark(region: &MemoryRegion) -> u8 {
    region.to_vec(..1).unwrap()[0]
}

/// Memory with a mark, as `registry` gives it.
fn marked(registry: &mut MemoryRegistry, mark: u8) -> MemoryRegion {
    let mut region = registry.alloc(10_000, None);
    region.map(..).unwrap()[0] = mark;
    region
}

/// Waits until memory with this mark is given out again: closing what passed the broker is done elsewhere.
async fn comes_back(registry: &mut MemoryRegistry, wanted: u8) {
    let until = Instant::now() + LONG;
    while mark(&registry.alloc(10_000, None)) != wanted {
        assert!(Instant::now() < until, "memory {wanted} is not given back");
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn a_region_outlives_its_maker() {
    let here = Here::start().await;
    let other = here.other("make").await;
    let message = here.hear().await;
    end(other).await;
    let region = &message.memory_regions[0];
    assert!(region.view(..).unwrap().iter().all(|byte| *byte == 5));
    assert_eq!(region.size(), 1 << 16);
    drop(message);
    here.stop().await;
}

#[actix::test]
async fn what_is_shared_for_writing_both_processes_write() {
    let here = Here::start().await;
    let other = here.other("write").await;
    let region = MemoryRegion::new(8_192);
    region.share_writable().unwrap();
    here.say(b's', vec![region.clone()]).await;
    assert_eq!(here.hear().await.payload, b'w');
    assert_eq!(region.to_vec(4_000..4_005).unwrap(), b"there");
    end(other).await;
    here.stop().await;
}

#[actix::test]
async fn memory_is_used_again_when_its_holder_is_done_or_dead() {
    let here = Here::start().await;
    let mut registry = MemoryRegistry::default();
    let mut other = here.other("hold").await;
    here.say(b'h', vec![marked(&mut registry, 1)]).await;
    assert_eq!(here.hear().await.payload, 1);
    assert_ne!(mark(&registry.alloc(10_000, None)), 1, "it is held");
    here.say(b'd', Vec::new()).await;
    comes_back(&mut registry, 1).await;
    here.say(b'h', vec![marked(&mut registry, 2)]).await;
    assert_eq!(here.hear().await.payload, 2);
    for _ in 0..20 {
        assert_ne!(mark(&registry.alloc(10_000, None)), 2, "it is held");
    }
    other.kill();
    comes_back(&mut registry, 2).await;
    here.stop().await;
}

/// Touching it would end this process.
#[actix::test]
async fn a_section_without_memory_of_its_own_is_refused() {
    let here = Here::start().await;
    let other = here.other("hostile").await;
    let objects = here.hear().await.objects;
    end(other).await;
    assert_eq!(objects.len(), 3);
    for (number, object) in objects.into_iter().enumerate() {
        let attachment = object.into_attachment();
        for kind in [Kind::Immutable, Kind::Writable, Kind::Pooled] {
            let entry = Entry::new(1 << 16, kind, false, None).unwrap();
            let region = MemoryRegion::from_attachment(attachment.clone(), &entry);
            match number {
                2 => assert_eq!(region.unwrap().to_vec(..).unwrap(), vec![0; 1 << 16]),
                _ => assert!(
                    matches!(region, Err(MapError::NotMemory(_))),
                    "{number}, {kind:?}"
                ),
            }
        }
    }
    here.stop().await;
}

/// The next event; what was missed before it is passed over.
async fn event(subscription: &mut Subscription) -> actix_ipc::client::Event {
    loop {
        if let Update::Event(event) = subscription.next_update().await.unwrap() {
            return event;
        }
    }
}

#[actix::test]
async fn a_handle_goes_with_an_event_to_all_when_its_sender_says_so() {
    let here = Here::start().await;
    let broker = Broker::builder().listen(events(&here.name)).start().unwrap();
    let client = IpcClient::connect_to(events(&here.name)).await.unwrap();
    let mut both = [
        client.subscribe("o", "e").await.unwrap(),
        client.subscribe("o", "e").await.unwrap(),
    ];
    let other = here.other("publish").await;
    for subscription in &mut both {
        let event = event(subscription).await;
        assert!(event.decode::<bool>().unwrap(), "the other one went to nobody");
        let handle = event.attachments().get::<OwnedHandle>(0).unwrap();
        File::from(handle.try_clone().unwrap()).write_all(b"x").unwrap();
    }
    assert_eq!(here.hear().await.payload, b'p');
    here.say(b'e', Vec::new()).await;
    end(other).await;
    drop(both);
    client.close().await;
    broker.stop().await;
    here.stop().await;
}
