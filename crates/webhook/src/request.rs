//! One request to a hook: address, headers and body.
//!
//! Contract: what operators write cannot break the framing of a request, name another host, or take the place of
//! the headers that identify a delivery. Rendering is bounded and never panics.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use config::Webhook;
use http::{
    HeaderMap, Method,
    header::{self, HeaderName, HeaderValue},
};
use jiff::Timestamp;
use outbound::{Limits, Request};
use url::Url;

use crate::{
    context::Context,
    notice,
    secret::{self, MASK},
    signature,
    template::{self, Template},
};

/// Headers that belong to the connection or frame the message.
const FORBIDDEN: &[&str] = &[
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Headers that are shown to people by services such as ntfy, which decode RFC 2047.
const SHOWN: &[&str] = &[
    "title",
    "x-title",
    "ti",
    "t",
    "message",
    "x-message",
    "m",
    "tags",
    "x-tags",
    "tag",
    "ta",
    "subject",
    "x-subject",
    "actions",
    "x-actions",
    "filename",
    "x-filename",
];

/// The methods that hooks can have.
const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
];

/// A request that is ready to be sent.
pub(crate) struct Built {
    pub(crate) request: Request,
    /// What had to be left out, without any value.
    pub(crate) warnings: Vec<String>,
}

/// Why there is no request. The hook has to be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotBuilt {
    #[error("the address is not a URL: {0}")]
    Url(url::ParseError),
    #[error("unsupported HTTP method: {0}")]
    Method(String),
    #[error("template error: {0}")]
    Template(String),
}

/// The method, POST unless the hook has another.
pub(crate) fn method(hook: &Webhook) -> Result<Method, String> {
    let name = hook.method.trim().to_ascii_uppercase();
    if name.is_empty() {
        return Ok(Method::POST);
    }
    let found = METHODS.into_iter().find(|method| method.as_str() == name);
    found.ok_or_else(|| hook.method.clone())
}

/// Whether a body template says anything.
pub(crate) fn has_template(hook: &Webhook) -> bool {
    !hook.body_template.trim().is_empty()
}

/// Checks the name of a header of a hook.
///
/// # Errors
/// Why it cannot be set.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not the name of a header")?;
    match FORBIDDEN.contains(&name.as_str()) {
        true => Err("this header is set by the server"),
        false => Ok(name),
    }
}

/// Makes the request for `context`; `delivery` identifies it on every attempt, `now` is the time of this one.
pub(crate) fn build(
    hook: &Webhook,
    context: &Context<'_>,
    delivery: &str,
    now: Timestamp,
) -> Result<Built, NotBuilt> {
    let method = method(hook).map_err(NotBuilt::Method)?;
    let mut url = Url::parse(hook.url.trim()).map_err(NotBuilt::Url)?;
    let mut warnings = Vec::new();
    let headers = headers(hook, context, &mut warnings);
    let in_query = matches!(method, Method::GET | Method::HEAD);
    let body = match (has_template(hook), in_query) {
        (false, false) => context.envelope(),
        (false, true) => String::new(),
        (true, _) => body(hook, context, is_json(&headers) && !in_query)?,
    };
    let body = if in_query {
        append_query(&mut url, body.trim());
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    let mut request = Request {
        method,
        url,
        headers,
        body,
        ..Request::get(placeholder(), Limits::webhook())
    };
    let id = HeaderValue::from_str(delivery).expect("a delivery's id is hexadecimal");
    request.headers.insert("x-tinyice-delivery", id);
    if hook.secret.is_empty() {
        request.headers.remove("x-tinyice-signature");
    } else {
        let signature = signature::sign(&hook.secret, now.as_second(), &request.body);
        let mut signature = HeaderValue::from_str(&signature).expect("a signature is hexadecimal");
        signature.set_sensitive(true);
        request.headers.insert("x-tinyice-signature", signature);
    }
    Ok(Built { request, warnings })
}

/// Stands where the address is filled in.
fn placeholder() -> Url {
    Url::parse("http://0.0.0.0/").expect("a constant URL")
}

fn append_query(url: &mut Url, more: &str) {
    if more.is_empty() {
        return;
    }
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{more}"),
        _ => more.to_owned(),
    };
    url.set_query(Some(&query));
}

