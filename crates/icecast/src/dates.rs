//! The three ways in which dates are written.

use jiff::{Timestamp, tz::TimeZone};

/// RFC 9110 section 5.6.7: `Tue, 02 Sep 2025 08:00:00 GMT`.
pub(crate) fn http(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As mail writes it: `Tue, 02 Sep 2025 08:00:00 +0000`.
pub(crate) fn rfc822(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%a, %d %b %Y %H:%M:%S %z")
        .to_string()
}

/// As Icecast writes ISO 8601, without a colon in the offset: `2025-09-02T08:00:00+0000`.
pub(crate) fn iso8601(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%dT%H:%M:%S%z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn dates_are_written_as_icecast_writes_them() {
        let at: Timestamp = "2025-09-02T08:00:00.9Z".parse().unwrap();
        let kolkata = TimeZone::fixed(Offset::from_seconds(5 * 3600 + 1800).unwrap());
        assert_eq!(http(at), "Tue, 02 Sep 2025 08:00:00 GMT");
        assert_eq!(rfc822(at, &TimeZone::UTC), "Tue, 02 Sep 2025 08:00:00 +0000");
        assert_eq!(iso8601(at, &TimeZone::UTC), "2025-09-02T08:00:00+0000");
        assert_eq!(rfc822(at, &kolkata), "Tue, 02 Sep 2025 13:30:00 +0530");
        assert_eq!(iso8601(at, &kolkata), "2025-09-02T13:30:00+0530");
    }
}
