//! Profiles as `profile.proto`, the format of pprof and of those who collect profiles.
//!
//! Contract: the file is enough by itself. All names, files and lines are inside, inlined functions too, so that nobody
//! needs the program to read it; mappings and build ids are there for those who have it.
//!
//! The format: <https://github.com/google/pprof/blob/main/proto/profile.proto>; on the wire it is protocol buffers,
//! of which only what is needed here is written: numbers and things with a length.

use crate::model::{Key, sums};
use crate::modules::{self, Module};
use crate::symbols::{self, Named};
use crate::{Frame, Profile, ValueType};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// The profile as gzip-compressed `profile.proto`. Samples with the same stack and labels become one.
///
/// Names every address that was not named before, so it belongs on a thread that may take its time.
#[must_use]
pub fn pprof(profile: &Profile) -> Vec<u8> {
    let plain = Encoding::default().profile(profile);
    let mut gzip = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::default());
    gzip.write_all(&plain)
        .and_then(|()| gzip.finish())
        .expect("writing into memory does not fail")
}

/// Tables of what has got a number already. Numbers start at 1, those of strings at 0.
#[derive(Default)]
struct Encoding {
    strings: HashMap<String, u64>,
    functions: HashMap<(u64, u64, u64), u64>,
    locations: HashMap<Frame, u64>,
    mappings: HashMap<u64, u64>,
    /// The messages of the tables, in the order of their numbers.
    string_table: Message,
    function_table: Message,
    location_table: Message,
    mapping_table: Message,
}

impl Encoding {
    fn profile(mut self, profile: &Profile) -> Vec<u8> {
        // The format wants the empty string first.
        self.string("");
        // Readers take the first mapping for the program itself.
        if let Some(module) = modules::executable() {
            self.mapping(&module);
        }
        let mut body = Message::default();
        for value_type in &profile.value_types {
            let value_type = self.value_type(*value_type);
            body.message(1, value_type);
        }
        let samples = profile.samples.iter().map(|sample| (sample, 1));
        for (key, values) in sums(samples, profile.value_types.len()) {
            let sample = self.sample(key, &values);
            body.message(2, sample);
        }
        body.number(
            9,
            nanoseconds(profile.time.duration_since(UNIX_EPOCH).unwrap_or_default()),
        );
        body.number(10, nanoseconds(profile.duration));
        if let Some((of, period)) = profile.period {
            let of = self.value_type(of);
            body.message(11, of);
            body.number(12, period.cast_unsigned());
        }
        for comment in &profile.comments {
            let comment = self.string(comment);
            body.number(13, comment);
        }
        if let Some(default) = profile.value_types.get(profile.default_type) {
            let default = self.string(default.kind);
            body.number(14, default);
        }
        for table in [
            self.mapping_table,
            self.location_table,
            self.function_table,
            self.string_table,
        ] {
            body.0.extend_from_slice(&table.0);
        }
        body.0
    }

