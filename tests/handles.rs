//! Handles through a broker over Windows pipes: they arrive as what they are or somebody is told, and none is left behind.
//!
//! Owns what `descriptors.rs` and `event_descriptors.rs` own on Unix, for the kinds that Windows has: here the kinds and the way between
//! two processes, beside it `events`, `limits` and `ends`. The other processes are this test's own executable, which runs the test
//! `other_process` or `deaf_process`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    unsafe_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part; objects of the system are made by its calls"
)]
#![cfg(windows)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/echo.rs"]
mod echo;
#[path = "handles/ends.rs"]
mod ends;
#[path = "handles/events.rs"]
mod events;
#[path = "handles/limits.rs"]
mod limits;
#[path = "support/own_process.rs"]
mod own_process;
#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/wire.rs"]
mod wire;

use actix_ipc::client::IpcClient;
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Attachments, Payload};
use actix_ipc::transport::Endpoint;
use broker::Place;
use echo::Echo;
use own_process::open;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use support::{Process, run, this_program};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MapViewOfFile, PAGE_READWRITE, UnmapViewOfFile,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateMutexW, CreateSemaphoreW, CreateWaitableTimerW, GetCurrentProcess, GetCurrentThread,
    OpenProcess, PROCESS_ALL_ACCESS, ReleaseMutex, ReleaseSemaphore, SetEvent, SetWaitableTimer,
    WaitForSingleObject,
};

const ENDPOINT: &str = "HANDLES_ENDPOINT";

fn made(handle: HANDLE) -> OwnedHandle {
    assert!(!handle.is_null(), "{}", std::io::Error::last_os_error());
    // SAFETY: every caller passes what the system has just made for this process.
    unsafe { OwnedHandle::from_raw_handle(handle) }
}

fn event() -> OwnedHandle {
    // SAFETY: no attributes and no name are given.
    made(unsafe { CreateEventW(null(), 1, 0, null()) })
}

fn is_set(event: &OwnedHandle) -> bool {
    is_set_within(event, 0)
}

/// Whatever can be waited for, and what waiting takes of it is taken then.
fn is_set_within(one: &OwnedHandle, milliseconds: u32) -> bool {
    // SAFETY: the handle is open, for it is borrowed.
    unsafe { WaitForSingleObject(one.as_raw_handle(), milliseconds) == WAIT_OBJECT_0 }
}

fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open, for it is borrowed.
    assert_ne!(unsafe { SetEvent(event.as_raw_handle()) }, 0);
}

fn section() -> OwnedHandle {
    // SAFETY: no attributes and no name are given; the page file stands behind it.
    made(unsafe { CreateFileMappingW(INVALID_HANDLE_VALUE, null(), PAGE_READWRITE, 0, 4096, null()) })
}

/// Puts `byte` at the section's start, and returns what was there.
fn swap(section: &OwnedHandle, byte: u8) -> u8 {
    // SAFETY: the handle is open, for it is borrowed; the view is of 4,096 bytes, is used by nobody else, and goes at the end.
    unsafe {
        let view = MapViewOfFile(section.as_raw_handle(), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
        assert!(!view.Value.is_null());
        let before = view.Value.cast::<u8>().replace(byte);
        UnmapViewOfFile(view);
        before
    }
}

fn pipe() -> (File, OwnedHandle) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedHandle::from(reader)), writer.into())
}

async fn echo(client: &IpcClient, sent: Attachments) -> Vec<OwnedHandle> {
    all(&echo::echo(client, Payload::raw(b"x".to_vec()), sent).await.1)
}

/// What came, for oneself.
fn all(came: &Attachments) -> Vec<OwnedHandle> {
    (0..came.len())
        .map(|index| came.get::<OwnedHandle>(index).unwrap().try_clone().unwrap())
        .collect()
}

/// Reads to the end, which comes when nobody has the other end open.
async fn to_the_end(mut reader: File) -> Vec<u8> {
    tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    })
    .await
    .unwrap()
}

