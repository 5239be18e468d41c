//! What accounts may see: the texts of `/admin/events`.
//!
//! Contract: an account is told of the mounts in its scope and of nothing else; relays, and the totals of the server,
//! are for those whose scope is the server.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use config::MountName;
use mount::{Health, Protocol};
use serde::Serialize;

use super::{
    burst::{Burst, list},
    group::News,
    public::{Gone, bitrate, clock, text},
    tick::{Entry, Rate, Tick, json},
    view::{Event, Scope, View},
};

/// A mount's texts, shared by all admin feeds of a tick.
pub(crate) struct Texts {
    /// Part of `streams` in the unnamed event.
    part: Bytes,
    /// The `stream` event.
    event: Bytes,
}

impl Texts {
    pub(crate) fn new(entry: &Entry) -> Self {
        let stream = Stream::new(entry);
        Self {
            part: json(&stream),
            event: json(&StreamEvent {
                format: stream.content_type,
                title: stream.song,
                artist: stream.name,
                stream,
            }),
        }
    }
}

#[derive(Serialize)]
struct Stream<'a> {
    mount: &'a str,
    name: &'a str,
    listeners: u64,
    viewers: u64,
    bitrate: String,
    uptime: String,
    #[serde(rename = "type")]
    content_type: &'a str,
    ip: &'a str,
    bytes_in: u64,
    bytes_out: u64,
    bytes_dropped: u64,
    song: &'a str,
    health: f64,
    is_transcoded: bool,
}

#[derive(Serialize)]
struct StreamEvent<'a> {
    #[serde(flatten)]
    stream: Stream<'a>,
    format: &'a str,
    title: &'a str,
    artist: &'a str,
}

impl<'a> Stream<'a> {
    fn new(entry: &'a Entry) -> Self {
        let mount = &entry.mount;
        Self {
            mount: mount.name.as_str(),
            name: text(&mount.station.name),
            listeners: mount.listeners,
            viewers: 0,
            bitrate: bitrate(mount),
            uptime: clock(mount.uptime),
            content_type: &mount.content_type,
            ip: &mount.owner.label,
            bytes_in: mount.bytes_in,
            bytes_out: mount.bytes_out,
            bytes_dropped: mount.dropped,
            song: &mount.title.text,
            // Four digits tell more than anybody can see.
            health: (mount.health_ratio.clamp(0.0, 1.0) * 1e4).round() / 1e4,
            is_transcoded: false,
        }
    }
}

#[derive(Serialize)]
struct Relay<'a> {
    url: &'a str,
    mount: &'a str,
    active: bool,
    enabled: bool,
}

/// What the unnamed event says beside its lists.
#[derive(Serialize)]
struct Message {
    bytes_in: u64,
    bytes_out: u64,
    total_listeners: u64,
    total_sources: usize,
    total_relays: usize,
    total_streamers: usize,
    sys_ram: u64,
    heap_alloc: u64,
    stack_sys: u64,
    num_gc: u64,
    goroutines: u64,
    total_dropped: u64,
    server_uptime: String,
}

/// Rates are whole bytes per second.
#[derive(Serialize)]
struct Stats {
    listeners: u64,
    streams: usize,
    bandwidth_in: u64,
    bandwidth_out: u64,
    bandwidth: u64,
    bytes_in: u64,
    bytes_out: u64,
    uptime: u64,
    goroutines: u64,
    memory: u64,
    gc: u64,
}

/// What would have to be asked for otherwise: traffic by time window as `/admin/traffic` has it, and what is wrong.
#[derive(Serialize)]
struct System<'a> {
    traffic: Traffic,
    dropped: u64,
    alerts: Vec<Alert<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Traffic {
    /// As the history knows it.
    Known(store::Traffic),
    /// Since the process began, as long as nothing else is known.
    Begun { lifetime: store::Total },
}

#[derive(Serialize)]
struct Alert<'a> {
    mount: &'a str,
    state: &'static str,
    silence_seconds: u64,
}

