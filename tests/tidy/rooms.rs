//! Which files belong to which room, what a room must not say or mention, and every exception with its reason.

/// Files that may sleep, and why.
pub const SLEEPERS: &[(&str, &str)] = &[
    (
        "src/actors/listener.rs",
        "backs off when accept fails: there is no event that says it would not fail now",
    ),
    (
        "src/protocol/server/accept.rs",
        "backs off when accept fails, and limits a drain beside the wait for its end",
    ),
    (
        "src/protocol/server/connection.rs",
        "answers failed proofs late: who guesses tokens must not be fast",
    ),
    (
        "src/transport/unix/space.rs",
        "backs off when the kernel has no event: no descriptor to wait with, or too many of them in flight",
    ),
    (
        "src/transport/unix/establish.rs",
        "asks again where a full accept queue refuses: no event tells of a place in it",
    ),
    (
        "src/client/drive.rs",
        "the tick of deadlines: time itself is what is waited for",
    ),
    (
        "src/client/runtime.rs",
        "makes the timer for executors that have none",
    ),
    (
        "tests/document_004.rs",
        "the document's own snippet sends once a second",
    ),
    (
        "tests/support/until.rs",
        "looks again at what tells nobody when it changes, and leaves the processor to others",
    ),
    (
        "tests/support/guard.rs",
        "the same, with an error instead of a failure at the limit",
    ),
    (
        "tests/activation/scene.rs",
        "a service that ends with its parent, of whose end nobody tells it",
    ),
    (
        "tests/faults/rig.rs",
        "samples of memory, and faults at intervals: time itself is what is waited for",
    ),
    (
        "src/client/worker.rs",
        "the limit of a drain, beside the wait for its end",
    ),
];

/// Files outside the platform's rooms that may ask which platform it is, and why.
pub const PLATFORM_ASKERS: &[(&str, &str)] = &[(
    "src/client/endpoints.rs",
    "the default endpoints are different ones: a pipe in the place of the sockets",
)];

/// Where code may ask which platform it is built for.
pub const PLATFORM_ROOMS: &[&str] = &["src/transport", "src/bus", "src/platform", "src/lazy"];

/// What is pure. A trailing `*` stands for the rest of a path.
pub const PURE: &[&str] = &[
    "src/message/*",
    "src/config.rs",
    "src/config/*",
    "src/error.rs",
    "src/policy/*",
    "src/likeness.rs",
    "src/protocol/info.rs",
    "src/protocol/negotiate.rs",
    "src/protocol/names.rs",
    "src/protocol/describe.rs",
    "src/activation/service.rs",
    "src/activation/states*",
    "src/actors/registry/index*",
    "src/actors/registry/facts*",
    "src/actors/topic_hub/index*",
    "src/actors/topic_hub/facts*",
    "src/actors/topic_hub/trie*",
    "src/actors/connection/session*",
    "src/actors/connection/open_calls*",
    "src/actors/connection/slots*",
    "src/actors/connection/outbox*",
    "src/actors/credit*",
    "src/actors/deadlines*",
    "src/actors/quota*",
    "src/actors/shares*",
    "src/actors/deliver*",
    "src/transport/keepalive.rs",
    "src/transport/pipe/portions.rs",
    "src/client/line.rs",
    "src/transport/dialect/*",
    "src/lazy/wire.rs",
    "src/lazy/method.rs",
    "src/lazy/memory.rs",
    "src/bus/host/election*",
    "src/bus/memory/entry.rs",
    "src/bus/memory/range.rs",
    "src/bus/memory/pool.rs",
    "src/dashboard/exposition.rs",
    "src/dashboard/families*",
];

/// What a pure file does not say.
pub const IMPURE: &[&str] = &[
    "actix",
    "actix_rt",
    "tokio",
    "tokio_util",
    "async",
    "Instant::now",
    "SystemTime",
    "getrandom",
    "std::net",
    "std::fs",
];

/// What a pure file may say nevertheless, and why.
pub const IMPURE_ALLOWED: &[(&str, &str, &str)] = &[(
    "src/message/codec/framed.rs",
    "tokio_util",
    "implements that crate's codec traits; they do no I/O",
)];

/// Rooms and those that they must not mention.
pub const DIRECTIONS: &[(&str, &[&str])] = &[
    (
        "src/message/",
        &["transport", "actors", "client", "settings", "platform"],
    ),
    (
        "src/error.rs",
        &["transport", "actors", "client", "settings", "platform"],
    ),
    (
        "src/config",
        &["transport", "actors", "client", "settings", "platform"],
    ),
    (
        "src/policy/",
        &["transport", "actors", "client", "settings", "platform"],
    ),
    ("src/activation/", &["actors", "client", "settings"]),
    ("src/transport/", &["actors", "client", "settings"]),
    ("src/client/", &["actors", "settings", "bus"]),
    ("src/actors/", &["client", "settings"]),
    ("src/bus/", &["settings"]),
    ("src/platform/", &["actors", "client", "settings"]),
    ("src/bus/memory/", &["actors", "client", "settings"]),
    ("src/dashboard/", &["client", "settings", "platform", "bus"]),
];
