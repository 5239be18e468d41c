//! The subscribers that share a selection, and what they have been told.
//!
//! Contract: a burst is written once per tick and group. A subscriber that got every burst of its group knows
//! everything; one that missed some is told everything anew and what has gone meanwhile.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::MountName;
use tokio::sync::watch;

use super::{
    TICK, admin,
    burst::{Burst, PING},
    public,
    tick::{Entry, Tick},
    view::{Audience, Selection},
};

/// Clients forget a mount that they have not heard of for 5 s, so each is mentioned at least every 4 s. That leaves
/// half a second for a late tick.
const REFRESH: Duration = Duration::from_millis(3500);
/// A feed without events shows at least so often that it lives.
const PING_AFTER: Duration = Duration::from_secs(15);
/// Ticks come a little early or late; whoever waits for the next one does not wait for two.
const SLACK: Duration = Duration::from_millis(TICK.as_millis() as u64 / 2);
/// Mounts that have gone, kept for subscribers that missed it. Who cannot write for longer than
/// [`front::Limits::write_stall`] is gone too.
const GRAVES: usize = 256;
const GRAVE_TIME: Duration = Duration::from_secs(60);

/// What a burst tells.
pub(crate) struct News<'a> {
    pub(crate) tick: &'a Tick,
    /// All that the selection shows.
    pub(crate) shown: Vec<&'a Entry>,
    /// Those of them that are to be told.
    pub(crate) fresh: Vec<&'a Entry>,
    /// What was shown and is no more.
    pub(crate) gone: &'a [MountName],
    /// For subscribers that know nothing.
    pub(crate) whole: bool,
    /// Everything is told again though it may not have changed.
    pub(crate) again: bool,
}

/// A burst on its way to the subscribers.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Without gaps, from 1.
    pub(crate) number: u64,
    pub(crate) text: Bytes,
}

/// What brings a subscriber up to date.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// The next burst to expect is the one after this.
    pub(crate) number: u64,
    pub(crate) text: Vec<Bytes>,
}

pub(crate) struct Group {
    selection: Selection,
    bursts: watch::Sender<Option<Published>>,
    /// Of the last burst.
    number: u64,
    /// The tick up to which the group knows everything; 0 at first.
    told: u64,
    /// The mounts that the group knows.
    shown: BTreeSet<MountName>,
    /// When everything was told last.
    refreshed: Option<Instant>,
    /// When anything was told last.
    spoke: Option<Instant>,
    graves: VecDeque<Grave>,
    /// Everything, as of one tick.
    whole: Option<(u64, Bytes)>,
}

struct Grave {
    /// The burst that told of it.
    number: u64,
    at: Instant,
    mount: MountName,
}

impl Group {
    pub(crate) fn new(selection: Selection) -> Self {
        Self {
            selection,
            bursts: watch::Sender::new(None),
            number: 0,
            told: 0,
            shown: BTreeSet::new(),
            refreshed: None,
            spoke: None,
            graves: VecDeque::new(),
            whole: None,
        }
    }

    pub(crate) fn is_deserted(&self) -> bool {
        self.bursts.receiver_count() == 0
    }

    /// Lets a subscriber in. Where there is no tick yet, the first burst will tell it everything.
    pub(crate) fn join(&mut self, tick: Option<&Tick>) -> (watch::Receiver<Option<Published>>, CatchUp) {
        let receiver = self.bursts.subscribe();
        let number = self.number;
        let Some(tick) = tick else {
            return (
                receiver,
                CatchUp {
                    number,
                    text: Vec::new(),
                },
            );
        };
        let text = self.whole(tick);
        // What the newcomer saw it must also be told the end of.
        self.shown.extend(self.names(tick));
        if self.told == 0 {
            self.told = tick.number;
            self.refreshed = Some(tick.at);
            self.spoke = Some(tick.at);
        }
        (
            receiver,
            CatchUp {
                number,
                text: vec![text],
            },
        )
    }

