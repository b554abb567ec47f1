//! What may be said: the file goes one way, its progress the other.

use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// What clients call on the server.
    pub mod file_protocol {
        /// Asks to send a file of so many bytes, in chunks of at most so many. What is there of an earlier try is kept unless
        /// `restart` says otherwise: `offset` bytes of it, which may be of another file. One connection has a name at a time: who asks
        /// last. Numbers of transfers end with the connection.
        request_transfer { name: String, size: u64, chunk_size: u32, restart: bool } -> { file_id: u64, offset: u64 };
        /// The checksum of the first `to` bytes of what is kept, asked for in steps of at most 16 MiB before the first chunk. So no
        /// call takes long, however much there is.
        check { file_id: u64, to: u64 } return u32;
        /// The next bytes. Nothing comes back: while the server is slow, sending waits, and what goes wrong is said by `failed` and by
        /// the answer to `finish`. The bytes are borrowed on both sides: from the client's buffer, and from the frame at the server.
        chunk<'a> {
            file_id: u64,
            offset: u64,
            #[serde(with = "serde_bytes")]
            data: &'a [u8],
        };
        /// All bytes are sent, and this is their checksum. The answer comes when as many bytes as that are in the file on the server's
        /// disk; its checksum is that of what arrived and was written, in this try and, read back, in those before. What was
        /// written in this one is not read again, so it proves nothing of the disk itself, nor of others who may write there.
        finish { file_id: u64, checksum: u32 } -> { success: bool, size: u64, checksum: u32 };
    }
}

protocol! {
    /// What the server calls on its clients.
    pub mod progress_protocol {
        /// So many bytes have arrived.
        progress { file_id: u64, received: u64, total: u64 };
        /// The transfer has failed; sending more is in vain.
        failed { file_id: u64, name: String, reason: String };
    }
}

protocol_sender!(pub FileSender impl [file_protocol]);
protocol_sender!(pub ProgressSender impl [progress_protocol]);
