//! Everything a `SOURCE` or `PUT` request says.

use std::num::NonZeroU32;

use http::{HeaderMap, Method, header};

use crate::{StationInfo, station, text};

/// Which of the two methods a source used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceMethod {
    /// Icecast's own method.
    Source,
    /// HTTP's.
    Put,
}

/// A source's request, read once. How its body is delimited is told by whoever parsed the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOffer {
    /// Which method was used.
    pub method: SourceMethod,
    /// What the source says of the station.
    pub station: StationInfo,
    /// The declared type, which may be missing or wrong.
    pub content_type: Option<String>,
    /// The encoder.
    pub user_agent: Option<String>,
    /// Interval of the metadata blocks that the source interleaves; they must be removed.
    pub metaint: Option<NonZeroU32>,
}

impl SourceMethod {
    /// `None` for every other method.
    #[must_use]
    pub fn of(method: &Method) -> Option<Self> {
        match method.as_str() {
            "SOURCE" => Some(Self::Source),
            "PUT" => Some(Self::Put),
            _ => None,
        }
    }
}

impl SourceOffer {
    /// Reads a request.
    #[must_use]
    pub fn read(method: SourceMethod, headers: &HeaderMap) -> Self {
        Self {
            method,
            station: StationInfo::from_headers(headers),
            content_type: text::header(headers, header::CONTENT_TYPE),
            user_agent: text::header(headers, header::USER_AGENT),
            metaint: station::metaint(headers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_methods_publish() {
        for (name, method) in [
            ("SOURCE", Some(SourceMethod::Source)),
            ("PUT", Some(SourceMethod::Put)),
            ("GET", None),
            ("source", None),
            ("POST", None),
        ] {
            assert_eq!(
                SourceMethod::of(&Method::from_bytes(name.as_bytes()).unwrap()),
                method,
                "{name}"
            );
        }
    }
}
