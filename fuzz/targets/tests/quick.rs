//! Two thousand executions of every target, for `cargo test`; CI runs a hundred thousand (`ci/stages/57-fuzz`).
#![allow(clippy::panic, reason = "a failing target fails the test")]

use actix_ipc_fuzz_targets::smoke::run;
use actix_ipc_fuzz_targets::{TARGETS, corpus};

#[test]
fn every_target_handles_two_thousand_inputs() {
    for (name, target) in TARGETS {
        if let Err(failure) = run(name, *target, 1, 2_000) {
            panic!("{name}: {failure:?}");
        }
    }
}

#[test]
fn every_target_has_its_file_and_inputs_to_begin_with() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz_targets");
    for (name, _) in TARGETS {
        let file = format!("{files}/{name}.rs");
        assert!(std::path::Path::new(&file).exists(), "{file} is missing");
        assert!(!corpus::inputs(name).is_empty(), "{name}");
    }
}
