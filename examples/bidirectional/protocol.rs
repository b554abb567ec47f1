//! What may be said: one protocol for each direction.

use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// What clients call on the server.
    pub mod server_protocol {
        /// Enters the room under a name, which must be free (else the error `NameTaken`).
        register { name: String } -> { id: u64, present: Vec<String> };
        /// Says something to everybody else. It needs a name first (else the error `NotRegistered`). `told` is for how many it is on
        /// its way: a push is not acknowledged, and who does not listen while many others speak misses it.
        send_message { text: String } -> { told: u32 };
        /// Has the server ask everybody, the asker too, and gathers the answers. Who still owes one is not waited for again.
        ask_everybody { question: String } -> { answers: Vec<(String, String)> };
    }
}

protocol! {
    /// What the server calls on its clients.
    pub mod client_protocol {
        /// Something was said, or happened; nothing comes back.
        notify { from: String, text: String };
        /// Asks the client.
        ask { question: String } -> { answer: String };
    }
}

protocol_sender!(pub ServerSender impl [server_protocol]);
protocol_sender!(pub ClientSender impl [client_protocol]);
