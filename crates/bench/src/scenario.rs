//! The situations in which servers are compared.
//! Contract: a scenario says everything about the load; only its size and pace can be changed from outside.

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
}

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
};

const ALL: [Scenario; 10] = [
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
        name: "icy",
        listeners: 2000,
        icy: 1.0,
        ..PLAIN
    },
    Scenario {
        name: "slow",
        listeners: 2000,
        slow: 0.1,
        dead: 0.05,
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
];

impl Scenario {
    /// One mount, ordinary listeners.
    pub(crate) fn plain() -> Scenario {
        PLAIN
    }

    /// The scenarios of a list of names; `all` stands for every one.
    pub(crate) fn select(names: &[String]) -> Outcome<Vec<Scenario>> {
        let mut selected = Vec::new();
        for name in names {
            match ALL.iter().find(|scenario| scenario.name == name) {
                Some(scenario) => selected.push(scenario.clone()),
                None if name == "all" => selected.extend(ALL.iter().cloned()),
                None => {
                    let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
                    return Err(
                        format!("no scenario {name:?}; there are {} and all", known.join(", ")).into(),
                    );
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
        text + if self.joining {
            "; the joining is part of the window"
        } else {
            ""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Scenario};

    fn select(names: &str) -> Option<Vec<&'static str>> {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        let scenarios = Scenario::select(&names).ok()?;
        Some(scenarios.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn names_select_scenarios() {
        assert_eq!(select("joins,64k"), Some(vec!["joins", "64k"]));
        assert_eq!(select("all").unwrap().len(), ALL.len());
        assert_eq!(select("most"), None);
    }

    #[test]
    fn descriptions_say_what_is_unusual() {
        let [slow] = &Scenario::select(&["slow".into()]).unwrap()[..] else {
            panic!("one was asked for")
        };
        let expected = "2000 listeners at 128 kbit/s, joining at 1000/s, 10 % reading at half rate, 5 % that stop reading";
        assert_eq!(slow.describe(), expected);
    }
}
