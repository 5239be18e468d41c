//! The situations in which servers are compared.
//! Contract: a scenario says everything about the load; only its size and pace can be changed from outside.

use std::time::Duration;

use crate::Outcome;

/// One situation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// Listeners in all.
    pub(crate) listeners: usize,
    /// Mounts, each with a source; listeners are spread over them.
    pub(crate) mounts: usize,
    /// Joins in a second.
    pub(crate) rate: f64,
    /// Bitrate of the sources in kbit/s.
    pub(crate) kbit: u32,
    /// The share of listeners that wants in-band metadata; the title then changes every two seconds.
    pub(crate) icy: f64,
    /// The share that reads at half rate.
    pub(crate) slow: f64,
    /// The share that stops reading.
    pub(crate) dead: f64,
    /// Whether the joining itself is measured.
    pub(crate) joining: bool,
    /// Whether clients on this machine are judged like strangers: counted, locked out.
    pub(crate) strict: bool,
    /// What happens in the window.
    pub(crate) disturbance: Disturbance,
}

/// What happens besides listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// Nothing.
    None,
    /// All listeners hang up and come back as fast as they can.
    Return,
    /// The sources hang up and come back after three seconds.
    Blink,
    /// The configuration changes and is read again, three times.
    Reload,
    /// Listeners come and go all the time, and now and then each of the others.
    Everything,
}

/// One thing that is done in the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// This share of the listeners hangs up and comes back.
    Return(f64),
    /// The sources are away for this time.
    Blink(Duration),
    /// The configuration is read again.
    Reload,
}

/// How long sources stay away.
const BLINK: Duration = Duration::from_secs(3);

const PLAIN: Scenario = Scenario {
    name: "1000",
    listeners: 1000,
    mounts: 1,
    rate: 1000.0,
    kbit: 128,
    icy: 0.0,
    slow: 0.0,
    dead: 0.0,
    joining: false,
    strict: false,
    disturbance: Disturbance::None,
};

/// In the order in which they are run.
const ALL: [Scenario; 14] = [
    Scenario {
        name: "100",
        listeners: 100,
        ..PLAIN
    },
    PLAIN,
    Scenario {
        name: "8000",
        listeners: 8000,
        ..PLAIN
    },
    Scenario {
        name: "19000",
        listeners: 19_000,
        ..PLAIN
    },
    Scenario {
        name: "mounts",
        listeners: 10_000,
        mounts: 200,
        ..PLAIN
    },
    Scenario {
        name: "joins",
        listeners: 8000,
        rate: 2000.0,
        joining: true,
        ..PLAIN
    },
    Scenario {
        name: "slow",
        listeners: 2000,
        slow: 0.05,
        dead: 0.01,
        ..PLAIN
    },
    Scenario {
        name: "icy",
        listeners: 8000,
        icy: 0.5,
        ..PLAIN
    },
    Scenario {
        name: "64k",
        listeners: 2000,
        kbit: 64,
        ..PLAIN
    },
    Scenario {
        name: "320k",
        listeners: 2000,
        kbit: 320,
        ..PLAIN
    },
    Scenario {
        name: "return",
        listeners: 8000,
        disturbance: Disturbance::Return,
        ..PLAIN
    },
    Scenario {
        name: "blink",
        listeners: 2000,
        disturbance: Disturbance::Blink,
        ..PLAIN
    },
    Scenario {
        name: "reload",
        listeners: 2000,
        disturbance: Disturbance::Reload,
        ..PLAIN
    },
    Scenario {
        name: "everything",
        listeners: 8000,
        mounts: 20,
        icy: 0.5,
        slow: 0.05,
        dead: 0.01,
        disturbance: Disturbance::Everything,
        ..PLAIN
    },
];

/// Those that a goal is about, and the one that most servers are in.
const GOALS: [&str; 7] = ["100", "1000", "8000", "19000", "mounts", "joins", "slow"];

impl Scenario {
    /// One mount, ordinary listeners.
    pub(crate) fn plain() -> Scenario {
        PLAIN
    }

    /// What to set this beside, to see what is special about it: a name and the same without it.
    pub(crate) fn beside(&self) -> Option<(&'static str, Scenario)> {
        if self.disturbance != Disturbance::None {
            return None;
        }
        let plain = Scenario {
            mounts: 1,
            icy: 0.0,
            slow: 0.0,
            dead: 0.0,
            ..self.clone()
        };
        if self.slow + self.dead > 0.0 {
            Some(("healthy alone", plain))
        } else if self.icy > 0.0 {
            Some(("without metadata", plain))
        } else if self.mounts > 1 {
            Some(("one mount", plain))
        } else {
            None
        }
    }

    /// How long the window is at least, whatever was asked for.
    pub(crate) fn least_window(&self) -> Duration {
        match self.disturbance {
            Disturbance::None => Duration::ZERO,
            Disturbance::Return | Disturbance::Reload => Duration::from_secs(8),
            Disturbance::Blink => BLINK + Duration::from_secs(7),
            Disturbance::Everything => Duration::from_secs(600),
        }
    }

    /// Whether one round says it all.
    pub(crate) fn is_long(&self) -> bool {
        self.disturbance == Disturbance::Everything
    }

