//! The server's half: transfers, and who has which open.
//!
//! Owns whose a transfer is and the order of its life: opened, what is there compared, written, finished. What a transfer takes is decided
//! in `transfer.rs`; the file on disk is `part.rs`'s.

use super::part::{Part, make_folder};
use super::program;
use super::protocol::{ProgressSender, file_protocol, progress_protocol::Commands as _};
use super::transfer::{CHECK_MAX, CHUNK, Checksum, Incoming, Summing, TransferError, human, plain_name};
use actix_ipc::protocol::{self, Error, RpcServerHandler, protocol_handler};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// Most transfers that one connection may have open.
const OPEN_MAX: usize = 16;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// The folder and its transfers, which all connections share.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    size_max: u64,
    open: Lock<Table>,
}

struct Table {
    last: u64,
    transfers: BTreeMap<u64, Entry>,
}

#[derive(Clone)]
struct Entry {
    owner: u64,
    name: Arc<str>,
    /// Locked while the file is opened, read, written or put in its place. No lock spans two files, so a slow one keeps nobody else
    /// waiting.
    transfer: Arc<Mutex<Transfer>>,
}

struct Transfer {
    incoming: Incoming,
    /// Bytes of an earlier try that are on disk. The first of them were compared, as many as `incoming` has received.
    have: u64,
    /// `None` while it is not open yet, and once somebody else has the name: then nothing more is written by this transfer.
    part: Option<Part>,
    failed: Option<TransferError>,
}

impl Transfer {
    fn part(&mut self, id: u64) -> Result<&mut Part, TransferError> {
        self.part.as_mut().ok_or(TransferError::NoTransfer(id))
    }

    /// The next of what an earlier try has left, up to `to`: their checksum and that of all before.
    async fn check(&mut self, id: u64, to: u64) -> Result<Checksum, TransferError> {
        let from = self.incoming.received();
        let have = self.have;
        self.part(id)?;
        if to < from || to > have || to - from > CHECK_MAX {
            return Err(TransferError::Check { from, have, to });
        }
        let mut buffer = vec![0; BUFFER];
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).map_or(BUFFER, |rest| rest.min(BUFFER));
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            self.part(id)?.read(bytes).await?;
            self.incoming.take(at, bytes)?;
            at = self.incoming.received();
        }
        // What was here before is no news.
        let _ = self.incoming.news();
        Ok(self.incoming.sum())
    }

    /// Writes the next bytes: what has arrived, when that is worth telling.
    async fn write(&mut self, id: u64, offset: u64, data: &[u8]) -> Result<Option<u64>, TransferError> {
        let (kept, have) = (self.incoming.received(), self.have);
        self.part(id)?;
        self.incoming.take(offset, data)?;
        let part = self.part(id)?;
        if have > kept {
            // What was not compared is not built upon.
            part.cut(kept).await?;
        }
        part.write(data).await?;
        self.have = 0;
        Ok(self.incoming.news())
    }
}

