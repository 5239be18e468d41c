//! Public documents: the status in JSON, and playlist files.

use roxmltree::Document;
use serde_json::json;

use super::station;
use crate::harness::{Feeder, Server, get, request, until};

#[test]
fn the_status_document_has_two_shapes() {
    for (shape, counts) in [
        ("array", [Some(0), Some(1), Some(2)]),
        ("icecast", [None, None, Some(2)]),
    ] {
        let server = Server::setup().set("status_json_source", shape).start();
        let source = || {
            get(server.address(), "/status-json.xsl", "").json()["icestats"]
                .get("source")
                .cloned()
        };
        let length = || source().and_then(|source| source.as_array().map(Vec::len));
        assert_eq!(length(), counts[0], "{shape} without a source: {:?}", source());
        assert_eq!(source().is_none(), shape == "icecast");
        let _a = Feeder::start(&server, "/a", 'a');
        until("one mount", || {
            get(server.address(), "/status-json.xsl", "")
                .text()
                .contains("\"mount\":\"/a\"")
                .then_some(())
        });
        assert_eq!(length(), counts[1], "{shape} with one: {:?}", source());
        assert_eq!(source().unwrap().is_object(), shape == "icecast");
        let _b = Feeder::start(&server, "/b", 'b');
        until("two mounts", || (length() == counts[2]).then_some(()));
        let one = get(server.address(), "/status-json.xsl?mount=/b", "").json()["icestats"]["source"].clone();
        let one = if shape == "icecast" { one } else { one[0].clone() };
        assert_eq!(one["mount"], "/b");
    }
}

