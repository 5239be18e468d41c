//! What is exposed: the listed metrics and the collectors.
//!
//! Contract: listing happens at the start of the program; a scrape holds the list's lock only to copy the list, and
//! a collector that panics costs its own families.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use super::exposition::{Exposition, Family, Format, Kind};
use super::family::{Labels, Table};
use super::{Counter, Gauge, Histogram};

/// Something that can be exposed.
pub trait Metric: Sync {
    /// Its name, as exposed.
    fn name(&self) -> &'static str;
    /// Writes its family.
    fn expose(&self, out: &mut Exposition);
}

/// A value with its name, help text and label names.
pub struct Named<V> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    value: V,
}

impl<V> Named<V> {
    /// For the `metrics!` macro.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        value: V,
    ) -> Self {
        Self {
            name,
            help,
            labels,
            value,
        }
    }
}

impl<V> Deref for Named<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> fmt::Debug for Named<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Named({})", self.name)
    }
}

/// A table of more combinations than this shows only those that ever counted: most of routes by methods by results
/// never happen. A smaller one shows all, so that a rate is known from the first event on.
const MOST_IDLE: usize = 64;

/// A value that knows how to be a sample.
pub trait Sampled {
    /// What kind of family it makes.
    const KIND: Kind;
    /// Whether it never counted anything.
    fn is_idle(&self) -> bool;
    /// Adds itself.
    fn sample(&self, family: &mut Family<'_>, labels: &[(&str, &str)]);
}

impl Sampled for Counter {
    const KIND: Kind = Kind::Counter;
    fn is_idle(&self) -> bool {
        self.get() == 0
    }
    fn sample(&self, family: &mut Family<'_>, labels: &[(&str, &str)]) {
        family.sample(labels, self.get());
    }
}

impl Sampled for Gauge {
    const KIND: Kind = Kind::Gauge;
    fn is_idle(&self) -> bool {
        // A gauge that left its idle state must not vanish when it comes back to 0.
        false
    }
    fn sample(&self, family: &mut Family<'_>, labels: &[(&str, &str)]) {
        family.sample(labels, self.get());
    }
}

impl Sampled for Histogram {
    const KIND: Kind = Kind::Histogram;
    fn is_idle(&self) -> bool {
        self.snapshot().count() == 0
    }
    fn sample(&self, family: &mut Family<'_>, labels: &[(&str, &str)]) {
        family.histogram(labels, &self.snapshot());
    }
}

/// What a [`Named`] may hold: one value or a table of them.
pub trait Exposed: Sync {
    /// Writes the family.
    fn expose(&self, name: &'static str, help: &'static str, labels: &[&'static str], out: &mut Exposition);
}

impl<V: Sampled + Sync> Exposed for V {
    fn expose(&self, name: &'static str, help: &'static str, _: &[&'static str], out: &mut Exposition) {
        self.sample(&mut out.family(name, V::KIND, help), &[]);
    }
}

impl<L: Labels, V: Sampled + Sync + Send> Exposed for Table<L, V> {
    fn expose(&self, name: &'static str, help: &'static str, labels: &[&'static str], out: &mut Exposition) {
        let mut family = out.family(name, V::KIND, help);
        for (index, value) in self.all().iter().enumerate() {
            if L::COUNT > MOST_IDLE && value.is_idle() {
                continue;
            }
            let values = L::values(index);
            let pairs: Vec<_> = labels.iter().copied().zip(values).collect();
            value.sample(&mut family, &pairs);
        }
    }
}

impl<V: Exposed> Metric for Named<V> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn expose(&self, out: &mut Exposition) {
        self.value.expose(self.name, self.help, self.labels, out);
    }
}

type Collector = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

#[derive(Clone, Default)]
struct Registry {
    metrics: Vec<&'static dyn Metric>,
    collectors: Vec<Collector>,
}

/// Held to add at the start of the program, and by scrapes.
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are counted by this registry"
)]
static REGISTRY: LazyLock<parking_lot::RwLock<Registry>> = LazyLock::new(Default::default);

/// Lists metrics for good. A name that is listed already is not listed twice.
pub fn register(metrics: &[&'static dyn Metric]) {
    let mut registry = REGISTRY.write();
    for metric in metrics {
        if registry.metrics.iter().all(|known| known.name() != metric.name()) {
            registry.metrics.push(*metric);
        }
    }
}

/// Has `collect` write more families at each scrape: those whose labels or values are known only then. It must not
/// wait for anything that the media path holds.
pub fn collect_with(collect: impl Fn(&mut Exposition) + Send + Sync + 'static) {
    REGISTRY.write().collectors.push(Arc::new(collect));
}

/// The length of the last scrape: the next one will be about as long.
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Everything, as of now.
#[must_use]
pub fn render(format: Format) -> String {
    let length = LENGTH.load(Ordering::Relaxed);
    let mut out = Exposition::with_capacity(format, length + length / 8);
    let Registry { metrics, collectors } = REGISTRY.read().clone();
    for metric in metrics {
        metric.expose(&mut out);
    }
    for collect in collectors {
        guarded(&mut out, &*collect);
    }
    let text = out.finish();
    LENGTH.store(text.len(), Ordering::Relaxed);
    text
}

/// A collector that panics is reported and what it wrote taken back. While developing its panic goes on.
fn guarded(out: &mut Exposition, collect: &dyn Fn(&mut Exposition)) {
    if cfg!(debug_assertions) {
        return collect(out);
    }
    let place = out.place();
    if crate::task::guard("metrics collector", (), || collect(out)).is_err() {
        out.back_to(place);
    }
}
