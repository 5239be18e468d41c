//! The functions that templates can call.
//!
//! Contract: `urlencode`, `lower`, `upper`, `default`, `truncate` and `replace` take any single value, where a
//! missing one is empty, so that a template does not fail because one event lacks what another has.

use std::cmp::Ordering;

use super::{
    date,
    exec::{Call, Failed},
    format, printf,
    value::Value,
};

/// A function with what it does and an example, for those who write templates.
pub const FUNCTIONS: &[(&str, &str, &str)] = &[
    (
        "urlencode",
        "Encodes text for a query or a form",
        "{{urlencode .Title}}",
    ),
    (
        "json",
        "The value as JSON, quotes included",
        "{\"text\":{{json .Title}}}",
    ),
    ("lower", "In lower case", "{{lower .Mount}}"),
    ("upper", "In upper case", "{{upper .Event}}"),
    (
        "default",
        "The second value, or the first where that is empty",
        "{{default \"Unknown\" .Artist}}",
    ),
    (
        "truncate",
        "At most so many characters, the last being … when something is cut",
        "{{truncate 80 .Title}}",
    ),
    (
        "replace",
        "Replaces each occurrence of a text",
        "{{replace \"_\" \" \" .Title}}",
    ),
    (
        "date",
        "A time (RFC 3339 or Unix seconds) in a layout, in UTC",
        "{{date \"02.01.2006 15:04\" .Timestamp}}",
    ),
];

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Print,
    Printf,
    Println,
    Len,
    Index,
    Slice,
    Html,
    Js,
    Urlquery,
    Call,
    Urlencode,
    Json,
    Lower,
    Upper,
    Default,
    Truncate,
    Replace,
    Date,
}

