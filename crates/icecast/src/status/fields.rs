//! The named values of a server and its sources, the same for JSON and XML.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Number, Value};

use crate::{
    SERVER_ID, dates,
    status::{ServerStatus, SourceStatus},
};

/// Values by name. Icecast prints them in this order, and people compare documents.
pub(super) type Fields<'a> = BTreeMap<Cow<'a, str>, Value>;

/// Keys of an audio-info header that Icecast shows without an `ice-` prefix. Anything else a source could make up
/// to pose as one of the server's own values.
const AUDIO_INFO_KEYS: &[&str] = &["channels", "quality", "samplerate"];

pub(super) fn identity(status: &ServerStatus) -> Fields<'static> {
    let zone = &status.time_zone;
    [
        ("admin", status.admin.clone()),
        ("host", status.host.clone()),
        ("location", status.location.clone()),
        ("server_id", SERVER_ID.to_owned()),
        ("server_start", dates::rfc822(status.server_start, zone)),
        ("server_start_iso8601", dates::iso8601(status.server_start, zone)),
    ]
    .into_iter()
    .map(|(key, value)| (Cow::Borrowed(key), Value::from(value)))
    .collect()
}

pub(super) fn totals(status: &ServerStatus) -> Fields<'static> {
    let totals = &status.totals;
    [
        ("clients", totals.clients),
        ("connections", totals.connections),
        ("client_connections", totals.client_connections),
        ("file_connections", totals.file_connections),
        ("listeners", totals.listeners),
        ("listener_connections", totals.listener_connections),
        ("sources", totals.sources),
        ("source_client_connections", totals.source_client_connections),
        ("source_relay_connections", totals.source_relay_connections),
        ("source_total_connections", totals.source_total_connections),
        ("stats", totals.stats),
        ("stats_connections", totals.stats_connections),
    ]
    .into_iter()
    .map(|(key, value)| (Cow::Borrowed(key), Value::from(value)))
    .collect()
}

/// What everybody may see of a source.
pub(super) fn public<'a>(status: &ServerStatus, source: &'a SourceStatus) -> Fields<'a> {
    let station = &source.station;
    let zone = &status.time_zone;
    let mut fields = Fields::new();
    for (key, value) in &station.audio_info {
        let plain = key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plain && (key.starts_with("ice-") || AUDIO_INFO_KEYS.contains(&key.as_str())) {
            fields.insert(Cow::Borrowed(key), number_or_text(value));
        }
    }
    let mut put = |key: &'static str, value: Value| {
        fields.insert(Cow::Borrowed(key), value);
    };
    let text = |value: &Option<String>| Value::from(value.as_deref().unwrap_or_default());
    let told = |key| {
        station
            .audio_fact(key)
            .and_then(|value| value.parse::<u32>().ok())
    };

    let bitrate = match (station.bitrate_kbps().or(source.measured_kbps), &station.bitrate) {
        (Some(kbps), _) => Some(Value::from(kbps)),
        (None, Some(words)) => Some(Value::from(words.as_str())),
        (None, None) => None,
    };
    let audio_info = match (&station.raw_audio_info, &bitrate) {
        (Some(raw), _) => raw.clone(),
        (None, Some(bitrate)) => format!("bitrate={}", plain_text(bitrate)),
        (None, None) => String::new(),
    };
    put("audio_info", audio_info.into());
    if let Some(bitrate) = bitrate {
        put("bitrate", bitrate);
    }
    for (key, value) in [
        ("audio_bitrate", source.audio_bitrate),
        (
            "audio_channels",
            source.audio_channels.map(u32::from).or_else(|| told("channels")),
        ),
        (
            "audio_samplerate",
            source.audio_samplerate.or_else(|| told("samplerate")),
        ),
    ] {
        if let Some(value) = value {
            put(key, value.into());
        }
    }
    // A source that says nothing itself may send a codec that does: Icecast tells Vorbis' nominal rate like this.
    if let (Some(rate), None) = (source.audio_bitrate, station.audio_fact("bitrate")) {
        put("ice-bitrate", (rate / 1000).into());
    }
    if let Some(artist) = source.artist.as_deref().filter(|artist| !artist.is_empty()) {
        put("artist", artist.into());
    }
    let song = source.song();
    if !song.is_empty() {
        put("yp_currently_playing", song.as_ref().into());
    }
    if let Some(url) = &station.url {
        put("server_url", url.as_str().into());
    }
    if let Some(subtype) = &source.subtype {
        put("subtype", subtype.as_str().into());
    }
    put("genre", text(&station.genre));
    put("listener_peak", source.listener_peak.into());
    put("listeners", source.listeners.into());
    put("listenurl", source.listenurl.as_str().into());
    put("server_description", text(&station.description));
    put("server_name", text(&station.name));
    put("server_type", source.content_type.as_str().into());
    put("stream_start", dates::rfc822(source.stream_start, zone).into());
    put(
        "stream_start_iso8601",
        dates::iso8601(source.stream_start, zone).into(),
    );
    put("title", source.title.as_str().into());
    fields
}

/// What administrators see.
pub(super) fn private<'a>(status: &ServerStatus, source: &'a SourceStatus) -> Fields<'a> {
    let mut fields = public(status, source);
    let private = &source.private;
    let max_listeners = private
        .max_listeners
        .map_or_else(|| "unlimited".into(), Value::from);
    for (key, value) in [
        ("connections", private.connections.into()),
        ("listener_connections", private.listener_connections.into()),
        ("max_listeners", max_listeners),
        ("public", u8::from(source.station.public == Some(true)).into()),
        ("slow_listeners", private.slow_listeners.into()),
        ("source_ip", private.source_ip.as_str().into()),
        ("total_bytes_read", private.total_bytes_read.into()),
        ("total_bytes_sent", private.total_bytes_sent.into()),
        ("user_agent", private.user_agent.as_str().into()),
    ] {
        fields.insert(Cow::Borrowed(key), value);
    }
    fields
}

/// A value without JSON's quotes.
pub(super) fn plain_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn number_or_text(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    text.parse()
        .ok()
        .and_then(Number::from_f64)
        .map_or_else(|| text.into(), Value::Number)
}
