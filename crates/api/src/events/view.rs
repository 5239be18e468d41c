//! What a subscriber asked for: which mounts, which events, how often.
//!
//! Contract: equal views are the same burst, byte for byte, so a view holds nothing of the one who asked.

use std::{collections::BTreeSet, time::Duration};

use config::MountName;

use super::{TICK, tick::Entry};
use crate::{metrics::Feed, status::parameters};

/// Mounts that one feed may name.
const MOST_MOUNTS: usize = 64;
/// The least and the greatest `interval=`, in milliseconds.
const INTERVALS: std::ops::RangeInclusive<u32> = 500..=60_000;

/// Kinds of events. `Message` is the one without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Message,
    Stats,
    Stream,
    Autodj,
    Geo,
    Gone,
    System,
}

impl Event {
    const ALL: [Self; 7] = [
        Self::Message,
        Self::Stats,
        Self::Stream,
        Self::Autodj,
        Self::Geo,
        Self::Gone,
        Self::System,
    ];

    /// As in `events=`, and in the frame, except that of `Message`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Stats => "stats",
            Self::Stream => "stream",
            Self::Autodj => "autodj",
            Self::Geo => "geo",
            Self::Gone => "gone",
            Self::System => "system",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Events(u8);

impl Events {
    /// Everything that a feed has.
    fn of(feed: Feed) -> Self {
        match feed {
            Feed::Public => Self(Event::Message.bit() | Event::Stream.bit() | Event::Gone.bit()),
            Feed::Admin => Self(u8::MAX),
        }
    }

    pub(crate) fn has(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }
}

/// What a subscriber asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// Only these mounts; none is the default: all that the feed shows by itself.
    pub(crate) mounts: BTreeSet<MountName>,
    /// Only these events.
    pub(crate) events: Events,
    /// At most one burst in so many ticks.
    ticks: u32,
}

impl View {
    /// From a query. Parameters that are not known are ignored.
    ///
    /// # Errors
    /// The text says which value cannot be used, and what can.
    pub(crate) fn parse(query: &str, feed: Feed) -> Result<Self, String> {
        let mut mounts = BTreeSet::new();
        let mut events = None;
        let mut interval = *INTERVALS.start();
        for (key, value) in parameters(query) {
            match key.as_str() {
                "mount" => {
                    let mount = MountName::parse(&value).map_err(|error| format!("mount: {error}"))?;
                    mounts.insert(mount);
                    if mounts.len() > MOST_MOUNTS {
                        return Err(format!("mount: a feed names at most {MOST_MOUNTS} mounts"));
                    }
                }
                "events" => *events.get_or_insert(0) |= bits(&value)?,
                "interval" => {
                    let wanted = value.parse().ok().filter(|wanted| INTERVALS.contains(wanted));
                    interval = wanted.ok_or_else(|| {
                        let (least, most) = (INTERVALS.start(), INTERVALS.end());
                        format!("interval: a whole number of milliseconds from {least} to {most}")
                    })?;
                }
                _ => {}
            }
        }
        let all = Events::of(feed);
        Ok(Self {
            mounts,
            events: events.map_or(all, |events| Events(events & all.0)),
            ticks: interval.div_ceil(u32::try_from(TICK.as_millis()).unwrap_or(u32::MAX)),
        })
    }

    /// The least time between two bursts.
    pub(crate) fn interval(&self) -> Duration {
        TICK * self.ticks
    }
}

/// The kinds in a list with commas.
fn bits(list: &str) -> Result<u8, String> {
    let mut bits = 0;
    for name in list.split(',') {
        let event = Event::ALL
            .into_iter()
            .find(|event| event.name() == name.trim())
            .ok_or_else(|| {
                let names = Event::ALL.map(Event::name).join(", ");
                format!("events: a list of these, with commas: {names}")
            })?;
        bits |= event.bit();
    }
    Ok(bits)
}

/// Who watches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Audience {
    /// Anybody.
    Public,
    /// An account that may see so much.
    #[allow(dead_code, reason = "the endpoint of the admin feed comes with sessions")]
    Account(Scope),
}

/// The mounts that an account may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "the endpoint of the admin feed comes with sessions")]
pub(crate) enum Scope {
    /// All, and what concerns the whole server.
    Server,
    /// These, and nothing of others.
    Mounts(BTreeSet<MountName>),
}

