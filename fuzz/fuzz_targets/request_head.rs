#![no_main]

use front::head::{HeadLimits, Parsed, parse};

// Any bytes get a verdict, and a head that is complete stays what it is when more bytes follow.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let limits = HeadLimits { bytes: 64 << 10, lines: 100 };
    if let Ok(Parsed::Complete { length, .. }) = parse(input, limits) {
        assert!(length <= input.len());
        let again = parse(&input[..length], limits);
        assert!(matches!(again, Ok(Parsed::Complete { length: same, .. }) if same == length));
    }
});