/// Writes what an account is told.
pub(crate) fn write(scope: &Scope, view: &View, news: &News<'_>, burst: &mut Burst) {
    let sums = Sums::of(scope, news);
    if view.events.has(Event::Message) {
        message(scope, view, news, &sums, burst);
    }
    if view.events.has(Event::Stats) {
        let runtime = &news.tick.runtime;
        let stats = Stats {
            listeners: sums.listeners,
            streams: news.shown.len(),
            bandwidth_in: whole(sums.rate.incoming),
            bandwidth_out: whole(sums.rate.outgoing),
            bandwidth: whole(sums.rate.outgoing),
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            uptime: news.tick.uptime.as_secs(),
            goroutines: runtime.goroutines,
            memory: runtime.memory,
            gc: runtime.num_gc,
        };
        burst.add(Event::Stats, [&json(&stats)[..]]);
    }
    if view.events.has(Event::Stream) {
        // Its bytes and its uptime make nearly every entry new in every tick.
        for entry in &news.shown {
            burst.add(Event::Stream, [&entry.admin().event[..]]);
        }
    }
    if view.events.has(Event::Geo) && (news.whole || news.again) {
        burst.add(Event::Geo, [&places(scope, view, news)[..]]);
    }
    if view.events.has(Event::Gone) {
        for mount in news.gone {
            burst.add(
                Event::Gone,
                [&json(&Gone {
                    mount: mount.as_str(),
                })[..]],
            );
        }
    }
    if view.events.has(Event::System) && (news.whole || news.again) {
        burst.add(Event::System, [&json(&system(scope, view, news, &sums))[..]]);
    }
}

/// The map of the listeners of what is shown.
fn places(scope: &Scope, view: &View, news: &News<'_>) -> Bytes {
    if scope.is_server() && view.mounts.is_empty() {
        return news.tick.places.told_everything();
    }
    let shown: HashSet<&str> = news.shown.iter().map(|entry| entry.mount.name.as_str()).collect();
    let is_shown = |mount: &str| shown.contains(mount);
    json(&news.tick.places.seen_by(is_shown))
}

fn message(scope: &Scope, view: &View, news: &News<'_>, sums: &Sums, burst: &mut Burst) {
    let (tick, runtime) = (news.tick, &news.tick.runtime);
    let relayed = |entry: &&&Entry| entry.mount.owner.protocol == Protocol::Relay;
    let relays = news.shown.iter().filter(relayed).count();
    let rest = json(&Message {
        bytes_in: sums.bytes_in,
        bytes_out: sums.bytes_out,
        total_listeners: sums.listeners,
        total_sources: news.shown.len(),
        total_relays: relays,
        total_streamers: news.shown.len() - relays,
        sys_ram: runtime.sys_ram,
        heap_alloc: runtime.heap_alloc,
        stack_sys: runtime.stack_sys,
        num_gc: runtime.num_gc,
        goroutines: runtime.goroutines,
        total_dropped: sums.dropped,
        server_uptime: span(tick.uptime),
    });
    let visible = &tick.config.visible_mounts;
    let visible: std::collections::BTreeMap<_, _> = visible
        .iter()
        .filter(|(mount, _)| scope.covers(mount))
        .map(|(mount, visible)| (mount.as_str(), visible))
        .collect();
    let (relays, visible) = (json(&configured(scope, tick)), json(&visible));
    let places = places(scope, view, news);
    // The streams' texts are there already, so the object is put together around them.
    let open = &rest[..rest.len() - 1];
    let head = [open, b",\"streams\":"];
    let tail: [&[u8]; 7] = [
        b",\"relays\":",
        &relays,
        b",\"streamers\":[],\"visible_mounts\":",
        &visible,
        b",\"geo\":",
        &places,
        b"}",
    ];
    let streams = list(news.shown.iter().map(|entry| &entry.admin().part[..]));
    burst.add(Event::Message, head.into_iter().chain(streams).chain(tail));
}

/// The relays of the configuration, for those who may see their addresses.
fn configured<'a>(scope: &Scope, tick: &'a Tick) -> Vec<Relay<'a>> {
    if !scope.is_server() {
        return Vec::new();
    }
    let relays = tick.config.relays.iter().map(|relay| Relay {
        url: &relay.url,
        mount: relay.mount.as_str(),
        active: tick
            .find(&relay.mount)
            .is_some_and(|entry| entry.mount.has_source && entry.mount.owner.protocol == Protocol::Relay),
        enabled: relay.enabled,
    });
    relays.collect()
}

fn system<'a>(scope: &Scope, view: &View, news: &News<'a>, sums: &Sums) -> System<'a> {
    let unwell = news
        .shown
        .iter()
        .filter(|entry| entry.mount.health != Health::Healthy);
    System {
        traffic: traffic(scope, view, news).map_or_else(
            || Traffic::Begun {
                lifetime: store::Total {
                    bytes_in: sums.bytes_in,
                    bytes_out: sums.bytes_out,
                    mounts: news.shown.iter().filter(|entry| entry.mount.bytes_in > 0).count() as u64,
                },
            },
            |known| Traffic::Known(*known),
        ),
        dropped: sums.dropped,
        alerts: unwell
            .map(|entry| Alert {
                mount: entry.mount.name.as_str(),
                state: entry.mount.health.as_str(),
                silence_seconds: entry.mount.silence.as_secs(),
            })
            .collect(),
    }
}

