//! A list as JSON text, of which each asker gets as many rows as it wants.
//!
//! Owns the text: every row is written once, however many ask for the list at the same time and with whatever limits, and an answer is a
//! copy of its beginning. Knows no row; written and read by the built-in object.

use serde::Serialize;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// The rows of a list, in their order.
#[derive(Debug)]
pub struct Listing {
    /// The key that the rows stand behind.
    key: &'static str,
    /// What stands beside the rows.
    beside: Map<String, Value>,
    /// All that there is, also what is not written.
    there: usize,
    /// The rows, with commas between them.
    text: Vec<u8>,
    /// Where each row ends in it.
    ends: Vec<usize>,
}

impl Listing {
    /// A list without rows; there are so many in all.
    #[must_use]
    pub const fn new(key: &'static str, there: usize, beside: Map<String, Value>) -> Self {
        Self {
            key,
            beside,
            there,
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Writes the next row. One that has no form in JSON counts as left out.
    pub fn push(&mut self, row: &impl Serialize) {
        let start = self.text.len();
        if start > 0 {
            self.text.push(b',');
        }
        match serde_json::to_writer(&mut self.text, row) {
            Ok(()) => self.ends.push(self.text.len()),
            Err(_) => self.text.truncate(start),
        }
    }

    /// The list with its first rows, `limit` at most, and the number of those that are left out.
    #[must_use]
    pub fn first(&self, limit: usize) -> Vec<u8> {
        let rows = limit.min(self.ends.len());
        let end = rows.checked_sub(1).and_then(|last| self.ends.get(last));
        let text = self.text.get(..end.copied().unwrap_or(0)).unwrap_or_default();
        let mut beside = self.beside.clone();
        beside.insert("left_out".into(), self.there.saturating_sub(rows).into());
        let beside = Value::from(beside).to_string();
        let mut out = Vec::with_capacity(text.len().saturating_add(beside.len()).saturating_add(32));
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(b"\":[");
        out.extend_from_slice(text);
        out.extend_from_slice(b"],");
        // Behind its brace: what is beside is never empty.
        out.extend_from_slice(beside.as_bytes().get(1..).unwrap_or_default());
        out
    }
}

/// The first `most` of all by this order, in it. What is beyond is not sorted.
pub fn first_of<T>(mut all: Vec<T>, most: usize, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if most < all.len() {
        all.select_nth_unstable_by(most, &order);
        all.truncate(most);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn each_gets_the_beginning_of_one_text() {
        let mut listing = Listing::new("rows", 5, Map::from_iter([("unheard".into(), 7.into())]));
        assert_eq!(
            read(&listing.first(10)),
            json!({ "rows": [], "unheard": 7, "left_out": 5 })
        );
        for row in [json!({ "name": "a,]}" }), json!([1, 2]), json!("c")] {
            listing.push(&row);
        }
        // A map whose keys are no text has no form.
        listing.push(&std::collections::HashMap::from([((1, 2), 3)]));
        for (limit, rows, left_out) in [
            (0, json!([]), 5),
            (1, json!([{ "name": "a,]}" }]), 4),
            (2, json!([{ "name": "a,]}" }, [1, 2]]), 3),
            (9, json!([{ "name": "a,]}" }, [1, 2], "c"]), 2),
        ] {
            let expected = json!({ "rows": rows, "unheard": 7, "left_out": left_out });
            assert_eq!(read(&listing.first(limit)), expected, "{limit}");
        }
    }

    proptest! {
        #[test]
        fn the_first_are_those_of_the_whole_order(all in prop::collection::vec(0_u32..50, 0..60), most in 0_usize..70) {
            let mut sorted = all.clone();
            sorted.sort_unstable();
            sorted.truncate(most);
            prop_assert_eq!(first_of(all, most, u32::cmp), sorted);
        }
    }
}