fn headers(hook: &Webhook, context: &Context<'_>, warnings: &mut Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let content_type = match hook.content_type.trim() {
        "" => "application/json",
        content_type => content_type,
    };
    let mut put = |name: HeaderName, value: &str, warnings: &mut Vec<String>| match header_value(&name, value)
    {
        Some(value) => {
            headers.insert(name, value);
        }
        None => warnings.push(format!(
            "header {name} left out: its value has a line break or another control character"
        )),
    };
    put(header::CONTENT_TYPE, content_type, warnings);
    put(header::USER_AGENT, "TinyIce-Webhook/2.0", warnings);
    put(
        HeaderName::from_static("x-tinyice-event"),
        context.event.as_str(),
        warnings,
    );
    put(
        HeaderName::from_static("x-tinyice-webhook-id"),
        &hook.id,
        warnings,
    );
    for (name, value) in &hook.headers {
        let name = match header_name(name) {
            Ok(name) => name,
            Err(reason) => {
                warnings.push(format!("header {name:?} left out: {reason}"));
                continue;
            }
        };
        match rendered_header(value, context) {
            Ok(value) => put(name, &value, warnings),
            Err(error) => {
                warnings.push(format!("header {name} sent as it is: template error: {error}"));
                put(name, value, warnings);
            }
        }
    }
    headers
}

fn rendered_header(value: &str, context: &Context<'_>) -> Result<String, String> {
    if !value.contains("{{") {
        return Ok(value.to_owned());
    }
    let template = Template::parse(value).map_err(|bad| bad.to_string())?;
    render(&template, context, false)
}

fn header_value(name: &HeaderName, value: &str) -> Option<HeaderValue> {
    if value.contains(['\r', '\n', '\0']) {
        return None;
    }
    let mut header = if !value.is_ascii() && SHOWN.contains(&name.as_str()) {
        HeaderValue::from_str(&encoded_words(value)).ok()?
    } else {
        HeaderValue::from_bytes(value.as_bytes()).ok()?
    };
    header.set_sensitive(secret::is_secret_header(name.as_str(), value));
    Some(header)
}

/// RFC 2047 section 2: an encoded word has at most 75 characters and whole characters of the text.
fn encoded_words(text: &str) -> String {
    const MOST: usize = 45;
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(MOST);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, after) = rest.split_at(end);
        words.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    words.join(" ")
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    essence.is_some_and(|essence| essence.ends_with("/json") || essence.ends_with("+json"))
}

/// The rendered template. Old templates put titles between the quotes of JSON as they are; where that gives no
/// JSON, but it does with the titles escaped, that is what they meant.
fn body(hook: &Webhook, context: &Context<'_>, must_be_json: bool) -> Result<String, NotBuilt> {
    let template = Template::parse(&hook.body_template).map_err(|bad| NotBuilt::Template(bad.to_string()))?;
    let body = render(&template, context, false).map_err(NotBuilt::Template)?;
    if !must_be_json || is_valid_json(&body) {
        return Ok(body);
    }
    match render(&template, context, true) {
        Ok(escaped) if is_valid_json(&escaped) => Ok(escaped),
        _ => Ok(body),
    }
}

fn render(template: &Template, context: &Context<'_>, escape: bool) -> Result<String, String> {
    let values = context.values();
    let values = if escape { values.escaped() } else { values };
    template
        .render(&values, notice::is_known, template::Limits::default())
        .map_err(|error| error.to_string())
}

