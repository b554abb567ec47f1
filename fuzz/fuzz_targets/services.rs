//! cargo-fuzz's door to the target `services` of `fuzz/targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| actix_ipc_fuzz_targets::execute("services", data));
