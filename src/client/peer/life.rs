//! A connection between two programs from its handshake to its last byte.
//!
//! Owns the parting: whoever ends it says why, what was said before is brought out first, and what the other end still sends is
//! thrown away for a moment, because a socket that is closed with unread bytes takes the last words with it. What had come before and
//! asks for no answer is done all the same.

use crate::client::drive::Drive;
use crate::client::inbound::Ended;
use crate::client::incoming;
use crate::client::link::Link;
use crate::client::shared::{Shared, Wrote};
use crate::client::state::Phase;
use crate::config::peers::{LAST_WORDS, LET_FINISH, THROWN_AWAY};
use crate::error::CloseReason;
use crate::message::Draft;
use crate::transport::Stream;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::timeout;

/// Carries a connection that was accepted to its end. There is no other after it.
pub(crate) async fn work(shared: &Arc<Shared>, link: Link) {
    let stream = Arc::clone(&link.stream);
    let ended = Drive::new(Arc::clone(shared), link).await;
    farewell(shared, stream, &ended).await;
    shared.disconnected(&ended);
    let_finish(shared).await;
    shared.closed(&ended.text);
    shared.forget_objects();
}

impl Shared {
    /// Nobody calls any more. Handlers may hold the way back to their caller, which is this connection.
    pub(crate) fn forget_objects(&self) {
        let objects = std::mem::take(&mut self.serving.lock().objects);
        drop(objects);
    }
}

/// What came without asking for an answer before the other end left in order runs to its end, unless this end is closed meanwhile. The
/// next connection waits for it: its numbers begin anew, and what was sent later runs later.
pub(crate) async fn let_finish(shared: &Arc<Shared>) {
    incoming::give_up_arriving(shared);
    let over = std::future::poll_fn(|cx| match shared.poll_closing(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => shared.serving.poll_oneway(cx),
    });
    if timeout(LET_FINISH, over).await.is_err() {
        tracing::warn!(
            "commands without an answer were stopped: they did not end after their sender had gone"
        );
    }
    shared.serving.abort_all();
}

/// Parts from the other end, as far as it is there. Nothing is added to the connection afterwards.
pub(crate) async fn farewell(shared: &Arc<Shared>, stream: Arc<Stream>, ended: &Ended) {
    if ended.reason == CloseReason::Lost && !ended.theirs {
        return;
    }
    {
        let mut state = shared.lock();
        if state.closing.is_none() {
            let (reason, text) = match ended.theirs {
                true => (CloseReason::Finished, ""),
                false => (ended.reason, ended.text.as_str()),
            };
            let _ = state.control(&Draft::goodbye(reason, text));
        }
        // It was the last frame.
        state.phase = Phase::Down;
    }
    let said = timeout(LAST_WORDS, bring_out(shared, &stream)).await;
    if matches!(said, Ok(Ok(()))) && !ended.theirs {
        // Nobody who waits for the end of the connection need wait for that.
        actix_rt::spawn(async move { linger(&stream).await });
    }
}

/// Writes all that was added.
async fn bring_out(shared: &Shared, stream: &Stream) -> io::Result<()> {
    loop {
        let (claim, waits) = {
            let mut state = shared.lock();
            if state.out.is_empty() {
                return Ok(());
            }
            let waits = state.out.is_blocked();
            (if waits { None } else { state.out.claim() }, waits)
        };
        match claim.map(|claim| shared.write(claim, stream)).transpose()? {
            Some(Wrote::All) => continue,
            // Another thread writes right now.
            None if !waits => {
                tokio::task::yield_now().await;
                continue;
            }
            _ => {}
        }
        std::future::poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        shared.lock().out.unblock();
    }
}

/// Says that no more follows, and throws away what comes until the other end says so too; not for long.
pub(crate) async fn linger(stream: &Stream) {
    if stream.shutdown_write().is_err() {
        return;
    }
    let thrown_away = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut attachments = Vec::new();
        let mut total = 0_usize;
        while total < THROWN_AWAY {
            if std::future::poll_fn(|cx| stream.poll_read_ready(cx))
                .await
                .is_err()
            {
                return;
            }
            match stream.try_read(&mut buffer, &mut attachments) {
                Ok(0) => return,
                Ok(count) => total = total.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            attachments.clear();
        }
    };
    // Whoever does not close has had its time.
    let _ = timeout(LAST_WORDS, thrown_away).await;
}
