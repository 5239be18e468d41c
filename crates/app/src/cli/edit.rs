//! `get`, `set` and `dump-config`.
//!
//! Contract: they work on the file alone. A mistake saves nothing; `set` keeps everything but its key.

use std::fmt::Write as _;

use config::{SetError, Store, mask, suggest_key};
use serde_json::Value;

use super::{FAILED, Flags, OK, Terminal, load};

pub(super) fn get(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let [key] = flags.arguments.as_slice() else {
        terminal.say("Usage: get <option>");
        return FAILED;
    };
    let loaded = match load(flags, terminal) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match loaded.config.get(key) {
        Some(value) if flags.json => terminal.say(value),
        Some(value) => terminal.say(format_args!("{key} = {}", plain(&value))),
        None => {
            terminal.say(format_args!("{key} = unknown"));
            suggest(key, terminal);
            return FAILED;
        }
    }
    OK
}

pub(super) fn set(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let [key, value] = flags.arguments.as_slice() else {
        terminal.say("Usage: set <option> <value>");
        return FAILED;
    };
    let mut loaded = match load(flags, terminal) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match loaded.config.set(key, value) {
        Ok(()) => {}
        Err(error @ SetError::UnknownKey(_)) => {
            terminal.say(error);
            suggest(key, terminal);
            return FAILED;
        }
        Err(error) => {
            terminal.complain(format_args!("Error: {error}"));
            return FAILED;
        }
    }
    let code = save(Store::new(loaded.document), &loaded.config, terminal);
    if code == OK {
        terminal.say(format_args!("Updated {key} to {value}"));
        terminal.say("Run 'tinyice reload' to apply");
    }
    code
}

/// Saves and says what an operator must know about it.
pub(super) fn save(mut store: Store, config: &config::Config, terminal: &mut Terminal<'_>) -> u8 {
    match store.save(config) {
        Ok(saved) => {
            if let Some(copy) = saved.conflict {
                let copy = copy.display();
                terminal.complain(format_args!(
                    "Warning: the file was changed meanwhile; that version is in {copy}"
                ));
            }
            if saved.in_place {
                terminal
                    .complain("Warning: the file was written in place; mount the directory, not the file");
            }
            OK
        }
        Err(error) => {
            terminal.complain(format_args!("Error: Failed to save config: {error}"));
            FAILED
        }
    }
}

pub(super) fn dump(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let loaded = match load(flags, terminal) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut tree = loaded.document.complete(&loaded.config);
    if !flags.secrets {
        mask(&mut tree);
        terminal.complain("Secrets are masked; add -secrets to print them");
    }
    if terminal.colour {
        let mut text = String::new();
        paint(&tree, 0, &mut text);
        terminal.say(text);
    } else {
        let _ = terminal.out.write_all(config::to_text(&tree).as_bytes());
    }
    OK
}

fn suggest(key: &str, terminal: &mut Terminal<'_>) {
    if let Some(near) = suggest_key(key).filter(|near| !near.eq_ignore_ascii_case(key)) {
        terminal.complain(format_args!("did you mean {near:?}?"));
    }
}

/// A value as a shell wants it: strings bare, lists as `[a b]`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(values) if !values.iter().any(|value| value.is_object() || value.is_array()) => {
            format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// JSON with 4 spaces of indent; keys cyan, strings green, words magenta, numbers yellow.
fn paint(value: &Value, depth: usize, out: &mut String) {
    let colour = match value {
        Value::String(_) => 32,
        Value::Number(_) => 33,
        Value::Null | Value::Bool(_) => 35,
        Value::Array(values) if values.is_empty() => return out.push_str("[]"),
        Value::Object(map) if map.is_empty() => return out.push_str("{}"),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                new_line(index, depth + 1, out);
                paint(value, depth + 1, out);
            }
            new_line(0, depth, out);
            return out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                new_line(index, depth + 1, out);
                let _ = write!(out, "\x1b[36m{}\x1b[0m: ", Value::from(key.as_str()));
                paint(value, depth + 1, out);
            }
            new_line(0, depth, out);
            return out.push('}');
        }
    };
    let _ = write!(out, "\x1b[{colour}m{value}\x1b[0m");
}

fn new_line(index: usize, depth: usize, out: &mut String) {
    let comma = if index > 0 { "," } else { "" };
    let _ = write!(out, "{comma}\n{}", "    ".repeat(depth));
}
