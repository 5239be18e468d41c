//! One live stream of a mount, from the claim of its source to its end. A source that comes back within the
//! grace time goes on with the same stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use config::MountName;
use fanout::{Feed, FeedCounters, Seating};
use jiff::Timestamp;
use media::{Format, StreamFacts};
use ring::{Limits, Mark, Ring, Writer};

use crate::{Happening, Owner, Settings, Station, Title, events, witness::Stand};

/// What a mount is sending.
#[derive(Debug)]
pub struct Stream {
    mount: MountName,
    feed: Arc<Feed>,
    began: Instant,
    began_at: Timestamp,
    content_type: String,
    station: ArcSwap<Station>,
    owner: ArcSwap<Owner>,
    title: ArcSwap<Title>,
    mark: ArcSwap<Mark>,
    witnesses: Arc<Stand>,
    facts: ArcSwap<StreamFacts>,
    bytes_in: AtomicU64,
    measured_kbits: AtomicU64,
    has_data: AtomicBool,
}

/// What a new stream is made of.
pub(crate) struct Beginning<'a> {
    pub(crate) mount: &'a MountName,
    pub(crate) id: u64,
    pub(crate) format: Format,
    pub(crate) content_type: String,
    pub(crate) station: Station,
    pub(crate) owner: Owner,
    pub(crate) seating: &'a Arc<Seating>,
    pub(crate) counters: &'a Arc<FeedCounters>,
    pub(crate) settings: &'a Settings,
    pub(crate) witnesses: Arc<Stand>,
    pub(crate) now: Instant,
}

impl Stream {
    pub(crate) fn begin(beginning: Beginning<'_>) -> (Arc<Self>, Writer) {
        let Beginning {
            mount,
            id,
            format,
            content_type,
            station,
            owner,
            seating,
            counters,
            settings,
            witnesses,
            now,
        } = beginning;
        let burst = settings.burst(mount);
        let (mut writer, ring) = Ring::new(Limits::for_burst(burst));
        let title = Title::default();
        let mark = title.mark();
        writer.set_mark(Arc::clone(&mark));
        let facts = StreamFacts::default();
        let feed = Feed {
            id,
            mount: Arc::new(mount.to_string()),
            ring,
            format,
            compatible: ArcSwap::from_pointee(compatible(format, &facts, &content_type)),
            seating: Arc::clone(seating),
            counters: Arc::clone(counters),
            burst: AtomicU64::new(burst),
            low_latency: AtomicBool::new(settings.is_low_latency(mount)),
        };
        let stream = Self {
            mount: mount.clone(),
            feed: Arc::new(feed),
            began: now,
            began_at: Timestamp::now(),
            content_type,
            station: ArcSwap::from_pointee(station),
            owner: ArcSwap::from_pointee(owner),
            title: ArcSwap::from_pointee(title),
            mark: ArcSwap::new(mark),
            witnesses,
            facts: ArcSwap::from_pointee(facts),
            bytes_in: AtomicU64::new(0),
            measured_kbits: AtomicU64::new(0),
            has_data: AtomicBool::new(false),
        };
        (Arc::new(stream), writer)
    }

    /// The mount that it belongs to.
    #[must_use]
    pub fn mount(&self) -> &MountName {
        &self.mount
    }

    /// What delivery reads.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What listeners are told it is.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// How it is framed.
    #[must_use]
    pub fn format(&self) -> Format {
        self.feed.format
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When it began, by the calendar.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// The station's description.
    #[must_use]
    pub fn station(&self) -> Arc<Station> {
        self.station.load_full()
    }

    pub(crate) fn set_station(&self, station: Station) {
        self.station.store(Arc::new(station));
    }

    /// Who feeds it, or fed it last.
    #[must_use]
    pub fn owner(&self) -> Arc<Owner> {
        self.owner.load_full()
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        self.owner.store(Arc::new(owner));
    }

    /// What is playing.
    #[must_use]
    pub fn title(&self) -> Arc<Title> {
        self.title.load_full()
    }

    /// Sets what is playing from the next chunk on. False when that changes nothing.
    pub fn set_title(&self, mut title: Title) -> bool {
        // A later update without a link must not wipe out the link of the same song.
        let present = self.title();
        if title.text == present.text && title.url.is_none() {
            title.url.clone_from(&present.url);
        }
        if *present == title {
            return false;
        }
        let changed = present.text != title.text;
        self.mark.store(title.mark());
        if changed {
            observe::emit(events::TitleChanged {
                mount: self.mount.as_str(),
                song: &title.text,
            });
            self.witnesses.tell(Happening::TitleChanged {
                mount: &self.mount,
                title: &title,
                station: &self.station.load(),
            });
        }
        self.title.store(Arc::new(title));
        true
    }

    pub(crate) fn mark(&self) -> arc_swap::Guard<Arc<Mark>> {
        self.mark.load()
    }

    /// What the framing revealed.
    #[must_use]
    pub fn facts(&self) -> Arc<StreamFacts> {
        self.facts.load_full()
    }

    pub(crate) fn set_facts(&self, facts: StreamFacts) {
        self.feed
            .compatible
            .store(Arc::new(compatible(self.feed.format, &facts, &self.content_type)));
        self.facts.store(Arc::new(facts));
    }

    /// Bytes from its sources.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    pub(crate) fn count_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.has_data.store(true, Ordering::Relaxed);
    }

    /// Measured kbit/s, once ten seconds have been seen.
    #[must_use]
    pub fn measured_kbits(&self) -> Option<u64> {
        Some(self.measured_kbits.load(Ordering::Relaxed)).filter(|kbits| *kbits > 0)
    }

    pub(crate) fn set_measured_kbits(&self, kbits: u64) {
        self.measured_kbits.store(kbits, Ordering::Relaxed);
    }

    /// kbit/s: as declared, else as measured.
    #[must_use]
    pub fn bitrate(&self) -> Option<String> {
        let declared = self.station.load().bitrate.clone();
        declared.or_else(|| self.measured_kbits().map(|kbits| kbits.to_string()))
    }

    /// How long nothing has come.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        self.feed
            .ring
            .silence(now)
            .unwrap_or_else(|| now.saturating_duration_since(self.began))
    }

    pub(crate) fn apply(&self, settings: &Settings) {
        self.feed
            .burst
            .store(settings.burst(&self.mount), Ordering::Relaxed);
        self.feed
            .low_latency
            .store(settings.is_low_latency(&self.mount), Ordering::Relaxed);
    }
}

/// Streams with the same key can follow each other in one decoder. An empty key follows nothing.
fn compatible(format: Format, facts: &StreamFacts, content_type: &str) -> String {
    let rate = facts.sample_rate.unwrap_or(0);
    let channels = facts.channels.unwrap_or(0);
    match format {
        Format::Mpeg => "mpeg".into(),
        Format::Adts => "adts".into(),
        Format::MpegTs => "mpegts".into(),
        // A chain may change its parameters but players do not expect another codec.
        Format::Ogg => facts
            .codec
            .map(|codec| format!("ogg/{codec}"))
            .unwrap_or_default(),
        Format::Flac if rate > 0 => format!("flac/{rate}/{channels}"),
        Format::Wav if rate > 0 => format!("wav/{rate}/{channels}"),
        Format::Opaque => format!("opaque/{content_type}"),
        // A segment cannot be continued by another.
        _ => String::new(),
    }
}
