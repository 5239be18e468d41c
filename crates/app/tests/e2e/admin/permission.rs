//! Who may do what, with which credentials, and what happens to those who guess.

use serde_json::json;

use super::check_response;
use crate::harness::{
    ADMIN, Capture, Feeder, SOURCE_PASSWORD, Server, Source, basic, get, hash, post, request, source_auth,
    until,
};

fn header(user: &str, password: &str) -> String {
    format!("Authorization: {}\r\n", basic(user, password))
}

/// A server with a mount of everybody, one with a password of its own, one of a DJ, and one with a password in
/// its advanced settings.
fn house() -> (Server, Vec<Feeder>) {
    let server = Server::setup()
        .set("mounts", json!({ "/guarded": hash("guard") }))
        .set("advanced_mounts", json!({ "/advanced": { "password": hash("advance") } }))
        .set(
            "users",
            json!({
                ADMIN.0: { "username": ADMIN.0, "password": hash(ADMIN.1), "role": "superadmin", "mounts": {} },
                "dj": { "username": "dj", "password": hash("spin"), "role": "dj", "mounts": { "/dj": hash("mine") } },
            }),
        )
        .start();
    let open = |mount: &str, password: &str| {
        let mut wire = server.connect();
        let auth = header("source", password);
        wire.send(format!(
            "SOURCE {mount} HTTP/1.0\r\n{auth}Content-Type: audio/mpeg\r\n\r\n"
        ));
        let head = wire.head();
        assert_eq!(head.status, 200, "{mount} with {password}");
        let feeder = Feeder::run(Source { wire }, crate::harness::Mp3::new('a'), 1.0);
        server.wait_for_mount(mount);
        feeder
    };
    let feeders = vec![
        open("/live", SOURCE_PASSWORD),
        open("/guarded", "guard"),
        open("/dj", "mine"),
        open("/advanced", "advance"),
    ];
    (server, feeders)
}

#[test]
fn titles_are_set_by_the_source_and_by_accounts_of_the_mount() {
    let (server, _feeders) = house();
    let cases = [
        ("/live", "", "", 401),
        ("/live", "source", SOURCE_PASSWORD, 200),
        ("/live", "", SOURCE_PASSWORD, 200),
        ("/live", "anybody", SOURCE_PASSWORD, 200),
        ("/live", "source", "wrong", 401),
        ("/live", ADMIN.0, ADMIN.1, 200),
        ("/live", ADMIN.0, "wrong", 401),
        ("/live", "dj", "spin", 403),
        ("/live", "source", "guard", 401),
        ("/guarded", "source", "guard", 200),
        ("/guarded", "source", SOURCE_PASSWORD, 401),
        ("/guarded", ADMIN.0, ADMIN.1, 200),
        ("/advanced", "source", "advance", 200),
        ("/advanced", "source", SOURCE_PASSWORD, 401),
        ("/dj", "dj", "spin", 200),
        ("/dj", "source", "mine", 200),
        ("/dj", "dj", "mine", 200),
        ("/dj", "source", "spin", 401),
        ("/nowhere", ADMIN.0, ADMIN.1, 404),
        ("/nowhere", "source", SOURCE_PASSWORD, 404),
    ];
    for (index, (mount, user, password, expected)) in cases.into_iter().enumerate() {
        let auth = if password.is_empty() {
            String::new()
        } else {
            header(user, password)
        };
        let what = format!("{mount} by {user:?} with {password:?}");
        let target = format!("/admin/metadata?mount={mount}&mode=updinfo&song=Song%20{index}");
        let by_get = get(server.address(), &target, &auth);
        assert_eq!(by_get.status(), expected, "{what}: {by_get:?}");
        let form = format!("mount={mount}&mode=updinfo&song=Song%20{index}");
        let by_post = post(server.address(), "/admin/metadata", &auth, &form);
        assert_eq!(by_post.status(), expected, "{what} by POST: {by_post:?}");
        match expected {
            200 => assert_eq!(server.title_of(mount), format!("Song {index}"), "{what}"),
            404 => check_response(&by_get, 404, "No such mount", false),
            401 => {
                assert_eq!(
                    by_get.head.get("WWW-Authenticate"),
                    Some("Basic realm=\"TinyIce\""),
                    "{what}"
                );
                assert_eq!(by_get.head.get("Location"), None);
            }
            _ => assert_ne!(server.title_of(mount), format!("Song {index}"), "{what}"),
        }
    }
}

