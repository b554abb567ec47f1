//! What may be said: clients work with the database, and the database keeps its replicas up to date.

use super::log::{Entry, Part};
use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// What clients call on the primary. `transaction` says in which one; without it a command is one of its own.
    pub mod db_protocol {
        /// Begins a transaction, which sees the state `snapshot`.
        begin -> { transaction: u64, snapshot: u64 };
        /// The value of a key.
        get { transaction: Option<u64>, key: String } -> { value: Option<String> };
        /// Every pair whose key begins with the prefix, as of now or of the transaction's snapshot however long it is read. It ends
        /// with the error `Expired` when that state is too many commits old.
        scan { transaction: Option<u64>, prefix: String } -> stream { key: String, value: String };
        /// Writes a value, and says the number of the new state unless a transaction keeps it.
        put { transaction: Option<u64>, key: String, value: String } -> { sequence: Option<u64> };
        /// Deletes a key.
        delete { transaction: Option<u64>, key: String } -> { sequence: Option<u64> };
        /// Makes the writes of a transaction visible, or refuses with the error `Conflict`: then begin again.
        commit { transaction: u64 } -> { sequence: u64 };
        /// Ends a transaction without a trace.
        rollback { transaction: u64 } -> { discarded: u64 };
        /// The number of the newest state, how many values and transactions are kept, and how many commits for replicas.
        get_status -> { sequence: u64, versions: u64, transactions: u64, log: u64 };
        /// Sends everything behind `after` from now on, by `replication_protocol`. `life` is that of the primary that counted so far.
        follow { life: u64, after: u64 } -> { life: u64, newest: u64 };
    }
}

protocol! {
    /// What the primary calls on its replicas.
    pub mod replication_protocol {
        /// The next commits, in order. The answer comes when they are applied.
        update { life: u64, entries: Vec<Entry> } -> { applied: u64 };
        /// A part of the whole state, for a replica that is too far behind.
        snapshot { life: u64, part: Part } -> { whole: bool };
    }
}

protocol_sender!(pub DbSender impl [db_protocol]);
protocol_sender!(pub ReplicaSender impl [replication_protocol]);
