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
fn monitors_of_shoutcast_servers_are_answered() {
    let server = Server::setup()
        .set(
            "visible_mounts",
            json!({ "/a-hidden": false, "/late": true, "/z": true }),
        )
        .set("advanced_mounts", json!({ "/z": { "max_listeners": 7 } }))
        .set("max_listeners", 90)
        .start();
    let seven = |query: &str| {
        let reply = get(server.address(), &format!("/7.html{query}"), "");
        let text = reply.text();
        if reply.status() != 200 {
            return reply.status().to_string();
        }
        assert_eq!(reply.head.get("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(reply.head.get("access-control-allow-origin"), Some("*"));
        text.strip_prefix("<HTML><meta http-equiv=\"Pragma\" content=\"no-cache\"></head><body>")
            .and_then(|rest| rest.strip_suffix("</body></html>"))
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
    };
    let stats = |query: &str| {
        let reply = get(server.address(), &format!("/stats{query}"), "");
        assert_eq!(reply.status(), 200, "{query}");
        assert_eq!(reply.head.get("content-type"), Some("text/xml"));
        let text = reply.text();
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(document.root_element().tag_name().name(), "SHOUTCASTSERVER");
        let children = document.root_element().children();
        children
            .map(|child| {
                let text = child.text().unwrap_or_default().to_owned();
                (child.tag_name().name().to_owned(), text)
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(seven(""), "0,0,0,90,0,0,");
    let sources = ["/a-hidden", "/b", "/z"].map(|mount| {
        let lines = "Content-Type: audio/mpeg\r\nIce-Bitrate: 128\r\nIce-Name: R&B </SERVERTITLE>\r\n";
        Feeder::run(
            crate::harness::Source::with(&server, mount, lines),
            crate::harness::Mp3::new('a'),
            1.0,
        )
    });
    for mount in ["/b", "/z"] {
        server.wait_for_mount(mount);
    }
    server
        .admin("metadata?mount=/z&song=%3C/body%3E%3Cscript%3Ealert(1)%3C/script%3E%20%26%20more,%20of%20it");
    until("the title", || seven("?mount=/z").contains("more").then_some(()));
    let _listener = crate::harness::Capture::start(&server, "/z", "");
    until("a listener", || seven("?sid=2").starts_with("1,").then_some(()));
    // What is listed has its number for good; what is on air without being listed comes after it.
    for (query, line) in [
        ("", "0,0,0,90,0,0,"),
        ("?sid=1", "0,0,0,90,0,0,"),
        (
            "?sid=2",
            "1,1,1,7,1,128,&lt;/body&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; more, of it",
        ),
        ("?sid=3", "0,1,0,90,0,128,"),
        ("?mount=/b", "0,1,0,90,0,128,"),
        ("?mount=/late", "0,0,0,90,0,0,"),
        // As if it were not there.
        ("?sid=4", "404"),
        ("?mount=/a-hidden", "404"),
        ("?mount=/nothing", "404"),
        ("?sid=0", "404"),
        ("?sid=x", "404"),
    ] {
        assert_eq!(seven(query), line, "{query}");
    }
    let told = stats("?sid=2");
    for (key, value) in [
        ("CURRENTLISTENERS", "1"),
        ("PEAKLISTENERS", "1"),
        ("MAXLISTENERS", "7"),
        ("UNIQUELISTENERS", "1"),
        ("SERVERTITLE", "R&B </SERVERTITLE>"),
        ("SONGTITLE", "</body><script>alert(1)</script> & more, of it"),
        ("STREAMSTATUS", "1"),
        ("STREAMPATH", "/z"),
        ("BITRATE", "128"),
        ("CONTENT", "audio/mpeg"),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    assert_eq!(stats("?sid=1")["STREAMSTATUS"], "0");
    assert_eq!(stats("")["STREAMSTATUS"], "0");
    assert_eq!(get(server.address(), "/stats?mount=/a-hidden", "").status(), 404);
    let reply = request(
        server.address(),
        "POST /stats HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(reply.status(), 405);
    drop(sources);
}

#[test]
fn the_status_page_is_icecasts_in_our_looks() {
    let server = Server::setup()
        .set("visible_mounts", json!({ "/hidden": false }))
        .start();
    let page = |target: &str, auth: &str| {
        let reply = get(server.address(), target, auth);
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.head.get("content-type"), Some("text/html; charset=utf-8"));
        reply.text()
    };
    assert!(page("/status.xsl", "").contains("Nothing is on air"));
    let _feeders = ["/hidden", "/a%3Cb%3E", "/plain"].map(|mount| {
        let lines = "Content-Type: audio/mpeg\r\nIce-Name: <script>alert(1)</script>\r\nIce-Genre: R&B\r\n\
                     Ice-Url: javascript:alert(1)\r\nIce-Description: <img src=x onerror=alert(1)>\r\n";
        Feeder::run(
            crate::harness::Source::with(&server, mount, lines),
            crate::harness::Mp3::new('a'),
            1.0,
        )
    });
    for mount in ["/a<b>", "/plain"] {
        server.wait_for_mount(mount);
    }
    server.admin("metadata?mount=/plain&song=%3Cb%3Ebold%3C/b%3E%20%26%20%22quoted%22");
    server.wait_for_title("/plain", "<b>bold</b> & \"quoted\"");
    let all = page("/status.xsl", "");
    for text in [
        "<td>Stream Name:</td>",
        "<td>Listeners (current):</td>",
        "<td>Currently playing:</td>",
        "&#60;b&#62;bold&#60;/b&#62; &#38; &#34;quoted&#34;",
        "R&#38;B",
        "href=\"/a%3Cb%3E.m3u\"",
        "href=\"/plain.xspf\"",
    ] {
        assert!(all.contains(text), "{text} in {all}");
    }
    for text in [
        "<b>",
        "<script>",
        "<img",
        "\"javascript:",
        "/hidden",
        "127.0.0.1:",
    ] {
        assert!(!all.contains(text), "{text} in {all}");
    }
    // Not even for administrators: whoever shares a screen shares this page.
    assert!(!page("/status.xsl", &Server::admin_auth()).contains("/hidden"));
    let one = page("/status.xsl?mount=/plain", "");
    assert!(one.contains("/plain.m3u") && !one.contains("a%3Cb"), "{one}");
    assert!(page("/status.xsl?mount=/hidden", "").contains("Nothing is on air"));
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
