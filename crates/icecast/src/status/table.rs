//! The tables of `/status.xsl`: what everybody may see of a mount, under the words of Icecast's page.

use config::MountName;

use crate::status::{
    ServerStatus, StatusQuery,
    fields::{self, plain_text},
};

/// One mount of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusTable {
    /// The mount.
    pub mount: MountName,
    /// Heading and value of each row, as plain text.
    pub rows: Vec<(&'static str, String)>,
}

/// Programs that read Icecast's page look for these headings.
const ROWS: &[(&str, &str)] = &[
    ("Stream Name:", "server_name"),
    ("Stream Description:", "server_description"),
    ("Content Type:", "server_type"),
    ("Stream started:", "stream_start"),
    ("Bitrate:", "bitrate"),
    ("Quality:", "quality"),
    ("Listeners (current):", "listeners"),
    ("Listeners (peak):", "listener_peak"),
    ("Genre:", "genre"),
    ("Stream URL:", "server_url"),
    ("Currently playing:", "yp_currently_playing"),
];

/// The page's content; rows that would be empty are left out.
#[must_use]
pub fn status_tables(status: &ServerStatus, query: &StatusQuery<'_>) -> Vec<StatusTable> {
    let table = |source| {
        let fields = fields::public(status, source);
        let row = |(heading, key): &(&'static str, &str)| {
            let value = plain_text(fields.get(*key)?).into_owned();
            (!value.is_empty()).then_some((*heading, value))
        };
        StatusTable {
            mount: source.mount.clone(),
            rows: ROWS.iter().filter_map(row).collect(),
        }
    };
    status.select(query).map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StationInfo, status::sample};

    #[test]
    fn a_mount_reads_as_on_icecasts_page() {
        let mut source = sample::source("/live");
        source.artist = Some("A".into());
        source.title = "B".into();
        source.station.url = Some("http://example.org/".into());
        let mut bare = sample::source("/bare");
        bare.station = StationInfo::default();
        bare.title = String::new();
        let mut hidden = sample::source("/hidden");
        hidden.listed = false;
        let status = sample::server(vec![source, bare, hidden, sample::source("/live/_pcm")]);
        let tables = status_tables(&status, &StatusQuery::default());
        let rows = |at: usize| -> Vec<(&str, &str)> {
            let rows = &tables[at].rows;
            rows.iter()
                .map(|(heading, value)| (*heading, value.as_str()))
                .collect()
        };
        let mounts: Vec<_> = tables.iter().map(|table| table.mount.as_str()).collect();
        assert_eq!(mounts, ["/live", "/bare"]);
        assert_eq!(
            rows(0),
            [
                ("Stream Name:", "Example FM"),
                ("Stream Description:", "All day"),
                ("Content Type:", "audio/mpeg"),
                ("Stream started:", "Tue, 02 Sep 2025 09:10:11 +0000"),
                ("Bitrate:", "128"),
                ("Listeners (current):", "12"),
                ("Listeners (peak):", "40"),
                ("Genre:", "Jazz"),
                ("Stream URL:", "http://example.org/"),
                ("Currently playing:", "A - B"),
            ]
        );
        assert_eq!(
            rows(1),
            [
                ("Content Type:", "audio/mpeg"),
                ("Stream started:", "Tue, 02 Sep 2025 09:10:11 +0000"),
                ("Listeners (current):", "12"),
                ("Listeners (peak):", "40"),
            ]
        );
    }
}
