#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gmail_sim::fuzzing::request(data));