/// What went through the mounts of a view, with those that are not on air now.
fn traffic(scope: &Scope, view: &View, news: &News<'_>) -> Option<Arc<store::Traffic>> {
    let wanted = match scope {
        Scope::Server if view.mounts.is_empty() => None,
        Scope::Server => Some(view.mounts.iter().cloned().collect()),
        Scope::Mounts(mounts) => {
            let is_wanted = |mount: &&MountName| view.mounts.is_empty() || view.mounts.contains(*mount);
            Some(mounts.iter().filter(is_wanted).cloned().collect())
        }
    };
    news.tick.sums.as_ref()?.of(wanted, news.tick.at)
}

/// Of the server, or of the streams that a smaller scope or a filter leaves.
struct Sums {
    listeners: u64,
    bytes_in: u64,
    bytes_out: u64,
    dropped: u64,
    rate: Rate,
}

impl Sums {
    fn of(scope: &Scope, news: &News<'_>) -> Self {
        if scope.is_server() {
            let totals = &news.tick.totals;
            return Self {
                listeners: totals.listeners,
                bytes_in: totals.bytes_in,
                bytes_out: totals.bytes_out,
                dropped: totals.dropped,
                rate: news.tick.rate,
            };
        }
        let sum = |of: fn(&Entry) -> u64| news.shown.iter().map(|entry| of(entry)).sum();
        let rate = |of: fn(&Rate) -> f64| news.shown.iter().map(|entry| of(&entry.rate)).sum();
        Self {
            listeners: sum(|entry| entry.mount.listeners),
            bytes_in: sum(|entry| entry.mount.bytes_in),
            bytes_out: sum(|entry| entry.mount.bytes_out),
            dropped: sum(|entry| entry.mount.dropped),
            rate: Rate {
                incoming: rate(|rate| rate.incoming),
                outgoing: rate(|rate| rate.outgoing),
            },
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are never negative, and the conversion saturates"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// `1h2m3s`
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{
        events::{
            group::Group,
            tick::Ticker,
            view::{Audience, Selection},
            world::{World, feed, name},
        },
        metrics::Feed,
    };

    /// What an account is told after a second in which `/a` got 1000 bytes.
    fn told(scope: &Scope, query: &str) -> Vec<(String, Value)> {
        let mut world = World::new(&["/a"]);
        world.config.visible_mounts = [(name("/a"), true), (name("/b"), false)].into();
        let mut relay = config::Relay::new("http://u:p@up.example/r".into(), name("/r"));
        relay.enabled = true;
        world.config.relays = vec![relay];
        let mut a = world.publish("/a");
        let (_b, _r) = (world.publish("/b"), world.publish_as("/r", Protocol::Relay));
        let mut ticker = Ticker::default();
        ticker.tick(world.read(Duration::ZERO));
        let later = world.read(Duration::from_secs(3723));
        feed(&mut a, 37_230, later.now);
        let mut reading = world.read(Duration::from_secs(3723));
        reading.places = Arc::new(crate::events::places::tests::sample());
        let tick = ticker.tick(reading);
        let mut group = Group::new(Selection {
            audience: Audience::Account(scope.clone()),
            view: View::parse(query, Feed::Admin).unwrap(),
        });
        let (_, beginning) = group.join(Some(&tick));
        let text = std::str::from_utf8(&beginning.text[0]).unwrap().to_owned();
        text.split_terminator("\n\n")
            .map(|event| {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
                (field("event: ").unwrap_or("message").to_owned(), data)
            })
            .collect()
    }

    fn keys(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn words(text: &str) -> BTreeSet<&str> {
        text.split_whitespace().collect()
    }

    const STREAM: &str = "mount name listeners viewers bitrate uptime type ip bytes_in bytes_out bytes_dropped song \
                          health is_transcoded";

    #[test]
    fn a_superadmin_is_told_everything_in_order() {
        let events = told(&Scope::Server, "");
        let order: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            order,
            ["message", "stats", "stream", "stream", "stream", "geo", "system"]
        );
        let (message, stats, stream, system) = (&events[0].1, &events[1].1, &events[2].1, &events[6].1);

        let expected = "bytes_in bytes_out total_listeners total_sources total_relays total_streamers streams relays \
                        streamers visible_mounts sys_ram heap_alloc stack_sys num_gc goroutines total_dropped \
                        server_uptime geo";
        assert_eq!(keys(message), words(expected));
        let number = |key: &str| message[key].as_u64().unwrap();
        assert_eq!(
            (
                number("total_sources"),
                number("total_relays"),
                number("total_streamers")
            ),
            (3, 1, 2)
        );
        assert_eq!(
            (number("sys_ram"), number("heap_alloc"), number("num_gc")),
            (3, 1, 4)
        );
        assert_eq!(message["server_uptime"], "1h2m3s");
        assert_eq!(
            message["visible_mounts"],
            serde_json::json!({"/a": true, "/b": false})
        );
        assert_eq!(
            message["relays"],
            serde_json::json!([{"url": "http://u:p@up.example/r", "mount": "/r", "active": true, "enabled": true}])
        );
        assert_eq!(message["streamers"], serde_json::json!([]));
        let cities = |geo: &Value| -> Vec<String> {
            geo.as_array()
                .unwrap()
                .iter()
                .map(|here| format!("{} {}", here["iso"], here["listeners"]))
                .collect()
        };
        assert_eq!(cities(&message["geo"]), ["\"DE\" 2", "\"DE\" 1", "\"DE\" 1"]);
        assert_eq!(events[5].1, message["geo"]);
        assert_eq!(message["streams"].as_array().unwrap().len(), 3);
        assert_eq!(keys(&message["streams"][0]), words(STREAM));

        let expected = "listeners streams bandwidth_in bandwidth_out bandwidth bytes_in bytes_out uptime goroutines \
                        memory gc";
        assert_eq!(keys(stats), words(expected));
        assert_eq!(
            (&stats["bandwidth_in"], &stats["uptime"]),
            (&1000.into(), &3723.into())
        );
        assert_eq!(
            (&stats["goroutines"], &stats["memory"], &stats["gc"]),
            (&61.into(), &18_350_080.into(), &4.into())
        );

        assert_eq!(keys(stream), words(&format!("{STREAM} format title artist")));
        assert_eq!(stream["mount"], "/a");
        assert_eq!(
            (&stream["type"], &stream["format"]),
            (&"audio/mpeg".into(), &"audio/mpeg".into())
        );
        assert_eq!(
            (&stream["name"], &stream["artist"]),
            (&"Station".into(), &"Station".into())
        );
        assert_eq!(
            (&stream["ip"], &stream["uptime"]),
            (&"192.0.2.77".into(), &"01:02:03".into())
        );
        let health = |at: usize| events[at].1["health"].as_f64().unwrap();
        assert!((health(2) - 1.0).abs() < 1e-9 && health(3).abs() < 1e-9);

        assert_eq!(keys(system), words("traffic dropped alerts"));
        assert_eq!(system["traffic"]["lifetime"]["mounts"], 3);
    }

    #[test]
    fn an_account_is_told_of_its_mounts_and_of_nothing_else() {
        let events = told(&Scope::Mounts([name("/a")].into()), "");
        for (_, data) in &events {
            let text = data.to_string();
            for foreign in ["/b", "/r", "up.example"] {
                assert!(!text.contains(foreign), "{foreign} in {text}");
            }
        }
        let (message, stats) = (&events[0].1, &events[1].1);
        assert_eq!(message["relays"], serde_json::json!([]));
        assert_eq!(message["visible_mounts"], serde_json::json!({"/a": true}));
        // Berlin has a listener of each mount.
        let berlin = &message["geo"][1];
        assert_eq!(
            (&berlin["city"], &berlin["listeners"]),
            (&"Berlin".into(), &1.into())
        );
        assert_eq!(
            (&message["total_sources"], &message["bytes_in"]),
            (&1.into(), &3_723_100.into())
        );
        assert_eq!(
            (&stats["streams"], &stats["bandwidth_in"]),
            (&1.into(), &1000.into())
        );
    }

    #[test]
    fn events_and_mounts_can_be_chosen() {
        for (query, expected) in [
            (
                "events=stats,stream",
                &["stats", "stream", "stream", "stream"][..],
            ),
            ("events=stream&mount=/b", &["stream"]),
            ("events=autodj,gone", &[]),
            ("events=geo,autodj,gone", &["geo"]),
            ("events=system", &["system"]),
        ] {
            let events = told(&Scope::Server, query);
            let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, expected, "{query}");
        }
    }

    #[test]
    fn uptimes_are_written_as_before() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3600, "1h0m0s"),
            (90_061, "25h1m1s"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
