//! Whether a hook may be stored.
//!
//! Contract: what passes can be delivered, as far as that can be known before the host is looked up and the values
//! are there.

use config::Webhook;
use outbound::Policy;
use url::Url;

use crate::{Event, request, template::Template};

/// What is wrong with a hook. The text is the answer of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No address.
    #[error("URL is required")]
    NoUrl,
    /// An address that is not called.
    #[error("URL rejected: {0}")]
    Url(String),
    /// It would never be told anything.
    #[error("at least one event is required")]
    NoEvent,
    /// No event has that name.
    #[error("unknown event: {0}")]
    UnknownEvent(String),
    /// Not one of GET, POST, PUT, PATCH, DELETE and HEAD.
    #[error("unsupported HTTP method: {0}")]
    Method(String),
    /// The template of the body.
    #[error("template error: {0}")]
    Template(String),
    /// The template in the value of a header.
    #[error("template error: header {name}: {reason}")]
    HeaderTemplate {
        /// Of the header.
        name: String,
        /// What is wrong, and in which line.
        reason: String,
    },
    /// A header that cannot be sent.
    #[error("header {name:?} rejected: {reason}")]
    Header {
        /// As it was given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A content type that cannot be sent.
    #[error("content type rejected: it has a line break or another control character")]
    ContentType,
}

/// Checks everything that can be checked without calling anybody.
///
/// # Errors
/// The first [`Problem`].
pub fn check(hook: &Webhook, policy: &Policy) -> Result<(), Problem> {
    let url = hook.url.trim();
    if url.is_empty() {
        return Err(Problem::NoUrl);
    }
    let url = Url::parse(url).map_err(|bad| Problem::Url(bad.to_string()))?;
    policy
        .check_url(&url)
        .map_err(|refused| Problem::Url(refused.to_string()))?;
    if hook.events.is_empty() {
        return Err(Problem::NoEvent);
    }
    if let Some(unknown) = hook.events.iter().find(|event| event.parse::<Event>().is_err()) {
        return Err(Problem::UnknownEvent(unknown.clone()));
    }
    request::method(hook).map_err(Problem::Method)?;
    if request::has_template(hook) {
        Template::parse(&hook.body_template).map_err(|bad| Problem::Template(bad.to_string()))?;
    }
    if hook.content_type.contains(char::is_control) {
        return Err(Problem::ContentType);
    }
    for (name, value) in &hook.headers {
        check_header(name, value)?;
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), Problem> {
    let rejected = |reason| Problem::Header {
        name: name.to_owned(),
        reason,
    };
    request::header_name(name).map_err(rejected)?;
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return Err(rejected(
            "its value has a line break or another control character",
        ));
    }
    if value.contains("{{") {
        Template::parse(value).map_err(|bad| Problem::HeaderTemplate {
            name: name.to_owned(),
            reason: bad.to_string(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Webhook), expected: &str) {
        let mut hook = Webhook::new("wh_1".to_owned(), "https://hooks.example/x".to_owned());
        hook.events = vec!["now_playing".to_owned()];
        change(&mut hook);
        let told = match super::check(&hook, &Policy::for_webhooks(&[])) {
            Ok(()) => String::new(),
            Err(problem) => problem.to_string(),
        };
        assert_eq!(told, expected);
    }

    fn with_header(name: &str, value: &str, expected: &str) {
        check(
            |hook| {
                hook.headers.insert(name.to_owned(), value.to_owned());
            },
            expected,
        );
    }

    #[test]
    fn texts_of_the_contract() {
        check(|_| (), "");
        check(|hook| hook.url = " ".to_owned(), "URL is required");
        check(
            |hook| hook.url = "hooks.example".to_owned(),
            "URL rejected: relative URL without a base",
        );
        check(
            |hook| hook.url = "ftp://hooks.example/".to_owned(),
            "URL rejected: scheme \"ftp\" not allowed (only http/https)",
        );
        check(
            |hook| hook.url = "http://127.0.0.1/".to_owned(),
            "URL rejected: 127.0.0.1 is a loopback address (to permit it, list it under \"outbound_allow_webhooks\")",
        );
        check(|hook| hook.events.clear(), "at least one event is required");
        check(
            |hook| hook.events.push("lunch".to_owned()),
            "unknown event: lunch",
        );
        check(|hook| hook.events.push("disk_low".to_owned()), "");
        check(
            |hook| hook.method = "BREW".to_owned(),
            "unsupported HTTP method: BREW",
        );
        for method in ["", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "post"] {
            check(|hook| hook.method = method.to_owned(), "");
        }
        for method in ["OPTIONS", "CONNECT", "TRACE"] {
            check(
                |hook| hook.method = method.to_owned(),
                &format!("unsupported HTTP method: {method}"),
            );
        }
        check(
            |hook| hook.body_template = "a\n{{.Title | shout}}".to_owned(),
            "template error: line 2: function \"shout\" not defined",
        );
        check(|hook| hook.body_template = "  \n ".to_owned(), "");
        check(
            |hook| hook.content_type = "a\r\nb".to_owned(),
            "content type rejected: it has a line break or another control character",
        );
    }

    #[test]
    fn headers() {
        with_header("Authorization", "Bearer x", "");
        with_header("Title", "{{.Title}} ü", "");
        with_header(
            "Title",
            "{{.Title",
            "template error: header Title: line 1: unclosed action",
        );
        with_header(
            "Host",
            "x",
            "header \"Host\" rejected: this header is set by the server",
        );
        with_header(
            "Transfer-Encoding",
            "x",
            "header \"Transfer-Encoding\" rejected: this header is set by the server",
        );
        with_header("a b", "x", "header \"a b\" rejected: not the name of a header");
        with_header("a\nb", "x", "header \"a\\nb\" rejected: not the name of a header");
        with_header(
            "X-A",
            "{{.Title}}\r\nb",
            "header \"X-A\" rejected: its value has a line break or another control character",
        );
    }
}