#[test]
fn what_is_missing_in_an_update_is_named() {
    let (server, _feeders) = house();
    for (query, status, message, done) in [
        ("mode=updinfo&song=x", 400, "Missing parameter: mount", false),
        ("mount=/live&mode=updinfo", 400, "Missing parameter: song", false),
        ("mount=/live&mode=fadeout&song=x", 200, "No such action", false),
        ("mount=/live&song=x", 200, "Metadata update successful", true),
        (
            "mount=/live&song=x&album=y&anything",
            200,
            "Metadata update successful",
            true,
        ),
    ] {
        let reply = get(
            server.address(),
            &format!("/admin/metadata?{query}"),
            &source_auth(),
        );
        check_response(&reply, status, message, done);
    }
    let old = format!(
        "GET /admin/metadata?mount=/live&song=Old HTTP/1.0\r\n{}\r\n",
        source_auth()
    );
    assert_eq!(
        request(server.address(), old).status(),
        200,
        "HTTP/1.0 without a host"
    );
    assert_eq!(server.title_of("/live"), "Old");
    let shoutcast = |query: &str| get(server.address(), &format!("/admin.cgi?{query}"), "");
    let target = format!("mode=updinfo&pass={SOURCE_PASSWORD}&song=From+Shoutcast&mount=/live");
    let reply = shoutcast(&target);
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(
        reply
            .head
            .get("Content-Type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert_eq!(server.title_of("/live"), "From Shoutcast");
    assert_eq!(
        shoutcast("mode=updinfo&pass=wrong&song=x&mount=/live").status(),
        401
    );
}

#[test]
fn commands_need_the_right_to_the_mount() {
    let (server, _feeders) = house();
    let source = source_auth();
    let dj = header("dj", "spin");
    let nobody = String::new();
    let session = "Cookie: session=0123456789abcdef; session_id=0123456789abcdef\r\n".to_owned();
    let admin = Server::admin_auth();
    let cases = [
        ("stats", [401, 401, 200, 200]),
        ("stats.xml", [401, 401, 200, 200]),
        ("stats?mount=/live", [401, 200, 403, 200]),
        ("listmounts", [401, 401, 200, 200]),
        ("streamlist.txt", [401, 401, 200, 200]),
        ("listclients?mount=/live", [401, 403, 403, 200]),
        ("listclients?mount=/dj", [401, 401, 200, 200]),
        ("killclient?mount=/live&id=999999", [401, 200, 403, 200]),
        ("moveclients?mount=/live&destination=/live", [401, 400, 403, 400]),
        ("fallbacks?mount=/live&fallback=/dj", [401, 403, 403, 200]),
        ("fallbacks?mount=/dj&fallback=/live", [401, 401, 400, 400]),
        ("killsource?mount=/guarded", [401, 401, 403, 200]),
        ("!POKE", [401, 401, 200, 200]),
    ];
    for (command, expected) in cases {
        for (who, auth, status) in [
            ("nobody", &nobody, expected[0]),
            ("a session", &session, expected[0]),
            ("the source of /live", &source, expected[1]),
            ("the DJ of /dj", &dj, expected[2]),
            ("the superadmin", &admin, expected[3]),
        ] {
            let reply = get(server.address(), &format!("/admin/{command}"), auth);
            assert_eq!(reply.status(), status, "{command} by {who}: {}", reply.text());
            assert_eq!(reply.head.get("Location"), None, "{command} by {who}");
            let challenge = reply.head.get("WWW-Authenticate");
            assert_eq!(challenge.is_some(), status == 401, "{command} by {who}");
        }
    }
    // Somebody with one mount sees that mount.
    for command in ["stats", "listmounts"] {
        let seen = super::read_xml(
            &get(server.address(), &format!("/admin/{command}"), &dj),
            super::mounts,
        );
        assert_eq!(seen, ["/dj"], "{command}");
    }
    assert_eq!(
        get(server.address(), "/admin/streamlist.txt", &dj).text(),
        "/dj\r\n"
    );
}

#[test]
fn guessing_is_locked_out_and_listening_goes_on() {
    let server = Server::setup()
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let from = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    let (guesser, other) = (from("192.0.2.66"), from("192.0.2.67"));
    let listener = Capture::start(&server, "/live", &guesser);
    let title =
        |headers: String| get(server.address(), "/admin/metadata?mount=/live&song=x", &headers).status();

    // Without credentials nothing is counted, and a success clears the count.
    for _ in 0..10 {
        assert_eq!(title(guesser.clone()), 401);
    }
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(title(guesser.clone() + &header("source", "guess")), 401);
        }
        assert_eq!(title(guesser.clone() + &source_auth()), 200);
    }
    for round in 0..5 {
        let refused = match round % 2 {
            0 => Source::try_with(&server, "/elsewhere", "").err(),
            _ => None,
        };
        assert!(refused.is_none(), "right passwords from elsewhere do no harm");
        assert_eq!(title(guesser.clone() + &header("source", "guess")), 401);
    }
    server.wait_for_log("locked out for 15 minutes");
    assert_eq!(
        title(guesser.clone() + &source_auth()),
        401,
        "now even the right password is refused"
    );
    assert_eq!(
        get(
            server.address(),
            "/admin/stats",
            &(guesser.clone() + &Server::admin_auth())
        )
        .status(),
        401
    );
    let refused = {
        let mut wire = server.connect();
        wire.send(format!("SOURCE /mine HTTP/1.0\r\n{guesser}{}\r\n", source_auth()));
        wire.head().status
    };
    assert_eq!(refused, 401, "and no source of that address gets in");

    assert_eq!(title(other + &source_auth()), 200, "others are not concerned");
    listener.wait_for(listener.len() + 8_000);
    Capture::start(&server, "/live", &guesser).wait_for(8_000);
    assert_eq!(get(server.address(), "/status-json.xsl", &guesser).status(), 200);
    assert_eq!(server.log_with("locked out for 15 minutes").len(), 1);

    // The white list wins at once.
    server.edit_config(|config| config["whitelisted_ips"] = json!(["192.0.2.66"]));
    assert!(server.reload());
    assert_eq!(title(guesser + &source_auth()), 200);
}

