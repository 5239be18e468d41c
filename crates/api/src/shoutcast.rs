//! `/7.html` and `/stats`, which monitors of SHOUTcast servers ask for.
//!
//! Contract: they tell of the streams that everybody may find, and of no other.

use std::collections::HashSet;

use config::MountName;
use front::{Request, cors};
use http::{HeaderName, HeaderValue, StatusCode, header};
use icecast::{
    Answer,
    status::{Channel, ServerStatus, SourceStatus, StatusQuery},
};

use crate::{
    Api, Reply, not_found, plain,
    status::{not_read, parameter},
};

impl Api {
    /// `/7.html`
    pub(crate) fn seven_html(&self, request: &Request) -> Reply {
        self.channel(request, "text/html; charset=utf-8", |channel| {
            channel.seven_html()
        })
    }

    /// `/stats`
    pub(crate) fn shoutcast_stats(&self, request: &Request) -> Reply {
        self.channel(request, "text/xml", |channel| channel.stats_xml())
    }

    fn channel(
        &self,
        request: &Request,
        content_type: &'static str,
        write: fn(&Channel<'_>) -> String,
    ) -> Reply {
        if let Some(refusal) = not_read(request) {
            return refusal;
        }
        let config = self.parts.config.load_full();
        let status = self.server_status(&config);
        let visible = &self.parts.mounts.settings().visible;
        let mut reply = match choose(request.query().unwrap_or_default(), visible, &status) {
            None => not_found(),
            Some(source) => {
                let channel = Channel {
                    source,
                    max_listeners: config.max_listeners.map(u64::from),
                };
                let answer = Answer::new(
                    StatusCode::OK,
                    HeaderValue::from_static(content_type),
                    write(&channel),
                );
                plain(answer)
            }
        };
        let headers = reply.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static("default-src 'none'"),
        );
        cors::simple(headers);
        reply
    }
}

/// The stream that is meant: `mount=`, else the one of the number `sid=`, else the first. Nothing when there is no
/// such, and nothing inside when it is off air.
///
/// Those that the configuration lists come first, on air or not, so that their numbers stay; the others follow. Both
/// by name.
fn choose<'a>(
    query: &str,
    visible: &HashSet<MountName>,
    status: &'a ServerStatus,
) -> Option<Option<&'a SourceStatus>> {
    let on_air: Vec<_> = status.select(&StatusQuery::default()).collect();
    let live = |name: &MountName| on_air.iter().copied().find(|source| source.mount == *name);
    if let Some(mount) = parameter(query, "mount") {
        let mount = MountName::parse(&mount).ok()?;
        let live = live(&mount);
        return (live.is_some() || visible.contains(&mount)).then_some(live);
    }
    let number = match parameter(query, "sid") {
        Some(text) => text.parse::<usize>().ok()?.checked_sub(1)?,
        None => 0,
    };
    let mut names: Vec<_> = visible.iter().collect();
    names.extend(
        on_air
            .iter()
            .map(|source| &source.mount)
            .filter(|name| !visible.contains(*name)),
    );
    names.sort_by_key(|name| (!visible.contains(*name), *name));
    match names.get(number) {
        Some(name) => Some(live(name)),
        // A server with nothing to play has a first stream that is off air.
        None => (number == 0).then_some(None),
    }
}
