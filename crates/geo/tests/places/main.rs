//! Places from real files, in the layouts that operators have.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod writer;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use geo::{Geo, GeoError, Place};

use writer::{Value, database};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn named(name: &'static str) -> Value {
    Value::Map(vec![(
        "names",
        Value::Map(vec![("de", Value::Text("anders")), ("en", Value::Text(name))]),
    )])
}

fn country(iso: &'static str, name: &'static str) -> Value {
    Value::Map(vec![
        ("geoname_id", Value::Word(2_921_044)),
        ("iso_code", Value::Text(iso)),
        ("names", Value::Map(vec![("en", Value::Text(name))])),
    ])
}

fn city(
    iso: &'static str,
    land: &'static str,
    region: &'static str,
    name: &'static str,
    at: (f64, f64),
) -> Value {
    Value::Map(vec![
        ("city", named(name)),
        ("continent", Value::Map(vec![("code", Value::Text("EU"))])),
        ("country", country(iso, land)),
        (
            "location",
            Value::Map(vec![
                ("latitude", Value::Double(at.0)),
                ("longitude", Value::Double(at.1)),
            ]),
        ),
        ("subdivisions", Value::List(vec![named(region)])),
    ])
}

fn cities() -> Vec<u8> {
    let berlin = |at| city("DE", "Germany", "Land Berlin", "Berlin", at);
    database(
        "DBIP-City-Lite",
        &[
            ("198.51.100.0/25", berlin((52.5244, 13.4105))),
            ("198.51.100.128/25", berlin((52.4911, 13.3))),
            (
                "203.0.113.0/24",
                city("FR", "France", "Bretagne", "Brest", (48.3904, -4.4861)),
            ),
            (
                "192.0.2.0/25",
                city("US", "United States", "Illinois", "Springfield", (39.8, -89.6)),
            ),
            (
                "192.0.2.128/25",
                city("US", "United States", "Missouri", "Springfield", (37.2, -93.3)),
            ),
            (
                "2001:db8::/32",
                city("JP", "Japan", "Tokyo", "Tokyo", (35.6895, 139.6917)),
            ),
            (
                "10.0.0.0/8",
                city("DE", "Germany", "Nowhere", "Intranet", (1.0, 1.0)),
            ),
        ],
    )
}

fn countries() -> Vec<u8> {
    let only = |country| Value::Map(vec![("country", country)]);
    let owner = Value::Map(vec![("registered_country", country("SE", "Sweden"))]);
    let half = Value::Map(vec![
        ("country", country("AT", "Austria")),
        ("location", Value::Map(vec![("latitude", Value::Float(47.0))])),
    ]);
    let float = Value::Map(vec![
        ("country", country("AT", "Austria")),
        (
            "location",
            Value::Map(vec![
                ("latitude", Value::Float(48.2)),
                ("longitude", Value::Float(16.37)),
            ]),
        ),
    ]);
    let wild = Value::Map(vec![
        ("country", country("AT", "Austria")),
        (
            "location",
            Value::Map(vec![
                ("latitude", Value::Double(f64::NAN)),
                ("longitude", Value::Double(16.37)),
            ]),
        ),
    ]);
    database(
        "GeoLite2-Country",
        &[
            ("198.51.100.0/24", only(country("DE", "Germany"))),
            ("203.0.113.0/24", owner),
            ("192.0.2.0/26", half),
            ("192.0.2.64/26", float),
            ("192.0.2.128/26", wild),
            ("192.0.2.192/27", only(country("ZZ", "Atlantis"))),
            ("192.0.2.224/27", Value::Map(vec![("city", named("Nowhere"))])),
            (
                "192.88.99.0/24",
                Value::Map(vec![("country", Value::Text("Germany"))]),
            ),
        ],
    )
}

/// A file that goes with its test.
struct Database(PathBuf);

