//! Writes a history by hand: who says and who hears what.
//!
//! Owns the steps and the clock. Client `n` is the broker's connection `10 n`, user 1000, process `100 + n`, and calls itself `n`.

use actix_ipc::message::{Draft, Encoding, Epoch, Flags, Hello, Kind, Metadata, Origin, PeerId, Welcome};
use actix_ipc_model::{Judge, Observation, Opened, Setup, Violation, What};

/// A run that is being written.
pub struct History {
    judge: Judge,
    at: u64,
    pub ms: u64,
    pub drained: bool,
}

pub fn setup() -> Setup {
    Setup {
        epoch: [7; 16],
        publish_window: 1_000,
        ..Setup::default()
    }
}

pub fn welcome(client: u32) -> Vec<u8> {
    let setup = setup();
    let payload = Welcome {
        epoch: Epoch(setup.epoch),
        frame_bytes: setup.frame_bytes,
        message_bytes: setup.message_bytes,
        publish_window: setup.publish_window,
        stream_window: setup.stream_window,
        default_deadline_ms: setup.default_deadline_ms,
        max_deadline_ms: setup.max_deadline_ms,
        ..Welcome::default()
    };
    let payload = payload.encode();
    let draft = Draft::new(Kind::Welcome, u64::from(client) * 10).aux(1);
    draft.payload(Encoding::RAW, &payload).to_vec()
}

pub fn hello() -> Vec<u8> {
    let payload = Hello {
        name: "n".into(),
        ..Hello::default()
    }
    .encode();
    Draft::new(Kind::Hello, 1)
        .aux(1)
        .payload(Encoding::RAW, &payload)
        .to_vec()
}

pub fn draft<'a>(kind: Kind, id: u64) -> Draft<'a> {
    Draft::new(kind, id)
}

/// The flag when it is to be there.
pub const fn when(bad: bool, flag: Flags) -> Flags {
    Flags::NONE.with_if(bad, flag)
}

pub fn meta(key: &str, value: &str) -> Vec<u8> {
    let mut metadata = Metadata::new();
    // The broker writes keys that nobody else may.
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let _ = metadata.insert("x", "");
    let mut bytes = vec![u8::try_from(key.len()).unwrap()];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

pub fn origin(client: u32) -> Origin {
    Origin {
        peer: PeerId(u64::from(client) * 10),
        uid: 1000,
        pid: 100 + client,
    }
}

impl History {
    pub fn new() -> Self {
        Self {
            judge: Judge::new(setup()),
            at: 0,
            ms: 0,
            drained: true,
        }
    }

    pub fn tell(&mut self, client: u32, what: What) {
        self.at += 1;
        self.judge.observe(Observation {
            at: self.at,
            now_ms: self.ms,
            client,
            what,
        });
    }

    pub fn connect(&mut self, client: u32, honest: bool) {
        let opened = Opened {
            honest,
            uid: 1000,
            pid: 100 + client,
        };
        self.tell(client, What::Opened(opened));
    }

    /// Opens clients 1 to `count`.
    pub fn open(&mut self, count: u32) {
        for client in 1..=count {
            self.connect(client, true);
            self.says_bytes(client, hello());
            self.tell(client, What::Received(welcome(client)));
        }
    }

    pub fn says_bytes(&mut self, client: u32, bytes: Vec<u8>) {
        self.tell(client, What::Sent(bytes.clone()));
        self.tell(client, What::Arrived(bytes));
    }

    pub fn says(&mut self, client: u32, draft: Draft<'_>) {
        self.says_bytes(client, draft.to_vec());
    }

    pub fn hears(&mut self, client: u32, draft: Draft<'_>) {
        self.tell(client, What::Received(draft.to_vec()));
    }

    /// A request and its Done.
    pub fn asks(&mut self, client: u32, draft: Draft<'_>) {
        self.says(client, draft);
        self.hears(client, Draft::new(Kind::Done, draft.id));
    }

    pub fn registers(&mut self, client: u32, id: u64, object: &str, flags: Flags) {
        self.asks(
            client,
            draft(Kind::Register, id).flags(flags).key(object.as_bytes()),
        );
    }

    pub fn subscribes(&mut self, client: u32, id: u64, flags: Flags) {
        let object = if flags.has(Flags::PATTERN) { "*" } else { "t" };
        self.asks(client, draft(Kind::Subscribe, id).flags(flags).pair(object, "e"));
    }

    /// A publish on `t`, accepted for `count` when that is some.
    pub fn publishes(&mut self, client: u32, id: u64, flags: Flags, payload: &[u8], count: Option<u32>) {
        let flags = flags.with_if(count.is_some(), Flags::ACK);
        let publish = draft(Kind::Publish, id).flags(flags).pair("t", "e");
        self.says(client, publish.payload(Encoding::RAW, payload));
        if let Some(count) = count {
            self.hears(client, draft(Kind::Accepted, id).aux(count));
        }
    }

    /// An event of subscription `id`, with `missed` before it.
    pub fn event(&mut self, client: u32, id: u64, payload: &[u8], missed: u32) {
        self.hears(
            client,
            draft(Kind::Event, id).aux(missed).payload(Encoding::RAW, payload),
        );
    }

    /// Client 2 owns `o`; client 1 calls it under number 5 with `p`, and client 2 gets it as ticket 9.
    pub fn call(&mut self) {
        self.calls(5, Flags::NONE);
        self.gives(2, 9, b"p");
    }

    pub fn calls(&mut self, id: u64, flags: Flags) {
        let call = draft(Kind::Call, id).flags(flags).aux(500).pair("o", "m");
        self.says(1, call.payload(Encoding::RAW, b"p"));
    }

    pub fn gives(&mut self, client: u32, ticket: u64, payload: &[u8]) {
        let name = meta("sys.name", "n");
        let mut call = draft(Kind::Call, ticket).aux(400).pair("o", "m").meta(&name);
        call.origin = Some(origin(1));
        self.hears(client, call.payload(Encoding::RAW, payload));
    }

    /// The answer of client 2 under ticket 9, heard by client 1 under number 5.
    pub fn answer(&mut self) {
        let reply = draft(Kind::Reply, 9).payload(Encoding::RAW, b"r");
        self.says(2, reply);
        self.hears(1, Draft { id: 5, ..reply });
    }

    pub fn error(&mut self, client: u32, id: u64, code: u32, may_run: bool) {
        self.hears(
            client,
            draft(Kind::Error, id)
                .aux(code)
                .flags(when(may_run, Flags::MAY_HAVE_RUN)),
        );
    }

    pub fn settle(&mut self) {
        self.tell(0, What::Settled);
    }

    pub fn finish(mut self) -> Vec<Violation> {
        self.settle();
        self.judge.finish(self.drained)
    }
}
