//! Style sheet, script and icons, part of the program.
//!
//! Contract: an asset's address holds the hash of its content, so browsers may keep it for ever; a request's path
//! is only ever compared with the known addresses.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

use crate::Reply;

/// The assets that pages refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asset {
    Style,
    Script,
    /// For the pages where people sign in.
    Account,
    Icon,
    TouchIcon,
}

/// `/favicon.ico`, for whatever asks without having read a page.
const FAVICON: &[u8] = include_bytes!("../../assets/favicon.ico");

static ADDRESSES: LazyLock<[String; 5]> = LazyLock::new(|| Asset::ALL.map(Asset::compute_address));

impl Asset {
    const ALL: [Self; 5] = [
        Self::Style,
        Self::Script,
        Self::Account,
        Self::Icon,
        Self::TouchIcon,
    ];

    /// Where the asset is found.
    pub(super) fn address(self) -> &'static str {
        &ADDRESSES[self as usize]
    }

    fn compute_address(self) -> String {
        let (name, ending) = match self {
            Self::Style => ("site", "css"),
            Self::Script => ("site", "js"),
            Self::Account => ("account", "js"),
            Self::Icon => ("icon", "svg"),
            Self::TouchIcon => ("touch-icon", "png"),
        };
        let hash = Sha256::digest(self.content());
        let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("/assets/{name}.{hash}.{ending}")
    }

    fn content(self) -> &'static [u8] {
        match self {
            Self::Style => include_bytes!("../../assets/site.css"),
            Self::Script => include_bytes!("../../assets/site.js"),
            Self::Account => include_bytes!("../../assets/account.js"),
            Self::Icon => include_bytes!("../../assets/icon.svg"),
            Self::TouchIcon => include_bytes!("../../assets/touch-icon.png"),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Style => "text/css; charset=utf-8",
            Self::Script | Self::Account => "text/javascript; charset=utf-8",
            Self::Icon => "image/svg+xml",
            Self::TouchIcon => "image/png",
        }
    }
}

/// The answer to a request below `/assets/`.
pub(super) fn answer(path: &str) -> Reply {
    let Some(asset) = Asset::ALL.into_iter().find(|asset| asset.address() == path) else {
        let mut reply = crate::not_found();
        reply
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return reply;
    };
    file(
        asset.content(),
        asset.content_type(),
        "public, max-age=31536000, immutable",
    )
}

/// The answer to `/favicon.ico`.
pub(super) fn favicon() -> Reply {
    file(FAVICON, "image/x-icon", "public, max-age=86400")
}

fn file(content: &'static [u8], content_type: &'static str, cache: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(content)));
    *reply.status_mut() = StatusCode::OK;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn body(reply: Reply) -> Bytes {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(reply.into_body().collect()).poll(&mut cx) {
            std::task::Poll::Ready(Ok(body)) => body.to_bytes(),
            _ => panic!("a full body is there at once"),
        }
    }

    #[test]
    fn addresses_name_the_content() {
        for asset in Asset::ALL {
            let reply = answer(asset.address());
            assert_eq!(
                reply.headers()["cache-control"],
                "public, max-age=31536000, immutable"
            );
            assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
            let digest = Sha256::digest(body(reply));
            let hash = asset
                .address()
                .split('.')
                .nth(1)
                .and_then(|hash| u64::from_str_radix(hash, 16).ok());
            assert_eq!(
                hash,
                digest.first_chunk().map(|first| u64::from_be_bytes(*first)),
                "{asset:?}"
            );
        }
    }

    #[test]
    fn unknown_addresses_are_404_and_not_kept() {
        for path in [
            "/assets",
            "/assets/",
            "/assets/site.css",
            "/assets/site.0000000000000000.css",
            "/assets/../x",
        ] {
            let reply = answer(path);
            assert_eq!(
                (reply.status(), &reply.headers()["cache-control"]),
                (StatusCode::NOT_FOUND, &"no-store".parse().unwrap()),
                "{path}"
            );
        }
    }

    #[test]
    fn the_favicon_is_an_icon_file() {
        let reply = favicon();
        assert_eq!(reply.headers()["content-type"], "image/x-icon");
        assert_eq!(body(reply)[..4], [0, 0, 1, 0]);
    }
}
