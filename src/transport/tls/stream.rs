//! A TLS connection with the same face as a socket: readiness is asked, reads and writes are tried.
//!
//! Owns the records between the caller's bytes and the TCP stream's. One lock guards the TLS state; it is held for
//! one read or write and never across a wait.
//!
//! rustls takes bytes before the socket does. So that a caller may believe what a write returns, the last byte that
//! rustls has taken is kept back from the count for as long as the socket has not taken it: the caller sees a short
//! write, waits for readiness and offers that byte again, which is then skipped.

use super::super::{lock, tcp};
use crate::message::Attachment;
use rustls::{ClientConfig, Connection, ServerConfig};
use rustls_pki_types::ServerName;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

/// A connected TLS socket on a reactor.
#[derive(Debug)]
pub struct Stream {
    tcp: tcp::Stream,
    state: Mutex<State>,
    /// Bytes may be there that no readiness of the socket tells of.
    more: AtomicBool,
}

#[derive(Debug)]
struct State {
    tls: Connection,
    /// The first byte of the next write is in already.
    kept_back: bool,
    /// The handshake or a record was wrong: what every read returns from then on.
    failed: Option<(ErrorKind, String)>,
}

/// The socket as rustls wants it.
struct Wire<'a>(&'a tcp::Stream);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer, &mut Vec::new())
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(&[IoSlice::new(bytes)], &[])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write(slices, &[])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    /// Gives the socket what it takes. `false`: something is left.
    fn flush(&mut self, tcp: &tcp::Stream) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads records once. `WouldBlock`: the socket has none; 0: it is at its end.
    fn receive(&mut self, tcp: &tcp::Stream) -> io::Result<usize> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        let count = self.tls.read_tls(&mut Wire(tcp))?;
        let processed = self.tls.process_new_packets();
        // The answer of the handshake, or the alert that tells the peer what was wrong.
        let flushed = self.flush(tcp);
        if let Err(error) = processed {
            let text = error.to_string();
            self.failed = Some((ErrorKind::InvalidData, text.clone()));
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        flushed.map(|_| count)
    }
}

fn would_block<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

impl Stream {
    fn new(tcp: tcp::Stream, tls: Connection) -> Self {
        let state = State {
            tls,
            kept_back: false,
            failed: None,
        };
        Self {
            tcp,
            state: Mutex::new(state),
            more: AtomicBool::new(false),
        }
    }

    /// The server's side; the handshake takes place while it is read.
    pub(in crate::transport) fn server(tcp: tcp::Stream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(tcp, tls.into()))
    }

    /// The client's side, with the handshake done. Cancel safe: dropping the future closes the connection.
    pub(in crate::transport) async fn client(
        tcp: tcp::Stream,
        (config, name): (Arc<ClientConfig>, ServerName<'static>),
    ) -> io::Result<Self> {
        let tls = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
        let stream = Self::new(tcp, tls.into());
        std::future::poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        match &lock(&stream.state).failed {
            None => {}
            Some((kind, text)) => {
                return Err(io::Error::new(*kind, format!("the TLS handshake failed: {text}")));
            }
        }
        Ok(stream)
    }

    /// The only DNS name of the peer's certificate, which the handshake has verified.
    pub(in crate::transport) fn proven_name(&self) -> Option<String> {
        let state = lock(&self.state);
        let certificate = state.tls.peer_certificates()?.first()?;
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_dns_names();
        let name = names.next().filter(|name| !name.contains('*'))?;
        names.next().is_none().then(|| name.to_owned())
    }

    pub(in crate::transport) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.more.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        // What the handshake still has to write is waited for as well: without it the peer sends nothing.
        loop {
            let mut state = lock(&self.state);
            match state.flush(&self.tcp) {
                Ok(true) => break,
                Ok(false) => {}
                // The read that follows finds it.
                Err(_) => return Poll::Ready(Ok(())),
            }
            drop(state);
            match self.tcp.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
        }
        self.tcp.poll_read_ready(cx)
    }

    pub(in crate::transport) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut state = lock(&self.state);
            if state.failed.is_some() {
                return Poll::Ready(Ok(()));
            }
            let flushed = state.flush(&self.tcp)?;
            if !flushed {
                drop(state);
                ready!(self.tcp.poll_write_ready(cx))?;
            } else if !state.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            } else {
                drop(state);
                ready!(self.tcp.poll_read_ready(cx))?;
                self.shake(&mut lock(&self.state));
            }
        }
    }

    /// One step of the handshake; a failure is kept for the next read or write.
    fn shake(&self, state: &mut State) {
        match state.receive(&self.tcp) {
            Ok(0) => {
                let text = "the connection was closed in the middle of it".to_owned();
                state.failed = Some((ErrorKind::UnexpectedEof, text));
            }
            // Data may have come behind the last message of the handshake.
            Ok(_) => self.more.store(true, Ordering::Release),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => {
                state
                    .failed
                    .get_or_insert_with(|| (error.kind(), error.to_string()));
            }
        }
    }

    pub(in crate::transport) fn try_read(
        &self,
        buffer: &mut [u8],
        _: &mut Vec<Attachment>,
    ) -> io::Result<usize> {
        let mut state = lock(&self.state);
        let mut filled = 0_usize;
        let mut end = false;
        let ended = loop {
            let room = buffer.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                break Ok(0);
            }
            match state.tls.reader().read(room) {
                Ok(0) => break Ok(0),
                Ok(count) => {
                    filled = filled.saturating_add(count);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && end => {
                    break Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => break Err(error),
            }
            match state.receive(&self.tcp) {
                Ok(count) => end = count == 0,
                Err(error) => break Err(error),
            }
        };
        let blocked = matches!(&ended, Err(error) if error.kind() == ErrorKind::WouldBlock);
        // Whatever else ended it is found again by the next read.
        self.more.store(!blocked, Ordering::Release);
        if filled > 0 { Ok(filled) } else { ended }
    }

    pub(in crate::transport) fn try_write(
        &self,
        slices: &[IoSlice<'_>],
        _: &[Attachment],
    ) -> io::Result<usize> {
        let mut state = lock(&self.state);
        if let Some((kind, text)) = &state.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        if !state.flush(&self.tcp)? || state.tls.is_handshaking() {
            return would_block();
        }
        let mut taken = 0_usize;
        let mut skip = usize::from(std::mem::take(&mut state.kept_back));
        let mut flushed = true;
        'slices: for slice in slices {
            let mut rest = slice.get(skip.min(slice.len())..).unwrap_or_default();
            let skipped = slice.len().saturating_sub(rest.len());
            skip = skip.saturating_sub(skipped);
            taken = taken.saturating_add(skipped);
            while !rest.is_empty() {
                if !flushed {
                    break 'slices;
                }
                let count = state.tls.writer().write(rest)?;
                rest = rest.get(count..).unwrap_or_default();
                taken = taken.saturating_add(count);
                // rustls has room for some records; more of them go out as they are made.
                if !rest.is_empty() {
                    flushed = state.flush(&self.tcp)?;
                }
            }
        }
        if state.flush(&self.tcp)? {
            return Ok(taken);
        }
        state.kept_back = taken > 0;
        match taken.saturating_sub(1) {
            0 => would_block(),
            told => Ok(told),
        }
    }

    pub(in crate::transport) fn is_closed(&self) -> bool {
        self.tcp.is_closed()
    }

    pub(in crate::transport) fn shutdown_write(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.tls.send_close_notify();
        state.flush(&self.tcp)?;
        self.tcp.shutdown_write()
    }
}
