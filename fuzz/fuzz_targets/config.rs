#![no_main]

use std::path::Path;

// Whatever stands in the file, it is read or refused with at least one complaint.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(error) = config::Loaded::parse(Path::new("fuzz.json"), input.to_vec()) {
        assert!(!error.to_string().is_empty());
    }
});