#[actix::test]
async fn every_kind_arrives_as_what_it_is_in_both_directions() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    let (reader, writer) = pipe();
    let (signal, memory) = (event(), section());
    swap(&memory, 7);
    let sent = Attachments::new()
        .with(writer)
        .with(signal.try_clone().unwrap())
        .with(memory.try_clone().unwrap());
    let mut came = echo(&caller, sent).await.into_iter();
    let (writer, event, section) = (came.next().unwrap(), came.next().unwrap(), came.next().unwrap());
    assert!(came.next().is_none());
    File::from(writer).write_all(b"through the pipe").unwrap();
    assert_eq!(
        to_the_end(reader).await,
        b"through the pipe",
        "and nobody else has it open"
    );
    assert!(!is_set(&signal));
    set(&event);
    assert!(is_set(&signal));
    assert_eq!(swap(&section, 9), 7);
    assert_eq!(swap(&memory, 0), 9);
    broker.stop().await;
}

#[actix::test]
async fn mutexes_semaphores_timers_and_files_arrive_as_what_they_are() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    // SAFETY: no attributes and no names are given. This thread owns the mutex.
    let [mutex, semaphore, timer] = unsafe {
        [
            CreateMutexW(null(), 1, null()),
            CreateSemaphoreW(null(), 0, 1, null()),
            CreateWaitableTimerW(null(), 1, null()),
        ]
    }
    .map(made);
    let mut file = tempfile::tempfile().unwrap();
    let handles = [&mutex, &semaphore, &timer].map(|one| one.try_clone().unwrap());
    let sent = handles.into_iter().fold(Attachments::new(), Attachments::with);
    let came = echo(&caller, sent.with(OwnedHandle::from(file.try_clone().unwrap()))).await;
    let [mutex_too, semaphore_too, timer_too, file_too] = <[OwnedHandle; 4]>::try_from(came).unwrap();
    assert!(![&semaphore_too, &timer_too].into_iter().any(is_set));
    let taken_by_another =
        || std::thread::scope(|threads| threads.spawn(|| is_set(&mutex_too)).join().unwrap());
    assert!(!taken_by_another());
    // SAFETY: the handles are open, for they are owned here; the time is a valid place, and nothing is called at the timer's end.
    unsafe {
        assert_ne!(ReleaseMutex(mutex.as_raw_handle()), 0);
        assert_ne!(ReleaseSemaphore(semaphore.as_raw_handle(), 1, null_mut()), 0);
        assert_ne!(
            SetWaitableTimer(timer.as_raw_handle(), &-1, 0, None, null(), 0),
            0
        );
    }
    assert!(taken_by_another() && is_set(&semaphore_too) && is_set_within(&timer_too, 20_000));
    File::from(file_too).write_all(b"on disk").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "on disk");
    broker.stop().await;
}

#[actix::test]
async fn sixteen_travel_together_with_any_payload() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    for size in [1, 1 << 20, 20 << 20] {
        let pipes: Vec<(File, OwnedHandle)> = (0..16).map(|_| pipe()).collect();
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let sent = writers.into_iter().fold(Attachments::new(), Attachments::with);
        let payload = Payload::raw(vec![7; size]);
        let (back, came) = echo::echo(&caller, payload.clone(), sent).await;
        assert!(back == payload, "{size}");
        let writers = all(&came);
        drop(came);
        assert_eq!(writers.len(), 16);
        for (index, writer) in (0..).zip(writers) {
            File::from(writer).write_all(&[index]).unwrap();
        }
        for (index, reader) in (0..).zip(readers) {
            assert_eq!(to_the_end(reader).await, [index], "{size}");
        }
    }
    let sent = (0..17)
        .map(|_| event())
        .fold(Attachments::new(), Attachments::with);
    let call = caller.call("echo", "m").attachments(sent);
    let refused = call.send_payload(Payload::default()).await.unwrap_err();
    assert!(!refused.may_have_run, "{refused}");
    broker.stop().await;
}