impl Scope {
    /// Whether a mount, or the mount that it is the companion of, may be seen.
    pub(crate) fn covers(&self, mount: &MountName) -> bool {
        match self {
            Self::Server => true,
            Self::Mounts(mounts) => has_it_or_parent(mounts, mount),
        }
    }

    /// Whether what concerns the whole server may be seen.
    pub(crate) fn is_server(&self) -> bool {
        *self == Self::Server
    }
}

fn has_it_or_parent(mounts: &BTreeSet<MountName>, mount: &MountName) -> bool {
    mounts.contains(mount)
        || mount
            .as_str()
            .strip_suffix("/video")
            .is_some_and(|parent| mounts.iter().any(|mount| mount.as_str() == parent))
}

/// Who watches what. Subscribers with the same selection share their bursts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    pub(crate) audience: Audience,
    pub(crate) view: View,
}

impl Selection {
    pub(crate) fn feed(&self) -> Feed {
        match self.audience {
            Audience::Public => Feed::Public,
            Audience::Account(_) => Feed::Admin,
        }
    }

    /// Whether a mount is in it.
    pub(crate) fn shows(&self, entry: &Entry) -> bool {
        let (mount, wanted) = (&entry.mount.name, &self.view.mounts);
        match &self.audience {
            // Unlisted mounts are for those who know their names already.
            Audience::Public if wanted.is_empty() => entry.is_listed(),
            Audience::Public => !mount.is_internal() && wanted.contains(mount),
            Audience::Account(scope) => {
                !mount.as_str().ends_with("/_pcm")
                    && scope.covers(mount)
                    && (wanted.is_empty() || has_it_or_parent(wanted, mount))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MountName {
        MountName::parse(text).unwrap()
    }

    #[test]
    fn a_query_becomes_a_view() {
        use Event::{Gone, Message, Stats, Stream};
        for (query, mounts, events, milliseconds) in [
            ("", &[][..], &[Message, Stream, Gone][..], 500),
            ("unknown=1&&x", &[], &[Message, Stream, Gone], 500),
            (
                "mount=/b&mount=%2Fa&mount=/b",
                &["/a", "/b"],
                &[Message, Stream, Gone],
                500,
            ),
            ("events=stream", &[], &[Stream], 500),
            ("events=message,+gone", &[], &[Message, Gone], 500),
            ("events=stream&events=message", &[], &[Stream, Message], 500),
            // What the feed does not have is not sent.
            ("events=stats,stream,geo,autodj,system", &[], &[Stream], 500),
            ("interval=60000", &[], &[Message, Stream, Gone], 60_000),
            ("interval=501", &[], &[Message, Stream, Gone], 1000),
        ] {
            let view = View::parse(query, Feed::Public).unwrap();
            assert_eq!(
                view.mounts,
                mounts.iter().map(|mount| name(mount)).collect(),
                "{query}"
            );
            for event in Event::ALL {
                assert_eq!(
                    view.events.has(event),
                    events.contains(&event),
                    "{query} {event:?}"
                );
            }
            assert_eq!(view.interval(), Duration::from_millis(milliseconds), "{query}");
        }
        assert!(
            View::parse("events=stats", Feed::Admin)
                .unwrap()
                .events
                .has(Stats)
        );
    }

    #[test]
    fn junk_is_refused() {
        let many: Vec<_> = (0..65).map(|mount| format!("mount=/{mount}")).collect();
        for query in [
            "mount=live",
            "mount=",
            "mount",
            "mount=/a/video",
            "mount=/a%0a",
            "events=",
            "events=metadata",
            "events=stream,",
            "interval=499",
            "interval=60001",
            "interval=-1",
            "interval=1e3",
            "interval=",
            "interval=99999999999999999999",
            &many.join("&"),
        ] {
            let error = View::parse(query, Feed::Public).unwrap_err();
            assert!(
                error.starts_with(query.split('=').next().unwrap()),
                "{query}: {error}"
            );
        }
        assert!(View::parse(&many[1..].join("&"), Feed::Public).is_ok());
    }

    #[test]
    fn an_account_sees_its_mounts_and_their_companions() {
        let scope = Scope::Mounts([name("/a")].into());
        let companion = |mount: &str| MountName::parse_internal(mount).unwrap();
        for (mount, expected) in [
            ("/a", true),
            ("/a/video", true),
            ("/b", false),
            ("/b/video", false),
        ] {
            assert_eq!(scope.covers(&companion(mount)), expected, "{mount}");
            assert!(Scope::Server.covers(&companion(mount)));
        }
    }
}
