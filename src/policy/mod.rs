//! Who may connect, own, call, publish, subscribe and monitor.
//!
//! Owns who a peer is ([`Principal`]) and what it may do. It refuses to know sockets, actors, files and clocks: a
//! policy comes in as text, a question as a principal, a right and a concrete name. Called by `actors`, `settings`
//! and the binaries.

mod principal;

pub use principal::Principal;