    /// What a subscriber that missed every burst after `seen` has to know.
    pub(crate) fn catch_up(&mut self, seen: u64, tick: &Tick) -> CatchUp {
        let now: BTreeSet<_> = self.names(tick).collect();
        let gone = self
            .graves
            .iter()
            .filter(|grave| grave.number > seen && !now.contains(&grave.mount));
        let gone: Vec<_> = gone.map(|grave| grave.mount.clone()).collect();
        self.shown.extend(now);
        let mut text = Vec::new();
        if !gone.is_empty() {
            let news = News {
                tick,
                shown: self.shown(tick),
                fresh: Vec::new(),
                gone: &gone,
                whole: false,
                again: false,
            };
            text.push(self.write(&news));
        }
        text.push(self.whole(tick));
        CatchUp {
            number: self.number,
            text,
        }
    }

    /// Tells the subscribers what is new.
    pub(crate) fn step(&mut self, tick: &Tick) {
        let past = |moment: Option<Instant>, time: Duration| {
            moment.is_none_or(|moment| tick.at.saturating_duration_since(moment) + SLACK >= time)
        };
        if !past(self.spoke, self.selection.view.interval()) {
            return;
        }
        let whole = self.told == 0;
        let shown = self.shown(tick);
        let again = past(self.refreshed, REFRESH);
        let is_fresh = |entry: &&Entry| {
            whole || again || entry.changed > self.told || !self.shown.contains(&entry.mount.name)
        };
        let fresh = shown.iter().copied().filter(is_fresh).collect();
        let names: BTreeSet<_> = shown.iter().map(|entry| entry.mount.name.clone()).collect();
        let gone: Vec<_> = self.shown.difference(&names).cloned().collect();
        let mut text = self.write(&News {
            tick,
            shown,
            fresh,
            gone: &gone,
            whole,
            again,
        });
        if again {
            self.refreshed = Some(tick.at);
        }
        self.told = tick.number;
        self.shown = names;
        if text.is_empty() {
            if !past(self.spoke, PING_AFTER) {
                return;
            }
            text = PING;
        }
        self.spoke = Some(tick.at);
        self.number += 1;
        self.bury(gone, tick.at);
        self.bursts.send_replace(Some(Published {
            number: self.number,
            text,
        }));
    }

    fn bury(&mut self, gone: Vec<MountName>, now: Instant) {
        self.graves.extend(gone.into_iter().map(|mount| Grave {
            number: self.number,
            at: now,
            mount,
        }));
        while self.graves.len() > GRAVES
            || self
                .graves
                .front()
                .is_some_and(|grave| now.saturating_duration_since(grave.at) > GRAVE_TIME)
        {
            self.graves.pop_front();
        }
    }

    /// Everything; shared by all who come or catch up within one tick.
    fn whole(&mut self, tick: &Tick) -> Bytes {
        if let Some((number, text)) = &self.whole
            && *number == tick.number
        {
            return text.clone();
        }
        let shown = self.shown(tick);
        let text = self.write(&News {
            tick,
            fresh: shown.clone(),
            shown,
            gone: &[],
            whole: true,
            again: true,
        });
        self.whole = Some((tick.number, text.clone()));
        text
    }

    fn write(&self, news: &News<'_>) -> Bytes {
        let mut burst = Burst::new(news.tick.id);
        match &self.selection.audience {
            Audience::Public => public::write(&self.selection.view, news, &mut burst),
            Audience::Account(scope) => admin::write(scope, &self.selection.view, news, &mut burst),
        }
        burst.finish()
    }