impl Database {
    fn new(bytes: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("geo-{}-{:x}.mmdb", std::process::id(), fastrand::u64(..)));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn write(&self, bytes: &[u8], age: u64) {
        fs::write(&self.0, bytes).unwrap();
        let file = File::options().write(true).open(&self.0).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age))
            .unwrap();
    }

    fn open(&self) -> Geo {
        Geo::open(&self.0).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn cities_are_found_with_coarse_coordinates() {
    let file = Database::new(&cities());
    let geo = file.open();
    let berlin = Place {
        iso: "DE".into(),
        country: Some("Germany".into()),
        region: Some("Land Berlin".into()),
        city: Some("Berlin".into()),
        lat: 52.5,
        lon: 13.4,
    };
    assert_eq!(geo.lookup(ip("198.51.100.7")), Some(berlin.clone()));
    assert_eq!(geo.lookup(ip("::ffff:198.51.100.7")), Some(berlin));
    assert_eq!(
        geo.lookup(ip("2001:db8::7")).unwrap().city.as_deref(),
        Some("Tokyo")
    );
    for nowhere in [
        "8.8.8.8",
        "2002::1",
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "127.0.0.1",
        "::1",
    ] {
        assert_eq!(geo.lookup(ip(nowhere)), None, "{nowhere}");
    }
    assert_eq!(geo.built().unwrap().to_string(), "2026-08-10T12:00:00Z");
    geo::check(&file.0).unwrap();
}

#[test]
fn countries_have_a_middle() {
    let file = Database::new(&countries());
    let geo = file.open();
    for (address, expected) in [
        ("198.51.100.1", Some(("DE", Some("Germany"), 51.2, 10.5))),
        ("203.0.113.1", Some(("SE", Some("Sweden"), 60.1, 18.6))),
        ("192.0.2.1", Some(("AT", Some("Austria"), 47.5, 14.6))),
        ("192.0.2.65", Some(("AT", Some("Austria"), 48.2, 16.4))),
        ("192.0.2.129", Some(("AT", Some("Austria"), 47.5, 14.6))),
        ("192.0.2.193", None),
        ("192.0.2.225", None),
        ("192.88.99.1", None),
    ] {
        let place = geo.lookup(ip(address));
        let shown = place
            .as_ref()
            .map(|place| (&*place.iso, place.country.as_deref(), place.lat, place.lon));
        assert_eq!(shown, expected, "{address}");
    }
}

#[test]
fn listeners_are_gathered_by_city() {
    let file = Database::new(&cities());
    let geo = file.open();
    let listeners = [
        ("198.51.100.1", "/live"),
        ("198.51.100.2", "/live"),
        ("198.51.100.200", "/talk"),
        ("203.0.113.1", "/talk"),
        ("192.0.2.1", "/live"),
        ("192.0.2.200", "/live"),
        ("192.168.0.1", "/live"),
        ("8.8.8.8", "/live"),
    ];
    let rows = |listeners: &[(&str, &str)]| {
        let rows = geo.gather(listeners.iter().map(|(address, mount)| (ip(address), *mount)));
        serde_json::to_string(&rows).unwrap()
    };
    let expected = concat!(
        r#"[{"iso":"DE","country":"Germany","city":"Berlin","lat":52.5,"lon":13.3,"listeners":3,"mounts":{"/live":2,"/talk":1}},"#,
        r#"{"iso":"FR","country":"France","city":"Brest","lat":48.4,"lon":-4.5,"listeners":1,"mounts":{"/talk":1}},"#,
        r#"{"iso":"US","country":"United States","city":"Springfield","lat":37.2,"lon":-93.3,"listeners":1,"mounts":{"/live":1}},"#,
        r#"{"iso":"US","country":"United States","city":"Springfield","lat":39.8,"lon":-89.6,"listeners":1,"mounts":{"/live":1}}]"#,
    );
    assert_eq!(rows(&listeners), expected);
    let mut backwards = listeners;
    backwards.reverse();
    assert_eq!(
        rows(&backwards),
        expected,
        "the order of listeners does not matter"
    );
    assert_eq!(rows(&[]), "[]");
}

#[test]
fn countries_without_cities_are_one_row() {
    let file = Database::new(&countries());
    let rows = file
        .open()
        .gather([(ip("198.51.100.1"), "/live"), (ip("198.51.100.2"), "/live")]);
    assert_eq!(
        serde_json::to_string(&rows).unwrap(),
        r#"[{"iso":"DE","country":"Germany","lat":51.2,"lon":10.5,"listeners":2,"mounts":{"/live":2}}]"#
    );
}

#[test]
fn a_new_file_takes_the_place_of_the_old_one_if_it_is_sound() {
    let file = Database::new(&[]);
    fs::remove_file(&file.0).unwrap();
    let geo = Geo::new(&file.0);
    assert!(matches!(geo.refresh(), Err(GeoError::Missing(_))));
    assert!(!geo.is_loaded());

    file.write(&countries(), 1_000);
    assert!(geo.refresh().unwrap());
    assert!(!geo.refresh().unwrap());
    assert_eq!(geo.lookup(ip("198.51.100.1")).unwrap().city, None);

    file.write(&cities(), 2_000);
    assert!(geo.refresh().unwrap());
    assert_eq!(
        geo.lookup(ip("198.51.100.1")).unwrap().city.as_deref(),
        Some("Berlin")
    );
    let age = geo.file_age(SystemTime::UNIX_EPOCH + Duration::from_secs(2_060));
    assert_eq!(age, Some(Duration::from_secs(60)));

    file.write(b"not a database", 3_000);
    assert!(matches!(geo.refresh(), Err(GeoError::Unsound { .. })));
    assert!(!geo.refresh().unwrap(), "the same file is not read again");
    assert!(geo.lookup(ip("198.51.100.1")).is_some());

    fs::remove_file(&file.0).unwrap();
    assert!(matches!(geo.refresh(), Err(GeoError::Missing(_))));
    assert!(geo.lookup(ip("198.51.100.1")).is_some());
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let sound = cities();
    for at in 0..sound.len() {
        for damaged in [sound[..at].to_vec(), {
            let mut bytes = sound.clone();
            bytes[at] ^= 0xff;
            bytes
        }] {
            let file = Database::new(&damaged);
            let _ = geo::check(&file.0);
            if let Ok(geo) = Geo::open(&file.0) {
                for address in ["198.51.100.7", "203.0.113.1", "2001:db8::7", "8.8.8.8"] {
                    let _ = geo.lookup(ip(address));
                    let _ = geo.gather([(ip(address), "/live")]);
                }
            }
        }
    }
    let cut = Database::new(&sound[..sound.len() / 2]);
    assert!(matches!(geo::check(&cut.0), Err(GeoError::Unsound { .. })));
    assert!(matches!(
        Geo::open(std::env::temp_dir()),
        Err(GeoError::Io { .. })
    ));
}
