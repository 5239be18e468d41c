//! The XML documents.

use crate::{
    status::{ListenerStatus, ServerStatus, StatusQuery, fields},
    xml::Xml,
};

const DECLARATION: &str = "<?xml version=\"1.0\"?>";

/// `/admin/stats`: all values of the server and of each source, or of one.
#[must_use]
pub fn stats_xml(status: &ServerStatus, mount: Option<&str>) -> String {
    let mut xml = Xml::new(DECLARATION);
    xml.open("icestats", &[]);
    let mut all = fields::identity(status);
    all.append(&mut fields::totals(status));
    for (key, value) in &all {
        xml.text(key, &fields::plain_text(value));
    }
    for source in status.select(&StatusQuery {
        mount,
        with_unlisted: true,
        ..StatusQuery::default()
    }) {
        xml.open("source", &[("mount", source.mount.as_str())]);
        for (key, value) in &fields::private(status, source) {
            xml.text(key, &fields::plain_text(value));
        }
        xml.close("source");
    }
    xml.close("icestats");
    xml.finish()
}

/// `/admin/listmounts`.
#[must_use]
pub fn listmounts_xml(status: &ServerStatus) -> String {
    let mut xml = Xml::new(DECLARATION);
    xml.open("icestats", &[]);
    for source in status.select(&StatusQuery {
        with_unlisted: true,
        ..StatusQuery::default()
    }) {
        xml.open("source", &[("mount", source.mount.as_str())]);
        match &source.private.fallback {
            Some(fallback) => xml.text("fallback", fallback.as_str()),
            None => xml.empty("fallback"),
        }
        xml.number("listeners", source.listeners);
        xml.number("Connected", source.connected.as_secs());
        xml.text("content-type", &source.content_type);
        xml.close("source");
    }
    xml.close("icestats");
    xml.finish()
}

/// `/admin/listclients`. Statistics tools read `IP`, `UserAgent`, `Connected`, `ID` and `@id` with these
/// capitals.
#[must_use]
pub fn listclients_xml(mount: &str, listeners: &[ListenerStatus]) -> String {
    let mut xml = Xml::new(DECLARATION);
    xml.open("icestats", &[]);
    xml.open("source", &[("mount", mount)]);
    xml.number("Listeners", listeners.len() as u64);
    xml.line_end();
    for listener in listeners {
        xml.open("listener", &[("id", &listener.id.to_string())]);
        xml.number("ID", listener.id);
        xml.text("IP", &listener.ip);
        xml.text("UserAgent", &listener.user_agent);
        xml.text("Referer", &listener.referer);
        xml.number("Connected", listener.connected.as_secs());
        xml.close("listener");
        xml.line_end();
    }
    xml.close("source");
    xml.close("icestats");
    xml.finish()
}

