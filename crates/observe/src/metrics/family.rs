//! Metrics with labels whose values are known when the program is built.
//!
//! Contract: the label values are closed sets, so the number of series is bounded and each handle is an index.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::{Counter, Gauge, Histogram};

/// One label with a closed set of values. Make one with [`label!`](crate::label!).
pub trait Label: Copy + 'static {
    /// The values, as exposed.
    const VALUES: &'static [&'static str];
    /// The place of this value in [`Label::VALUES`].
    fn index(self) -> usize;
}

/// One label or several together.
pub trait Labels: Copy + 'static {
    /// How many combinations there are.
    const COUNT: usize;
    /// The place of this combination.
    fn index(self) -> usize;
    /// The values of the combination at a place.
    fn values(index: usize) -> Vec<&'static str>;
}

impl<A: Label> Labels for A {
    const COUNT: usize = A::VALUES.len();
    fn index(self) -> usize {
        Label::index(self)
    }
    fn values(index: usize) -> Vec<&'static str> {
        vec![A::VALUES[index]]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const COUNT: usize = A::VALUES.len() * B::VALUES.len();
    fn index(self) -> usize {
        self.0.index() * B::VALUES.len() + self.1.index()
    }
    fn values(index: usize) -> Vec<&'static str> {
        vec![
            A::VALUES[index / B::VALUES.len()],
            B::VALUES[index % B::VALUES.len()],
        ]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const COUNT: usize = A::VALUES.len() * B::VALUES.len() * C::VALUES.len();
    fn index(self) -> usize {
        (self.0.index() * B::VALUES.len() + self.1.index()) * C::VALUES.len() + self.2.index()
    }
    fn values(index: usize) -> Vec<&'static str> {
        let (rest, c) = (index / C::VALUES.len(), index % C::VALUES.len());
        let (a, b) = (rest / B::VALUES.len(), rest % B::VALUES.len());
        vec![A::VALUES[a], B::VALUES[b], C::VALUES[c]]
    }
}

/// One value per combination of labels, made when the first is asked for.
pub struct Table<L, V> {
    values: OnceLock<Box<[V]>>,
    make: fn() -> V,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, V> Table<L, V> {
    /// A table whose values start as `make` says.
    #[must_use]
    pub const fn new(make: fn() -> V) -> Self {
        Self {
            values: OnceLock::new(),
            make,
            labels: PhantomData,
        }
    }

    /// The handle of one combination. Keep it where it is used often.
    pub fn of(&self, labels: L) -> &V {
        &self.all()[labels.index()]
    }

    /// All values, in the order of [`Labels::values`].
    pub fn all(&self) -> &[V] {
        self.values
            .get_or_init(|| (0..L::COUNT).map(|_| (self.make)()).collect())
    }
}

impl<L, V> fmt::Debug for Table<L, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Table").finish_non_exhaustive()
    }
}

/// Counters by label.
pub type Counters<L> = Table<L, Counter>;
/// Gauges by label.
pub type Gauges<L> = Table<L, Gauge>;
/// Histograms by label.
pub type Histograms<L> = Table<L, Histogram>;

/// Defines a label: an enumeration whose values have names in metrics.
#[macro_export]
macro_rules! label {
    ($($(#[$meta:meta])* $visible:vis enum $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visible enum $name { $(#[doc = $text] $(#[$inner])* $variant),+ }

        impl $name {
            /// As in metrics and logs.
            #[must_use]
            #[allow(dead_code, reason = "not every label is also logged")]
            $visible const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::metrics::Label for $name {
            const VALUES: &'static [&'static str] = &[$($text),+];
            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}
