//! What templates compute with, and how it looks as text and as JSON.
//!
//! Contract: copying a value costs nothing that grows with it.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use super::number;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// No entry has that name.
    Missing,
    /// `nil`, or null in JSON.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<[Value]>),
    Map(Arc<Entries>),
}

/// The entries of a map, in the order in which they are ranged over and written.
pub(crate) type Entries = BTreeMap<String, Value>;

impl Value {
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The value of a JSON tree. A number that is written with a point or an exponent is a float.
    pub(crate) fn of_json(tree: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match tree {
            Json::Null => Self::Nil,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(values) => Self::List(values.iter().map(Self::of_json).collect()),
            Json::Object(map) => {
                let entries = map
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::of_json(value)));
                Self::Map(Arc::new(entries.collect()))
            }
        }
    }

    /// Whether `if` takes it as true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(whole) => *whole != 0,
            Self::Float(float) => *float != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// The name of its type, as error marks of `printf` show it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// Appends it as an action of its own prints it.
    pub(crate) fn print(&self, out: &mut String) {
        match self {
            Self::Missing | Self::Nil => out.push_str("<no value>"),
            value => value.show(out),
        }
    }

    /// Appends it as `print` does.
    pub(crate) fn show(&self, out: &mut String) {
        match self {
            Self::Missing | Self::Nil => out.push_str("<nil>"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Int(whole) => push(out, format_args!("{whole}")),
            Self::Float(float) => out.push_str(&number::shortest(*float)),
            Self::Text(text) => out.push_str(text),
            Self::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    value.show(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push_str("map[");
                for (index, (name, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    out.push_str(name);
                    out.push(':');
                    value.show(out);
                }
                out.push(']');
            }
        }
    }

    /// Appends it as compact JSON with sorted keys, safe to stand in HTML and scripts.
    pub(crate) fn write_json(&self, out: &mut String) {
        match self {
            Self::Missing | Self::Nil => out.push_str("null"),
            Self::Float(float) => out.push_str(&number::json(*float)),
            Self::Text(text) => write_json_text(text, out),
            Self::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (index, (name, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_json_text(name, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Self::Bool(_) | Self::Int(_) => self.show(out),
        }
    }

    /// The same with every text escaped so that it can stand between the quotes of a JSON string.
    pub(crate) fn escaped(&self) -> Self {
        match self {
            Self::Text(text) => {
                let mut quoted = String::with_capacity(text.len() + 2);
                write_json_text(text, &mut quoted);
                Self::text(&quoted[1..quoted.len() - 1])
            }
            Self::List(values) => Self::List(values.iter().map(Self::escaped).collect()),
            Self::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(name, value)| (name.clone(), value.escaped()));
                Self::Map(Arc::new(entries.collect()))
            }
            other => other.clone(),
        }
    }
}

/// Writing to a `String` cannot fail.
pub(super) fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

/// Appends `text` as a JSON string.
pub(crate) fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                push(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
