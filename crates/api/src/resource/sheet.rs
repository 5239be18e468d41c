//! Tables for spreadsheets (RFC 4180), downloaded.
//!
//! Contract: no answer holds more than some megabytes; one that is cut says where the rest is.

use http::{HeaderValue, Response, header};
use http_body_util::Full;
use store::{Part, ReadError};
use url::form_urlencoded;

use super::history::unreadable;
use crate::{
    Reply,
    endpoint::{Answer, Call},
};

/// About what an answer holds at most.
const LARGEST: usize = 16 << 20;

/// Whether `format=` asks for a table.
pub(super) fn is_wanted(format: Option<&str>) -> bool {
    format.is_some_and(|format| format.eq_ignore_ascii_case("csv"))
}

/// A table made of parts, from `before` on. Where there is more than fits, a `Link` leads to the next answer, which
/// has no line of headings so that it can be put behind this one.
pub(super) async fn answer<F>(
    call: &Call,
    name: &'static str,
    before: Option<i64>,
    part: impl Fn(Option<i64>) -> F,
) -> Answer<Reply>
where
    F: Future<Output = Result<Part, ReadError>>,
{
    let (mut table, mut at) = (Vec::new(), before);
    let next = loop {
        let Part { bytes, next } = part(at).await.map_err(unreadable)?;
        table.extend(bytes);
        match next {
            Some(_) if table.len() < LARGEST => at = next,
            next => break next,
        }
    };
    let mut reply = whole(name, table);
    if let Some(next) = next {
        let link = format!(
            "<{}>; rel=\"next\"",
            rest(call.request.path(), call.request.query(), next)
        );
        if let Ok(link) = HeaderValue::from_str(&link) {
            reply.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(reply)
}

/// The address of what comes after an entry.
fn rest(path: &str, query: Option<&str>, before: i64) -> String {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut rest = form_urlencoded::Serializer::new(format!("{path}?"));
    rest.extend_pairs(pairs.filter(|(key, _)| key != "before"));
    rest.append_pair("before", &before.to_string());
    rest.finish()
}

/// A table as a whole.
pub(super) fn whole(name: &'static str, table: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::from(table));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    if let Ok(download) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, download);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_the_same_question_from_there_on() {
        for (query, expected) in [
            (None, "/api/x?before=7"),
            (
                Some("format=csv&before=9&q=a%20%26"),
                "/api/x?format=csv&q=a+%26&before=7",
            ),
        ] {
            // What the serializer begins with is kept as it is.
            assert_eq!(rest("/api/x", query, 7).replace("?&", "?"), expected);
        }
    }
}
