//! The `memory` command: what a server needs at rest and for each listener.
//! Contract: every number of listeners gets a fresh server, so that memory kept from an earlier crowd is not hidden.

use std::thread;
use std::time::Duration;

use crate::accounting::Memory;
use crate::args::Args;
use crate::compare::{find_icecast, find_tinyice};
use crate::contender::Contender;
use crate::launch::raise_descriptor_limit;
use crate::load::order;
use crate::round::Stand;
use crate::scenario::Scenario;
use crate::{Outcome, say};

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let mut sizes: Vec<usize> = args.list("listeners")?;
    if sizes.is_empty() {
        sizes = vec![1000, 8000];
    }
    let listening = Duration::from_secs_f64(args.take("seconds", 5.0)?);
    let contender = find_server(args)?;
    args.finish()?;
    if sizes.contains(&0) {
        return Err("memory: --listeners must be above zero; the server at rest is always shown".into());
    }
    raise_descriptor_limit();
    say(&format!("{}, memory in kB:\n\n", contender.label()))?;
    say("| listeners | RSS | PSS | anon | RSS bytes/listener | anon bytes/listener |\n")?;
    say("| --- | --- | --- | --- | --- | --- |\n")?;
    for size in sizes {
        measure(&contender, size, listening)?;
    }
    Ok(())
}

fn find_server(args: &mut Args) -> Outcome<Contender> {
    let name: String = args.take("server", "tinyice".to_owned())?;
    let (tinyice, icecast) = (find_tinyice(args)?, find_icecast(args)?);
    let found = match name.as_str() {
        "tinyice" => tinyice.into_iter().next(),
        "icecast" => icecast,
        "floor" => Some(Contender::Floor { flush_ms: 250 }),
        _ => return Err(format!("no server {name:?}; there are tinyice, icecast and floor").into()),
    };
    found.ok_or_else(|| format!("{name}: no program found (see --{name})").into())
}

fn measure(contender: &Contender, listeners: usize, listening: Duration) -> Outcome<()> {
    let mut scenario = Scenario::plain();
    scenario.listeners = listeners;
    let mut stand = Stand::set_up(contender, &scenario)?;
    let pid = stand.server.pid();
    let rest = Memory::of(pid)?;
    say(&row(0, rest, None))?;
    stand.tell(order::START)?;
    stand.wait_settled();
    thread::sleep(listening);
    let full = Memory::of(pid)?;
    let on = stand.report(Duration::ZERO)?.on;
    say(&row(on, full, Some(rest)))
}

fn row(listeners: u64, memory: Memory, rest: Option<Memory>) -> String {
    let kb = |bytes: u64| bytes / 1024;
    let each = |now: u64, before: fn(&Memory) -> u64| match rest {
        Some(rest) if listeners > 0 => {
            format!("{:.0}", (now as f64 - before(&rest) as f64) / listeners as f64)
        }
        _ => "–".to_owned(),
    };
    format!(
        "| {listeners} | {} | {} | {} | {} | {} |\n",
        kb(memory.rss),
        kb(memory.pss),
        kb(memory.anon),
        each(memory.rss, |rest| rest.rss),
        each(memory.anon, |rest| rest.anon)
    )
}

#[cfg(test)]
mod tests {
    use super::row;
    use crate::accounting::Memory;

    #[test]
    fn memory_per_listener_is_beyond_rest() {
        let rest = Memory {
            rss: 1024,
            pss: 1024,
            anon: 512,
        };
        let full = Memory {
            rss: 5120,
            pss: 4096,
            anon: 2560,
        };
        assert_eq!(row(0, rest, None), "| 0 | 1 | 1 | 0 | – | – |\n");
        assert_eq!(row(4, full, Some(rest)), "| 4 | 5 | 4 | 2 | 1024 | 512 |\n");
    }
}
