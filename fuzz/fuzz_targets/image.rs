#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(convscope_fuzz::read("image", bytes)));