use Function as F;

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "and" => F::And,
            "or" => F::Or,
            "not" => F::Not,
            "eq" => F::Eq,
            "ne" => F::Ne,
            "lt" => F::Lt,
            "le" => F::Le,
            "gt" => F::Gt,
            "ge" => F::Ge,
            "print" => F::Print,
            "printf" => F::Printf,
            "println" => F::Println,
            "len" => F::Len,
            "index" => F::Index,
            "slice" => F::Slice,
            "html" => F::Html,
            "js" => F::Js,
            "urlquery" => F::Urlquery,
            "call" => F::Call,
            "urlencode" => F::Urlencode,
            "json" => F::Json,
            "lower" => F::Lower,
            "upper" => F::Upper,
            "default" => F::Default,
            "truncate" => F::Truncate,
            "replace" => F::Replace,
            "date" => F::Date,
            _ => return None,
        })
    }

    /// How many arguments it takes at least and at most.
    fn arity(self) -> (usize, usize) {
        match self {
            F::And | F::Or | F::Eq | F::Printf | F::Index | F::Slice | F::Call => (1, usize::MAX),
            F::Print | F::Println | F::Html | F::Js | F::Urlquery => (0, usize::MAX),
            F::Not | F::Len | F::Urlencode | F::Json | F::Lower | F::Upper => (1, 1),
            F::Ne | F::Lt | F::Le | F::Gt | F::Ge | F::Default | F::Truncate | F::Date => (2, 2),
            F::Replace => (3, 3),
        }
    }

    pub(super) fn call(self, call: &mut Call<'_, '_>) -> Result<Value, Failed> {
        let (least, most) = self.arity();
        let given = call.len();
        if given < least || given > most {
            let wants = if most == usize::MAX { "at least " } else { "" };
            return Err(format!(
                "wrong number of arguments: {wants}{least} wanted, {given} given"
            ));
        }
        match self {
            F::And => return until(call, false),
            F::Or => return until(call, true),
            _ => {}
        }
        let values = call.all()?;
        match (self, values.as_slice()) {
            (F::Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (F::Eq, [_]) => Err("missing argument for comparison".to_owned()),
            (F::Eq, [first, others @ ..]) => {
                for other in others {
                    if equal(first, other)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (F::Ne, [a, b]) => Ok(Value::Bool(!equal(a, b)?)),
            (F::Lt, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_lt())),
            (F::Le, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_le())),
            (F::Gt, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_gt())),
            (F::Ge, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_ge())),
            (F::Print, values) => made(call, printf::print(values)),
            (F::Println, values) => made(call, printf::println(values)),
            (F::Printf, [Value::Text(format), values @ ..]) => {
                let longest = call.budget().longest();
                made(call, printf::printf(format, values, longest)?)
            }
            (F::Printf, _) => Err("printf needs a text first".to_owned()),
            (F::Len, [value]) => len(value),
            (F::Index, [value, places @ ..]) => index(call, value, places),
            (F::Slice, [value, places @ ..]) => slice(call, value, places),
            (F::Html, values) => made(call, format::html(&joined(values))),
            (F::Js, values) => made(call, format::js(&joined(values))),
            (F::Urlquery, values) => made(call, format::urlencode(&joined(values))),
            (F::Call, _) => Err("there is no value that can be called".to_owned()),
            (F::Urlencode, [value]) => made(call, format::urlencode(&scalar(value)?)),
            (F::Json, [value]) => {
                let mut text = String::new();
                value.write_json(&mut text);
                made(call, text)
            }
            (F::Lower, [value]) => made(call, format::lower(&scalar(value)?)),
            (F::Upper, [value]) => made(call, format::upper(&scalar(value)?)),
            (F::Default, [fallback, value]) => Ok(if value.is_true() { value } else { fallback }.clone()),
            (F::Truncate, [Value::Int(most), value]) => made(call, truncate(&scalar(value)?, *most)),
            (F::Truncate, _) => Err("truncate needs a number of characters first".to_owned()),
            (F::Replace, [old, new, value]) => replace(call, &scalar(old)?, &scalar(new)?, &scalar(value)?),
            (F::Date, [layout, value]) => {
                let text = scalar(value)?;
                if text.is_empty() {
                    return Ok(Value::text(""));
                }
                let time = date::time(&text).ok_or_else(|| format!("{text:?} is no time in RFC 3339"))?;
                made(call, date::format(&scalar(layout)?, time))
            }
            _ => Err("wrong number of arguments".to_owned()),
        }
    }
}

/// A text that counts against the budget.
fn made(call: &mut Call<'_, '_>, text: String) -> Result<Value, Failed> {
    call.budget().spend(text.len())?;
    Ok(Value::text(text))
}

/// The first argument whose truth is `stop`, else the last; what follows it is not evaluated.
fn until(call: &mut Call<'_, '_>, stop: bool) -> Result<Value, Failed> {
    let mut last = Value::Missing;
    while let Some(value) = call.next() {
        last = value?;
        if last.is_true() == stop {
            break;
        }
    }
    Ok(last)
}

/// What a text function takes: any single value, where a missing one is empty.
fn scalar(value: &Value) -> Result<String, Failed> {
    match value {
        Value::Missing | Value::Nil => Ok(String::new()),
        Value::List(_) | Value::Map(_) => Err(format!("a text was wanted, not a {}", value.type_name())),
        value => {
            let mut text = String::new();
            value.show(&mut text);
            Ok(text)
        }
    }
}

fn joined(values: &[Value]) -> String {
    let shown: Vec<_> = values
        .iter()
        .map(|value| match value {
            Value::Missing | Value::Nil => Value::text("<no value>"),
            value => value.clone(),
        })
        .collect();
    printf::print(&shown)
}

fn mismatch(a: &Value, b: &Value) -> Failed {
    format!(
        "incompatible types for comparison: {} and {}",
        a.type_name(),
        b.type_name()
    )
}