fn is_valid_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The headers as they may be shown.
pub(crate) fn shown_headers(request: &Request) -> Vec<(String, String)> {
    let shown = request.headers.iter().map(|(name, value)| {
        let value = match value.is_sensitive() {
            true => MASK.to_owned(),
            false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        (name.as_str().to_owned(), value)
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Facts, Notice};

    const NOW: Timestamp = Timestamp::constant(1_767_226_500, 0);

    fn hook(url: &str, template: &str, headers: &[(&str, &str)]) -> Webhook {
        let mut hook = Webhook::new("wh_0123456789ab".to_owned(), url.to_owned());
        hook.body_template = template.to_owned();
        hook.headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        hook
    }

    fn with_title(title: &str) -> Notice {
        let mut notice = Notice::sample(Event::NowPlaying);
        if let Notice::NowPlaying { title: present, .. } = &mut notice {
            title.clone_into(present);
        }
        notice
    }

    fn built(hook: &Webhook, notice: &Notice) -> Result<Built, NotBuilt> {
        let payload = notice.payload();
        let context = Context {
            facts: &Facts::default(),
            event: notice.event(),
            at: NOW,
            payload: &payload,
        };
        build(hook, &context, "00000000-0000-4000-8000-000000000001", NOW)
    }

    fn header(built: &Built, name: &str) -> Option<String> {
        let value = built.request.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    #[test]
    fn a_plain_hook() {
        let built = built(
            &hook("https://hooks.example/x", " \n", &[]),
            &Notice::sample(Event::DiskLow),
        )
        .unwrap();
        assert_eq!(built.request.method, Method::POST);
        for (name, value) in [
            ("content-type", "application/json"),
            ("user-agent", "TinyIce-Webhook/2.0"),
            ("x-tinyice-event", "disk_low"),
            ("x-tinyice-webhook-id", "wh_0123456789ab"),
            ("x-tinyice-delivery", "00000000-0000-4000-8000-000000000001"),
        ] {
            assert_eq!(header(&built, name).as_deref(), Some(value));
        }
        assert_eq!(header(&built, "x-tinyice-signature"), None);
        assert!(
            built
                .request
                .body
                .starts_with(b"{\"event\":\"disk_low\",\"timestamp\":\"2026-01-01T00:15:00Z\"")
        );
    }

    #[test]
    fn signed_with_the_time_of_the_attempt() {
        let mut hook = hook(
            "https://hooks.example/x",
            "{{.Title}}",
            &[("X-TinyIce-Signature", "forged")],
        );
        let unsigned = built(&hook, &with_title("x")).unwrap();
        assert_eq!(header(&unsigned, "x-tinyice-signature"), None);
        hook.secret = "geheim".to_owned();
        let signed = built(&hook, &with_title("x")).unwrap();
        assert_eq!(
            header(&signed, "x-tinyice-signature"),
            Some(signature::sign("geheim", NOW.as_second(), b"x"))
        );
    }

    #[test]
    fn queries_of_get_and_head() {
        for (method, url, template, expected) in [
            ("GET", "https://a.example/p", "", "https://a.example/p"),
            (
                "GET",
                "https://a.example/p",
                " x={{.Title}}\n",
                "https://a.example/p?x=t",
            ),
            (
                "get",
                "https://a.example/p?y",
                "x={{.Title}}",
                "https://a.example/p?y&x=t",
            ),
            (
                "HEAD",
                "https://a.example/p?",
                "x={{.Title}}",
                "https://a.example/p?x=t",
            ),
            (
                "GET",
                "https://a.example/p?y=1#f",
                "{{/* nothing */}} ",
                "https://a.example/p?y=1#f",
            ),
            ("POST", "https://a.example/p?y=1", "x", "https://a.example/p?y=1"),
        ] {
            let mut hook = hook(url, template, &[]);
            hook.method = method.to_owned();
            let built = built(&hook, &with_title("t")).unwrap();
            assert_eq!(built.request.url.as_str(), expected);
            assert_eq!(
                built.request.body.is_empty(),
                method != "POST",
                "{method} {template}"
            );
        }
    }

    #[test]
    fn headers_of_the_operator() {
        let hook = hook(
            "https://a.example/",
            "x",
            &[
                ("User-Agent", "own"),
                ("Content-Type", "text/plain"),
                ("X-TinyIce-Event", "other"),
                ("X-TinyIce-Delivery", "forged"),
                ("Host", "evil.example"),
                ("Content-Length", "0"),
                ("transfer-encoding", "chunked"),
                ("Bad Name", "x"),
                ("X-Break", "a\r\nX-Evil: 1"),
                ("X-Song", "{{.Title}}"),
                ("Title", "{{.Title}}"),
                ("X-Broken", "{{.Title"),
                ("X-Fails", "{{index .Title 99}}"),
            ],
        );
        let built = built(&hook, &with_title("Köln")).unwrap();
        for (name, value) in [
            ("user-agent", Some("own")),
            ("content-type", Some("text/plain")),
            ("x-tinyice-event", Some("other")),
            ("x-tinyice-delivery", Some("00000000-0000-4000-8000-000000000001")),
            ("host", None),
            ("content-length", None),
            ("transfer-encoding", None),
            ("x-break", None),
            ("x-evil", None),
            ("x-song", Some("Köln")),
            ("title", Some("=?UTF-8?B?S8O2bG4=?=")),
            ("x-broken", Some("{{.Title")),
            ("x-fails", Some("{{index .Title 99}}")),
        ] {
            assert_eq!(header(&built, name).as_deref(), value, "{name}");
        }
        assert_eq!(built.warnings.len(), 7, "{:?}", built.warnings);
    }

    #[test]
    fn titles_cannot_add_headers() {
        let hook = hook("https://a.example/", "x", &[("X-Song", "{{.Title}}")]);
        for title in ["a\nX-Evil: 1", "a\r\nX-Evil: 1", "a\0"] {
            let built = built(&hook, &with_title(title)).unwrap();
            assert_eq!((header(&built, "x-song"), header(&built, "x-evil")), (None, None));
            assert_eq!(built.warnings.len(), 1);
        }
    }

    #[test]
    fn long_headers_are_cut_into_words() {
        let words = encoded_words(&"ü🎵".repeat(40));
        assert!(words.split(' ').all(|word| word.len() <= 75), "{words}");
        let back: Vec<u8> = words
            .split(' ')
            .flat_map(|word| STANDARD.decode(&word[10..word.len() - 2]).unwrap())
            .collect();
        assert_eq!(String::from_utf8(back).unwrap(), "ü🎵".repeat(40));
    }

    #[test]
    fn old_json_templates_still_run() {
        let nasty = "Say \"Hi\" \\ there\n<🎵>";
        let body = |template: &str, content_type: &str| {
            let mut hook = hook("https://a.example/", template, &[]);
            hook.content_type = content_type.to_owned();
            let built = built(&hook, &with_title(nasty)).unwrap();
            String::from_utf8(built.request.body.to_vec()).unwrap()
        };
        let fixed: serde_json::Value = serde_json::from_str(&body(
            "{\"text\":\"{{.Title}}\"}",
            "application/json; charset=utf-8",
        ))
        .unwrap();
        assert_eq!(fixed["text"], nasty);
        let good: serde_json::Value = serde_json::from_str(&body("{\"text\":{{json .Title}}}", "")).unwrap();
        assert_eq!(good["text"], nasty);
        // What is no JSON either way is sent as it is, and so is what is not meant to be JSON.
        assert_eq!(body("{ {{.Title}}", ""), format!("{{ {nasty}"));
        assert_eq!(
            body("{\"text\":\"{{.Title}}\"}", "text/plain"),
            format!("{{\"text\":\"{nasty}\"}}")
        );
    }

    #[test]
    fn hooks_that_cannot_be_sent() {
        let mut odd = hook("https://a.example/", "", &[]);
        odd.method = "BREW".to_owned();
        for (hook, expected) in [
            (
                hook("nowhere", "", &[]),
                "the address is not a URL: relative URL without a base",
            ),
            (odd, "unsupported HTTP method: BREW"),
            (
                hook("https://a.example/", "\n{{foo}}", &[]),
                "template error: line 2: function \"foo\" not defined",
            ),
            (
                hook("https://a.example/", "{{index .Title 99}}", &[]),
                "template error: line 1: index out of range: 99",
            ),
        ] {
            let told = built(&hook, &with_title("x"))
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert_eq!(told, expected);
        }
    }
}