    fn string(&mut self, text: &str) -> u64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = self.strings.len() as u64;
        self.strings.insert(text.to_owned(), number);
        self.string_table.bytes(6, text.as_bytes());
        number
    }

    fn value_type(&mut self, value_type: ValueType) -> Message {
        let mut message = Message::default();
        message.number(1, self.string(value_type.kind));
        message.number(2, self.string(value_type.unit));
        message
    }

    fn sample(&mut self, key: Key<'_>, values: &[i64]) -> Message {
        let mut message = Message::default();
        let locations: Vec<u64> = key.stack.iter().map(|frame| self.location(frame)).collect();
        message.numbers(1, locations);
        message.numbers(2, values.iter().map(|value| value.cast_unsigned()));
        for (name, text) in key.labels {
            let mut label = Message::default();
            label.number(1, self.string(name));
            label.number(2, self.string(text));
            message.message(3, label);
        }
        message
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(number) = self.locations.get(frame) {
            return *number;
        }
        let number = self.locations.len() as u64 + 1;
        self.locations.insert(frame.clone(), number);
        let mut message = Message::default();
        message.number(1, number);
        if let Frame::Address(address) = frame {
            if let Some(module) = symbols::module(*address) {
                let mapping = self.mapping(&module);
                message.number(2, mapping);
            }
            message.number(3, *address);
        }
        for named in symbols::resolve(frame) {
            let mut line = Message::default();
            line.number(1, self.function(&named));
            line.number(2, u64::from(named.line));
            message.message(4, line);
        }
        self.location_table.message(4, message);
        number
    }

    fn function(&mut self, named: &Named) -> u64 {
        let key = (
            self.string(&named.function),
            self.string(&named.system_name),
            self.string(&named.file),
        );
        if let Some(number) = self.functions.get(&key) {
            return *number;
        }
        let number = self.functions.len() as u64 + 1;
        self.functions.insert(key, number);
        let mut message = Message::default();
        message.number(1, number);
        message.number(2, key.0);
        message.number(3, key.1);
        message.number(4, key.2);
        self.function_table.message(5, message);
        number
    }

    fn mapping(&mut self, module: &Module) -> u64 {
        if let Some(number) = self.mappings.get(&module.start) {
            return *number;
        }
        let number = self.mappings.len() as u64 + 1;
        self.mappings.insert(module.start, number);
        let build_id = module
            .image
            .and_then(|image| image.build_id())
            .unwrap_or_default();
        let mut message = Message::default();
        message.number(1, number);
        message.number(2, module.start);
        message.number(3, module.end);
        message.number(4, module.offset);
        message.number(5, self.string(&module.path));
        message.number(6, self.string(&build_id));
        // Functions, files, lines and inlined frames are there: a reader must not look for a program to find them in.
        for field in 7..=10 {
            message.number(field, 1);
        }
        self.mapping_table.message(3, message);
        number
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A protocol buffers message as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Seven bits a byte, lowest first; all but the last have the eighth.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A field that is zero is left out: zero is what a missing one means.
    fn number(&mut self, field: u64, number: u64) {
        if number != 0 {
            self.varint(field << 3);
            self.varint(number);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: Message) {
        self.bytes(field, &message.0);
    }

    /// A repeated field, packed.
    fn numbers(&mut self, field: u64, numbers: impl IntoIterator<Item = u64>) {
        let mut packed = Message::default();
        for number in numbers {
            packed.varint(number);
        }
        self.bytes(field, &packed.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;
    use std::io::Read as _;
    use std::time::SystemTime;

    fn named(function: &'static str) -> Frame {
        Frame::Named {
            function: function.into(),
            file: "file.rs".into(),
            line: 7,
        }
    }

    fn sample(stack: Vec<Frame>, label: &str, values: [i64; 2]) -> Sample {
        Sample {
            stack,
            values: values.into(),
            labels: vec![("thread", label.to_owned())],
        }
    }

    fn profile(samples: Vec<Sample>) -> Profile {
        let value_type = |kind, unit| ValueType { kind, unit };
        Profile {
            value_types: vec![value_type("waits", "count"), value_type("delay", "nanoseconds")],
            default_type: 1,
            period: Some((value_type("waits", "count"), 1)),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            duration: Duration::from_secs(2),
            samples,
            comments: vec!["a comment".to_owned()],
        }
    }

    fn unpacked(profile: &Profile) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*pprof(profile))
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    /// The fields of a message: numbers, and bytes.
    fn fields(mut message: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
        fn varint(message: &mut &[u8]) -> u64 {
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let byte = message[0];
                *message = &message[1..];
                number |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            number
        }
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            let number = varint(&mut message);
            let mut bytes = Vec::new();
            if key & 7 == 2 {
                let (head, rest) = message.split_at(number as usize);
                bytes = head.to_vec();
                message = rest;
            }
            fields.push((key >> 3, number, bytes));
        }
        fields
    }

    fn of(fields: &[(u64, u64, Vec<u8>)], field: u64) -> Vec<&(u64, u64, Vec<u8>)> {
        fields.iter().filter(|(number, ..)| *number == field).collect()
    }

    #[test]
    fn equal_samples_become_one() {
        let profile = profile(vec![
            sample(vec![named("a"), named("b")], "x", [1, 10]),
            sample(vec![named("a"), named("b")], "y", [1, 10]),
            sample(vec![named("a"), named("b")], "x", [2, -30]),
            sample(vec![named("a")], "x", [5, 5]),
        ]);
        let fields = fields(&unpacked(&profile));
        let samples: Vec<_> = of(&fields, 2)
            .into_iter()
            .map(|(.., bytes)| super::tests::fields(bytes))
            .collect();
        assert_eq!(samples.len(), 3);
        let values: Vec<u8> = of(&samples[0], 2)[0].2.clone();
        let mut expected = Message::default();
        expected.varint(3);
        expected.varint((-20_i64).cast_unsigned());
        assert_eq!(values, expected.0);
        // Two frames, three samples: the locations are shared.
        assert_eq!(of(&fields, 4).len(), 2);
        assert_eq!(of(&fields, 5).len(), 2);
        let strings: Vec<&[u8]> = of(&fields, 6).into_iter().map(|(.., bytes)| &**bytes).collect();
        assert_eq!(strings[0], b"");
        for text in ["a", "b", "file.rs", "thread", "x", "y", "delay", "a comment"] {
            assert_eq!(
                strings
                    .iter()
                    .filter(|string| **string == text.as_bytes())
                    .count(),
                1,
                "{text}"
            );
        }
        assert_eq!(of(&fields, 9)[0].1, 1_000_000_000);
        assert_eq!(of(&fields, 10)[0].1, 2_000_000_000);
    }

    #[test]
    fn addresses_have_names_lines_and_a_mapping() {
        if !crate::SUPPORTED {
            return;
        }
        let here = crate::stack::capture();
        let profile = profile(vec![sample(here.to_frames(), "x", [1, 1])]);
        let fields = fields(&unpacked(&profile));
        let strings: Vec<String> = of(&fields, 6)
            .into_iter()
            .map(|(.., bytes)| String::from_utf8(bytes.clone()).unwrap())
            .collect();
        let functions: Vec<_> = of(&fields, 5)
            .into_iter()
            .map(|(.., bytes)| super::tests::fields(bytes))
            .collect();
        let first = &strings[of(&functions[0], 2)[0].1 as usize];
        assert_eq!(
            first,
            "profile::encode::tests::addresses_have_names_lines_and_a_mapping"
        );
        let mapping = super::tests::fields(&of(&fields, 3)[0].2);
        let own = std::env::current_exe().unwrap();
        assert_eq!(strings[of(&mapping, 5)[0].1 as usize], own.to_string_lossy());
        assert_eq!(
            Some(&strings[of(&mapping, 6)[0].1 as usize]),
            crate::process::build_id().as_ref()
        );
        let location = super::tests::fields(&of(&fields, 4)[0].2);
        assert_eq!(of(&location, 2)[0].1, 1, "it is in the first mapping");
    }

    #[test]
    fn an_empty_profile_is_one() {
        let mut empty = profile(Vec::new());
        empty.value_types.clear();
        empty.period = None;
        empty.time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let fields = fields(&unpacked(&empty));
        assert_eq!(of(&fields, 6)[0].2, b"");
        assert!(of(&fields, 9).is_empty());
    }
}
