//! Cross-site request forgery: whether a change was sent by a page of ours, or by nobody's page.
//!
//! Contract: pure, and tokens are compared in constant time and never told. What a foreign page can make a browser
//! send (forms, pictures, whatever comes with a cookie or with cached Basic credentials) changes nothing. Methods that
//! change nothing do not come here: whoever routes refuses them where something would change.

use std::fmt;
use std::net::IpAddr;

use subtle::ConstantTimeEq as _;

use crate::auth::Auth;
use crate::caller::Authorization;
use crate::metrics::CSRF_REFUSALS;
use crate::trail::{CsrfRefused, quote};

/// What is known of a request that would change something.
#[derive(Clone, Copy)]
pub struct ChangeRequest<'a> {
    /// Whether its path, as it was routed, is below `/api/`.
    pub is_api: bool,
    /// Its `Content-Type`; parameters may be left out.
    pub media_type: &'a str,
    /// The header `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// Origins that are ours: the one that the request was sent to, and that of `base_url`. Empty ones are none.
    pub own_origins: &'a [&'a str],
    /// The header `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The cookie `sid`.
    pub sid: Option<&'a str>,
    /// The header `X-CSRF-Token`, else the form field `csrf`.
    pub token: Option<&'a str>,
}

impl fmt::Debug for ChangeRequest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChangeRequest")
            .field("is_api", &self.is_api)
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

/// What a request would act with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carried<'a> {
    /// Nothing: it signs in, or will be refused for want of credentials.
    Nothing,
    /// What no browser sends by itself: a token, or the password of a source where a source may speak.
    Explicit,
    /// The cookie of a session with this token.
    Session {
        /// The token that the session's pages know.
        csrf: &'a str,
    },
    /// A password, which browsers remember and send again.
    Basic,
}

impl fmt::Debug for Carried<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Carried::Nothing => "Nothing",
            Carried::Explicit => "Explicit",
            Carried::Session { .. } => "Session",
            Carried::Basic => "Basic",
        })
    }
}

observe::label! {
    /// Why a change is refused. The client is told no more than `Forbidden`.
    pub enum CsrfRefusal {
        ForeignSite = "foreign_site",
        ForeignOrigin = "foreign_origin",
        MissingToken = "missing_token",
        WrongToken = "wrong_token",
        BasicForm = "basic_form",
    }
}

impl fmt::Display for CsrfRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Forbidden")
    }
}

impl std::error::Error for CsrfRefusal {}

/// Whether a change may go on, given what it would act with.
///
/// # Errors
/// The reason, for the trail.
pub fn check_csrf(request: &ChangeRequest<'_>, carried: Carried<'_>) -> Result<(), CsrfRefusal> {
    if carried == Carried::Explicit {
        return Ok(());
    }
    let site = request.sec_fetch_site.map(str::trim);
    let is = |word: &str| site.is_some_and(|site| site.eq_ignore_ascii_case(word));
    if is("cross-site") || is("same-site") {
        return Err(CsrfRefusal::ForeignSite);
    }
    let from_us = request
        .origin
        .map(|origin| is_one_of(origin, request.own_origins));
    // Words of the future say nothing, so the origin has to.
    let site_is_told = is("same-origin") || is("none");
    if !site_is_told && from_us == Some(false) {
        return Err(CsrfRefusal::ForeignOrigin);
    }
    match carried {
        Carried::Nothing | Carried::Explicit => Ok(()),
        // No page can send this to another site without asking, and it is not told yes.
        _ if request.is_api && is_json(request.media_type) => Ok(()),
        Carried::Basic => Err(CsrfRefusal::BasicForm),
        Carried::Session { csrf } => match request.token {
            Some(token) if !csrf.is_empty() && bool::from(token.as_bytes().ct_eq(csrf.as_bytes())) => Ok(()),
            _ if is("same-origin") || from_us == Some(true) => Ok(()),
            Some(_) => Err(CsrfRefusal::WrongToken),
            None => Err(CsrfRefusal::MissingToken),
        },
    }
}

fn is_json(media_type: &str) -> bool {
    let media = media_type.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json")
}

fn is_one_of(origin: &str, own: &[&str]) -> bool {
    let Some(origin) = parse_origin(origin) else {
        return false;
    };
    own.iter().any(|own| parse_origin(own).as_ref() == Some(&origin))
}