    /// What is done when, from the opening of the window on.
    pub(crate) fn script(&self, window: Duration) -> Vec<(Duration, Act)> {
        let second = Duration::from_secs(1);
        match self.disturbance {
            Disturbance::None => Vec::new(),
            Disturbance::Return => vec![(second, Act::Return(1.0))],
            Disturbance::Blink => vec![(second, Act::Blink(BLINK))],
            Disturbance::Reload => (1..=3).map(|at| (second * 2 * at, Act::Reload)).collect(),
            Disturbance::Everything => (1..)
                .map(|at| {
                    let act = match at {
                        at if at % 120 == 75 => Act::Return(1.0),
                        at if at % 60 == 30 => Act::Blink(BLINK),
                        at if at % 20 == 10 => Act::Reload,
                        _ => Act::Return(0.01),
                    };
                    (second * at, act)
                })
                .take_while(|(at, _)| *at + BLINK * 2 < window)
                .collect(),
        }
    }

    /// How long the sources pause in a window.
    pub(crate) fn silence(&self, window: Duration) -> Duration {
        let blinks = self.script(window).into_iter().filter_map(|(_, act)| match act {
            Act::Blink(away) => Some(away),
            _ => None,
        });
        blinks.sum()
    }

    /// The scenarios of a list of names; `goals` stands for those that goals are about, `all` for every one.
    pub(crate) fn select(names: &[String]) -> Outcome<Vec<Scenario>> {
        let mut selected = Vec::new();
        for name in names {
            match ALL.iter().find(|scenario| scenario.name == name) {
                Some(scenario) => selected.push(scenario.clone()),
                None if name == "all" => selected.extend(ALL.iter().cloned()),
                None if name == "goals" => selected.extend(
                    ALL.iter()
                        .filter(|scenario| GOALS.contains(&scenario.name))
                        .cloned(),
                ),
                None => {
                    let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
                    return Err(format!(
                        "no scenario {name:?}; there are {}, goals and all",
                        known.join(", ")
                    )
                    .into());
                }
            }
        }
        Ok(selected)
    }

    /// One sentence for the head of a table.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{} listeners at {} kbit/s", self.listeners, self.kbit);
        if self.mounts > 1 {
            text += &format!(" on {} mounts", self.mounts);
        }
        text += &format!(", joining at {}/s", self.rate);
        for (share, what) in [
            (self.icy, "with in-band metadata"),
            (self.slow, "reading at half rate"),
            (self.dead, "that stop reading"),
        ] {
            if share > 0.0 {
                text += &format!(", {:.0} % {what}", share * 100.0);
            }
        }
        if self.joining {
            text += "; the joining is part of the window";
        }
        text + match self.disturbance {
            Disturbance::None => "",
            Disturbance::Return => "; all hang up at once and come back as fast as they can",
            Disturbance::Blink => "; the source goes and is back after 3 s",
            Disturbance::Reload => "; the configuration changes and is read again three times",
            Disturbance::Everything => {
                "; 1 % of the listeners hang up and come back each second, all of them every two minutes; the sources go \
                 for 3 s every minute, and the configuration is read again every 20 s"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ALL, Act, GOALS, Scenario};

    fn select(names: &str) -> Option<Vec<&'static str>> {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        let scenarios = Scenario::select(&names).ok()?;
        Some(scenarios.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn names_select_scenarios() {
        assert_eq!(select("joins,64k"), Some(vec!["joins", "64k"]));
        assert_eq!(select("all").unwrap().len(), ALL.len());
        assert_eq!(select("goals").unwrap(), GOALS);
        assert_eq!(select("most"), None);
    }

    #[test]
    fn descriptions_say_what_is_unusual() {
        let [slow] = &Scenario::select(&["slow".into()]).unwrap()[..] else {
            panic!("one was asked for")
        };
        let expected = "2000 listeners at 128 kbit/s, joining at 1000/s, 5 % reading at half rate, 1 % that stop reading";
        assert_eq!(slow.describe(), expected);
    }

    #[test]
    fn scripts_stay_within_the_window() {
        for scenario in &ALL {
            let window = scenario.least_window();
            let script = scenario.script(window);
            assert!(script.is_sorted_by_key(|(at, _)| *at), "{}", scenario.name);
            assert!(script.iter().all(|(at, _)| *at < window), "{}", scenario.name);
        }
        let everything = &ALL[ALL.len() - 1];
        let script = everything.script(Duration::from_secs(600));
        let count = |wanted: fn(&Act) -> bool| script.iter().filter(|(_, act)| wanted(act)).count();
        assert_eq!(count(|act| matches!(act, Act::Blink(_))), 10);
        assert_eq!(count(|act| *act == Act::Return(1.0)), 5);
        assert!(count(|act| *act == Act::Reload) >= 15);
        assert_eq!(
            everything.silence(Duration::from_secs(600)),
            Duration::from_secs(30)
        );
    }

    #[test]
    fn what_is_special_is_set_beside_what_is_not() {
        let [slow, mounts, plain] =
            &Scenario::select(&["slow".into(), "mounts".into(), "8000".into()]).unwrap()[..]
        else {
            panic!("three were asked for")
        };
        let (_, healthy) = slow.beside().unwrap();
        assert_eq!(
            (healthy.slow, healthy.dead, healthy.listeners),
            (0.0, 0.0, slow.listeners)
        );
        assert_eq!(mounts.beside().unwrap().1.mounts, 1);
        assert!(plain.beside().is_none());
    }
}
