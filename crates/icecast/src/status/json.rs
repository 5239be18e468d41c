//! The JSON documents.

use serde_json::{Map, Value, json};

use crate::status::{
    ListenerStatus, ServerStatus, SourceShape, StatusQuery,
    fields::{self, Fields},
};

/// `status-json.xsl`, for everybody.
#[must_use]
pub fn status_json(status: &ServerStatus, query: &StatusQuery<'_>) -> String {
    let sources = status
        .select(query)
        .map(|source| {
            let mut fields = fields::public(status, source);
            fields.insert("mount".into(), source.mount.as_str().into());
            let mut object = object(fields);
            // Icecast's template ends every source with it, and naive printers rely on "something, then dummy".
            object.insert("dummy".into(), Value::Null);
            Value::Object(object)
        })
        .collect();
    document(object(fields::identity(status)), sources, query.shape)
}

/// `/admin/stats.json`, for administrators.
#[must_use]
pub fn stats_json(status: &ServerStatus, mount: Option<&str>) -> String {
    let query = StatusQuery {
        shape: SourceShape::Array,
        mount,
        with_unlisted: true,
    };
    let sources = status
        .select(&query)
        .map(|source| {
            let mut fields = fields::private(status, source);
            fields.insert("mount".into(), source.mount.as_str().into());
            Value::Object(object(fields))
        })
        .collect();
    let mut all = fields::identity(status);
    all.append(&mut fields::totals(status));
    document(object(all), sources, query.shape)
}

/// `/admin/listclients.json`.
#[must_use]
pub fn listclients_json(mount: &str, listeners: &[ListenerStatus]) -> String {
    let listeners: Vec<Value> = listeners
        .iter()
        .map(|listener| {
            json!({
                "id": listener.id,
                "ip": listener.ip,
                "user_agent": listener.user_agent,
                "referer": listener.referer,
                "connected": listener.connected.as_secs(),
            })
        })
        .collect();
    json!({"icestats": {"source": [{"mount": mount, "listeners": listeners.len(), "listener": listeners}]}})
        .to_string()
}

fn object(fields: Fields<'_>) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(key, value)| (key.into_owned(), value))
        .collect()
}

