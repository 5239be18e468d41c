//! Field values of events.
//!
//! Contract: every string is untrusted and bounded; escaping happens where a value is written, never here.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

/// Strings are cut here, so that a full flight recorder has a known size.
const MAX_TEXT: usize = 2_048;

/// The fields of one event in the order they are written.
pub type Fields = SmallVec<[(&'static str, Value); 4]>;

/// The value of one field, as it will be written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// The field is left out.
    Absent,
    /// Text known at compile time.
    Static(&'static str),
    /// Any other text, at most 2,048 bytes of it.
    Text(Box<str>),
    /// A whole number.
    Unsigned(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// A fraction; written as `null` when it is not finite.
    Float(f64),
    /// A yes or no.
    Bool(bool),
}

impl Value {
    /// Text, cut to its limit at a character boundary.
    pub fn text(text: &str) -> Value {
        if text.len() <= MAX_TEXT {
            return Value::Text(text.into());
        }
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        Value::Text(format!("{}…", &text[..end]).into())
    }

    /// The text of a text value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Static(text) => Some(text),
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a whole, non-negative value.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => number.try_into().ok(),
            _ => None,
        }
    }
}

/// A type with a form of its own in the log; every other `Display` type is written as text.
pub trait Field {
    /// The value as it will be written.
    fn value(&self) -> Value;
}

macro_rules! number_fields {
    ($($variant:ident($wide:ty): $($narrow:ty),+;)+) => {$($(
        impl Field for $narrow {
            fn value(&self) -> Value {
                Value::$variant(<$wide>::from(*self))
            }
        }
    )+)+};
}
number_fields! {
    Unsigned(u64): u8, u16, u32, u64;
    Signed(i64): i8, i16, i32, i64;
    Float(f64): f32, f64;
    Bool(bool): bool;
}

impl Field for usize {
    fn value(&self) -> Value {
        Value::Unsigned(*self as u64)
    }
}

/// Written as seconds with a fraction.
impl Field for Duration {
    fn value(&self) -> Value {
        Value::Float(self.as_secs_f64())
    }
}

macro_rules! text_fields {
    ($($text:ty),+) => {$(
        impl Field for $text {
            fn value(&self) -> Value {
                Value::text(self)
            }
        }
    )+};
}
text_fields!(str, String, Box<str>, Arc<str>, Cow<'_, str>);

macro_rules! display_fields {
    ($($shown:ty),+) => {$(
        impl Field for $shown {
            fn value(&self) -> Value {
                Value::Text(self.to_string().into())
            }
        }
    )+};
}
display_fields!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr);

impl<T: Field + ?Sized> Field for &T {
    fn value(&self) -> Value {
        (**self).value()
    }
}

/// `None` leaves the field out.
impl<T: Field> Field for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Absent, Field::value)
    }
}

/// Chooses the conversion of a field by method resolution: [`Field`] first, then `Display`, then an `Option` of
/// `Display`. The number of references each trait is implemented for decides the order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<'a, T: ?Sized>(pub &'a T);

#[doc(hidden)]
pub trait ByField {
    fn to_value(&self) -> Value;
}

impl<T: Field + ?Sized> ByField for &&Probe<'_, T> {
    fn to_value(&self) -> Value {
        self.0.value()
    }
}

#[doc(hidden)]
pub trait ByDisplay {
    fn to_value(&self) -> Value;
}

impl<T: Display + ?Sized> ByDisplay for &Probe<'_, T> {
    fn to_value(&self) -> Value {
        Value::text(&self.0.to_string())
    }
}

#[doc(hidden)]
pub trait ByOption {
    fn to_value(&self) -> Value;
}

impl<T: Display> ByOption for Probe<'_, Option<T>> {
    fn to_value(&self) -> Value {
        self.0
            .as_ref()
            .map_or(Value::Absent, |shown| Value::text(&shown.to_string()))
    }
}
