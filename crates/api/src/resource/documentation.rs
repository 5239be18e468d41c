//! The API's own documentation, for people and for tools.

use auth::Action;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

use crate::{
    Reply,
    endpoint::{Answer, Call, Endpoint, Html, NoQuery, Other, Yaml, get, group},
    pages,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Documentation",
        vec![
            get("/api/openapi.yaml", Action::PublicRead, yaml).says("This description, as YAML"),
            get("/api/openapi.json", Action::PublicRead, json).says("This description, as JSON"),
            get("/api/docs", Action::PublicRead, page).says("This description, for people"),
        ],
    )
}

async fn yaml(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, Yaml>> {
    let text = call.documents().yaml.clone();
    Ok(Other::new(document(&call, text, "application/x-yaml")))
}

async fn json(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, crate::endpoint::AnyJson>> {
    let text = call.documents().json.clone();
    Ok(Other::new(document(&call, text, "application/json")))
}

async fn page(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, Html>> {
    Ok(Other::new(pages::documentation(&call)))
}

/// Anybody's tools may read it, and need not read it twice.
fn document(call: &Call, text: Bytes, media: &'static str) -> Reply {
    let hash = Sha256::digest(&text);
    let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = call.request.headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut reply = Response::new(if is_known {
        Full::default()
    } else {
        Full::new(text)
    });
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    reply
}
