//! `printf`, `print` and `println`.
//!
//! Contract: a verb that does not fit its argument prints a mark that says so and never fails; how much padding
//! a format can ask for is bounded by the budget of the rendering.

use super::{
    exec::Failed,
    format::{is_printable, quote},
    number,
    value::{Value, push},
};

/// Widest field and longest precision; more prints a mark instead.
const WIDEST: usize = 1_000_000;

/// Operands one after the other, with a space between two of which neither is a text.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut was_text = true;
    for (index, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if index > 0 && !is_text && !was_text {
            out.push(' ');
        }
        value.show(&mut out);
        was_text = is_text;
    }
    out
}

pub(super) fn println(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        value.show(&mut out);
    }
    out.push('\n');
    out
}

/// What stands between `%` and the verb.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%#v`: as a constant of the language is written.
    notation: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats `values`; the text gets at most `longest` bytes long.
pub(super) fn printf(format: &str, values: &[Value], longest: usize) -> Result<String, Failed> {
    let mut printer = Printer {
        rest: format,
        values,
        at: 0,
        reordered: false,
        index_fits: true,
        out: String::new(),
    };
    while let Some((text, rest)) = printer.rest.split_once('%') {
        printer.out.push_str(text);
        printer.rest = rest;
        printer.verb();
        if printer.out.len() > longest {
            return Err("the text gets too long".to_owned());
        }
    }
    printer.out.push_str(printer.rest);
    printer.extra();
    Ok(printer.out)
}

struct Printer<'a> {
    rest: &'a str,
    values: &'a [Value],
    /// The next value.
    at: usize,
    /// Whether the format chose values by number.
    reordered: bool,
    index_fits: bool,
    out: String,
}

impl Printer<'_> {
    fn verb(&mut self) {
        let mut flags = Flags::default();
        self.index_fits = true;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        let mut after_index = self.index();
        flags.width = match self.star() {
            Some(width) => {
                after_index = false;
                if width.is_none() {
                    self.out.push_str("%!(BADWIDTH)");
                }
                flags.minus |= width.is_some_and(|width| width < 0);
                width.map(|width| usize::try_from(width.unsigned_abs()).unwrap_or(WIDEST))
            }
            None => {
                let width = self.number();
                self.index_fits &= !(after_index && width.is_some());
                width
            }
        };
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.index_fits &= !after_index;
            self.rest = rest;
            after_index = self.index();
            flags.precision = match self.star() {
                Some(precision) => {
                    after_index = false;
                    if precision.is_none_or(|precision| precision < 0) {
                        self.out.push_str("%!(BADPREC)");
                    }
                    precision.and_then(|precision| usize::try_from(precision).ok())
                }
                None => Some(self.number().unwrap_or(0)),
            };
        }
        if !after_index {
            self.index();
        }
        flags.zero &= !flags.minus;
        let Some(verb) = self.rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return;
        };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            self.out.push('%');
        } else if !self.index_fits {
            push(&mut self.out, format_args!("%!{verb}(BADINDEX)"));
        } else if let Some(value) = self.values.get(self.at) {
            self.at += 1;
            if verb == 'v' {
                // Before this verb they ask for another notation, not for a sign or a prefix.
                flags.notation = std::mem::take(&mut flags.sharp);
                flags.plus = false;
            }
            format_value(value, verb, flags, false, &mut self.out);
        } else {
            push(&mut self.out, format_args!("%!{verb}(MISSING)"));
        }
    }

    /// `[3]`: the number of the value to use next. Yields whether there was one.
    fn index(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix('[') else {
            return false;
        };
        self.reordered = true;
        let Some((number, rest)) = rest.split_once(']') else {
            self.index_fits = false;
            self.rest = rest;
            return false;
        };
        self.rest = rest;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse::<usize>() {
            Ok(number) if digits && (1..=self.values.len()).contains(&number) => {
                self.at = number - 1;
                true
            }
            _ => {
                self.index_fits = false;
                digits
            }
        }
    }

    /// `*`: the next value is the number. The inner nothing is a value that is of no use.
    fn star(&mut self) -> Option<Option<i64>> {
        self.rest = self.rest.strip_prefix('*')?;
        let value = self.values.get(self.at);
        self.at += usize::from(value.is_some());
        let most = i64::try_from(WIDEST).unwrap_or(i64::MAX);
        Some(match value {
            Some(Value::Int(number)) if (-most..=most).contains(number) => Some(*number),
            _ => None,
        })
    }

    /// A number; after one that is too large nothing of the format is used.
    fn number(&mut self) -> Option<usize> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        if digits.is_empty() {
            return None;
        }
        let number = digits.parse().ok().filter(|number| *number <= WIDEST);
        if number.is_none() {
            self.rest = "";
        }
        number
    }

    /// Values that no verb asked for.
    fn extra(&mut self) {
        if self.reordered || self.at >= self.values.len() {
            return;
        }
        self.out.push_str("%!(EXTRA ");
        for (index, value) in self.values[self.at..].iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            typed(value, &mut self.out);
        }
        self.out.push(')');
    }
}

