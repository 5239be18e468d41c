//! One place, as far as it may be known.
//!
//! Contract: coordinates are rounded to a tenth of a degree, some ten kilometres, before anybody sees them.

use std::fmt;
use std::net::IpAddr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::country;

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The country's code (ISO 3166-1 alpha-2).
    pub iso: String,
    /// The country's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The part of the country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The city's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// A record of a database: MaxMind's layout, which DB-IP follows.
#[derive(Debug, Deserialize)]
pub(crate) struct Record<'a> {
    #[serde(borrow, default)]
    country: Country<'a>,
    #[serde(borrow, default)]
    registered_country: Country<'a>,
    #[serde(borrow, default)]
    subdivisions: Vec<Named<'a>>,
    #[serde(borrow, default)]
    city: Named<'a>,
    #[serde(default)]
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow, default)]
    names: Names<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    names: Names<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
struct Location {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// Some databases have them in single precision, some in double.
#[derive(Debug)]
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Precision;

        impl Visitor<'_> for Precision {
            type Value = Degrees;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("degrees")
            }

            fn visit_f32<E>(self, degrees: f32) -> Result<Degrees, E> {
                Ok(Degrees(degrees.into()))
            }

            fn visit_f64<E>(self, degrees: f64) -> Result<Degrees, E> {
                Ok(Degrees(degrees))
            }
        }

        deserializer.deserialize_any(Precision)
    }
}

impl Place {
    /// The place of a record; none without a country, or without any coordinates.
    pub(crate) fn of(record: Record<'_>) -> Option<Self> {
        // An address may have an owner's country only.
        let country = match record.country.iso_code {
            Some(_) => record.country,
            None => record.registered_country,
        };
        let iso = country.iso_code?;
        let Location { latitude, longitude } = record.location;
        let known = |&(latitude, longitude): &(f64, f64)| latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        let (lat, lon) = latitude
            .zip(longitude)
            .map(|(Degrees(latitude), Degrees(longitude))| (latitude, longitude))
            .filter(known)
            .or_else(|| country::middle(iso))?;
        Some(Self {
            iso: iso.to_owned(),
            country: country.names.text(),
            region: record.subdivisions.first().and_then(|region| region.names.text()),
            city: record.city.names.text(),
            lat: coarse(lat),
            lon: coarse(lon),
        })
    }
}

impl Names<'_> {
    fn text(&self) -> Option<String> {
        self.en.filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

/// Adding zero turns the negative zero, which would be printed with its sign, into the other one.
fn coarse(degrees: f64) -> f64 {
    (degrees * 10.0).round() / 10.0 + 0.0
}

/// Whether an address is of a network that is nowhere on the map.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // RFC 6598: what providers share among their customers.
            let shared = first == 100 && second & 0b1100_0000 == 64;
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || shared
                || first == 0
                || first >= 240
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_nowhere() {
        for (ip, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("127.0.0.1", true),
            ("169.254.1.1", true),
            ("0.0.0.0", true),
            ("255.255.255.255", true),
            ("224.0.0.1", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("::", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("ff02::1", true),
            ("2001:4860:4860::8888", false),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }

    #[test]
    fn coordinates_are_coarse() {
        for (exact, expected) in [(52.52437, 52.5), (13.4105, 13.4), (-0.04, 0.0), (-33.867, -33.9)] {
            assert_eq!(coarse(exact).to_string(), f64::to_string(&expected));
        }
    }
}
