//! What the broker shows of itself: counts, latencies, the traffic as it passes, and the last notable happenings.
//!
//! Owns the plain state that the other rooms feed while they work ([`tally`], [`tap`], [`trace`], [`journal`], [`hush`]), and the two questions that are asked
//! of the core actors ([`survey`]). It decides nothing and sends nothing; who asks is the built-in object `sys.broker`.
//!
//! ```text
//!  Registry ── route ──► ObjectTally ◄── callee's slots: answered, after how long ── ReplyTo: anything else that ends a call
//!  TopicHub ── matching ─► counts beside the subscribers of a key
//!  Registry, TopicHub, slots, ReplyTo ── when somebody monitors ──► Tap ──► a queue for each monitor ──► sys.broker's stream
//! ```

pub mod gathered;
pub mod histogram;
pub mod hush;
pub mod journal;
pub mod listing;
pub mod record;
pub mod refused;
pub mod report;
pub mod said;
pub mod services;
pub mod survey;
pub mod tally;
pub mod tap;
pub mod trace;
pub mod traffic;
