//! The processes that a keeper watches, and the clients that it tells of their ends.
//!
//! Owns which process is followed, which ones hosted before, and that no connection to a dead one is held on to. It knows nothing of the lock.
//! Called by [`super::keeper`].

use crate::client::ClientHook;
use crate::platform::watch::End;
use futures::FutureExt;
use futures::future::select_all;
use std::collections::VecDeque;
use std::future::pending;
use std::io;

/// How many hosts of before are known of, those that live each with a descriptor. A connection to one that has handed over ends within
/// seconds by itself.
const FORMER_MAX: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Watched {
    followed: Option<(u32, End)>,
    /// Hosts of before that have not ended, as far as was told: connections to them are given up when they do. A new host may be heard of
    /// before the end of the old one.
    former: VecDeque<(u32, End)>,
    /// Hosts that have ended: a client may have connected to one just before, and say so just after.
    dead: VecDeque<u32>,
    clients: Vec<ClientHook>,
}

impl Watched {
    pub(super) const fn new() -> Self {
        Self {
            followed: None,
            former: VecDeque::new(),
            dead: VecDeque::new(),
            clients: Vec::new(),
        }
    }

    /// Follows this process. `false`: there is none any more.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(super) fn follow(&mut self, pid: u32) -> io::Result<bool> {
        if self
            .followed
            .as_ref()
            .is_some_and(|(followed, _)| *followed == pid)
        {
            return Ok(true);
        }
        self.unfollow();
        // A number may come again.
        self.former.retain(|(former, _)| *former != pid);
        self.dead.retain(|dead| *dead != pid);
        match End::of(pid)? {
            Some(end) => self.followed = Some((pid, end)),
            None => {
                self.died(pid);
            }
        }
        Ok(self.followed.is_some())
    }

    /// The process that is followed is the host no more, by its end or because it has handed over.
    pub(super) fn unfollow(&mut self) {
        self.former.extend(self.followed.take());
        if self.former.len() > FORMER_MAX {
            self.former.pop_front();
        }
    }

    /// The next process that ends. Cancel safe.
    pub(super) fn next_end(&self) -> impl Future<Output = u32> {
        let watched = self.followed.iter().chain(&self.former);
        let ends: Vec<_> = watched
            .map(|(pid, end)| Box::pin(end.wait().map(|()| *pid)))
            .collect();
        async {
            match ends.is_empty() {
                true => pending().await,
                false => select_all(ends).await.0,
            }
        }
    }

    /// A process has ended that hosts the bus, or did. Returns whether it is the one that is followed.
    pub(super) fn died(&mut self, pid: u32) -> bool {
        self.clients.retain(ClientHook::is_in_use);
        self.clients.iter().for_each(|client| client.give_up(pid));
        self.former.retain(|(former, _)| *former != pid);
        self.dead.push_back(pid);
        if self.dead.len() > FORMER_MAX {
            self.dead.pop_front();
        }
        self.followed.take_if(|(followed, _)| *followed == pid).is_some()
    }

    /// Tells this client from now on.
    pub(super) fn look_after(&mut self, client: ClientHook) {
        self.clients.retain(ClientHook::is_in_use);
        self.dead.iter().for_each(|pid| client.give_up(*pid));
        self.clients.push(client);
    }

    /// There is a host, for clients that try to connect.
    pub(super) fn try_now(&self) {
        self.clients.iter().for_each(ClientHook::try_now);
    }
}