/// Scheme, host and port of `https://host:port`, brought into one form; `null` and the like are no origin.
fn parse_origin(text: &str) -> Option<(String, String, u16)> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let colon = match authority.rfind(']') {
        Some(end) => authority[end..].find(':').map(|at| end + at),
        None => authority.find(':'),
    };
    let (host, port) = match colon {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()?),
        None => (authority, usual),
    };
    let plain = |letter: char| !matches!(letter, '/' | '@' | '?' | '#' | '\\') && !letter.is_whitespace();
    (!host.is_empty() && host.chars().all(plain)).then(|| (scheme, host.to_ascii_lowercase(), port))
}

impl Auth {
    /// Whether a change may go on. A refusal is written into the trail.
    ///
    /// # Errors
    /// See [`CsrfRefusal`]; answer 403.
    pub fn check_csrf(&self, ip: IpAddr, request: &ChangeRequest<'_>) -> Result<(), CsrfRefusal> {
        let authorization = Authorization::read(request.authorization);
        let session = match authorization {
            Authorization::Bearer(_) => None,
            _ => request.sid.and_then(|sid| self.session_of(sid)),
        };
        let carried = match (&authorization, &session) {
            (Authorization::Bearer(_), _) => Carried::Explicit,
            (_, Some((session, _))) => Carried::Session { csrf: &session.csrf },
            (Authorization::Basic(_), None) => Carried::Basic,
            _ => Carried::Nothing,
        };
        check_csrf(request, carried).inspect_err(|refusal| {
            CSRF_REFUSALS.of(*refusal).inc();
            let user = session.as_ref().map_or("unknown", |(_, user)| user);
            observe::emit(CsrfRefused {
                user: &quote(user),
                ip: ip.to_canonical(),
                reason: refusal.as_str(),
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "5f5f";
    const OWN: &[&str] = &["http://radio.example:8000", "https://radio.example", ""];

    /// A request in a line: `api` or `page`, the media type, then `site=`, `origin=` and `token=` where present.
    fn request(line: &str) -> ChangeRequest<'_> {
        let mut words = line.split(' ');
        let mut request = ChangeRequest {
            is_api: words.next() == Some("api"),
            media_type: words.next().unwrap_or_default(),
            sec_fetch_site: None,
            origin: None,
            own_origins: OWN,
            authorization: None,
            sid: None,
            token: None,
        };
        for word in words {
            match word.split_once('=').unwrap() {
                ("site", value) => request.sec_fetch_site = Some(value),
                ("origin", value) => request.origin = Some(value),
                ("token", value) => request.token = Some(value),
                other => panic!("{other:?}"),
            }
        }
        request
    }

    const FORM: &str = "application/x-www-form-urlencoded";

    /// The decisions for nothing, a token, a session and Basic.
    fn check(line: &str, expected: [&str; 4]) {
        let line = line.replace("FORM", FORM);
        let seen = [
            Carried::Nothing,
            Carried::Explicit,
            Carried::Session { csrf: TOKEN },
            Carried::Basic,
        ]
        .map(|carried| match check_csrf(&request(&line), carried) {
            Ok(()) => "pass",
            Err(refusal) => refusal.as_str(),
        });
        assert_eq!(seen, expected, "{line}");
    }

    #[test]
    fn the_rules_in_order() {
        let (site, origin) = ("foreign_site", "foreign_origin");
        let (none, wrong, basic) = ("missing_token", "wrong_token", "basic_form");
        for (line, expected) in [
            // JSON below /api/ cannot be sent from elsewhere.
            ("api application/json", ["pass", "pass", "pass", "pass"]),
            (
                "api application/json;charset=utf-8",
                ["pass", "pass", "pass", "pass"],
            ),
            ("api Application/JSON", ["pass", "pass", "pass", "pass"]),
            ("page application/json", ["pass", "pass", none, basic]),
            // What only looks like it.
            ("api text/plain;x=application/json", ["pass", "pass", none, basic]),
            ("api application/jsonp", ["pass", "pass", none, basic]),
            ("api application/json,text/plain", ["pass", "pass", none, basic]),
            ("api text/plain", ["pass", "pass", none, basic]),
            (
                "api multipart/form-data;boundary=x",
                ["pass", "pass", none, basic],
            ),
            ("api FORM", ["pass", "pass", none, basic]),
            ("api ", ["pass", "pass", none, basic]),
            ("page FORM", ["pass", "pass", none, basic]),
            // The token.
            ("page FORM token=5f5f", ["pass", "pass", "pass", basic]),
            ("page FORM token=5f5e", ["pass", "pass", wrong, basic]),
            ("page FORM token=5f5", ["pass", "pass", wrong, basic]),
            ("page FORM token=", ["pass", "pass", wrong, basic]),
            // Where it comes from.
            ("page FORM site=same-origin", ["pass", "pass", "pass", basic]),
            ("page FORM site=none", ["pass", "pass", none, basic]),
            ("page FORM site=cross-site token=5f5f", [site, "pass", site, site]),
            ("page FORM site=same-site token=5f5f", [site, "pass", site, site]),
            ("api application/json site=cross-site", [site, "pass", site, site]),
            ("api application/json site=CROSS-SITE", [site, "pass", site, site]),
            ("api application/json site=same-site", [site, "pass", site, site]),
            ("api application/json site=none", ["pass", "pass", "pass", "pass"]),
            (
                "page FORM origin=http://radio.example:8000",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM origin=https://radio.example",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM origin=https://radio.example:443",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM origin=HTTPS://Radio.Example",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM token=5f5e origin=https://radio.example",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM token=5f5f origin=https://evil.example",
                [origin, "pass", origin, origin],
            ),
            (
                "page FORM token=5f5f origin=http://radio.example",
                [origin, "pass", origin, origin],
            ),
            (
                "page FORM token=5f5f origin=https://radio.example:8443",
                [origin, "pass", origin, origin],
            ),
            (
                "page FORM token=5f5f origin=null",
                [origin, "pass", origin, origin],
            ),
            ("page FORM token=5f5f origin=", [origin, "pass", origin, origin]),
            (
                "api application/json origin=https://radio.example.evil.example",
                [origin, "pass", origin, origin],
            ),
            (
                "api application/json origin=null",
                [origin, "pass", origin, origin],
            ),
            // The browser's word about the site is worth more than names behind a proxy.
            (
                "page FORM site=same-origin origin=http://10.0.0.1",
                ["pass", "pass", "pass", basic],
            ),
            (
                "page FORM site=future origin=https://evil.example",
                [origin, "pass", origin, origin],
            ),
            (
                "page FORM site=future token=5f5f",
                ["pass", "pass", "pass", basic],
            ),
        ] {
            check(line, expected);
        }
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let request = request("page x token=");
        assert_eq!(
            check_csrf(&request, Carried::Session { csrf: "" }),
            Err(CsrfRefusal::WrongToken)
        );
    }

    #[test]
    fn origins_have_one_form() {
        for (text, expected) in [
            ("https://a.example", Some("https a.example 443")),
            ("https://A.example/", Some("https a.example 443")),
            ("http://[2001:db8::1]:8000", Some("http [2001:db8::1] 8000")),
            ("http://[2001:db8::1]", Some("http [2001:db8::1] 80")),
            ("http://a:b@c", None),
            ("http://a/b", None),
            ("http://a:99999", None),
            ("http://", None),
            ("ftp://a", None),
            ("null", None),
            ("", None),
        ] {
            let seen = parse_origin(text).map(|(scheme, host, port)| format!("{scheme} {host} {port}"));
            assert_eq!(seen.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        let request = request("page x token=5f5f");
        let printed = format!("{request:?} {:?}", Carried::Session { csrf: TOKEN });
        assert!(!printed.contains(TOKEN), "{printed}");
    }

    proptest! {
        /// A page elsewhere makes a browser send what needs no permission: three media types, with the true origin or
        /// none at all where the browser is old, and no token that it could know.
        #[test]
        fn no_foreign_page_changes_anything(
            is_api in any::<bool>(),
            media in prop::sample::select(vec![FORM, "multipart/form-data; boundary=application/json", "text/plain;application/json", ""]),
            site in prop::sample::select(vec![None, Some("cross-site"), Some("same-site")]),
            origin in prop::sample::select(vec![None, Some("null"), Some("https://evil.example"), Some("http://radio.example:80")]),
            guess in prop::option::of("[0-9a-f]{0,8}"),
            basic in any::<bool>(),
        ) {
            prop_assume!(guess.as_deref() != Some(TOKEN));
            let request = ChangeRequest {
                is_api,
                media_type: media,
                sec_fetch_site: site,
                origin,
                own_origins: OWN,
                authorization: None,
                sid: None,
                token: guess.as_deref(),
            };
            let carried = if basic { Carried::Basic } else { Carried::Session { csrf: TOKEN } };
            prop_assert!(check_csrf(&request, carried).is_err());
        }
    }
}
