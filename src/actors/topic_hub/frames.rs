//! Frames of a batch that follow each other, and what each is charged: a run that goes to every receiver of a topic.
//!
//! Owns the sum. Who gets them is `fan_out`'s business.

use crate::actors::deliver::charge;
use crate::message::Batch;

/// Frames that follow each other in a batch, for every receiver of a topic.
#[derive(Debug)]
pub(super) struct Frames<'b> {
    batch: &'b Batch,
    pub(super) first: u32,
    pub(super) count: u32,
    /// What all of them are charged.
    pub(super) charge: usize,
}

impl<'b> Frames<'b> {
    pub(super) fn new(batch: &'b Batch, first: u32, count: u32) -> Self {
        let headers = batch.headers_from(first as usize).take(count as usize);
        Self {
            batch,
            first,
            count,
            charge: headers.map(|header| charge(header.wire_len())).sum(),
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (u32, usize)> {
        let headers = self.batch.headers_from(self.first as usize);
        let charges = headers.map(|header| charge(header.wire_len()));
        (self.first..).zip(charges).take(self.count as usize)
    }
}
