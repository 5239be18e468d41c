//! The `event!` macro.

/// Defines event structs: fields, then level, counter name and message.
///
/// * The message is a format string that may name fields: `"IP {ip} locked out"`.
/// * A field's key is its name, or the text after `=>`. Numbers, `bool` and `Duration` (seconds) keep their type,
///   any other `Display` type is text, and a `None` is left out.
/// * `[Auth]` before the level sends the event to the authentication trail, `[Recorder]` keeps it in the flight
///   recorder although its level may be too low for the log.
///
/// ```
/// observe::event! {
///     /// A listener left.
///     pub struct ListenerGone<'a> { mount: &'a str, after: std::time::Duration => "duration" }
///     = Info "listener_gone": "Listener disconnected"
///
///     /// Somebody guessed.
///     pub struct Refused { ip: std::net::IpAddr, tries: u32 }
///     = [Auth] Warn "refused": "Refused {ip} after {tries} tries"
/// }
/// ```
#[macro_export]
macro_rules! event {
    ($(
        $(#[$meta:meta])*
        $visible:vis struct $event:ident $(<$($life:lifetime),+>)? {
            $( $(#[$field_meta:meta])* $field:ident : $type:ty $(=> $key:literal)? ),* $(,)?
        }
        = $([$trail:ident])? $level:ident $name:literal : $message:literal
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        $visible struct $event $(<$($life),+>)? {
            $(
                #[doc = concat!("The field `", stringify!($field), "`.")]
                $(#[$field_meta])*
                $visible $field: $type,
            )*
        }

        impl $(<$($life),+>)? $crate::Event for $event $(<$($life),+>)? {
            const LEVEL: $crate::Level = $crate::Level::$level;
            const TRAIL: $crate::Trail = $crate::event!(@trail $($trail)?);

            fn counter() -> &'static $crate::Counter {
                static COUNTER: $crate::Counter = $crate::Counter::new($name);
                &COUNTER
            }

            #[allow(unused_variables, reason = "a message need not name every field")]
            fn message(&self) -> ::std::borrow::Cow<'static, str> {
                let Self { $($field),* } = self;
                match ::core::format_args!($message) {
                    message => match message.as_str() {
                        Some(fixed) => fixed.into(),
                        None => message.to_string().into(),
                    },
                }
            }

            fn fields(&self) -> $crate::Fields {
                #[allow(unused_imports, reason = "each field needs only one of them")]
                use $crate::macro_support::{ByDisplay as _, ByField as _, ByOption as _};
                #[allow(unused_mut, reason = "an event may have no fields")]
                let mut fields = $crate::Fields::new();
                $( fields.push((
                    $crate::event!(@key $field $($key)?),
                    (&&&$crate::macro_support::Probe(&self.$field)).to_value(),
                )); )*
                fields
            }
        }
    )+};
    (@trail) => { $crate::Trail::Main };
    (@trail $trail:ident) => { $crate::Trail::$trail };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}
