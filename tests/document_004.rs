//! The Rust snippets of the document that the label bus answers to, with nothing changed but their `use` lines, and with the generics
//! and the elisions put back that its page has lost. Each stands in a module of its own, and runs in a process of its own whose buses
//! are in a folder of the test's: the document's identifiers would be those of the user's real buses.
#![cfg(any(target_os = "linux", windows))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unused_variables,
    unused_mut,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "the snippets are as the document has them; what is not as expected fails the test"
)]

mod support;

/// The first snippet: it receives until the bus is gone.
mod earth {
    use actix_ipc::bus as ipmb;
    use ipmb::label;
    use tracing as log;

    pub fn main() {
        // Join your bus
        let options = ipmb::Options::new("com.solar", label!("earth"), "");
        let (sender, receiver) = ipmb::join::<String, String>(options, None).expect("Join com.solar failed");

        // Receive messages
        while let Ok(message) = receiver.recv(None) {
            log::info!("received: {}", message.payload);
        }
    }
}

/// The second: it sends once a second, for ever.
mod moon {
    use actix_ipc::bus as ipmb;
    use ipmb::label;
    use std::thread;
    use std::time::Duration;

    pub fn main() {
        // Join your bus
        let options = ipmb::Options::new("com.solar", label!("moon"), "");
        let (sender, receiver) = ipmb::join::<String, String>(options, None).expect("Join com.solar failed");

        loop {
            // Create a message
            let selector = ipmb::Selector::unicast("earth");
            let mut message = ipmb::Message::new(selector, "hello world".to_string());

            // Send the message
            sender.send(message).expect("Send message failed");

            thread::sleep(Duration::from_secs(1));
        }
    }
}

mod labels {
    use actix_ipc::bus::label;

    pub fn main() {
        let two = label!("renderer", "codec");
        assert!(two.contains("renderer") && two.contains("codec"));
    }
}

mod payload {
    use actix_ipc::bus as ipmb;
    use actix_ipc::bus::TypeUuid;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, TypeUuid)]
    #[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
    struct MyMessage {
        foo: i32,
        bar: bool,
    }

    pub fn main() {
        let options = crate::options("payload");
        let (sender, receiver) = ipmb::join::<MyMessage, MyMessage>(options, None).unwrap();
        let message = MyMessage { foo: 7, bar: true };
        let selector = ipmb::Selector::unicast("payload");
        sender.send(ipmb::Message::new(selector, message)).unwrap();
        let received = receiver.recv(None).unwrap().payload;
        assert!(received.foo == 7 && received.bar);
    }
}

mod message_box {
    use actix_ipc::bus as ipmb;
    use actix_ipc::bus::TypeUuid;
    use ipmb::MessageBox;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, TypeUuid)]
    #[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
    struct MyMessage {
        foo: i32,
        bar: bool,
    }

    #[derive(MessageBox)]
    enum MultipleMessage {
        String(String),
        I32(i32),
        MyMessage(MyMessage),
    }

    pub fn main() {
        let options = crate::options("box");
        let (sender, receiver) = ipmb::join::<MultipleMessage, MultipleMessage>(options, None).unwrap();
        let selector = || ipmb::Selector::unicast("box");
        let mine = MyMessage { foo: 1, bar: false };
        for message in [
            MultipleMessage::String("text".to_string()),
            MultipleMessage::I32(-5),
            MultipleMessage::MyMessage(mine),
        ] {
            sender.send(ipmb::Message::new(selector(), message)).unwrap();
        }
        let next = || receiver.recv(None).unwrap().payload;
        assert!(matches!(next(), MultipleMessage::String(text) if text == "text"));
        assert!(matches!(next(), MultipleMessage::I32(-5)));
        assert!(matches!(
            next(),
            MultipleMessage::MyMessage(MyMessage { foo: 1, bar: false })
        ));
    }
}

mod object {
    use crate::mach as libc;
    use actix_ipc::bus as ipmb;