#[test]
fn wrong_source_passwords_count_too() {
    let server = Server::setup().strict_loopback().start();
    let attempt = |auth: &str| {
        let mut wire = server.connect();
        wire.send(format!(
            "SOURCE /live HTTP/1.0\r\nContent-Length: 0\r\n{auth}\r\n"
        ));
        wire.head().status
    };
    for _ in 0..20 {
        assert_eq!(attempt(""), 401, "asking first is how libshout does it");
    }
    for _ in 0..5 {
        assert_eq!(attempt(&header("source", "wrong")), 401);
    }
    server.wait_for_log("locked out for 15 minutes");
    assert_eq!(attempt(&source_auth()), 401);
    assert_eq!(get(server.address(), "/healthz", "").status(), 200);
}

#[test]
fn scanners_are_noticed_and_others_are_not() {
    let server = Server::setup()
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let ask =
        |ip: &str, path: &str| get(server.address(), path, &format!("X-Forwarded-For: {ip}\r\n")).status();
    for number in 0..40 {
        assert_eq!(ask("192.0.2.1", &format!("/icon{number}.png")), 404);
        assert_eq!(
            ask("192.0.2.2", "/gone"),
            404,
            "the same path again and again is a player that waits"
        );
    }
    for number in 0..25 {
        assert_eq!(ask("192.0.2.3", &format!("/probe{number}")), 404);
    }
    let line = server.wait_for_log("after 25 distinct 404 paths");
    assert!(line.contains("192.0.2.3"), "{line}");
    assert_eq!(server.log_with("after 25 distinct 404 paths").len(), 1);
    until("the stream for everybody", || {
        Capture::start(&server, "/live", "X-Forwarded-For: 192.0.2.1\r\n").wait_for(4_000);
        Some(())
    });
}