#[test]
fn the_status_document_is_for_everybody_and_tells_no_secrets() {
    let (server, _feeders) = station();
    let reply = get(
        server.address(),
        "/status-json.xsl",
        "Origin: http://elsewhere.example\r\n",
    );
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.head.get("Content-Type"), Some("application/json"));
    assert_eq!(reply.head.get("Access-Control-Allow-Origin"), Some("*"));
    let text = reply.text();
    for secret in [
        "source_ip",
        "user_agent",
        "127.0.0.1",
        "max_listeners",
        "slow_listeners",
        "total_bytes",
        "public\"",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let live = server.status_of("/live").unwrap();
    for (key, value) in [
        (
            "audio_info",
            json!("ice-samplerate=44100;ice-bitrate=128;ice-channels=2"),
        ),
        ("bitrate", json!(128)),
        ("genre", json!("Jazz")),
        ("ice-bitrate", json!(128)),
        ("ice-channels", json!(2)),
        ("ice-samplerate", json!(44100)),
        ("listener_peak", json!(0)),
        ("listeners", json!(0)),
        ("server_description", json!("\"All\" day")),
        ("server_name", json!("R&B <3")),
        ("server_type", json!("audio/mpeg")),
        ("server_url", json!("http://station.example/?a=1&b=2")),
        ("title", json!("")),
        ("dummy", json!(null)),
    ] {
        assert_eq!(live[key], value, "{key}");
    }
    assert_eq!(live.as_object().unwrap().keys().next_back().unwrap(), "dummy");
    // A title of digits stays a string, and quotes do not break the document.
    for (title, encoded) in [("1999", "1999"), (r#"a "b" \ c"#, "a%20%22b%22%20%5C%20c")] {
        server.admin(&format!("metadata?mount=/live&song={encoded}"));
        server.wait_for_title("/live", title);
    }
    let head = format!(
        "HEAD /status-json.xsl HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    let mut wire = server.connect();
    wire.send(head);
    assert_eq!(wire.head().status, 200);
    assert!(wire.rest().is_empty());
}

#[test]
fn hidden_mounts_are_left_out_unless_an_administrator_asks() {
    let server = Server::setup()
        .set("visible_mounts", json!({ "/hidden": false, "/shown": true }))
        .start();
    let _feeders = ["/hidden", "/shown", "/plain"].map(|mount| Feeder::start(&server, mount, 'a'));
    let mounts = |target: &str, auth: &str| -> Vec<String> {
        let sources = get(server.address(), target, auth).json()["icestats"]["source"].clone();
        sources
            .as_array()
            .unwrap()
            .iter()
            .map(|source| source["mount"].as_str().unwrap().to_owned())
            .collect()
    };
    let admin = Server::admin_auth();
    until("three mounts", || {
        (mounts("/status-json.xsl", &admin).len() == 3).then_some(())
    });
    assert_eq!(
        mounts("/status-json.xsl", ""),
        ["/plain", "/shown"],
        "who says nothing is listed"
    );
    assert_eq!(
        mounts("/status-json.xsl", &admin),
        ["/hidden", "/plain", "/shown"]
    );
    assert!(mounts("/status-json.xsl?mount=/hidden", "").is_empty());
    assert_eq!(mounts("/status-json.xsl?mount=/hidden", &admin), ["/hidden"]);
    let mut listener = crate::harness::Listener::open(&server, "/hidden", "");
    assert_eq!(listener.head.status, 200, "it is no access control");
    assert!(!listener.wire.some().is_empty());
}

#[test]
fn playlists_lead_to_the_stream() {
    let (server, _feeders) = station();
    let address = server.address();
    let link = format!("http://{address}/live");
    for (ending, kind, body) in [
        (
            "m3u",
            "audio/x-mpegurl",
            format!("#EXTM3U\n#EXTINF:-1,R&B <3\n{link}\n"),
        ),
        (
            "m3u8",
            "audio/x-mpegurl",
            format!("#EXTM3U\n#EXTINF:-1,R&B <3\n{link}\n"),
        ),
        (
            "pls",
            "audio/x-scpls",
            format!("[playlist]\nNumberOfEntries=1\nFile1={link}\nTitle1=R&B <3\nLength1=-1\nVersion=2\n"),
        ),
        ("xspf", "application/xspf+xml", String::new()),
    ] {
        let reply = get(address, &format!("/live.{ending}"), "");
        assert_eq!(
            (reply.status(), reply.head.get("Content-Type")),
            (200, Some(kind)),
            "{ending}"
        );
        let disposition = reply.head.get("Content-Disposition").unwrap();
        assert!(
            disposition.starts_with("attachment; filename=\"") && disposition.contains(ending),
            "{disposition}"
        );
        assert!(disposition.contains("filename*=UTF-8''"), "{disposition}");
        assert_eq!(
            reply.head.get("Access-Control-Allow-Origin"),
            Some("*"),
            "{ending}"
        );
        let text = reply.text();
        if ending == "xspf" {
            let document = Document::parse(&text).unwrap();
            let find = |name: &str| {
                let mut found = document
                    .descendants()
                    .filter(|node| node.tag_name().name() == name);
                found
                    .next_back()
                    .and_then(|node| node.text())
                    .unwrap_or_default()
                    .to_owned()
            };
            assert_eq!(
                document.root_element().tag_name().namespace(),
                Some("http://xspf.org/ns/0/")
            );
            assert_eq!(
                [find("location"), find("title"), find("annotation")],
                [&link, "R&B <3", "\"All\" day"]
            );
        } else {
            assert_eq!(text, body, "{ending}");
        }
        assert_eq!(get(address, &format!("/nowhere.{ending}"), "").status(), 404);
        let post = format!(
            "POST /live.{ending} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(request(address, post).status(), 405);
    }
}

#[test]
fn playlists_use_the_public_address_and_outlast_the_source() {
    let server = Server::setup()
        .set("base_url", "https://radio.example/")
        .set("page_title", "Night FM")
        .set("visible_mounts", json!({ "/löcal": true }))
        .start();
    let off = get(server.address(), "/l%C3%B6cal.m3u", "");
    assert_eq!(
        off.status(),
        200,
        "a bookmark of a known mount works while it is off"
    );
    assert_eq!(
        off.text(),
        "#EXTM3U\n#EXTINF:-1,Night FM\nhttps://radio.example/l%C3%B6cal\n"
    );

    // Whoever is not a trusted proxy has no say about the address.
    let server = Server::setup()
        .set("visible_mounts", json!({ "/a": true }))
        .start();
    let forged = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n";
    let text = get(server.address(), "/a.m3u", forged).text();
    assert!(
        text.ends_with(&format!("http://{}/a\n", server.address())),
        "{text}"
    );
    let server = Server::setup()
        .set("visible_mounts", json!({ "/a": true }))
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let told =
        "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: radio.example\r\n";
    let text = get(server.address(), "/a.m3u", told).text();
    assert!(text.ends_with("https://radio.example/a\n"), "{text}");
}
