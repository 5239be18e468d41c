//! Pages as answers.
//!
//! Contract: every page has a content security policy that admits our own script and style sheets and nothing else.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::views::Site;
use crate::Reply;

/// Who sees a page, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody.
    Public,
    /// Anybody, in a frame on any site.
    Embedded,
    /// Operators: nobody keeps a copy or learns its address.
    Private,
}

/// A page.
pub(super) fn html(status: StatusCode, site: &Site, kind: Kind, page: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(page)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(header::CONTENT_TYPE, "text/html; charset=utf-8");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(
        header::CACHE_CONTROL,
        if kind == Kind::Private {
            "no-store"
        } else {
            "no-cache"
        },
    );
    let referrer = if kind == Kind::Private {
        "no-referrer"
    } else {
        "strict-origin-when-cross-origin"
    };
    put(header::REFERRER_POLICY, referrer);
    put(
        http::HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=()",
    );
    if kind != Kind::Embedded {
        put(header::X_FRAME_OPTIONS, "DENY");
    }
    let policy = policy(site, if kind == Kind::Embedded { "*" } else { "'none'" });
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    reply
}

fn policy(site: &Site, ancestors: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'self'; script-src 'self'; style-src 'self' {}; img-src 'self' data:; \
         media-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors {ancestors}",
        site.theme.hash
    );
    HeaderValue::from_str(&policy).expect("words and Base64 are ASCII")
}

/// A redirect within this server; the address is encoded already.
pub(super) fn redirect(status: StatusCode, address: &str) -> Reply {
    let mut reply = front::text(status, "");
    match HeaderValue::from_str(address) {
        Ok(address) => _ = reply.headers_mut().insert(header::LOCATION, address),
        Err(_) => *reply.status_mut() = StatusCode::BAD_REQUEST,
    }
    reply
}

/// 405 for what can only be read.
pub(super) fn method_not_allowed() -> Reply {
    let mut reply = front::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
    reply
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}