    #[allow(unsafe_code, reason = "the snippet takes over what nobody owns")]
    pub fn main() {
        let options = crate::options("object");
        let (sender, receiver) = ipmb::join::<String, String>(options, None).unwrap();
        let selector = ipmb::Selector::unicast("object");

        let mut message = ipmb::Message::new(selector, "an object".to_string());
        // SAFETY: it was made for this, and nobody else has it.
        let obj = unsafe { ipmb::Object::from_raw(libc::mach_task_self()) };
        message.objects.push(obj);

        sender.send(message).unwrap();
        assert_eq!(receiver.recv(None).unwrap().objects.len(), 1);
    }
}

mod memory_region {
    use actix_ipc::bus as ipmb;

    pub fn main() {
        let options = crate::options("region");
        let (sender, receiver) = ipmb::join::<String, String>(options, None).unwrap();
        let selector = ipmb::Selector::unicast("region");

        let mut message = ipmb::Message::new(selector, "a region".to_string());
        let mut region = ipmb::MemoryRegion::new(16 << 10);
        let data = region.map(..).expect("Mapping failed");
        data[0] = 0x10;
        message.memory_regions.push(region);

        sender.send(message).unwrap();
        let received = receiver.recv(None).unwrap();
        assert_eq!(received.memory_regions[0].view(..).unwrap()[0], 0x10);
    }
}

mod memory_registry {
    use actix_ipc::bus as ipmb;

    pub fn main() {
        let mut registry = ipmb::MemoryRegistry::default();
        // Alloc memory region from the registry
        let mut region = registry.alloc(8 << 20, None);
        region.map(..).unwrap()[0] = 1;
    }
}

/// What the page calls `libc::mach_task_self()`: some object of the system, here the null device.
mod mach {
    #[cfg(unix)]
    pub fn mach_task_self() -> std::os::fd::RawFd {
        std::os::fd::IntoRawFd::into_raw_fd(std::fs::File::open("/dev/null").unwrap())
    }

    #[cfg(windows)]
    pub fn mach_task_self() -> std::os::windows::io::RawHandle {
        std::os::windows::io::IntoRawHandle::into_raw_handle(std::fs::File::open("NUL").unwrap())
    }
}

/// What the page writes as `..`: a bus and a label.
fn options(label: &str) -> actix_ipc::bus::Options {
    actix_ipc::bus::Options::new("document", actix_ipc::bus::label!(label), "")
}

const PART: &str = "ACTIX_IPC_DOCUMENT_PART";

/// One part of the document as a process of its own, with a folder of buses of its own.
fn start(name: &str, folder: &std::path::Path) -> support::Process {
    let place = if cfg!(windows) {
        "LOCALAPPDATA"
    } else {
        "XDG_RUNTIME_DIR"
    };
    support::Process::spawn(support::this_program("run").env(PART, name).env(place, folder))
}

#[test]
fn run() {
    match std::env::var(PART).as_deref() {
        Ok("earth") => {
            tracing_subscriber::fmt().with_ansi(false).init();
            earth::main();
        }
        Ok("moon") => moon::main(),
        Ok("payload") => payload::main(),
        Ok("message_box") => message_box::main(),
        Ok("object") => object::main(),
        Ok("memory_region") => memory_region::main(),
        _ => {
            labels::main();
            memory_registry::main();
        }
    }
}

#[test]
fn what_the_document_shows_works() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["payload", "message_box", "object", "memory_region"] {
        start(name, folder.path()).wait_for("test result: ok");
    }
}

#[test]
fn earth_hears_from_the_moon_whoever_comes_first() {
    for first in ["earth", "moon"] {
        let folder = tempfile::tempdir().unwrap();
        let other = if first == "earth" { "moon" } else { "earth" };
        let [one, two] = [first, other].map(|name| start(name, folder.path()));
        let earth = if first == "earth" { one } else { two };
        earth.wait_for("received: hello world");
    }
}
