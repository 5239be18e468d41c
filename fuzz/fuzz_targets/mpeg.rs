#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| media_fuzz::check_cut(media::Format::Mpeg, input));
