//! A peer as the rest of the broker sees it.
//!
//! [`PeerRef`] is the only way to send to a peer: it holds the inbox, the account of what is queued there, and what
//! the peer can take. It does not know actix; an inbox is whatever takes a [`Deliver`] (the queue of a connection, an actor's mailbox,
//! or a simulator's queue).

use super::credit::Window;
use super::messages::{Control, Deliver};
use super::observe::traffic::{Passed, Traffic};
use crate::message::{Metadata, Origin, PeerId, metadata};
use crate::policy::Principal;
use crate::transport::dialect::Dialect;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

pub use super::account::Account;
pub use super::inbox::{Inbox, Post};
pub use super::reply::{ReplyTo, error_frame};

/// What every room may know of a peer, shared.
pub type PeerRef = Arc<Peer>;

/// One peer: a connection, or an actor of this process.
pub struct Peer {
    /// Who it is, as frames tell it.
    pub origin: Origin,
    /// The name it declared, and what went through it; nothing while there is neither.
    rare: OnceLock<Box<Rare>>,
    /// Who it is, as the kernel or a proof says: what a policy speaks of.
    pub principal: Arc<Principal>,
    /// Its account.
    pub account: Account,
    inbox: Post,
}

/// What an idle peer without a name has not.
#[derive(Default)]
struct Rare {
    declared: Option<Declared>,
    traffic: Traffic,
}

/// A declared name.
struct Declared {
    name: Box<str>,
    /// The same as an encoded metadata entry, `sys.name`.
    meta: Box<[u8]>,
}

impl Rare {
    fn named(declared: Declared) -> OnceLock<Box<Self>> {
        OnceLock::from(Box::new(Self {
            declared: Some(declared),
            traffic: Traffic::default(),
        }))
    }
}

impl Declared {
    /// `None`: the name is empty.
    fn new(name: &str) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let mut meta = Metadata::new();
        // A declared name is at most 255 bytes, so the entry fits.
        let _ = meta.insert(metadata::SYS_NAME, name);
        Some(Self {
            name: name.into(),
            meta: meta.as_bytes().into(),
        })
    }
}

impl Peer {
    /// A peer behind an inbox, of whom nothing but its origin is known.
    #[must_use]
    pub fn new(
        origin: Origin,
        name: &str,
        max_attachments: u32,
        account: Account,
        inbox: Box<dyn Inbox>,
    ) -> PeerRef {
        let principal = Principal {
            uid: (origin.uid != u32::MAX).then_some(origin.uid),
            ..Principal::default()
        };
        Self::with_principal(
            origin,
            Arc::new(principal),
            name,
            max_attachments,
            account,
            Post::Passed(inbox),
        )
    }

    /// The same for a peer of whom more is known.
    #[must_use]
    pub fn with_principal(
        origin: Origin,
        principal: Arc<Principal>,
        name: &str,
        max_attachments: u32,
        account: Account,
        inbox: Post,
    ) -> PeerRef {
        let account = account.with_attachments(max_attachments);
        Arc::new(Self {
            origin,
            rare: Declared::new(name).map_or_else(OnceLock::new, Rare::named),
            account,
            principal,
            inbox,
        })
    }

    /// The same for an actor of the broker's own process.
    #[must_use]
    pub fn local(origin: Origin, name: &str, account: Account, inbox: Box<dyn Inbox>) -> PeerRef {
        // Its handlers have no place for attachments, so a call that carries some is refused.
        Self::with_principal(
            origin,
            Arc::new(Principal::operator()),
            name,
            0,
            account,
            Post::Passed(inbox),
        )
    }

    /// The peer's number.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.origin.peer
    }

    fn declared(&self) -> Option<&Declared> {
        self.rare.get()?.declared.as_ref()
    }

    /// What went through it. An idle peer has no place for that, so it is made when it is first asked for.
    pub fn traffic(&self) -> &Traffic {
        &self.rare.get_or_init(Box::default).traffic
    }

    /// Whether anything did.
    #[must_use]
    pub fn has_traffic(&self) -> bool {
        self.rare.get().is_some()
    }

    /// The same, for those who only look.
    #[must_use]
    pub fn passed(&self) -> Passed {
        self.rare
            .get()
            .map(|rare| rare.traffic.passed())
            .unwrap_or_default()
    }

    /// The name it declared; empty when none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.declared().map_or("", |declared| &declared.name)
    }

    /// `sys.name` as an encoded metadata entry; empty when it declared no name.
    #[must_use]
    pub fn sys_meta(&self) -> &[u8] {
        self.declared().map_or(&[], |declared| &declared.meta)
    }

    /// Whether it is an actor of the broker's own process, without a socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.principal.local
    }

    /// What it speaks: `native`, or the older format as the settings name it.
    #[must_use]
    pub fn format(&self) -> &'static str {
        self.account.dialect().map_or("native", Dialect::name)
    }

    /// Attachments that one frame to it may carry.
    #[must_use]
    pub fn max_attachments(&self) -> u32 {
        self.account.attachments()
    }

    /// Queues a delivery that was admitted, or that is small and owed (control).
    pub fn post(&self, delivery: Deliver) {
        self.inbox.post(delivery);
    }

    /// Takes what waits for it, in order. `None`: nothing does, and `task` is woken when something is posted; or it does not wait here.
    #[must_use]
    pub fn take(&self, task: &Waker) -> Option<Vec<Deliver>> {
        match &self.inbox {
            Post::Kept(queue) => queue.take(task),
            Post::Passed(_) => None,
        }
    }

    /// Nobody takes its deliveries any more: they are dropped, those that wait and those that follow.
    pub fn close_queue(&self) {
        if let Post::Kept(queue) = &self.inbox {
            queue.close();
        }
    }

    /// Queues one control message.
    pub fn tell(&self, control: Control) {
        self.inbox.post(Deliver::Control(control));
    }

    /// Returns publish credit; posts only when enough has come together.
    pub fn grant(&self, bytes: usize) {
        if self.account.add_grant(bytes) {
            self.tell(Control::Grant);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("origin", &self.origin)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The publish window a connection starts with, and the step in which it is returned.
#[must_use]
pub fn publish_window(limit: usize) -> (Window, usize) {
    (Window::new(limit), (limit / 4).max(1))
}
