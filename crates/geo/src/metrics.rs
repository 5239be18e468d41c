//! What is counted about the database of places.
//!
//! Contract: nothing here says where anybody is.

use std::sync::Weak;

use observe::metrics::{Exposition, Kind, Metric};

use crate::Geo;

/// The metrics of this crate, apart from those of [`collector`].
pub const ALL: &[&dyn Metric] = &[&LOADS];

observe::metrics! {
    /// Files that were read.
    pub static LOADS: Counters<Loaded> = "tinyice_geo_loads_total" {"result"}:
        "New files with a database of places by result; a failed one leaves the one before in use.";
}

observe::label! {
    /// How reading a file ended.
    pub enum Loaded {
        Ok = "ok",
        Failed = "failed",
    }
}

/// Writes the families that depend on the state of a [`Geo`], for `observe::metrics::collect_with`.
pub fn collector(geo: Weak<Geo>) -> impl Fn(&mut Exposition) + Send + Sync + 'static {
    move |out| {
        let Some(geo) = geo.upgrade() else { return };
        out.family(
            "tinyice_geo_loaded",
            Kind::Gauge,
            "Whether a database of places is in use.",
        )
        .sample(&[], u64::from(geo.is_loaded()));
        if let Some(built) = geo.built() {
            out.family(
                "tinyice_geo_built_timestamp_seconds",
                Kind::Gauge,
                "When the database of places in use was made.",
            )
            .sample(&[], built.as_second().unsigned_abs());
        }
    }
}
