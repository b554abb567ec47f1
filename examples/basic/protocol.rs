//! What may be said: two protocols over one connection, one for the work and one for those who run the program.
//!
//! Both ends include this file; the compiler checks each against it. It is the whole of what they have in common.

use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// The work.
    pub mod app_protocol {
        /// Says a text back.
        echo { message: String } -> { response: String };
        /// Adds two numbers. A sum that does not fit is the error `Overflow`.
        add { a: i64, b: i64 } return i64;
        /// Takes a line for the log; nothing comes back.
        log { line: String };
    }
}

protocol! {
    /// For those who run the program.
    pub mod admin_protocol {
        /// What it has done so far.
        get_stats -> { total_calls: u64, log_lines: u64 };
        /// Asks it to end, which it does only when it was started so.
        shutdown { reason: String } -> { accepted: bool, message: String };
    }
}

protocol_sender!(pub AppSender impl [app_protocol, admin_protocol]);
