//! Asks a provider.
//!
//! Contract: every exchange ends within ten seconds, and at most a mebibyte is read. Errors are for the operator and
//! hold no secret.

use std::time::Duration;

use config::{Config, OidcProvider};
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use outbound::{Allow, Client, Limits, Policy, Request};
use serde_json::Value;
use url::Url;

/// Longest answer.
const LONGEST: usize = 1024 * 1024;
/// How long documents of providers hold that say nothing about it.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
/// Documents are asked for on behalf of anybody, so not more often than this whatever their headers say.
const SHORTEST_AGE: Duration = Duration::from_secs(60);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_ok: bool,
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) fresh_for: Duration,
}

/// Where a provider may be asked. Those of the operator's own file are often on the same network, so every address is
/// allowed. Those of cloud metadata services are not: no provider is there. What came by the API reaches no further than
/// anything else that does.
pub(crate) fn policy(config: &Config, provider: &OidcProvider) -> Policy {
    if provider.guarded {
        return Policy::of_config(config);
    }
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse::<Allow>().expect("both are networks"));
    Policy::new(&everything)
}

pub(crate) fn get(url: Url) -> Request {
    let mut limits = limits();
    limits.redirects = 3;
    Request::get(url, limits).with(ACCEPT, HeaderValue::from_static("application/json"))
}

/// Redirects are not followed: they would carry the secret elsewhere.
pub(crate) fn form<'a>(url: Url, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request {
    let mut limits = limits();
    limits.redirects = 0;
    Request::form(url, fields, limits).with(ACCEPT, HeaderValue::from_static("application/json"))
}

fn limits() -> Limits {
    let mut limits = Limits::webhook();
    limits.whole = Some(Duration::from_secs(10));
    limits
}

pub(crate) async fn send(client: &Client, request: Request) -> Result<Answer, String> {
    let mut response = client
        .send(request)
        .await
        .map_err(|failure| failure.to_string())?;
    let body = response
        .body
        .read_limited(LONGEST)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status_text();
    if !body.is_complete {
        return Err(format!("{status}: the answer is over 1 MiB"));
    }
    let json =
        serde_json::from_slice(&body.bytes).map_err(|_| format!("{status}: the answer is not JSON"))?;
    Ok(Answer {
        is_ok: response.status.is_success(),
        status: response.status.as_u16(),
        json,
        fresh_for: fresh_for(&response.headers),
    })
}

/// How long an answer may be kept (RFC 9111 section 5.2.2).
fn fresh_for(headers: &HeaderMap) -> Duration {
    let values = headers
        .get_all(CACHE_CONTROL)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut age = DEFAULT_AGE;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return SHORTEST_AGE;
        }
        let seconds = directive
            .strip_prefix("max-age=")
            .map(|text| text.trim_matches('"'));
        if let Some(seconds) = seconds.and_then(|text| text.parse().ok()) {
            age = Duration::from_secs(seconds);
        }
    }
    age.clamp(SHORTEST_AGE, LONGEST_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_as_they_say() {
        for (values, seconds) in [
            (&[][..], 3600),
            (&["public, max-age=600, must-revalidate"], 600),
            (&["Max-Age=\"7200\""], 7200),
            (&["public", "max-age=120"], 120),
            (&["max-age=5"], 60),
            (&["max-age=99999999999999"], 86_400),
            (&["max-age=-1"], 3600),
            (&["max-age=600, no-store"], 60),
            (&["no-cache"], 60),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            assert_eq!(fresh_for(&headers).as_secs(), seconds, "{values:?}");
        }
    }

    #[test]
    fn the_operators_own_providers_are_anywhere_but_at_metadata_and_guarded_ones_outside() {
        let config = Config::default();
        let own = OidcProvider::new("idp".into());
        let mut guarded = own.clone();
        guarded.guarded = true;
        for (url, allowed) in [
            ("https://radio.example/", (true, true)),
            ("http://127.0.0.1:8080/", (true, false)),
            ("https://localhost/", (true, false)),
            ("https://10.0.0.1/", (true, false)),
            ("https://[fd00::1]/", (true, false)),
            ("http://169.254.169.254/", (false, false)),
            ("ftp://radio.example/", (false, false)),
        ] {
            let check = |provider| policy(&config, provider).check_url(&url.parse().unwrap()).is_ok();
            assert_eq!((check(&own), check(&guarded)), allowed, "{url}");
        }
    }
}
