//! Every route against every kind of caller.
//!
//! Contract: the table below is written by hand from the product's rules, and the server's own list of routes is held
//! against it: a route that is not here fails the test, and so does one that answers somebody else than it says.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{Client, Reply, Server};

/// Whom a route lets through: `*` anybody, `s` superadmins, `a` admins, `d` djs; a capital letter is on their own
/// mounts only.
const ROUTES: &str = include_str!("routes.txt");

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    method: String,
    path: String,
    who: String,
}

fn table() -> Vec<Route> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_else(|| panic!("three words: {line}"));
        Route {
            method: word(),
            path: word(),
            who: word(),
        }
    };
    ROUTES
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(line)
        .collect()
}

/// The routes that the server says it has.
fn served(server: &Server) -> Vec<(String, String)> {
    let document = Client::nobody(server).get("/api/openapi.json").json();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    routes.sort();
    routes
}

/// What a request came to, as far as access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unauthorized,
    Forbidden,
    Through,
}

fn verdict(reply: &Reply) -> Verdict {
    match reply.status() {
        401 => Verdict::Unauthorized,
        403 => Verdict::Forbidden,
        303 if reply
            .head
            .get("location")
            .is_some_and(|to| to.starts_with("/login")) =>
        {
            Verdict::Unauthorized
        }
        _ => Verdict::Through,
    }
}

/// A request that gets past everything but access, and changes nothing where it is let through: what it names does
/// not exist, or nothing is named.
fn send(client: &Client, route: &Route, mount: &str) -> Reply {
    let path = route
        .path
        .replace("{rest}", &format!("{}/next", mount.replace('/', "%2F")))
        .replace("{id}", "nobody");
    let encoded = mount.replace('/', "%2F");
    let query = format!(
        "mount={encoded}&id=0000000000000000&ip=203.0.113.99&username=ghost&fallback={encoded}&drain=x"
    );
    let target = format!("{path}?{query}");
    let body = body(route, mount);
    match route.method.as_str() {
        "GET" => client.get(&target),
        // Its body is audio, so that its token is in the head.
        method if path == "/admin/golive/chunk" => client.call(method, &target, &Value::Null),
        method
            if path.starts_with("/admin/") || path == "/login" || path == "/logout" || path == "/setup" =>
        {
            assert_eq!(method, "POST", "{path}");
            client.form(
                &target,
                &[
                    ("mount", mount),
                    ("ip", "203.0.113.99"),
                    ("username", "ghost"),
                    ("csrf-only", "1"),
                ],
            )
        }
        method => client.call(method, &target, &body),
    }
}

/// What names a mount in the body, where one is needed; all else is missing.
fn body(_: &Route, mount: &str) -> Value {
    json!({ "mount": mount, "id": "0", "ban_seconds": 0, "to": mount, "to_mount": mount })
}

#[test]
fn every_route_is_in_the_table_and_the_reverse() {
    let server = setup().start();
    let mut expected: Vec<_> = table()
        .into_iter()
        .map(|route| (route.method, route.path))
        .collect();
    expected.sort();
    let served = served(&server);
    let missing: Vec<_> = served.iter().filter(|route| !expected.contains(route)).collect();
    let gone: Vec<_> = expected.iter().filter(|route| !served.contains(route)).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the table: {missing:?}\nnot served: {gone:?}"
    );
}

#[test]
fn every_route_lets_through_whom_it_should_and_nobody_else() {
    let server = setup().set("max_connections_per_ip", 0).start();
    let expired = "ti_0000000000000000000000000000000000000000000000000000000000000000";
    let callers: BTreeMap<&str, Client> = [
        ("anonymous", Client::nobody(&server)),
        ("unknown token", Client::token(&server, expired)),
        ("dj-bare", Client::login(&server, "dj-bare", PASSWORD)),
        ("dj-own", Client::login(&server, "dj-own", PASSWORD)),
        ("admin-bare", Client::login(&server, "admin-bare", PASSWORD)),
        ("admin-own", Client::login(&server, "admin-own", PASSWORD)),
        ("root", Client::login(&server, "root", PASSWORD)),
    ]
    .into();
    let mut wrong = Vec::new();
    for route in table() {
        // What ends a session would end the test's, the feed never ends, and signing in refuses for its own reasons.
        let is_apart = route.path.starts_with("/auth/")
            || matches!(
                route.path.as_str(),
                "/logout" | "/api/logout" | "/api/me/logout-all" | "/admin/events" | "/login" | "/api/login"
            );
        if is_apart {
            continue;
        }
        for (name, client) in &callers {
            let expected = expect(&route, name);
            if expected == Verdict::Through && removes(&route) {
                continue;
            }
            let reply = send(client, &route, "/own");
            let is_expected = match reply.status() {
                // Too quick for the pace of one account: that comes before access.
                429 => {
                    std::thread::sleep(std::time::Duration::from_millis(1_100));
                    verdict(&send(client, &route, "/own")) == expected
                }
                _ => verdict(&reply) == expected,
            };
            if !is_expected {
                wrong.push(format!(
                    "{} {} as {name}: {} instead of {expected:?}",
                    route.method,
                    route.path,
                    reply.status()
                ));
            }
            assert!(
                reply.status() != 500,
                "{} {} as {name}: {}",
                route.method,
                route.path,
                reply.text()
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether the mount would be gone afterwards; other tests remove mounts.
fn removes(route: &Route) -> bool {
    route.path == "/admin/remove-mount" || route.path == "/api/streams" && route.method == "DELETE"
}

/// What the table says. The mount of every request is `/own`.
fn expect(route: &Route, name: &str) -> Verdict {
    let has = |letter: char| route.who.contains(letter);
    if has('*') {
        return Verdict::Through;
    }
    let (everywhere, own) = match name {
        "root" => ('s', 's'),
        "admin-own" | "admin-bare" => ('a', 'A'),
        "dj-own" | "dj-bare" => ('d', 'D'),
        _ => return Verdict::Unauthorized,
    };
    let owns = name.ends_with("-own");
    if has(everywhere) || has(own) && owns {
        Verdict::Through
    } else {
        Verdict::Forbidden
    }
}