fn equal(a: &Value, b: &Value) -> Result<bool, Failed> {
    use Value::{Bool, Float, Int, List, Map, Text};
    match (a, b) {
        (Bool(a), Bool(b)) => Ok(a == b),
        (Int(a), Int(b)) => Ok(a == b),
        #[allow(clippy::float_cmp, reason = "the template asks for just that")]
        (Float(a), Float(b)) => Ok(a == b),
        (Text(a), Text(b)) => Ok(a == b),
        (a, b) if a.is_nil() || b.is_nil() => Ok(a.is_nil() && b.is_nil()),
        (List(_) | Map(_), _) | (_, List(_) | Map(_)) => Err("lists and maps cannot be compared".to_owned()),
        (a, b) => Err(mismatch(a, b)),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, Failed> {
    use Value::{Float, Int, Text};
    let invalid = |value: &Value| !matches!(value, Int(_) | Float(_) | Text(_));
    match (a, b) {
        (Int(a), Int(b)) => Ok(a.cmp(b)),
        (Float(a), Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Equal)),
        (Text(a), Text(b)) => Ok(a.cmp(b)),
        (a, b) if invalid(a) || invalid(b) => Err("invalid type for comparison".to_owned()),
        (a, b) => Err(mismatch(a, b)),
    }
}

fn len(value: &Value) -> Result<Value, Failed> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        Value::Map(entries) => entries.len(),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

/// A place within `0..len`, or up to `len` itself.
fn place(value: &Value, len: usize) -> Result<usize, Failed> {
    match value {
        Value::Int(place) => usize::try_from(*place)
            .ok()
            .filter(|place| *place <= len)
            .ok_or_else(|| format!("index out of range: {place}")),
        other => Err(format!("cannot index with a value of type {}", other.type_name())),
    }
}

fn index(call: &Call<'_, '_>, value: &Value, places: &[Value]) -> Result<Value, Failed> {
    if value.is_nil() {
        return Err("index of nil".to_owned());
    }
    let mut value = value.clone();
    for at in places {
        value = match &value {
            Value::List(values) => {
                let found = values.get(place(at, values.len())?);
                found.cloned().ok_or("index out of range")?
            }
            Value::Text(text) => {
                let found = text.as_bytes().get(place(at, text.len())?);
                Value::Int(i64::from(*found.ok_or("index out of range")?))
            }
            Value::Map(entries) => match at {
                Value::Text(name) => call.entry(entries, name),
                other => return Err(format!("a map has no key of type {}", other.type_name())),
            },
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(call: &mut Call<'_, '_>, value: &Value, places: &[Value]) -> Result<Value, Failed> {
    let len = match value {
        Value::Text(_) if places.len() > 2 => return Err("cannot 3-index slice a string".to_owned()),
        _ if places.len() > 3 => return Err("too many slice indexes".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let places = places
        .iter()
        .map(|at| place(at, len))
        .collect::<Result<Vec<_>, _>>()?;
    if !places.is_sorted() {
        return Err("invalid slice index: they must rise".to_owned());
    }
    let start = places.first().copied().unwrap_or(0);
    let end = places.get(1).copied().unwrap_or(len);
    match value {
        Value::Text(text) => {
            // What is cut within a character would be no text any more.
            let cut = String::from_utf8_lossy(&text.as_bytes()[start..end]);
            made(call, cut.into_owned())
        }
        Value::List(values) => Ok(Value::List(values[start..end].into())),
        _ => Ok(Value::Missing),
    }
}

fn truncate(text: &str, most: i64) -> String {
    let most = usize::try_from(most).unwrap_or(0);
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain((most > 0).then_some('…')).collect()
}

fn replace(call: &mut Call<'_, '_>, old: &str, new: &str, text: &str) -> Result<Value, Failed> {
    if old.is_empty() {
        return made(call, text.to_owned());
    }
    // The size is known before anything is made, since texts by texts can get very large.
    let grown = text.matches(old).count().saturating_mul(new.len());
    call.budget().spend(text.len().saturating_add(grown))?;
    Ok(Value::text(text.replace(old, new)))
}
