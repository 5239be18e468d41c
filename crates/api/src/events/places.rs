//! Where listeners are, for maps.
//!
//! Contract: a place holds how many listen there to which mount, so that whoever may see some mounts only is told of
//! those and of no other, not even by a sum.

use std::{collections::BTreeMap, sync::OnceLock, time::Instant};

use bytes::Bytes;
use geo::Listeners;
use schemars::JsonSchema;
use serde::Serialize;

use super::tick::json;
use crate::Parts;

/// Shown wherever the places are: a condition of whoever collected them.
pub(crate) const ATTRIBUTION: &str = "GeoIP data: db-ip.com / CC BY 4.0";

/// All places with listeners at one moment, those with the most first.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Vec<Listeners>,
    /// What those are told who may see everything.
    told: OnceLock<Bytes>,
}

/// A place in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Here {
    /// ISO 3166 code of the country.
    iso: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    lat: f64,
    lon: f64,
    pub(crate) listeners: u64,
    /// Listeners by mount.
    mounts: BTreeMap<String, u64>,
}

impl Places {
    /// Looks where the listeners are. Takes its time when there are many.
    pub(crate) fn look(parts: &Parts) -> Self {
        let Some(geo) = parts.geo.load_full() else {
            return Self::default();
        };
        let mounts = parts.mounts.snapshot(Instant::now());
        let mut by_mount = parts.mounts.listeners_by_mount();
        let listeners = mounts.iter().flat_map(|mount| {
            let present = by_mount.remove(&mount.name.to_string()).unwrap_or_default();
            present
                .into_iter()
                .map(|presence| (presence.ip, mount.name.as_str()))
        });
        Self::of(geo.gather(listeners))
    }

    fn of(all: Vec<Listeners>) -> Self {
        Self {
            all,
            told: OnceLock::new(),
        }
    }

    /// What those may know who may see these mounts, the places with the most of their listeners first.
    pub(crate) fn seen_by(&self, may_see: impl Fn(&str) -> bool) -> Vec<Here> {
        let seen = self.all.iter().map(|place| {
            let mounts = place.mounts.iter().filter(|(mount, _)| may_see(mount));
            let mounts: BTreeMap<String, u64> =
                mounts.map(|(mount, count)| (mount.clone(), *count)).collect();
            Here {
                iso: place.iso.clone(),
                country: place.country.clone(),
                city: place.city.clone(),
                lat: place.lat,
                lon: place.lon,
                listeners: mounts.values().sum(),
                mounts,
            }
        });
        let mut seen: Vec<Here> = seen.filter(|here| here.listeners > 0).collect();
        seen.sort_by(|a, b| {
            let order = b.listeners.cmp(&a.listeners);
            let order = order.then_with(|| (&a.iso, &a.city).cmp(&(&b.iso, &b.city)));
            order
                .then_with(|| a.lat.total_cmp(&b.lat))
                .then_with(|| a.lon.total_cmp(&b.lon))
        });
        seen
    }

    /// The same for those who may see everything, written once.
    pub(crate) fn told_everything(&self) -> Bytes {
        self.told.get_or_init(|| json(&self.seen_by(|_| true))).clone()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn place(city: &str, lat: f64, mounts: &[&str]) -> Listeners {
        Listeners {
            iso: "DE".into(),
            country: None,
            city: (!city.is_empty()).then(|| city.into()),
            lat,
            lon: 10.0,
            listeners: mounts.len() as u64,
            mounts: mounts.iter().map(|mount| ((*mount).to_owned(), 1)).collect(),
        }
    }

    /// Two listeners in Berlin on `/a` and `/b`, one in Hamburg on `/b`, and one somewhere in Germany on `/a`.
    pub(crate) fn sample() -> Places {
        Places::of(vec![
            place("Hamburg", 53.6, &["/b"]),
            place("Berlin", 52.5, &["/a", "/b"]),
            place("", 51.0, &["/a"]),
        ])
    }

    #[test]
    fn places_show_only_the_listeners_of_mounts_that_may_be_seen() {
        let seen = |may: &[&str]| {
            let seen = sample().seen_by(|mount| may.contains(&mount));
            let city = |here: &Here| here.city.clone().unwrap_or_default();
            let words = seen
                .iter()
                .map(|here| format!("{}{}{:?}", city(here), here.listeners, here.mounts));
            words.collect::<Vec<_>>().join(" ")
        };
        for (may, expected) in [
            (
                &["/a", "/b"][..],
                r#"Berlin2{"/a": 1, "/b": 1} 1{"/a": 1} Hamburg1{"/b": 1}"#,
            ),
            (&["/b"], r#"Berlin1{"/b": 1} Hamburg1{"/b": 1}"#),
            (&["/c"], ""),
        ] {
            assert_eq!(seen(may), expected);
        }
        let whole: serde_json::Value = serde_json::from_slice(&sample().told_everything()).unwrap();
        assert_eq!(
            whole[1],
            serde_json::json!({
                "iso": "DE", "lat": 51.0, "lon": 10.0, "listeners": 1, "mounts": {"/a": 1},
            })
        );
    }
}
