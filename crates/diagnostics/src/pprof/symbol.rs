//! `symbol`: names of addresses, for tools that have a profile without names; and `cmdline`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;

use http::Method;

use super::Outcome;
use crate::answer::TEXT;
use crate::{Answer, Query};

/// Addresses that one request may ask for.
const MOST: usize = 16_384;

/// The program's arguments, with a NUL between.
pub(super) fn command_line(query: &Query) -> Outcome {
    query.only(&[])?;
    let arguments: Vec<Vec<u8>> = std::env::args_os().map(OsString::into_vec).collect();
    Ok(Answer::new(TEXT, arguments.join(&0)))
}

/// Go's form: how many symbols there are, which only means more than none, and a line for each address that has a name.
/// The addresses come as `0x1+0x2`, in the query or the body.
pub(super) fn answer(query: &Query, method: &Method, body: &[u8]) -> Outcome {
    let mut asked = String::new();
    if method == Method::POST {
        asked.push_str(&String::from_utf8_lossy(body));
    } else {
        // The query has been decoded, so that a plus is a space.
        for key in query.keys() {
            asked.push_str(key);
            asked.push(' ');
        }
    }
    let mut out = "num_symbols: 1\n".to_owned();
    let words = asked.split(|character: char| character == '+' || character.is_whitespace());
    for address in words.filter_map(address).take(MOST) {
        // The innermost function is at the address; those that it is inlined into are around it.
        if let Some(named) = profile::symbols::name(address).first() {
            let _ = writeln!(out, "{address:#x} {}", named.function);
        }
    }
    Ok(Answer::text(out))
}

fn address(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|address| *address != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(outcome: Outcome) -> String {
        String::from_utf8(outcome.unwrap().body).unwrap()
    }

    #[test]
    fn addresses_come_in_the_query_or_the_body() {
        let here = answer as *const () as u64;
        let asked = format!("{here:#x}+0x0+junk+0xzz+{:#x}", here + 1);
        let query = Query::parse(&asked).unwrap();
        let name = "diagnostics::pprof::symbol::answer";
        let expected = format!("num_symbols: 1\n{here:#x} {name}\n{:#x} {name}\n", here + 1);
        let none = Query::default();
        assert_eq!(body(answer(&query, &Method::GET, b"")), expected);
        assert_eq!(body(answer(&none, &Method::POST, asked.as_bytes())), expected);
        assert_eq!(body(answer(&none, &Method::GET, b"")), "num_symbols: 1\n");
        assert_eq!(body(answer(&none, &Method::POST, &[0xff, 0])), "num_symbols: 1\n");
    }

    #[test]
    fn arguments_are_separated() {
        let text = body(command_line(&Query::default()));
        assert_eq!(text.split('\0').count(), std::env::args_os().count());
    }
}
