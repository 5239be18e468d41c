//! The flight recorder: choosing among events, and following them.

mod support;

use diagnostics::Pages;
use support::{Connection, get, start};

observe::event! {
    struct Rang { number: u32, by: &'static str } = Info "test_rang": "Bell {number} rang"
    struct Broke { part: &'static str } = Warn "test_broke": "{part} broke"
}

#[test]
fn events_are_chosen() {
    let (_port, address) = start(Pages::new("Radio"));
    for number in 0..5 {
        observe::emit(Rang { number, by: "a\nb" });
    }
    observe::emit(Broke { part: "The rope" });
    let lines = |query: &str| -> Vec<String> {
        let reply = get(address, &format!("/debug/events?{query}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().lines().map(str::to_owned).collect()
    };
    let rang = lines("name=test_rang&n=2");
    assert_eq!(rang.len(), 2);
    assert!(
        rang[0].contains("Bell 3 rang") && rang[1].contains("Bell 4 rang"),
        "{rang:?}"
    );
    assert!(rang[1].ends_with("\ttest_rang"));
    assert_eq!(lines("name=test_rang,test_broke").len(), 6);
    assert!(lines("level=warn&name=test_rang").is_empty());
    assert!(lines("since=1h&name=test_broke").len() == 1);
    assert!(lines("since=2999-01-01T00:00:00Z").is_empty());
    let json = lines("name=test_rang&n=1&format=json");
    let value: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(value["event"], "test_rang");
    assert_eq!((&value["number"], &value["by"]), (&4.into(), &"a\nb".into()));
}

#[test]
fn events_are_followed_without_gap_or_double() {
    let (port, address) = start(Pages::new("Radio"));
    observe::event! { struct Followed { number: u32 } = Info "test_followed": "Number {number}" }
    observe::emit(Followed { number: 0 });
    let mut connection = Connection::open(address);
    connection.send(
        "GET /debug/events?follow=1&format=json&name=test_followed&n=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(connection.reply(true).unwrap().status, 200);
    let mut number = || loop {
        let line = connection.line();
        if let Some(json) = line.strip_prefix('{') {
            let value: serde_json::Value = serde_json::from_str(&format!("{{{json}")).unwrap();
            return value["number"].as_u64().unwrap();
        }
    };
    assert_eq!(number(), 0);
    for expected in 1..20 {
        observe::emit(Followed { number: expected });
        assert_eq!(number(), u64::from(expected));
    }
    // Closing the port ends the stream.
    assert!(port.close(support::PATIENCE));
}

#[test]
fn a_follower_that_leaves_makes_room() {
    let (_port, address) = start(Pages::new("Radio"));
    let follow = || {
        let mut connection = Connection::open(address);
        connection.send("GET /debug/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let status = connection.reply(true).unwrap().status;
        (connection, status)
    };
    let mut followers: Vec<_> = (0..8).map(|_| follow()).collect();
    assert!(followers.iter().all(|(_, status)| *status == 200));
    assert_eq!(follow().1, 503);
    followers.pop();
    support::until("there is room", || follow().1 == 200);
}
