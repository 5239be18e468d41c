//! `/`: what there is, for a person with a browser.
//!
//! Contract: quick, because it is opened when something is wrong; it counts a few lists and asks nobody.

use std::fmt::Write as _;

use super::{Call, OWN, PROFILES, Rendered};
use crate::Answer;
use crate::context::Context;
use crate::html::escape;

/// The profiles that are asked for most, with what a person wants to read first.
const SHOWN_PROFILES: [(&str, &str); 9] = [
    ("", "All profiles with their counts"),
    (
        "goroutine?debug=2",
        "Every task and thread with its stack, also when the rest hangs",
    ),
    ("goroutine?debug=1", "The same, equal stacks together"),
    ("mutex?debug=1", "Waits for locks, by lock and place"),
    ("block?debug=1", "Waits for locks, channels, semaphores and disks"),
    ("heap?debug=1", "Live memory by where it was allocated"),
    ("profile?seconds=10", "Processor time of 10 s, for go tool pprof"),
    ("heap", "Live memory, for go tool pprof"),
    ("trace?seconds=2", "What ran when for 2 s, for ui.perfetto.dev"),
];

pub(crate) fn render(context: &Context, _: &Call) -> Rendered {
    let pages = &context.pages;
    let mut html = String::with_capacity(8_192);
    let _ = writeln!(html, "<h1>{} · internal port</h1>", escape(&pages.product));
    let about = pages
        .about
        .iter()
        .map(|(key, value)| format!("{} {}", escape(key), escape(value)));
    let about = about.collect::<Vec<_>>().join(" · ");
    if !about.is_empty() {
        let _ = writeln!(html, "<p class=\"dim\">{about}</p>");
    }
    now(context, &mut html);

    section(&mut html, "Health and metrics");
    row(
        &mut html,
        "/readyz",
        "The server is ready to serve, or the first check that fails",
    );
    for own in OWN
        .iter()
        .filter(|own| !own.path.starts_with("/debug/") && own.path != "/")
    {
        row(&mut html, own.path, own.description);
    }
    end(&mut html);

    if !pages.pages.is_empty() {
        section(&mut html, &pages.product);
        for page in &pages.pages {
            let text = format!("{}: {}", page.title, page.description);
            row(&mut html, &page.path, &text);
        }
        end(&mut html);
    }

    section(&mut html, "What it is doing");
    for own in OWN.iter().filter(|own| own.path.starts_with("/debug/")) {
        row(&mut html, own.path, own.description);
    }
    end(&mut html);

    section(&mut html, "Profiles");
    for (profile, description) in SHOWN_PROFILES {
        row(&mut html, &format!("{PROFILES}{profile}"), description);
    }
    end(&mut html);

    section(&mut html, "For a report of a fault");
    let bundle =
        "All of the above in one .tar.gz, with a 2 s profile and the configuration without its secrets";
    row(&mut html, "/debug/bundle", bundle);
    end(&mut html);
    html.push_str(LOG_FORM);
    html.push_str(
        "<p class=\"dim\">Text pages answer JSON with <code>?format=json</code> or \
         <code>Accept: application/json</code>.</p>\n",
    );
    Ok(Answer::html(&format!("{} internal port", pages.product), &html))
}

const LOG_FORM: &str = "<h2>Log level</h2>\n\
    <form method=\"post\" action=\"/debug/log\"><p>\
    <label>Log <select name=\"level\"><option>debug</option><option>info</option><option>warn</option>\
    <option>error</option></select></label> \
    <label>for <select name=\"for\"><option>10m</option><option>1h</option><option>24h</option></select></label> \
    <button>Set</button></p></form>\n";

/// The figures of this moment.
fn now(context: &Context, html: &mut String) {
    let waiting = observe::lock_waiters().len();
    let panics = observe::task::panics().len();
    let class = |bad: bool| if bad { "bad" } else { "ok" };
    let _ = writeln!(
        html,
        "<p>{} tasks · <span class=\"{}\">{waiting} waiting for locks</span> · \
         <span class=\"{}\">{panics} panics remembered</span> · {} of {} connections here</p>",
        observe::task::count(),
        class(waiting > 0),
        class(panics > 0),
        context.clients.count(),
        context.limits.connections,
    );
}

fn section(html: &mut String, title: &str) {
    let _ = writeln!(html, "<h2>{}</h2>\n<table>", escape(title));
}

fn row(html: &mut String, path: &str, description: &str) {
    let (path, description) = (escape(path), escape(description));
    let _ = writeln!(
        html,
        "<tr><td><a href=\"{path}\">{path}</a></td><td>{description}</td></tr>"
    );
}

fn end(html: &mut String) {
    html.push_str("</table>\n");
}
