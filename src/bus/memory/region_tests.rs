//! Tests of regions.
