//! What monitors of SHOUTcast servers read: one stream, in a line of HTML or in XML.
//!
//! Contract: seven values in `7.html` whatever the title holds, and no title or name becomes markup.

use crate::{SERVER_ID, StationInfo, status::SourceStatus, xml::Xml};

/// A stream as such monitors see it.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// The mount, when it is live.
    pub source: Option<&'a SourceStatus>,
    /// How many listeners the whole server lets in.
    pub max_listeners: Option<u64>,
}

impl Channel<'_> {
    /// `/7.html`: listeners, whether it is on air, most listeners, limit, unique listeners, kbit/s, title.
    ///
    /// Addresses are not compared, so whoever listens twice is two unique listeners. A limit of 0 is none.
    #[must_use]
    pub fn seven_html(&self) -> String {
        let [listeners, peak, kbps] = self.numbers();
        let (on_air, limit) = (u8::from(self.source.is_some()), self.limit());
        let title = self.source.map(SourceStatus::song).unwrap_or_default();
        format!(
            "<HTML><meta http-equiv=\"Pragma\" content=\"no-cache\"></head><body>\
             {listeners},{on_air},{peak},{limit},{listeners},{kbps},{}</body></html>",
            escape(&title)
        )
    }

    /// `/stats`: the same and more, under the names of version 2.
    #[must_use]
    pub fn stats_xml(&self) -> String {
        let [listeners, peak, kbps] = self.numbers();
        let station = self.source.map(|source| &source.station);
        let text = |of: fn(&StationInfo) -> &Option<String>| {
            station
                .and_then(|station| of(station).as_deref())
                .unwrap_or_default()
        };
        let mut xml = Xml::new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        xml.open("SHOUTCASTSERVER", &[]);
        xml.number("CURRENTLISTENERS", listeners);
        xml.number("PEAKLISTENERS", peak);
        xml.number("MAXLISTENERS", self.limit());
        xml.number("UNIQUELISTENERS", listeners);
        xml.text("SERVERGENRE", text(|station| &station.genre));
        xml.text("SERVERURL", text(|station| &station.url));
        xml.text("SERVERTITLE", text(|station| &station.name));
        xml.text(
            "SONGTITLE",
            &self.source.map(SourceStatus::song).unwrap_or_default(),
        );
        let public = station.is_some_and(|station| station.public == Some(true));
        let hits = self
            .source
            .map_or(0, |source| source.private.listener_connections);
        xml.number("STREAMHITS", hits);
        xml.number("STREAMSTATUS", u64::from(self.source.is_some()));
        xml.number("BACKUPSTATUS", 0);
        xml.number("STREAMLISTED", u64::from(public));
        if let Some(source) = self.source {
            xml.text("STREAMPATH", source.mount.as_str());
            xml.number("STREAMUPTIME", source.connected.as_secs());
        }
        xml.number("BITRATE", kbps);
        if let Some(rate) = self.source.and_then(|source| source.audio_samplerate) {
            xml.number("SAMPLERATE", rate.into());
        }
        if let Some(source) = self.source {
            xml.text("CONTENT", &source.content_type);
        }
        xml.text("VERSION", SERVER_ID);
        xml.close("SHOUTCASTSERVER");
        xml.finish()
    }

    fn numbers(&self) -> [u64; 3] {
        let Some(source) = self.source else {
            return [0; 3];
        };
        let own = source.station.bitrate_kbps().or(source.measured_kbps);
        let kbps = own.or(source.audio_bitrate.map(|rate| rate / 1000));
        [
            source.listeners,
            source.listener_peak,
            kbps.unwrap_or_default().into(),
        ]
    }

    fn limit(&self) -> u64 {
        let own = self.source.and_then(|source| source.private.max_listeners);
        own.or(self.max_listeners).unwrap_or(0)
    }
}

/// Quotes stay as they are: they do no harm in text, and monitors show entities as they come.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::sample;

    fn with(source: Option<&SourceStatus>, max_listeners: Option<u64>) -> Channel<'_> {
        Channel {
            source,
            max_listeners,
        }
    }

    #[test]
    fn seven_values_in_their_order() {
        let mut source = sample::source("/live");
        let body = |channel: Channel<'_>| {
            let html = channel.seven_html();
            let inside = html
                .strip_prefix("<HTML><meta http-equiv=\"Pragma\" content=\"no-cache\"></head><body>")
                .and_then(|rest| rest.strip_suffix("</body></html>"));
            inside.unwrap_or_else(|| panic!("{html}")).to_owned()
        };
        assert_eq!(body(with(None, Some(100))), "0,0,0,100,0,0,");
        assert_eq!(body(with(Some(&source), Some(100))), "12,1,40,100,12,128,A - B");
        assert_eq!(body(with(Some(&source), None)), "12,1,40,0,12,128,A - B");
        source.private.max_listeners = Some(50);
        source.artist = Some("</body><script>".into());
        source.title = "R&B, \"<3\"".into();
        source.station.bitrate = Some("about 100".into());
        source.audio_bitrate = Some(96_500);
        assert_eq!(
            body(with(Some(&source), Some(100))),
            "12,1,40,50,12,96,&lt;/body&gt;&lt;script&gt; - R&amp;B, \"&lt;3\""
        );
    }

    #[test]
    fn statistics_are_xml_whatever_they_hold() {
        let mut source = sample::source("/a<b>");
        source.title = "]]> <SONGTITLE> & \u{1}".into();
        source.station.name = Some("</SERVERTITLE>".into());
        source.audio_samplerate = Some(44_100);
        let channel = Channel {
            source: Some(&source),
            max_listeners: Some(100),
        };
        assert_eq!(
            channel.stats_xml(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SHOUTCASTSERVER>\
             <CURRENTLISTENERS>12</CURRENTLISTENERS><PEAKLISTENERS>40</PEAKLISTENERS>\
             <MAXLISTENERS>100</MAXLISTENERS><UNIQUELISTENERS>12</UNIQUELISTENERS>\
             <SERVERGENRE>Jazz</SERVERGENRE><SERVERURL></SERVERURL>\
             <SERVERTITLE>&lt;/SERVERTITLE&gt;</SERVERTITLE>\
             <SONGTITLE>]]&gt; &lt;SONGTITLE&gt; &amp; </SONGTITLE><STREAMHITS>99</STREAMHITS>\
             <STREAMSTATUS>1</STREAMSTATUS><BACKUPSTATUS>0</BACKUPSTATUS><STREAMLISTED>1</STREAMLISTED>\
             <STREAMPATH>/a&lt;b&gt;</STREAMPATH><STREAMUPTIME>3600</STREAMUPTIME><BITRATE>128</BITRATE>\
             <SAMPLERATE>44100</SAMPLERATE><CONTENT>audio/mpeg</CONTENT>\
             <VERSION>Icecast 2.4.4 (TinyIce)</VERSION></SHOUTCASTSERVER>\n"
        );
        let off_air = Channel {
            source: None,
            max_listeners: None,
        };
        let off_air = off_air.stats_xml();
        assert!(
            off_air.contains("<STREAMSTATUS>0</STREAMSTATUS>") && off_air.contains("<SONGTITLE></SONGTITLE>")
        );
        assert!(!off_air.contains("STREAMPATH"), "{off_air}");
    }
}
