//! Peers that do not read, answers that are refused, children of the broker's program, and what is left afterwards.

use super::*;

#[test]
fn a_callee_that_does_not_read_costs_its_callers_a_typed_error() {
    let broker = Running::start(limits(|limits| limits.descriptors = 4.max(limits.attachments)));
    let most = 16;
    let (mut caller, mut callee, mut reader) = pair(&broker);
    let one_call = |id| {
        let (sent, readers) = pipes(1);
        (call(id, "o", 1, b""), sent, readers)
    };
    let mut kept = Vec::new();
    // One lies in the callee's socket and is the kernel's; those behind it are charged to the caller.
    for id in 1..=most + 1 {
        let (frame, sent, readers) = one_call(id);
        send(&caller, &frame, &sent);
        kept.push(readers);
    }
    caller.ping();
    let (frame, sent, readers) = one_call(100);
    send(&caller, &frame, &sent);
    drop(sent);
    let refused = caller.answer(100);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.descriptors)"),
        "{}",
        refused.text()
    );
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    // When it reads, all come, and there is room again.
    for readers in kept {
        let (_, came) = reader.read(&mut callee);
        same(came, readers);
    }
    let (frame, sent, readers) = one_call(101);
    send(&caller, &frame, &sent);
    drop(sent);
    let (_, came) = reader.read(&mut callee);
    same(came, readers);
    broker.stop();
}

#[test]
fn a_callee_that_never_reads_is_closed_and_its_callers_are_told() {
    let broker = Running::start(limits(|limits| limits.descriptor_wait_ms = 50));
    let (mut caller, callee, _) = pair(&broker);
    let mut readers = Vec::new();
    for id in 1..=3 {
        let (sent, ends) = pipes(2);
        send(&caller, &call(id, "o", 2, b""), &sent);
        readers.extend(ends);
    }
    for id in 1..=3 {
        assert_eq!(caller.answer(id).error().0, ErrorCode::CalleeGone);
    }
    // The first frame is in its socket; with that the last descriptors end.
    drop(callee);
    readers
        .into_iter()
        .for_each(|reader| assert!(closed(reader).is_empty()));
    caller.ping();
    broker.stop();
}

#[test]
fn an_answer_whose_descriptors_are_refused_is_lost_aloud() {
    let broker = Running::start(limits(|_| {}));
    let (mut caller, mut callee, _) = pair(&broker);
    send(&caller, &call(1, "o", 0, b""), &[]);
    let got = callee.expect(Kind::Call);
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let reply = Draft::new(Kind::Reply, got.id).payload(Encoding::RAW, b"r");
    let reply = Draft {
        attachments: 1,
        ..reply
    };
    send(&callee, &reply.to_vec(), &[one.into()]);
    let error = caller.answer(1);
    assert_eq!(error.error(), (ErrorCode::ReplyLost, true));
    assert!(
        error.text().contains("limits.attach_unix_sockets"),
        "{}",
        error.text()
    );
    broker.stop();
}

#[test]
fn a_child_of_the_brokers_program_inherits_none() {
    let broker = Running::start(limits(|_| {}));
    let (caller, mut callee, mut reader) = pair(&broker);
    let mut ends = Vec::new();
    for id in 1..=2 {
        let (sent, readers) = pipes(4);
        send(&caller, &call(id, "o", 4, b""), &sent);
        ends.push(readers);
    }
    until("the second call's descriptors came", || {
        broker.handle.metrics().attachments_in == 8
    });
    let inode = |reader: &std::io::PipeReader| format!("pipe:[{}]", fstat(reader.as_fd()).unwrap().st_ino);
    let held: Vec<String> = ends.iter().flatten().map(inode).collect();
    let child = std::process::Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .output()
        .unwrap();
    let listed = String::from_utf8(child.stdout).unwrap();
    assert!(listed.contains("->"), "{listed}");
    held.iter()
        .for_each(|pipe| assert!(!listed.contains(pipe), "{listed}"));
    for readers in ends {
        same(reader.read(&mut callee).1, readers);
    }
    broker.stop();
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The real broker, after everything above at once: it has as many descriptors as before.
#[test]
fn a_broker_has_exactly_as_many_descriptors_afterwards_as_before() {
    let broker = support::Broker::start_with(|command| {
        command.env("IPC_BROKER_LIMITS__DESCRIPTOR_WAIT_MS", "300");
    });
    let (path, pid) = (broker.socket(), broker.process.id());
    let mut witness = Raw::connect(&path);
    witness.ping();
    let before = open_files(pid);
    for round in 0..20 {
        let mut caller = Raw::connect(&path);
        let mut callee = Raw::connect(&path);
        let object = format!("o{round}");
        callee.register(&object);
        let (sent, readers) = pipes(16);
        // Answered, killed in the middle of a frame, without a frame, unread, too many at once.
        let frame = call(1, &object, 16, &vec![0; 100_000]);
        send(&caller, &frame, &sent);
        let mut reader = Reader::default();
        assert_eq!(reader.read(&mut callee).1.len(), 16);
        let half = Raw::connect(&path);
        send(&half, &frame[..1_000], &sent);
        let loose = Raw::connect(&path);
        send(&loose, &Draft::new(Kind::Pong, 1).to_vec(), &sent[..3]);
        send(&caller, &call(2, &object, 16, b""), &sent);
        send(&caller, &call(3, &object, 16, b""), &sent);
        send(&caller, &call(4, "nobody", 16, b""), &sent);
        assert_eq!(caller.answer(4).error().0, ErrorCode::NoSuchObject);
        drop(sent);
        drop((caller, callee, half, loose));
        drop(reader);
        readers
            .into_iter()
            .for_each(|reader| assert!(closed(reader).is_empty()));
    }
    until("every descriptor is closed again", || open_files(pid) == before);
    witness.ping();
}

#[test]
fn a_stopped_reader_holds_what_it_has_and_nothing_more() {
    // Σ over all connections of one user: the third caller is refused although it holds nothing itself.
    let broker = Running::start(limits(|limits| {
        (limits.descriptors, limits.descriptors_per_user) = (16, 32);
    }));
    let [mut callee, one, two, mut three] = broker.connect_all();
    callee.register("o");
    let (sent, _readers) = pipes(16);
    for (id, caller) in [(1, &one), (2, &one), (3, &two)] {
        send(caller, &call(id, "o", 16, b""), &sent);
        until("it has come", || {
            broker.handle.metrics().attachments_in == 16 * id
        });
        // The first is with the callee's socket before its caller sends more: what is sent is charged to nobody any more.
        until("the first is sent on", || {
            broker.handle.metrics().attachments_out == 16
        });
    }
    send(&three, &call(4, "o", 1, b""), &sent[..1]);
    let refused = three.answer(4);
    assert_eq!(refused.error(), (ErrorCode::TooMany, false));
    assert!(
        refused.text().contains("limits.descriptors_per_user"),
        "{}",
        refused.text()
    );
    broker.stop();
}
