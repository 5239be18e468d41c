//! `top`: what the running server is doing, live, from its internal port.
//!
//! Contract: asks the port and nothing else, so it works as long as the port does. On a terminal it draws over
//! itself until `q`; elsewhere it prints one block per interval.

mod sample;
mod screen;

use std::{
    io::IsTerminal as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use config::Loaded;

use self::{
    sample::Sample,
    screen::{Order, Size},
};
use super::{FAILED, Flags, OK, Terminal, USAGE, http};

const PATIENCE: Duration = Duration::from_secs(5);

/// What the words behind `top` say.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    interval: Duration,
    /// Blocks until it ends; without a number it goes on.
    count: Option<u32>,
}

impl Pace {
    fn parse(words: &[String]) -> Option<Self> {
        let interval = match words.first() {
            None => 1.0,
            Some(word) => word
                .parse::<f64>()
                .ok()
                .filter(|seconds| (0.1..=3_600.0).contains(seconds))?,
        };
        let count = match words.get(1) {
            None => None,
            Some(word) => Some(word.parse().ok().filter(|count| *count > 0)?),
        };
        (words.len() <= 2).then_some(Self {
            interval: Duration::from_secs_f64(interval),
            count,
        })
    }
}

pub(super) fn watch(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let Some(pace) = Pace::parse(&flags.arguments) else {
        terminal.complain("Usage: top [seconds between looks] [how many looks]");
        return USAGE;
    };
    let overrides = match flags.overrides() {
        Ok(overrides) => overrides,
        Err(wrong) => {
            terminal.complain(wrong);
            return USAGE;
        }
    };
    let config = Loaded::read(flags.config_path())
        .map(|loaded| loaded.config)
        .unwrap_or_default()
        .with(&overrides);
    let addresses = http::internal(&config);
    let Some((address, mut before)) = addresses
        .iter()
        .find_map(|address| Some((*address, ask(*address).ok()?)))
    else {
        let shown: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        terminal.complain(format_args!(
            "Error: no server answers on its internal port ({}); see metrics_listen and -metrics-listen",
            if shown.is_empty() {
                "it is off".to_owned()
            } else {
                shown.join(", ")
            }
        ));
        return FAILED;
    };
    let live = terminal.colour && std::io::stdout().is_terminal() && pace.count.is_none();
    let mut keys = live.then(screen::Keys::open).flatten();
    let mut order = Order::Listeners;
    let mut looks = 0;
    loop {
        let next = Instant::now() + pace.interval;
        // A key shows its effect at once, the numbers keep their pace.
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            match keys.as_mut() {
                None => std::thread::sleep(left),
                Some(keys) => match keys.next(left) {
                    Some(b'q' | 3) => return OK,
                    Some(key) => order = Order::by_key(key).unwrap_or(order),
                    None => {}
                },
            }
        }
        match ask(address) {
            Ok(now) => {
                let size = if live { Size::of_terminal() } else { Size::ENDLESS };
                let block = screen::block(&before, &now, address, order, size);
                let begin = if live { screen::HOME } else { "" };
                if write!(terminal.out, "{begin}{block}")
                    .and_then(|()| terminal.out.flush())
                    .is_err()
                {
                    // Nobody reads any more.
                    return OK;
                }
                before = now;
            }
            Err(error) => terminal.complain(format_args!("{address}: {error}")),
        }
        looks += 1;
        if pace.count.is_some_and(|count| looks >= count) {
            return OK;
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<Sample> {
    let (status, body) = http::get(address, "/metrics", PATIENCE)?;
    if status != 200 {
        return Err(std::io::Error::other(format!("status {status}")));
    }
    Ok(Sample::parse(&body, Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_two_numbers() {
        let pace = |words: &[&str]| Pace::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let seconds = Duration::from_secs_f64;
        for (words, expected) in [
            (&[] as &[&str], Some((1.0, None))),
            (&["2"], Some((2.0, None))),
            (&["0.5", "3"], Some((0.5, Some(3)))),
            (&["0"], None),
            (&["x"], None),
            (&["1", "0"], None),
            (&["1", "2", "3"], None),
        ] {
            let expected = expected.map(|(interval, count)| Pace {
                interval: seconds(interval),
                count,
            });
            assert_eq!(pace(words), expected, "{words:?}");
        }
    }
}
