//! What a scraper asks for in its request head.
//!
//! Contract: any header has an answer; who asks for nothing that is offered gets the text format, uncompressed.

use super::Format;

/// The content type of OpenMetrics as we write it.
const OPENMETRICS: (&str, &str) = ("application", "openmetrics-text");

/// The content type of a format.
#[must_use]
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Json => "application/json; charset=utf-8",
    }
}

/// The format that an `Accept` header prefers: OpenMetrics where it is asked for by name and nothing is preferred
/// to it, else the text format.
///
/// Prometheus 2 and 3 send a list of versions of both with falling qualities (RFC 9110 section 12.5.1).
#[must_use]
pub fn negotiate(accept: Option<&str>) -> Format {
    let accept = accept.unwrap_or("*/*");
    let text = best(accept, ("text", "plain"), "0.0.4");
    let openmetrics = best(accept, OPENMETRICS, "1.0.0");
    let by_name = openmetrics.exactness == 3 && openmetrics.quality >= text.quality;
    if openmetrics.quality > 0 && (by_name || openmetrics.quality > text.quality) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Whether an `Accept-Encoding` header allows gzip and does not prefer the plain form (RFC 9110 section 12.5.3).
#[must_use]
pub fn wants_gzip(accept_encoding: Option<&str>) -> bool {
    let mut gzip = None;
    let mut any = None;
    let mut identity = None;
    for entry in accept_encoding.unwrap_or_default().split(',') {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let quality = quality(parameters);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = gzip.max(Some(quality)),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// How a header rates something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rating {
    /// 1 for `*/*`, 2 for `type/*`, 3 for the name; 0 if it is not there.
    exactness: u8,
    /// In thousandths.
    quality: u16,
}

/// The rating by the most exact entry; among equals the highest counts.
fn best(accept: &str, (major, minor): (&str, &str), version: &str) -> Rating {
    let rate = |entry: &str| {
        let (range, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let (main, sub) = range.trim().split_once('/')?;
        let exactness = match (main, sub) {
            ("*", "*") => 1,
            (main, "*") if main.eq_ignore_ascii_case(major) => 2,
            (main, sub) if main.eq_ignore_ascii_case(major) && sub.eq_ignore_ascii_case(minor) => 3,
            _ => return None,
        };
        let other = parameter(parameters, "version").is_some_and(|asked| asked != version);
        (!other).then(|| Rating {
            exactness,
            quality: quality(parameters),
        })
    };
    accept.split(',').filter_map(rate).max().unwrap_or_default()
}

/// The value of a parameter, without quotation marks.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

/// The `q` parameter in thousandths; an unreadable one is as good as none.
fn quality(parameters: &str) -> u16 {
    let quality = parameter(parameters, "q").and_then(|text| text.parse::<f64>().ok());
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is between 0 and 1,000, and NaN becomes 0"
    )]
    let thousandths = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0).round() as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_ask_for() {
        for (accept, expected) in [
            (None, Format::Text),
            (Some(""), Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (
                Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                Format::Text,
            ),
            // Prometheus 2.42 and its neighbours.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            // Prometheus 2 with native histograms.
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            // Prometheus 3.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                Format::OpenMetrics,
            ),
            // Prometheus 3 told to scrape the text format first.
            (
                Some(
                    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
                ),
                Format::Text,
            ),
            // An old one that knows only the draft.
            (
                Some("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
                Format::Text,
            ),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (
                Some("Application/OpenMetrics-Text; Version=\"1.0.0\""),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text, text/plain"),
                Format::OpenMetrics,
            ),
            (Some("application/openmetrics-text;q=0, */*"), Format::Text),
            (
                Some("application/openmetrics-text;q=0.3, text/*;q=0.4"),
                Format::Text,
            ),
            (Some("application/*"), Format::OpenMetrics),
            (Some("application/json;q=, ;;=,/"), Format::Text),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn gzip_is_sent_where_it_is_welcome() {
        for (accept, expected) in [
            (None, false),
            (Some("gzip"), true),
            (Some("GZIP;q=0.5, deflate"), true),
            (Some("br, x-gzip"), true),
            (Some("gzip;q=0"), false),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("gzip;q=0, *"), false),
            (Some("identity, gzip;q=0.5"), false),
            (Some("identity;q=0.5, gzip"), true),
            (Some("gzip;q=NaN"), false),
            (Some("br"), false),
        ] {
            assert_eq!(wants_gzip(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn content_types_name_their_version() {
        assert_eq!(
            content_type(Format::Text),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert_eq!(
            content_type(Format::OpenMetrics),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
    }
}