    fn shown<'a>(&self, tick: &'a Tick) -> Vec<&'a Entry> {
        let entries = tick.entries.iter().map(Arc::as_ref);
        entries.filter(|entry| self.selection.shows(entry)).collect()
    }

    fn names(&self, tick: &Tick) -> impl Iterator<Item = MountName> + use<> {
        let names: Vec<_> = self
            .shown(tick)
            .iter()
            .map(|entry| entry.mount.name.clone())
            .collect();
        names.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        events::{
            tick::Ticker,
            view::View,
            world::{World, name},
        },
        metrics::Feed,
    };

    /// A group whose ticks come when the test says so.
    struct Stage {
        world: World,
        ticker: Ticker,
        group: Group,
        bursts: watch::Receiver<Option<Published>>,
    }

    impl Stage {
        fn new(world: World, query: &str) -> Self {
            let mut group = Group::new(Selection {
                audience: Audience::Public,
                view: View::parse(query, Feed::Public).unwrap(),
            });
            let (bursts, _) = group.join(None);
            Self {
                world,
                ticker: Ticker::default(),
                group,
                bursts,
            }
        }

        fn tick(&mut self, seconds: f64) -> Arc<Tick> {
            let tick = self
                .ticker
                .tick(self.world.read(Duration::from_secs_f64(seconds)));
            self.group.step(&tick);
            tick
        }

        /// What the subscribers are told at a time; nothing when there is no burst.
        fn at(&mut self, seconds: f64) -> String {
            self.tick(seconds);
            if !self.bursts.has_changed().unwrap() {
                return String::new();
            }
            let burst = self.bursts.borrow_and_update().clone();
            told(&[burst.expect("it has changed").text])
        }
    }

    /// The events of a text in short: name and mounts, with titles where there are any.
    fn told(texts: &[Bytes]) -> String {
        let text: String = texts
            .iter()
            .map(|text| std::str::from_utf8(text).unwrap())
            .collect();
        let events = text.split_terminator("\n\n").map(|event| {
            if event.starts_with(':') {
                return event.to_owned();
            }
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            assert!(field("id: ").unwrap().parse::<i64>().is_ok(), "{event}");
            let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
            let mounts = match &data {
                Value::Array(mounts) => mounts
                    .iter()
                    .map(|one| one["mount"].as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(","),
                one => format!(
                    "{} {}",
                    one["mount"].as_str().unwrap(),
                    one["title"].as_str().unwrap_or_default()
                ),
            };
            format!("{} {}", field("event: ").unwrap_or("message"), mounts.trim_end())
        });
        events.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn changes_are_told_at_once_and_everything_every_four_seconds() {
        let world = World::new(&["/a", "/b"]);
        let (_a, _b) = (world.publish("/a"), world.publish("/b"));
        let mut stage = Stage::new(world, "");
        assert_eq!(stage.at(0.0), "message /a,/b; stream /a; stream /b");
        assert_eq!(stage.at(0.5), "");
        stage.world.set_title("/b", "One");
        assert_eq!(stage.at(1.0), "message /a,/b; stream /b One");
        assert_eq!(stage.at(1.5), "");
        for quiet in [2.0, 2.5, 3.0] {
            assert_eq!(stage.at(quiet), "");
        }
        assert_eq!(stage.at(3.5), "message /a,/b; stream /a; stream /b One");
        assert_eq!(stage.at(6.5), "");
        assert_eq!(stage.at(7.0), "message /a,/b; stream /a; stream /b One");
    }

    #[test]
    fn nothing_on_air_is_said_once_and_then_the_feed_shows_that_it_lives() {
        let mut stage = Stage::new(World::new(&["/a"]), "");
        assert_eq!(stage.at(0.0), "message ");
        for half in 1..30 {
            assert_eq!(stage.at(f64::from(half) / 2.0), "", "{half}");
        }
        assert_eq!(stage.at(15.0), ": ping");
        assert_eq!(stage.at(15.5), "");
        let _a = stage.world.publish("/a");
        assert_eq!(stage.at(16.0), "message /a; stream /a");
        assert_eq!(stage.at(29.0), "message /a; stream /a");
    }

    #[test]
    fn a_mount_that_ends_or_is_hidden_is_told_to_be_gone() {
        let world = World::new(&["/a", "/b"]);
        let (a, _b, secret) = (world.publish("/a"), world.publish("/b"), world.publish("/secret"));
        let mut stage = Stage::new(world, "");
        assert_eq!(stage.at(0.0), "message /a,/b; stream /a; stream /b");
        drop((a, secret));
        assert_eq!(stage.at(0.5), "message /b; gone /a");
        stage.world.show(&["/a"]);
        assert_eq!(stage.at(1.0), "message ; gone /b");
    }

    #[test]
    fn unlisted_mounts_are_for_those_who_name_them() {
        let make = || {
            let world = World::new(&["/a", "/b"]);
            let claims = ["/a", "/b", "/secret"].map(|mount| world.publish(mount));
            (world, claims)
        };
        for (query, expected) in [
            ("", "message /a,/b; stream /a; stream /b"),
            ("mount=/b", "message /b; stream /b"),
            ("mount=/secret", "message ; stream /secret"),
            (
                "mount=/b&mount=/secret&events=stream",
                "stream /b; stream /secret",
            ),
            ("mount=/none", "message "),
            ("mount=/none&events=stream", ": ping"),
            ("events=message", "message /a,/b"),
            ("events=gone", ": ping"),
        ] {
            let (world, _claims) = make();
            assert_eq!(Stage::new(world, query).at(0.0), expected, "{query}");
        }
    }

    #[test]
    fn an_interval_collects_what_happens_in_it() {
        let world = World::new(&["/a"]);
        let _a = world.publish("/a");
        let mut stage = Stage::new(world, "interval=2000&events=stream,gone");
        assert_eq!(stage.at(0.0), "stream /a");
        stage.world.set_title("/a", "One");
        assert_eq!(stage.at(0.5), "");
        stage.world.set_title("/a", "Two");
        assert_eq!(stage.at(1.5), "");
        assert_eq!(stage.at(2.0), "stream /a Two");
        // Beyond four seconds everything is in every burst.
        let world = World::new(&["/a"]);
        let _a = world.publish("/a");
        let mut stage = Stage::new(world, "interval=60000&events=stream");
        assert_eq!(stage.at(0.0), "stream /a");
        assert_eq!(stage.at(59.0), "");
        assert_eq!(stage.at(60.0), "stream /a");
    }

    #[test]
    fn who_missed_bursts_is_told_the_newest_state_and_what_has_gone() {
        let world = World::new(&["/a", "/b", "/c"]);
        let (_a, b, c) = (world.publish("/a"), world.publish("/b"), world.publish("/c"));
        let mut stage = Stage::new(world, "");
        stage.at(0.0);
        stage.world.set_title("/a", "One");
        drop((b, c));
        stage.at(0.5);
        let _c = stage.world.publish("/c");
        stage.world.set_title("/a", "Two");
        let tick = stage.tick(1.0);
        let news = stage.group.catch_up(1, &tick);
        assert_eq!(news.number, 3);
        assert_eq!(
            told(&news.text),
            "message /a,/c; gone /b; message /a,/c; stream /a Two; stream /c"
        );
        // Who missed nothing that went is spared it.
        let news = stage.group.catch_up(2, &tick);
        assert_eq!(told(&news.text), "message /a,/c; stream /a Two; stream /c");
    }

    #[test]
    fn newcomers_share_one_text_and_hear_the_end_of_what_they_saw() {
        let world = World::new(&["/a", "/b"]);
        let _a = world.publish("/a");
        let mut stage = Stage::new(world, "interval=60000");
        stage.at(0.0);
        let b = stage.world.publish("/b");
        let tick = stage.tick(0.5);
        let (_, first) = stage.group.join(Some(&tick));
        let (_, second) = stage.group.join(Some(&tick));
        assert_eq!(told(&first.text), "message /a,/b; stream /a; stream /b");
        assert_eq!(first.text[0].as_ptr(), second.text[0].as_ptr());
        drop(b);
        assert_eq!(stage.at(60.0), "message /a; stream /a; gone /b");
    }

    #[test]
    fn a_group_that_begins_between_two_ticks_tells_nothing_twice() {
        let world = World::new(&["/a"]);
        let _a = world.publish("/a");
        let mut stage = Stage::new(world, "");
        stage.at(0.0);
        let tick = stage.tick(0.5);
        let mut late = Group::new(Selection {
            audience: Audience::Public,
            view: View::parse("mount=/a", Feed::Public).unwrap(),
        });
        let (bursts, news) = late.join(Some(&tick));
        assert_eq!(
            (news.number, told(&news.text).as_str()),
            (0, "message /a; stream /a")
        );
        late.step(&stage.tick(1.0));
        assert!(!bursts.has_changed().unwrap());
    }

    #[test]
    fn the_memory_of_what_has_gone_is_bounded() {
        let mut stage = Stage::new(World::new(&["/a"]), "");
        for burst in 0..1000 {
            stage.group.number += 1;
            let at = stage.world.read(Duration::from_millis(burst)).now;
            stage.group.bury(vec![name(&format!("/{burst}"))], at);
        }
        assert_eq!(stage.group.graves.len(), GRAVES);
        stage
            .group
            .bury(Vec::new(), stage.world.read(Duration::from_secs(62)).now);
        assert!(stage.group.graves.is_empty());
    }
}
