//! `/status-json.xsl`, and the snapshot that all status documents are written from.

use std::time::Instant;

use auth::Verdict;
use config::{Config, StatusSource};
use front::{Request, cors};
use http::{HeaderValue, Method, StatusCode, header};
use icecast::{
    Answer, StationInfo,
    status::{PrivateStatus, ServerStatus, SourceShape, SourceStatus, StatusQuery, Totals, status_json},
};
use jiff::tz::TimeZone;
use mount::MountSnapshot;

use crate::{Api, Reply, plain};

impl Api {
    pub(crate) async fn status(&self, request: &Request) -> Reply {
        if let Some(refusal) = not_read(request) {
            return refusal;
        }
        let config = self.parts.config.load_full();
        let administrator = match Self::credentials(request) {
            None => false,
            credentials => matches!(
                self.parts
                    .auth
                    .admin_or_source(request.client, None, credentials.as_ref())
                    .await,
                Verdict::Account(_)
            ),
        };
        let mount = parameter(request.query().unwrap_or_default(), "mount");
        let shape = match config.status_json_source {
            StatusSource::Icecast => SourceShape::Icecast,
            StatusSource::Array => SourceShape::Array,
        };
        let query = StatusQuery {
            shape,
            mount: mount.as_deref(),
            with_unlisted: administrator,
        };
        let json = status_json(&self.server_status(&config), &query);
        let mut reply = plain(Answer::new(
            StatusCode::OK,
            HeaderValue::from_static("application/json"),
            json,
        ));
        reply
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        cors::simple(reply.headers_mut());
        reply
    }

    /// The server as status documents show it.
    pub(crate) fn server_status(&self, config: &Config) -> ServerStatus {
        let mounts = &self.parts.mounts;
        let totals = mounts.totals();
        let links = Links::new(config);
        ServerStatus {
            admin: config.admin_email.clone(),
            host: host(config).to_owned(),
            location: config.location.clone(),
            server_start: self.parts.began,
            time_zone: TimeZone::system(),
            totals: Totals {
                clients: totals.listeners + totals.sources,
                connections: totals.listener_connections
                    + totals.source_connections
                    + totals.relay_connections,
                client_connections: totals.listener_connections + totals.source_connections,
                listeners: totals.listeners,
                listener_connections: totals.listener_connections,
                sources: totals.sources,
                source_client_connections: totals.source_connections,
                source_relay_connections: totals.relay_connections,
                source_total_connections: totals.source_connections + totals.relay_connections,
                ..Totals::default()
            },
            sources: mounts
                .snapshot(Instant::now())
                .iter()
                .map(|mount| source(mount, &links))
                .collect(),
        }
    }
}

fn host(config: &Config) -> &str {
    if config.hostname.is_empty() {
        "localhost"
    } else {
        &config.hostname
    }
}

/// Where streams are found from outside.
struct Links {
    base: String,
}

impl Links {
    fn new(config: &Config) -> Self {
        let base = if !config.base_url.is_empty() {
            config.base_url.trim_end_matches('/').to_owned()
        } else if config.use_https {
            let port = if config.https_port == 443 {
                String::new()
            } else {
                format!(":{}", config.https_port)
            };
            format!("https://{}{port}", host(config))
        } else {
            format!("http://{}:{}", host(config), config.port)
        };
        Self { base }
    }
}

fn source(mount: &MountSnapshot, links: &Links) -> SourceStatus {
    let station = &mount.station;
    let title = &mount.title;
    let text = title
        .title
        .clone()
        .filter(|_| title.artist.is_some())
        .unwrap_or_else(|| title.text.clone());
    SourceStatus {
        mount: mount.name.clone(),
        listenurl: format!("{}{}", links.base, icecast::playlist::encode_mount(&mount.name)),
        listed: !mount.hidden,
        station: StationInfo {
            name: station.name.clone(),
            description: station.description.clone(),
            genre: station.genre.clone(),
            url: station.url.clone(),
            public: Some(station.public),
            bitrate: station.bitrate.clone(),
            audio_info: station.audio_facts.clone(),
            raw_audio_info: station.audio_info.clone(),
        },
        content_type: mount.content_type.clone(),
        subtype: mount.facts.codec.map(str::to_owned),
        title: text,
        artist: title.artist.clone(),
        audio_bitrate: mount.facts.bitrate,
        audio_channels: mount.facts.channels,
        audio_samplerate: mount.facts.sample_rate,
        measured_kbps: mount.bitrate.as_deref().and_then(|text| text.parse().ok()),
        stream_start: mount.began_at,
        connected: mount.uptime,
        listeners: mount.listeners,
        listener_peak: mount.listener_peak,
        private: PrivateStatus {
            listener_connections: mount.listener_connections,
            connections: mount.listener_connections,
            slow_listeners: mount.slow_listeners,
            max_listeners: mount.max_listeners,
            source_ip: mount.owner.label.clone(),
            user_agent: mount.owner.user_agent.clone(),
            total_bytes_read: mount.bytes_in,
            total_bytes_sent: mount.bytes_out,
            fallback: mount.fallback.clone(),
        },
    }
}

/// The answer to methods other than those that read.
pub(crate) fn not_read(request: &Request) -> Option<Reply> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    (!reads).then(|| front::route::method_not_allowed(front::route::ALLOW_READ))
}

/// The first value of a query parameter, percent-decoded; `+` is a space.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    parameters(query).find_map(|(key, value)| (key == name).then_some(value))
}

/// All parameters of a query in their order, percent-decoded; `+` is a space.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_encoding::percent_decode_str(&spaced)
                .decode_utf8_lossy()
                .into_owned()
        };
        (decode(key), decode(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, name, expected) in [
            ("mount=/a", "mount", Some("/a")),
            ("x=1&mount=%2Fa+b", "mount", Some("/a b")),
            ("mount", "mount", Some("")),
            ("amount=1", "mount", None),
            ("", "mount", None),
        ] {
            assert_eq!(parameter(query, name).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn links_use_the_public_address() {
        let config = |change: fn(&mut Config)| {
            let mut config = Config {
                hostname: "radio.example".into(),
                ..Config::default()
            };
            change(&mut config);
            Links::new(&config).base
        };
        assert_eq!(config(|_| {}), "http://radio.example:8000");
        assert_eq!(config(|c| c.use_https = true), "https://radio.example");
        assert_eq!(
            config(|c| {
                c.use_https = true;
                c.https_port = 8443;
            }),
            "https://radio.example:8443"
        );
        assert_eq!(
            config(|c| c.base_url = "https://cdn.example".into()),
            "https://cdn.example"
        );
    }
}