/// `int=5`
fn typed(value: &Value, out: &mut String) {
    if !value.is_nil() {
        out.push_str(value.type_name());
        out.push('=');
    }
    value.show(out);
}

fn bad_verb(value: &Value, verb: char, flags: Flags, out: &mut String) {
    push(out, format_args!("%!{verb}("));
    if value.is_nil() {
        out.push_str("<nil>");
    } else {
        out.push_str(value.type_name());
        out.push('=');
        format_value(value, 'v', flags, false, out);
    }
    out.push(')');
}

fn format_value(value: &Value, verb: char, flags: Flags, nested: bool, out: &mut String) {
    if verb == 'T' && !nested {
        return match value.is_nil() {
            true => pad("<nil>", flags, out),
            false => text(value.type_name(), 's', flags, out),
        };
    }
    let (list, map, between, end) = match flags.notation {
        true => ("[]interface {}{", "map[string]interface {}{", ", ", '}'),
        false => ("[", "map[", " ", ']'),
    };
    match value {
        Value::Missing | Value::Nil if nested => {
            out.push_str(if flags.notation {
                "interface {}(nil)"
            } else {
                "<nil>"
            });
        }
        Value::Missing | Value::Nil if verb == 'v' => pad("<nil>", flags, out),
        Value::Bool(flag) if matches!(verb, 't' | 'v') => {
            pad(if *flag { "true" } else { "false" }, flags, out);
        }
        Value::Missing | Value::Nil | Value::Bool(_) => bad_verb(value, verb, flags, out),
        Value::Int(whole) => integer(*whole, verb, flags, out),
        Value::Float(float) => self::float(*float, verb, flags, out),
        Value::Text(text) => self::text(text, verb, flags, out),
        Value::List(values) => {
            out.push_str(list);
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(between);
                }
                format_value(value, verb, flags, true, out);
            }
            out.push(end);
        }
        Value::Map(entries) => {
            out.push_str(map);
            for (index, (name, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(between);
                }
                self::text(name, verb, flags, out);
                out.push(':');
                format_value(value, verb, flags, true, out);
            }
            out.push(end);
        }
    }
}

fn pad(text: &str, flags: Flags, out: &mut String) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if flags.zero { '0' } else { ' ' };
    if flags.minus {
        out.push_str(text);
    }
    out.extend(std::iter::repeat_n(fill, missing));
    if !flags.minus {
        out.push_str(text);
    }
}