fn document(mut icestats: Map<String, Value>, mut sources: Vec<Value>, shape: SourceShape) -> String {
    let source = match (shape, sources.len()) {
        (SourceShape::Icecast, 0) => None,
        (SourceShape::Icecast, 1) => sources.pop(),
        _ => Some(Value::Array(sources)),
    };
    if let Some(source) = source {
        icestats.insert("source".into(), source);
    }
    json!({ "icestats": icestats }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StationInfo, head_lines, status::sample};

    const IDENTITY: &str = r#""admin":"studio@example.org","host":"radio.example.org","location":"Earth","server_id":"Icecast 2.4.4 (TinyIce)","server_start":"Tue, 02 Sep 2025 08:00:00 +0000","server_start_iso8601":"2025-09-02T08:00:00+0000""#;

    fn parse(text: &str) -> Value {
        serde_json::from_str::<Value>(text).unwrap()["icestats"].take()
    }

    #[test]
    fn an_mp3_mount_reads_as_icecast_writes_it() {
        let status = sample::server(vec![sample::source("/live")]);
        let source = r#"{"audio_info":"bitrate=128","bitrate":128,"genre":"Jazz","listener_peak":40,"listeners":12,"listenurl":"http://radio.example.org:8000/live","mount":"/live","server_description":"All day","server_name":"Example FM","server_type":"audio/mpeg","stream_start":"Tue, 02 Sep 2025 09:10:11 +0000","stream_start_iso8601":"2025-09-02T09:10:11+0000","title":"A - B","yp_currently_playing":"A - B","dummy":null}"#;
        assert_eq!(
            status_json(&status, &StatusQuery::default()),
            format!(r#"{{"icestats":{{{IDENTITY},"source":[{source}]}}}}"#)
        );
        let icecast = StatusQuery {
            shape: SourceShape::Icecast,
            ..StatusQuery::default()
        };
        assert_eq!(
            status_json(&status, &icecast),
            format!(r#"{{"icestats":{{{IDENTITY},"source":{source}}}}}"#)
        );
    }

    #[test]
    fn the_shape_follows_the_number_of_sources_for_icecast_only() {
        for (mounts, array, icecast) in [
            (&[][..], "[]", "absent"),
            (&["/a"][..], "[/a]", "/a"),
            (&["/a", "/b"][..], "[/a /b]", "[/a /b]"),
        ] {
            let status = sample::server(mounts.iter().map(|mount| sample::source(mount)).collect());
            for (shape, expected) in [(SourceShape::Array, array), (SourceShape::Icecast, icecast)] {
                let query = StatusQuery {
                    shape,
                    ..StatusQuery::default()
                };
                let document = parse(&status_json(&status, &query));
                let shown = match document.get("source") {
                    None => "absent".to_owned(),
                    Some(Value::Array(sources)) => {
                        let mounts: Vec<_> = sources.iter().map(|s| s["mount"].as_str().unwrap()).collect();
                        format!("[{}]", mounts.join(" "))
                    }
                    Some(source) => source["mount"].as_str().unwrap().to_owned(),
                };
                assert_eq!(shown, expected, "{mounts:?} {shape:?}");
            }
        }
    }

    #[test]
    fn hidden_and_internal_mounts_stay_out_of_sight() {
        let mut hidden = sample::source("/hidden");
        hidden.listed = false;
        let internal = [sample::source("/a/video"), sample::source("/a/_pcm")];
        let mut sources = vec![sample::source("/a"), hidden];
        sources.extend(internal);
        let status = sample::server(sources);
        for (mount, with_unlisted, expected) in [
            (None, false, &["/a"][..]),
            (None, true, &["/a", "/hidden"][..]),
            (Some("/hidden"), false, &[][..]),
            (Some("/a/_pcm"), true, &[][..]),
            (Some("/a"), false, &["/a"][..]),
        ] {
            let query = StatusQuery {
                mount,
                with_unlisted,
                ..StatusQuery::default()
            };
            let document = parse(&status_json(&status, &query));
            let mounts: Vec<_> = document["source"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["mount"].as_str().unwrap())
                .collect();
            assert_eq!(mounts, expected, "{mount:?} {with_unlisted}");
        }
    }

    #[test]
    fn audio_info_becomes_numbers_and_cannot_pose_as_the_server() {
        let mut source = sample::source("/live");
        source.station = StationInfo::from_headers(&head_lines::parse(
            b"ice-audio-info: ice-samplerate=44100;ice-bitrate=192;channels=2;quality=5.5;listeners=9999;ice-x=y",
        ));
        source.audio_samplerate = Some(48000);
        source.audio_bitrate = Some(192_000);
        let document = parse(&status_json(
            &sample::server(vec![source]),
            &StatusQuery::default(),
        ));
        let source = &document["source"][0];
        for (key, value) in [
            ("ice-samplerate", json!(44100)),
            ("ice-bitrate", json!(192)),
            ("ice-x", json!("y")),
            ("channels", json!(2)),
            ("quality", json!(5.5)),
            ("bitrate", json!(192)),
            ("audio_samplerate", json!(48000)),
            ("audio_channels", json!(2)),
            ("audio_bitrate", json!(192_000)),
            ("listeners", json!(12)),
            ("server_name", json!("")),
        ] {
            assert_eq!(source[key], value, "{key}");
        }
    }

    #[test]
    fn titles_stay_strings_and_unknown_values_are_left_out() {
        let mut source = sample::source("/live");
        source.station = StationInfo::default();
        source.title = "1999 \"x\" \u{1}".into();
        source.artist = Some("Prince".into());
        source.subtype = Some("Opus".into());
        let document = parse(&status_json(
            &sample::server(vec![source]),
            &StatusQuery::default(),
        ));
        let source = &document["source"][0];
        assert_eq!(source["title"], "1999 \"x\" \u{1}");
        assert_eq!(source["artist"], "Prince");
        assert_eq!(source["yp_currently_playing"], "Prince - 1999 \"x\" \u{1}");
        assert_eq!(
            (&source["subtype"], &source["audio_info"]),
            (&json!("Opus"), &json!(""))
        );
        for absent in [
            "bitrate",
            "server_url",
            "audio_bitrate",
            "source_ip",
            "user_agent",
            "max_listeners",
        ] {
            assert!(source.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_measured_bitrate_stands_in_for_a_declared_one() {
        let mut source = sample::source("/live");
        source.station.bitrate = None;
        source.measured_kbps = Some(127);
        let status = sample::server(vec![source.clone()]);
        let document = parse(&status_json(&status, &StatusQuery::default()));
        assert_eq!(document["source"][0]["bitrate"], 127);
        assert_eq!(document["source"][0]["audio_info"], "bitrate=127");
        source.station.bitrate = Some("128".into());
        let document = parse(&status_json(
            &sample::server(vec![source]),
            &StatusQuery::default(),
        ));
        assert_eq!(document["source"][0]["bitrate"], 128);
    }

    #[test]
    fn administrators_see_everything() {
        let document = parse(&stats_json(&sample::server(vec![sample::source("/live")]), None));
        assert_eq!(document["clients"], 13);
        let source = &document["source"][0];
        assert_eq!(source["max_listeners"], "unlimited");
        assert_eq!(source["source_ip"], "192.0.2.7");
        assert_eq!(source["total_bytes_read"], 5_000_000_000_u64);
        assert_eq!(source["public"], 1);
        let clients = [ListenerStatus {
            id: 17,
            ip: "192.0.2.10".into(),
            ..ListenerStatus::default()
        }];
        let document = parse(&listclients_json("/live", &clients));
        assert_eq!(document["source"][0]["listener"][0]["id"], 17);
    }
}