/// The answer of every command; `return` is 1 for success and 0 for failure.
#[must_use]
pub fn iceresponse_xml(message: &str, success: bool) -> String {
    let mut xml = Xml::new(DECLARATION);
    xml.open("iceresponse", &[]);
    xml.text("message", message);
    xml.number("return", u64::from(success));
    xml.close("iceresponse");
    xml.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::sample;

    #[test]
    fn stats_hold_all_values_in_icecasts_order() {
        let mut source = sample::source("/live");
        source.title = "R&B <3".into();
        source.private.max_listeners = Some(50);
        assert_eq!(
            stats_xml(&sample::server(vec![source, sample::source("/live/_pcm")]), None),
            "<?xml version=\"1.0\"?>\n<icestats><admin>studio@example.org</admin>\
             <client_connections>0</client_connections><clients>13</clients><connections>0</connections>\
             <file_connections>0</file_connections><host>radio.example.org</host>\
             <listener_connections>0</listener_connections><listeners>12</listeners><location>Earth</location>\
             <server_id>Icecast 2.4.4 (TinyIce)</server_id>\
             <server_start>Tue, 02 Sep 2025 08:00:00 +0000</server_start>\
             <server_start_iso8601>2025-09-02T08:00:00+0000</server_start_iso8601>\
             <source_client_connections>0</source_client_connections>\
             <source_relay_connections>0</source_relay_connections>\
             <source_total_connections>0</source_total_connections><sources>1</sources><stats>0</stats>\
             <stats_connections>0</stats_connections><source mount=\"/live\"><audio_info>bitrate=128</audio_info>\
             <bitrate>128</bitrate><connections>101</connections><genre>Jazz</genre>\
             <listener_connections>99</listener_connections><listener_peak>40</listener_peak>\
             <listeners>12</listeners><listenurl>http://radio.example.org:8000/live</listenurl>\
             <max_listeners>50</max_listeners><public>1</public>\
             <server_description>All day</server_description><server_name>Example FM</server_name>\
             <server_type>audio/mpeg</server_type><slow_listeners>2</slow_listeners>\
             <source_ip>192.0.2.7</source_ip><stream_start>Tue, 02 Sep 2025 09:10:11 +0000</stream_start>\
             <stream_start_iso8601>2025-09-02T09:10:11+0000</stream_start_iso8601><title>R&amp;B &lt;3</title>\
             <total_bytes_read>5000000000</total_bytes_read><total_bytes_sent>6</total_bytes_sent>\
             <user_agent>ices</user_agent><yp_currently_playing>R&amp;B &lt;3</yp_currently_playing></source>\
             </icestats>\n"
        );
    }

    #[test]
    fn stats_of_one_mount_keep_the_server() {
        let status = sample::server(vec![sample::source("/a"), sample::source("/b")]);
        let text = stats_xml(&status, Some("/b"));
        assert!(text.contains("<clients>13</clients>") && text.contains("mount=\"/b\""));
        assert!(!text.contains("mount=\"/a\""));
        let mut unlimited = sample::server(vec![sample::source("/a")]);
        unlimited.sources[0].listed = false;
        assert!(stats_xml(&unlimited, None).contains("<max_listeners>unlimited</max_listeners>"));
    }

    #[test]
    fn mounts_are_listed_with_their_fallback() {
        let mut with_fallback = sample::source("/b");
        with_fallback.private.fallback = Some("/a".parse_mount());
        let status = sample::server(vec![sample::source("/a"), with_fallback]);
        let rest =
            "<listeners>12</listeners><Connected>3600</Connected><content-type>audio/mpeg</content-type>";
        assert_eq!(
            listmounts_xml(&status),
            format!(
                "<?xml version=\"1.0\"?>\n<icestats><source mount=\"/a\"><fallback/>{rest}</source>\
                 <source mount=\"/b\"><fallback>/a</fallback>{rest}</source></icestats>\n"
            )
        );
    }

    trait ParseMount {
        fn parse_mount(&self) -> config::MountName;
    }

    impl ParseMount for str {
        fn parse_mount(&self) -> config::MountName {
            config::MountName::parse(self).unwrap()
        }
    }

    #[test]
    fn listeners_are_listed_with_the_capitals_that_tools_read() {
        let listener = ListenerStatus {
            id: 17,
            ip: "192.0.2.10".into(),
            user_agent: "VLC/3.0 <&>".into(),
            referer: String::new(),
            connected: Duration::from_millis(83_999),
        };
        assert_eq!(
            listclients_xml("/live", &[listener]),
            "<?xml version=\"1.0\"?>\n<icestats><source mount=\"/live\"><Listeners>1</Listeners>\n\
             <listener id=\"17\"><ID>17</ID><IP>192.0.2.10</IP><UserAgent>VLC/3.0 &lt;&amp;&gt;</UserAgent>\
             <Referer></Referer><Connected>83</Connected></listener>\n</source></icestats>\n"
        );
    }

    #[test]
    fn responses_have_icecasts_shape() {
        assert_eq!(
            iceresponse_xml("Metadata update successful", true),
            "<?xml version=\"1.0\"?>\n<iceresponse><message>Metadata update successful</message>\
             <return>1</return></iceresponse>\n"
        );
    }
}