fn refused(error: TransferError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

/// Numbers from here on belong to no other run of the program: a client that has not noticed yet that the server was started again
/// must not be taken for one that has.
fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

impl Server {
    /// Takes files of at most so many bytes into a folder, which is made when it is not there.
    pub(crate) async fn new(folder: PathBuf, size_max: u64) -> io::Result<Self> {
        make_folder(&folder).await?;
        let (last, transfers) = (first_number(), BTreeMap::new());
        Ok(Self(Arc::new(Shared {
            folder,
            size_max,
            open: Lock::new(Table { last, transfers }),
        })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, owner: u64, id: u64) -> Result<Entry, TransferError> {
        let table = self.table();
        let entry = table.transfers.get(&id).filter(|entry| entry.owner == owner);
        entry.cloned().ok_or(TransferError::NoTransfer(id))
    }

    /// Gives up transfers; what has arrived is on disk afterwards, and they write no more.
    async fn close(closed: Vec<Entry>) {
        for entry in closed {
            let mut transfer = entry.transfer.lock().await;
            let Some(mut part) = transfer.part.take() else {
                continue;
            };
            if let Err(error) = part.flush().await {
                say!("[SERVER] {} is not all on disk: {error}", entry.name);
            }
            match &transfer.failed {
                // How much of the last chunk was written, the next try finds out.
                Some(_) => say!("[SERVER] {} is kept as far as it was written", entry.name),
                None => say!(
                    "[SERVER] {} is kept at {}, to be resumed",
                    entry.name,
                    human(transfer.incoming.received().max(transfer.have))
                ),
            }
        }
    }

    /// The transfer's number, and how many bytes are there.
    async fn begin(
        &self,
        owner: u64,
        name: &str,
        size: u64,
        restart: bool,
    ) -> Result<(u64, u64), TransferError> {
        let most = self.0.size_max;
        if size > most {
            return Err(TransferError::TooLarge { size, most });
        }
        let transfer = Arc::new(Mutex::new(Transfer {
            incoming: Incoming::new(size, 0, Summing::default()),
            have: 0,
            part: None,
            failed: None,
        }));
        // Locked before anybody finds it: who asks for the same name meanwhile waits until it is open, and then takes it over.
        let mut opened = transfer.lock().await;
        let (id, before) = self.enter(owner, name, &transfer)?;
        Self::close(before).await;
        match Part::open(&self.0.folder, name, restart).await {
            Ok((part, have)) => {
                (opened.part, opened.have) = (Some(part), have);
                Ok((id, have))
            }
            Err(error) => {
                self.table().transfers.remove(&id);
                Err(error)
            }
        }
    }

    /// Puts a transfer into the table, and takes those of the same name out. Who asks last has the file: an earlier connection may be
    /// dead without the server knowing yet.
    fn enter(
        &self,
        owner: u64,
        name: &str,
        transfer: &Arc<Mutex<Transfer>>,
    ) -> Result<(u64, Vec<Entry>), TransferError> {
        let mut table = self.table();
        let others = table.transfers.values();
        let own = others.filter(|entry| entry.owner == owner && *entry.name != *name);
        if own.count() >= OPEN_MAX {
            return Err(TransferError::TooMany(OPEN_MAX));
        }
        let before = table.take_out(|entry| *entry.name == *name);
        table.last += 1;
        let id = table.last;
        let entry = Entry {
            owner,
            name: name.into(),
            transfer: Arc::clone(transfer),
        };
        table.transfers.insert(id, entry);
        Ok((id, before))
    }

    /// Writes a chunk: what has arrived, when that is worth telling, of how much.
    async fn write(
        &self,
        owner: u64,
        id: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Option<(u64, u64)>, TransferError> {
        let entry = self.entry(owner, id)?;
        let mut transfer = entry.transfer.lock().await;
        if transfer.failed.is_some() {
            // It is told already.
            return Ok(None);
        }
        match transfer.write(id, offset, data).await {
            Ok(news) => Ok(news.map(|received| (received, transfer.incoming.size()))),
            Err(error) => {
                transfer.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn finish(&self, owner: u64, id: u64, sent: Checksum) -> Result<u64, TransferError> {
        let entry = self.entry(owner, id)?;
        // It stays in the table until it is done, so that who asks for the name waits for it.
        let mut transfer = entry.transfer.lock().await;
        let outcome = self.store(&entry.name, &mut transfer, id, sent).await;
        transfer.part = None;
        self.table().transfers.remove(&id);
        let whole = outcome?;
        let size = transfer.incoming.size();
        say!(
            "[SERVER] received {}: {}, checksum {sent}",
            whole.display(),
            human(size)
        );
        Ok(size)
    }

    async fn store(
        &self,
        name: &str,
        transfer: &mut Transfer,
        id: u64,
        sent: Checksum,
    ) -> Result<PathBuf, TransferError> {
        if let Some(error) = transfer.failed.take() {
            return Err(error);
        }
        let finished = transfer.incoming.finish(sent);
        let size = transfer.incoming.size();
        let part = transfer.part(id)?;
        part.flush().await?;
        match finished {
            Ok(()) => part.become_whole(&self.0.folder.join(name), size).await,
            Err(error @ TransferError::Corrupt { .. }) => {
                // No later try could make it right.
                part.remove().await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

impl Table {
    fn take_out(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let taken = std::mem::take(&mut self.transfers).into_iter();
        let (taken, kept): (BTreeMap<_, _>, _) = taken.partition(|(_, entry)| which(entry));
        self.transfers = kept;
        taken.into_values().collect()
    }
}

/// One connection.
pub(crate) struct Session {
    server: Server,
    id: u64,
    client: ProgressSender,
}

impl RpcServerHandler for Server {
    type ReceiveRpc = SessionReceiver;
    type SendRpc = ProgressSender;

    async fn on_rpc_connect(&self, client: &ProgressSender) -> SessionReceiver {
        SessionReceiver::new(Session {
            server: self.clone(),
            id: program::number(client),
            client: client.clone(),
        })
    }

    async fn on_rpc_disconnect(&self, peer_id: u64) {
        let closed = self.table().take_out(|entry| entry.owner == peer_id);
        Self::close(closed).await;
    }
}

protocol_handler!(pub SessionReceiver impl [file_protocol] with Session);

impl file_protocol::Receive for Session {
    async fn request_transfer(
        &self,
        name: String,
        size: u64,
        chunk_size: u32,
        restart: bool,
    ) -> protocol::Result<file_protocol::request_transfer::Response> {
        plain_name(&name).map_err(refused)?;
        if !CHUNK.contains(&chunk_size) {
            return Err(refused(TransferError::Chunk { bytes: chunk_size }));
        }
        let begun = self.server.begin(self.id, &name, size, restart).await;
        let (file_id, offset) = begun.map_err(refused)?;
        say!(
            "[SERVER] transfer {file_id}: {name}, {}, from byte {offset}",
            human(size)
        );
        Ok(file_protocol::request_transfer::Response { file_id, offset })
    }

    async fn check(&self, file_id: u64, to: u64) -> protocol::Result<u32> {
        let entry = self.server.entry(self.id, file_id).map_err(refused)?;
        let sum = entry.transfer.lock().await.check(file_id, to).await;
        Ok(sum.map_err(refused)?.0)
    }

    async fn chunk(&self, file_id: u64, offset: u64, data: &[u8]) -> protocol::Result<()> {
        // This command is one-way, so the client hears of its progress and of its failure by calls of the server.
        match self.server.write(self.id, file_id, offset, data).await {
            Ok(None) => Ok(()),
            Ok(Some((received, total))) => Ok(self.client.progress(file_id, received, total).await?),
            Err(error) => {
                say!("[SERVER] transfer {file_id} failed: {error}");
                let (name, reason) = (error.name().to_owned(), error.to_string());
                Ok(self.client.failed(file_id, name, reason).await?)
            }
        }
    }

    async fn finish(&self, file_id: u64, checksum: u32) -> protocol::Result<file_protocol::finish::Response> {
        let finished = self.server.finish(self.id, file_id, Checksum(checksum)).await;
        let size = finished.map_err(refused)?;
        Ok(file_protocol::finish::Response {
            success: true,
            size,
            checksum,
        })
    }
}