#[actix::test]
async fn no_power_over_a_process_is_lent() {
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    // SAFETY: plain values; the handle is checked.
    let process = made(unsafe { OpenProcess(PROCESS_ALL_ACCESS, 0, std::process::id()) });
    let mut thread = null_mut();
    // SAFETY: both processes and the source are pseudo handles, which are always valid; the place is.
    let copied = unsafe {
        let here = GetCurrentProcess();
        DuplicateHandle(
            here,
            GetCurrentThread(),
            here,
            &raw mut thread,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    assert_ne!(copied, 0);
    for handle in [process, made(thread)] {
        let call = caller
            .call("echo", "m")
            .attachments(Attachments::new().with(event()).with(handle));
        let refused = call.send_payload(Payload::default()).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.may_have_run),
            (ErrorCode::Denied, false),
            "{refused}"
        );
        assert!(refused.message.contains("may not be lent"), "{refused}");
    }
    // The connection is in order, and what was refused has left nothing in the way.
    assert_eq!(echo(&caller, Attachments::new().with(event())).await.len(), 1);
    broker.stop().await;
}

#[actix::test]
async fn a_broker_that_grants_none_carries_none() {
    let place = Place::new();
    let broker = place.start_with(Limits {
        attachments: 0,
        ..Limits::default()
    });
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    let call = caller
        .call("echo", "m")
        .attachments(Attachments::new().with(event()));
    let refused = call.send_payload(Payload::default()).await.unwrap_err();
    assert!(!refused.may_have_run, "{refused}");
    assert!(echo(&caller, Attachments::new()).await.is_empty());
    broker.stop().await;
}

#[actix::test]
async fn nothing_is_left_behind() {
    const ROUNDS: usize = 300;
    let place = Place::new();
    let broker = place.start();
    let (callee, caller) = (broker.client().await, broker.client().await);
    let _echo = callee.register("echo", Echo).await.unwrap();
    echo(&caller, Attachments::new().with(event())).await;
    let before = open();
    for _ in 0..ROUNDS {
        let came = echo(&caller, Attachments::new().with(event()).with(event())).await;
        assert_eq!(came.len(), 2);
    }
    // What is on its way to be closed is closed by and by, and threads come and go: far fewer than one for each round stay.
    let mut after = open();
    for _ in 0..200 {
        if after < before + ROUNDS / 3 {
            break;
        }
        caller.ping().await.unwrap();
        callee.ping().await.unwrap();
        after = open();
    }
    assert!(
        after < before + ROUNDS / 3,
        "{before} handles before, {after} after"
    );
    broker.stop().await;
}

/// Does nothing by itself: it is the other process of the test below.
#[test]
fn other_process() {
    let Ok(name) = std::env::var(ENDPOINT) else { return };
    actix::System::new().block_on(async {
        let client = IpcClient::connect_to(Endpoint::Pipe(name)).await.unwrap();
        let (reader, writer) = pipe();
        let (signal, memory) = (event(), section());
        swap(&memory, 3);
        let sent = Attachments::new()
            .with(writer)
            .with(signal.try_clone().unwrap())
            .with(memory.try_clone().unwrap());
        let mut came = echo(&client, sent).await.into_iter();
        let (writer, event, section) = (came.next().unwrap(), came.next().unwrap(), came.next().unwrap());
        File::from(writer).write_all(b"back").unwrap();
        assert_eq!(
            to_the_end(reader).await,
            b"back",
            "neither the broker nor the callee has it open"
        );
        set(&event);
        assert!(is_set(&signal));
        assert_eq!((swap(&section, 4), swap(&memory, 5)), (3, 4));
        println!("all are back");
    });
}

/// The values mean nothing in another process, so this is what shows that they were duplicated into the right one.
#[actix::test]
async fn they_cross_from_one_process_to_another_and_back() {
    let place = Place::new();
    let broker = place.start();
    let callee = broker.client().await;
    let _echo = callee.register("echo", Echo).await.unwrap();
    let Endpoint::Pipe(name) = broker.endpoint.clone() else {
        panic!("{}", broker.endpoint)
    };
    // Many handles of this process first, so that equal values are not likely to be open in both.
    let _many: Vec<OwnedHandle> = (0..500).map(|_| event()).collect();
    let other = move || run(this_program("other_process").env(ENDPOINT, name));
    let ended = tokio::task::spawn_blocking(other).await.unwrap();
    assert!(ended.success().contains("all are back"), "{ended:?}");
    broker.stop().await;
}
