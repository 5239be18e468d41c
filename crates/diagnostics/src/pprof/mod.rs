//! `/debug/pprof/`: profiles for `go tool pprof`, for scrapers that know Go's pages, and for a person with a terminal.
//!
//! Contract: everything here runs on a thread of its own and waits for nobody: what it asks of tasks and threads it asks
//! with a time limit, so that it answers while all workers of the program are stuck.
//!
//! Paths, parameters and text forms are those of Go's `net/http/pprof`, so that its tools and habits work.

mod goroutine;
mod heap;
mod index;
mod recording;
mod stacks;
mod symbol;
mod threads;
mod trace;
mod waits;

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use profile::Profile;

use crate::{Answer, Query};
use stacks::{IsPlumbing, trim};

/// The longest recording or difference.
const LONGEST: Duration = Duration::from_secs(600);
/// How often a wait looks whether the client has left.
const LOOK: Duration = Duration::from_millis(50);

/// An answer, or the refusal that takes its place.
type Outcome = Result<Answer, Answer>;

/// Asks whether the client has left.
type IsCancelled<'a> = &'a dyn Fn() -> bool;

/// The answer for the path below `/debug/pprof/`. Blocks for as long as the request asks for.
pub(crate) fn answer(
    path_rest: &str,
    query: &Query,
    method: &Method,
    body: &[u8],
    cancelled: &dyn Fn() -> bool,
) -> Answer {
    let allowed: &'static [Method] = match path_rest {
        "symbol" => &[Method::GET, Method::HEAD, Method::POST],
        _ => &[Method::GET, Method::HEAD],
    };
    if !allowed.contains(method) {
        return Answer::method_not_allowed(allowed);
    }
    let outcome = match path_rest {
        "" => index::answer(query),
        "cmdline" => symbol::command_line(query),
        "symbol" => symbol::answer(query, method, body),
        "profile" => recording::answer(query, cancelled),
        "trace" => trace::answer(query, cancelled),
        "heap" => state(&heap::IN_USE, query, cancelled),
        "allocs" => state(&heap::ALLOCATED, query, cancelled),
        "mutex" => state(&waits::MUTEX, query, cancelled),
        "block" => state(&waits::BLOCK, query, cancelled),
        "goroutine" => goroutine::answer(query, cancelled),
        "threadcreate" => threads::answer(query),
        _ => Err(Answer::refused(
            StatusCode::NOT_FOUND,
            "Unknown profile: /debug/pprof/ lists those that there are",
        )),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

/// A profile of what has added up so far.
struct State {
    name: &'static str,
    take: fn() -> Result<Profile, Answer>,
    is_plumbing: IsPlumbing,
    text: fn(&Profile) -> String,
}

/// Such a profile, or the difference that some seconds make.
fn state(state: &State, query: &Query, cancelled: IsCancelled<'_>) -> Outcome {
    let form = Form::of(query)?;
    let profile = take_or_compare(query, cancelled, &state.take)?;
    Ok(match form {
        Form::Binary => binary(state.name, &trim(&profile, state.is_plumbing)),
        Form::Text(_) => Answer::text((state.text)(&profile)),
    })
}

/// What `take` gives, or with `seconds` how it changes meanwhile.
fn take_or_compare(
    query: &Query,
    cancelled: IsCancelled<'_>,
    take: &dyn Fn() -> Result<Profile, Answer>,
) -> Result<Profile, Answer> {
    let seconds = query.seconds("seconds", LONGEST)?;
    let profile = take()?;
    let Some(duration) = seconds else {
        return Ok(profile);
    };
    pause(duration, cancelled)?;
    Ok(take()?.difference(&profile))
}

/// Which form is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `profile.proto`.
    Binary,
    /// For a person, with the number that was asked for.
    Text(u64),
}

impl Form {
    /// Reads `debug`, and refuses parameters that no state has. `gc` is for Go's collector, which there is none of.
    fn of(query: &Query) -> Result<Form, Answer> {
        query.only(&["debug", "seconds", "gc"])?;
        Ok(match query.number("debug", 0..=99, 0)? {
            0 => Form::Binary,
            debug => Form::Text(debug),
        })
    }
}

/// The profile for programs.
fn binary(name: &str, profile: &Profile) -> Answer {
    Answer::attachment(name, profile::encode::pprof(profile))
}

fn pause(duration: Duration, cancelled: IsCancelled<'_>) -> Result<(), Answer> {
    let begun = Instant::now();
    while let Some(left) = duration
        .checked_sub(begun.elapsed())
        .filter(|left| !left.is_zero())
    {
        if cancelled() {
            return Err(Answer::refused(
                StatusCode::REQUEST_TIMEOUT,
                "given up: nobody waits for it",
            ));
        }
        std::thread::sleep(left.min(LOOK));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
