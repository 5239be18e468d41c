//! Listeners by place, for the map.
//!
//! Contract: the same listeners give the same rows in the same order. A record is decoded once, however many
//! addresses it is of.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use crate::{Database, Place};

/// A place and who listens there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listeners {
    /// The country's code.
    pub iso: String,
    /// The country's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The city's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// How many.
    pub listeners: u64,
    /// How many of each mount.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, u64>,
}

pub(crate) fn gather<M: AsRef<str>>(
    database: &Database,
    listeners: impl IntoIterator<Item = (IpAddr, M)>,
) -> Vec<Listeners> {
    let mut rows: Vec<Listeners> = Vec::new();
    // Records to rows; a city has many records, and many records have no place.
    let mut records: HashMap<usize, Option<usize>> = HashMap::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for (ip, mount) in listeners {
        let Some(record) = database.record(ip) else {
            continue;
        };
        let row = *records.entry(record).or_insert_with(|| {
            let place = database.place(ip)?;
            let row = *places.entry(Key::of(&place)).or_insert(rows.len());
            match rows.get_mut(row) {
                Some(row) => row.also_at(&place),
                None => rows.push(Listeners::at(place)),
            }
            Some(row)
        });
        let Some(row) = row else { continue };
        rows[row].listeners += 1;
        let mount = mount.as_ref();
        match rows[row].mounts.get_mut(mount) {
            Some(count) => *count += 1,
            None => {
                rows[row].mounts.insert(mount.to_owned(), 1);
            }
        }
    }
    rows.sort_by(|a, b| {
        let key = |row: &Listeners| (Reverse(row.listeners), row.iso.clone(), row.city.clone());
        let place = |row: &Listeners| [row.lat, row.lon];
        key(a).cmp(&key(b)).then_with(|| {
            place(a)
                .partial_cmp(&place(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    });
    rows
}

/// What makes two places one: cities of one name in different parts of a country are two.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    iso: String,
    region: Option<String>,
    city: Option<String>,
}

impl Key {
    fn of(place: &Place) -> Self {
        Self {
            iso: place.iso.clone(),
            // Without a city, all of the country is one place: the middle of a part says little.
            region: place.city.as_ref().and(place.region.clone()),
            city: place.city.clone(),
        }
    }
}

impl Listeners {
    fn at(place: Place) -> Self {
        Self {
            iso: place.iso,
            country: place.country,
            city: place.city,
            lat: place.lat,
            lon: place.lon,
            listeners: 0,
            mounts: BTreeMap::new(),
        }
    }

    /// Records of one city differ in their coordinates; the dot on the map shall not jump with who came first.
    fn also_at(&mut self, place: &Place) {
        if [place.lat, place.lon] < [self.lat, self.lon] {
            (self.lat, self.lon) = (place.lat, place.lon);
        }
    }
}