fn text(text: &str, verb: char, flags: Flags, out: &mut String) {
    let cut: String = match (verb, flags.precision) {
        ('s' | 'v' | 'q', Some(precision)) => text.chars().take(precision).collect(),
        _ => text.to_owned(),
    };
    match verb {
        'v' if flags.notation => pad(&quote(&cut, '"', false), flags, out),
        's' | 'v' => pad(&cut, flags, out),
        'q' => {
            let raw = flags.sharp
                && cut
                    .chars()
                    .all(|c| c != '`' && c != '\u{feff}' && (c == '\t' || !c.is_control()));
            let quoted = if raw {
                format!("`{cut}`")
            } else {
                quote(&cut, '"', flags.plus)
            };
            pad(&quoted, flags, out);
        }
        'x' | 'X' => {
            let most = flags.precision.unwrap_or(usize::MAX);
            let prefix = match (flags.sharp, verb) {
                (false, _) => "",
                (true, 'x') => "0x",
                (true, _) => "0X",
            };
            let mut digits = String::new();
            for (index, byte) in text.bytes().take(most).enumerate() {
                if index > 0 && flags.space {
                    digits.push(' ');
                }
                if index == 0 || flags.space {
                    digits.push_str(prefix);
                }
                match verb {
                    'x' => push(&mut digits, format_args!("{byte:02x}")),
                    _ => push(&mut digits, format_args!("{byte:02X}")),
                }
            }
            pad(&digits, flags, out);
        }
        _ => bad_verb(&Value::text(text), verb, flags, out),
    }
}

fn character(whole: i64) -> char {
    u32::try_from(whole)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn integer(whole: i64, verb: char, mut flags: Flags, out: &mut String) {
    let size = whole.unsigned_abs();
    let (mut digits, prefix) = match verb {
        'v' | 'd' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), if flags.sharp { "0b" } else { "" }),
        'o' => (format!("{size:o}"), ""),
        'O' => (format!("{size:o}"), "0o"),
        'x' => (format!("{size:x}"), if flags.sharp { "0x" } else { "" }),
        'X' => (format!("{size:X}"), if flags.sharp { "0X" } else { "" }),
        'c' => return pad(character(whole).encode_utf8(&mut [0; 4]), flags, out),
        'q' => {
            return pad(
                &quote(character(whole).encode_utf8(&mut [0; 4]), '\'', flags.plus),
                flags,
                out,
            );
        }
        'U' => {
            let least = flags.precision.unwrap_or(4).max(4);
            let digits = format!("{whole:X}");
            let zeros = "0".repeat(least.saturating_sub(digits.len()));
            let mut text = format!("U+{zeros}{digits}");
            if flags.sharp && is_printable(character(whole)) {
                push(&mut text, format_args!(" '{}'", character(whole)));
            }
            flags.zero = false;
            return pad(&text, flags, out);
        }
        _ => return bad_verb(&Value::Int(whole), verb, flags, out),
    };
    let sign = match whole {
        ..0 => "-",
        _ if flags.plus => "+",
        _ if flags.space => " ",
        _ => "",
    };
    if flags.precision == Some(0) && whole == 0 {
        flags.zero = false;
        return pad("", flags, out);
    }
    let least = match (flags.precision, flags.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero => width - sign.len().min(width),
        _ => 0,
    };
    if digits.len() < least {
        digits.insert_str(0, &"0".repeat(least - digits.len()));
    }
    if matches!(verb, 'o' | 'O') && flags.sharp && !digits.starts_with('0') {
        digits.insert(0, '0');
    }
    flags.zero = false;
    pad(&format!("{sign}{prefix}{digits}"), flags, out);
}

fn float(float: f64, verb: char, mut flags: Flags, out: &mut String) {
    let text = match verb {
        'v' | 'g' => number::general(float, flags.precision, 'e'),
        'G' => number::general(float, flags.precision, 'E'),
        'f' | 'F' => number::fixed(float, flags.precision.unwrap_or(6)),
        'e' => number::scientific(float, flags.precision.unwrap_or(6), 'e'),
        'E' => number::scientific(float, flags.precision.unwrap_or(6), 'E'),
        'b' => number::binary(float),
        'x' => number::hexadecimal(float),
        'X' => number::hexadecimal(float).to_uppercase(),
        _ => return bad_verb(&Value::Float(float), verb, flags, out),
    };
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => ("-", size),
        None if flags.plus => ("+", text.as_str()),
        None if flags.space => (" ", text.as_str()),
        None => ("", text.as_str()),
    };
    if !flags.zero {
        return pad(&format!("{sign}{size}"), flags, out);
    }
    out.push_str(sign);
    flags.width = flags.width.map(|width| width.saturating_sub(sign.len()));
    pad(size, flags, out);
}
