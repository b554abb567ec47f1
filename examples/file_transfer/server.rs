//! The server's half: transfers, and the files that they write.
//!
//! Owns who has which transfer open and the files on disk: what is unfinished stands beside the others as `NAME.part`, and becomes
//! `NAME` when all of it is there and right. What a transfer takes is decided in `transfer.rs`.

use super::program;
use super::protocol::{ProgressSender, file_protocol, progress_protocol::Commands as _};
use super::transfer::{CHUNK, Checksum, Incoming, PART, Summing, TransferError, human, plain_name};
use actix_ipc::protocol::{self, Error, RpcServerHandler, protocol_handler};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

/// Most transfers that one connection may have open.
const OPEN_MAX: usize = 16;

/// The folder and its transfers, which all connections share.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    size_max: u64,
    open: Lock<Table>,
    /// Held while transfers begin and end, so that two never have the same file open.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Table {
    last: u64,
    transfers: BTreeMap<u64, Entry>,
}

#[derive(Clone)]
struct Entry {
    owner: u64,
    name: Arc<str>,
    /// Locked while a chunk is written.
    transfer: Arc<Mutex<Transfer>>,
}

struct Transfer {
    incoming: Incoming,
    file: File,
    failed: Option<TransferError>,
}

fn refused(error: TransferError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

fn storage(error: &io::Error) -> TransferError {
    TransferError::Storage(error.to_string())
}

impl Server {
    /// Takes files of at most so many bytes into a folder, which is made when it is not there.
    pub(crate) async fn new(folder: PathBuf, size_max: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder).await?;
        Ok(Self(Arc::new(Shared {
            folder,
            size_max,
            open: Lock::default(),
            turn: Mutex::default(),
        })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        let folder = &self.0.folder;
        (folder.join(format!("{name}{PART}")), folder.join(name))
    }

    fn entry(&self, owner: u64, id: u64) -> Result<Entry, TransferError> {
        let table = self.table();
        let entry = table.transfers.get(&id).filter(|entry| entry.owner == owner);
        entry.cloned().ok_or(TransferError::NoTransfer(id))
    }

    /// Gives up the transfers that a rule picks; what has arrived is on disk afterwards.
    async fn close(&self, which: impl Fn(&Entry) -> bool) {
        let closed: Vec<Entry> = {
            let mut table = self.table();
            let (closed, kept) = std::mem::take(&mut table.transfers)
                .into_iter()
                .partition(|(_, entry)| which(entry));
            table.transfers = kept;
            let closed: BTreeMap<u64, Entry> = closed;
            closed.into_values().collect()
        };
        for entry in closed {
            let mut transfer = entry.transfer.lock().await;
            if let Err(error) = transfer.file.flush().await {
                println!("[SERVER] {} is not all on disk: {error}", entry.name);
            }
            match &transfer.failed {
                // How much of the last chunk was written, the next try finds out.
                Some(_) => println!("[SERVER] {} is kept as far as it was written", entry.name),
                None => println!(
                    "[SERVER] {} is kept at {}, to be resumed",
                    entry.name,
                    human(transfer.incoming.received())
                ),
            }
        }
    }

    async fn begin(
        &self,
        owner: u64,
        name: &str,
        size: u64,
        restart: bool,
    ) -> Result<(u64, u64, Checksum), TransferError> {
        let most = self.0.size_max;
        if size > most {
            return Err(TransferError::TooLarge { size, most });
        }
        let _turn = self.0.turn.lock().await;
        // Who asks last has the file: an earlier connection may be dead without the server knowing yet.
        self.close(|entry| *entry.name == *name).await;
        let own = |table: &Table| {
            table
                .transfers
                .values()
                .filter(|entry| entry.owner == owner)
                .count()
        };
        if own(&self.table()) >= OPEN_MAX {
            return Err(TransferError::TooMany(OPEN_MAX));
        }
        let (part, _) = self.paths(name);
        let kept = resume(&part, size, restart).await;
        let (file, received, sum) = kept.map_err(|error| storage(&error))?;
        let checksum = sum.sum();
        let transfer = Transfer {
            incoming: Incoming::new(size, received, sum),
            file,
            failed: None,
        };
        let mut table = self.table();
        table.last += 1;
        let id = table.last;
        let entry = Entry {
            owner,
            name: name.into(),
            transfer: Arc::new(Mutex::new(transfer)),
        };
        table.transfers.insert(id, entry);
        Ok((id, received, checksum))
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
        let taken = match transfer.incoming.take(offset, data) {
            Ok(()) => transfer
                .file
                .write_all(data)
                .await
                .map_err(|error| storage(&error)),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            transfer.failed = Some(error.clone());
            return Err(error);
        }
        let total = transfer.incoming.size();
        Ok(transfer.incoming.news().map(|received| (received, total)))
    }

    async fn finish(&self, owner: u64, id: u64, sent: Checksum) -> Result<u64, TransferError> {
        let _turn = self.0.turn.lock().await;
        let entry = self.entry(owner, id)?;
        self.table().transfers.remove(&id);
        let mut transfer = entry.transfer.lock().await;
        if let Some(error) = transfer.failed.take() {
            return Err(error);
        }
        let (part, whole) = self.paths(&entry.name);
        let finished = transfer.incoming.finish(sent);
        let stored = async {
            transfer.file.flush().await?;
            match &finished {
                Ok(()) => {
                    transfer.file.sync_all().await?;
                    fs::rename(&part, &whole).await
                }
                // No later try could make it right.
                Err(TransferError::Corrupt { .. }) => fs::remove_file(&part).await,
                Err(_) => Ok(()),
            }
        };
        stored.await.map_err(|error| storage(&error))?;
        finished?;
        println!(
            "[SERVER] received {}: {}, checksum {sent}",
            whole.display(),
            human(transfer.incoming.size())
        );
        Ok(transfer.incoming.size())
    }
}

/// Opens the unfinished file to write behind what it has, with the length and the checksum of that.
async fn resume(part: &Path, size: u64, restart: bool) -> io::Result<(File, u64, Summing)> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // Opening a pipe would wait for somebody, and a device has no end.
    if fs::metadata(part).await.is_ok_and(|about| !about.is_file()) {
        let text = format!("{} is no file", part.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut file = options.open(part).await?;
    if restart || file.metadata().await?.len() > size {
        file.set_len(0).await?;
    }
    let (mut sum, mut received) = (Summing::default(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        // It ends behind the last byte, where writing goes on.
        let len = file.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok((file, received, sum));
        };
        sum.add(bytes);
        received += u64::try_from(len).unwrap_or(0);
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
        let _turn = self.0.turn.lock().await;
        self.close(|entry| entry.owner == peer_id).await;
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
        let (file_id, offset, checksum) = begun.map_err(refused)?;
        println!(
            "[SERVER] transfer {file_id}: {name}, {}, from byte {offset}",
            human(size)
        );
        Ok(file_protocol::request_transfer::Response {
            file_id,
            offset,
            checksum: checksum.0,
        })
    }

    async fn chunk(&self, file_id: u64, offset: u64, data: &[u8]) -> protocol::Result<()> {
        // This command is one-way, so the client hears of its progress and of its failure by calls of the server.
        match self.server.write(self.id, file_id, offset, data).await {
            Ok(None) => Ok(()),
            Ok(Some((received, total))) => Ok(self.client.progress(file_id, received, total).await?),
            Err(error) => {
                println!("[SERVER] transfer {file_id} failed: {error}");
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
