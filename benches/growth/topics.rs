//! The names and topics of all parts, and numbers to choose among them.

use actix_ipc::actors::topic_hub::facts::{Policy, Subscription};
use actix_ipc::message::SubscriptionId;

/// The object with this number.
pub fn object(number: usize) -> String {
    format!("plant.line{}.sensor{number}", number % 97)
}

/// The key of what the object tells or is asked.
pub fn key(number: usize) -> Vec<u8> {
    [object(number).as_bytes(), b"\0", EVENT.as_bytes()].concat()
}

/// The event of every object, and the method.
pub const EVENT: &str = "changed";

/// A pattern that selects the event of this object alone, in one of three shapes.
pub fn pattern(number: usize) -> Vec<u8> {
    let line = number % 97;
    match number % 3 {
        0 => format!("plant.line{line}.sensor{number}\0**"),
        1 => format!("*.line{line}.sensor{number}\0{EVENT}"),
        _ => format!("plant.*.sensor{number}\0{EVENT}"),
    }
    .into_bytes()
}

/// Which subscriptions there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Exact,
    Patterns,
    /// Every other one a pattern.
    Both,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Exact, Self::Patterns, Self::Both];

    pub fn is_pattern(self, number: usize) -> bool {
        match self {
            Self::Exact => false,
            Self::Patterns => true,
            Self::Both => number % 2 == 1,
        }
    }

    pub fn key(self, number: usize) -> Vec<u8> {
        if self.is_pattern(number) {
            pattern(number)
        } else {
            key(number)
        }
    }

    pub fn subscription(self, number: usize) -> Subscription<u32> {
        Subscription {
            peer: u32::try_from(number % 100).unwrap(),
            id: SubscriptionId(number as u64),
            key: self.key(number).into(),
            pattern: self.is_pattern(number),
            no_local: false,
            group: None,
            policy: Policy::Hold,
        }
    }
}

/// Marsaglia's xorshift: the same numbers in every run.
pub struct Draw(u64);

impl Draw {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub const fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % end as u64) as usize
    }
}
