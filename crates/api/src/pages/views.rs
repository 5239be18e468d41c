//! The pages, from plain values to HTML.
//!
//! Contract: pure functions of their arguments. Whatever strangers chose (names, titles, mounts) is escaped by the
//! templates; what is marked safe there was made by [`accent`](super::accent) or [`markdown`](super::markdown).

use askama::Template;
use icecast::{playlist::encode_mount, status::StatusTable};

use super::{accent::Theme, assets::Asset, markdown::escape, stream::Stream};
use crate::endpoint::Chapter;

/// What every page has.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// Name of the station.
    pub(super) title: String,
    /// The line under it.
    pub(super) subtitle: String,
    /// Its colour.
    pub(super) theme: Theme,
    /// The public address, without a slash at the end.
    pub(super) base: String,
}

impl Site {
    pub(super) fn style(&self) -> &'static str {
        Asset::Style.address()
    }

    pub(super) fn script(&self) -> &'static str {
        Asset::Script.address()
    }

    pub(super) fn account_script(&self) -> &'static str {
        Asset::Account.address()
    }

    pub(super) fn icon(&self) -> &'static str {
        Asset::Icon.address()
    }

    pub(super) fn touch_icon(&self) -> &'static str {
        Asset::TouchIcon.address()
    }

    pub(super) fn initial(&self) -> String {
        self.title
            .chars()
            .find(|c| c.is_alphanumeric())
            .unwrap_or('♪')
            .to_uppercase()
            .to_string()
    }
}

/// How to publish here, for the operator of a station with nothing on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publishing {
    /// Host name or address for encoders.
    pub(super) host: String,
    /// Port for encoders.
    pub(super) port: String,
    /// Whether the setup is open.
    pub(super) setup: bool,
}

impl Publishing {
    /// From the public address.
    pub(super) fn new(base: &str, setup: bool) -> Self {
        let (scheme, authority) = base.split_once("://").unwrap_or(("http", base));
        // The colons within an address of version 6 are not in front of a port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, if scheme == "https" { "443" } else { "80" }),
        };
        Self {
            host: host.to_owned(),
            port: port.to_owned(),
            setup,
        }
    }
}

/// The documentation of the API.
#[derive(Debug, Template)]
#[template(path = "documentation.html")]
pub(super) struct Documentation<'a> {
    pub(super) site: &'a Site,
    pub(super) chapters: &'a [Chapter],
}

/// The landing page.
#[derive(Debug, Template)]
#[template(path = "landing.html")]
pub(super) struct Landing<'a> {
    pub(super) site: &'a Site,
    pub(super) streams: &'a [Stream],
    /// The operator's text as safe HTML; may be empty.
    pub(super) about: &'a str,
    pub(super) publishing: &'a Publishing,
}

/// The list with a search.
#[derive(Debug, Template)]
#[template(path = "explore.html")]
pub(super) struct Explore<'a> {
    pub(super) site: &'a Site,
    /// Those that the search found.
    pub(super) streams: &'a [Stream],
    /// What is searched for; may be empty.
    pub(super) search: &'a str,
    pub(super) publishing: &'a Publishing,
}

/// The numbers of all mounts.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct Status<'a> {
    pub(super) site: &'a Site,
    pub(super) tables: &'a [StatusTable],
}

impl Status<'_> {
    #[allow(clippy::unused_self, reason = "templates know methods only")]
    fn path(&self, table: &StatusTable) -> String {
        encode_mount(&table.mount)
    }
}

/// The player of one mount.
#[derive(Debug, Template)]
#[template(path = "player.html")]
pub(super) struct Player<'a> {
    pub(super) site: &'a Site,
    pub(super) stream: &'a Stream,
}

impl Player<'_> {
    /// What other sites paste. It becomes HTML there, so it is escaped for that as well.
    fn embed_code(&self) -> String {
        let address = escape(&format!("{}/embed{}", self.site.base, self.stream.path));
        let name = escape(&self.stream.name);
        format!(
            "<iframe src=\"{address}\" title=\"{name}\" width=\"100%\" height=\"80\" allow=\"autoplay\"></iframe>"
        )
    }
}

/// The small player for other sites.
#[derive(Debug, Template)]
#[template(path = "embed.html")]
pub(super) struct Embed<'a> {
    pub(super) site: &'a Site,
    pub(super) stream: &'a Stream,
    /// `light`, `dark` or `auto`.
    pub(super) colours: &'static str,
}

/// A mount that may come back.
#[derive(Debug, Template)]
#[template(path = "off_air.html")]
pub(super) struct OffAir<'a> {
    pub(super) site: &'a Site,
    pub(super) mount: &'a str,
}

/// The same in a small frame.
#[derive(Debug, Template)]
#[template(path = "embed_off_air.html")]
pub(super) struct EmbedOffAir<'a> {
    pub(super) site: &'a Site,
    pub(super) mount: &'a str,
    /// `light`, `dark` or `auto`.
    pub(super) colours: &'static str,
}

/// A page of a few words.
#[derive(Debug, Template)]
#[template(path = "message.html")]
pub(super) struct Message<'a> {
    pub(super) site: &'a Site,
    pub(super) heading: &'a str,
    pub(super) text: &'a str,
}

/// The HTML of a page.
pub(super) fn render(page: &impl Template) -> String {
    page.render()
        .expect("all values are strings, and writing to a string cannot fail")
}
