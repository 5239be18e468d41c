//! The macro that defines a crate's metrics.

/// Defines metrics as statics that are also [`Metric`](crate::metrics::Metric)s; see the module's example.
///
/// Kinds: `Counter`, `Gauge`, `Histogram`, and with labels `Counters<L>`, `Gauges<L>`, `Histograms<L>`. A
/// histogram ends with `, seconds &[…]` for durations or `, plain &[…]` for other numbers.
#[macro_export]
macro_rules! metrics {
    () => {};
    ($(#[$meta:meta])* $visible:vis static $name:ident: Counter = $text:literal: $help:literal; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Counter> =
            $crate::metrics::Named::new($text, $help, &[], $crate::metrics::Counter::new());
        $crate::metrics! { $($rest)* }
    };
    ($(#[$meta:meta])* $visible:vis static $name:ident: Gauge = $text:literal: $help:literal; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Gauge> =
            $crate::metrics::Named::new($text, $help, &[], $crate::metrics::Gauge::new());
        $crate::metrics! { $($rest)* }
    };
    ($(#[$meta:meta])* $visible:vis static $name:ident: Histogram = $text:literal: $help:literal, $unit:ident $bounds:expr; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Histogram> =
            $crate::metrics::Named::new($text, $help, &[], $crate::metrics::Histogram::$unit($bounds));
        $crate::metrics! { $($rest)* }
    };
    ($(#[$meta:meta])* $visible:vis static $name:ident: Counters<$labels:ty> = $text:literal {$($label:literal),+}: $help:literal; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Counters<$labels>> =
            $crate::metrics::Named::new($text, $help, &[$($label),+],
                $crate::metrics::Counters::new($crate::metrics::Counter::new));
        $crate::metrics! { $($rest)* }
    };
    ($(#[$meta:meta])* $visible:vis static $name:ident: Gauges<$labels:ty> = $text:literal {$($label:literal),+}: $help:literal; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Gauges<$labels>> =
            $crate::metrics::Named::new($text, $help, &[$($label),+],
                $crate::metrics::Gauges::new($crate::metrics::Gauge::new));
        $crate::metrics! { $($rest)* }
    };
    ($(#[$meta:meta])* $visible:vis static $name:ident: Histograms<$labels:ty> = $text:literal {$($label:literal),+}: $help:literal, $unit:ident $bounds:expr; $($rest:tt)*) => {
        $(#[$meta])* $visible static $name: $crate::metrics::Named<$crate::metrics::Histograms<$labels>> =
            $crate::metrics::Named::new($text, $help, &[$($label),+],
                $crate::metrics::Histograms::new(|| $crate::metrics::Histogram::$unit($bounds)));
        $crate::metrics! { $($rest)* }
    };
}
