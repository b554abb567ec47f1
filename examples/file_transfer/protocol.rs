//! What may be said: the file goes one way, its progress the other.

use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// What clients call on the server.
    pub mod file_protocol {
        /// Asks to send a file of so many bytes, in chunks of at most so many. What is there of an earlier try is kept unless
        /// `restart` says otherwise: sending begins at `offset`, and `checksum` is that of the bytes before it.
        request_transfer { name: String, size: u64, chunk_size: u32, restart: bool }
            -> { file_id: u64, offset: u64, checksum: u32 };
        /// The next bytes. Nothing comes back: while the server is slow, sending waits, and what goes wrong is said by `failed` and by
        /// the answer to `finish`. The bytes are borrowed on both sides: from the client's buffer, and from the frame at the server.
        chunk<'a> {
            file_id: u64,
            offset: u64,
            #[serde(with = "serde_bytes")]
            data: &'a [u8],
        };
        /// All bytes are sent, and this is their checksum. The answer comes when the file is whole on the server's disk.
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
