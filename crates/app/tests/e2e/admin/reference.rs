//! The status document beside that of a real Icecast with the same source.
//!
//! Contract: whatever Icecast prints is here under the same key and with the same JSON type, so no page that was
//! written for Icecast has to change.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Folder, Program, Reply, Server, basic, ffmpeg, get, installed, request, until};

const PASSWORD: &str = "hackme";

/// An Icecast of the distribution.
struct Icecast {
    address: SocketAddr,
    _program: Program,
    _folder: Folder,
}

impl Icecast {
    fn start() -> Self {
        let folder = Folder::new();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let port = Server::free_port();
        // It refuses to run as root but lets go of that itself.
        let owner = if rustix::process::getuid().is_root() {
            "<changeowner><user>nobody</user><group>nogroup</group></changeowner>"
        } else {
            ""
        };
        let log = folder.path().display();
        let config = folder.write(
            "icecast.xml",
            format!(
                "<icecast><location>Moon</location><admin>studio@example.org</admin><hostname>radio.example.org</hostname>
                 <limits><clients>10</clients><sources>4</sources></limits>
                 <authentication><source-password>{PASSWORD}</source-password>
                 <admin-user>admin</admin-user><admin-password>{PASSWORD}</admin-password></authentication>
                 <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
                 <paths><basedir>/usr/share/icecast2</basedir><logdir>{log}</logdir>
                 <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot></paths>
                 <logging><accesslog>access.log</accesslog><errorlog>-</errorlog><loglevel>2</loglevel></logging>
                 <security><chroot>0</chroot>{owner}</security></icecast>"
            ),
        );
        let mut program = Program::start(Command::new("icecast2").arg("-c").arg(config));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("an Icecast", || {
            assert!(program.is_running(), "{}", program.output());
            std::net::TcpStream::connect(address).ok()
        });
        Self {
            address,
            _program: program,
            _folder: folder,
        }
    }

    fn status(&self) -> Value {
        let reply = request(self.address, "GET /status-json.xsl HTTP/1.0\r\n\r\n");
        // Before it knows anything of itself, it writes no JSON.
        serde_json::from_slice::<Value>(&reply.body)
            .map_or(Value::Null, |mut status| status["icestats"].take())
    }
}

/// Sends the same tone to both.
fn publish(to: SocketAddr, password: &str, encoding: &[&str]) -> Program {
    let url = format!("icecast://source:{password}@{to}/live");
    let tone = [
        "-re",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=44100",
        "-ac",
        "2",
    ];
    let described = [
        "-ice_name",
        "Example FM",
        "-ice_description",
        "All day",
        "-ice_genre",
        "Jazz",
        "-ice_url",
        "http://station.example/",
        "-ice_public",
        "1",
    ];
    Program::start(ffmpeg(&tone).args(encoding).args(described).arg(url))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kinds(object: &Value) -> Option<BTreeMap<String, &'static str>> {
    Some(
        object
            .as_object()?
            .iter()
            .map(|(key, value)| (key.clone(), kind(value)))
            .collect(),
    )
}

fn has_all(theirs: &Value, ours: &Value) -> Option<bool> {
    let (theirs, ours) = (kinds(theirs)?, kinds(ours)?);
    Some(theirs.iter().all(|(key, kind)| ours.get(key) == Some(kind)))
}

/// Panics unless `ours` has all that `theirs` has, in the same types.
fn check_same(theirs: &Value, ours: &Value) {
    let found = kinds(ours).unwrap();
    for (key, kind) in kinds(theirs).unwrap() {
        assert_eq!(
            found.get(&key),
            Some(&kind),
            "{key}: Icecast has {}, here {}",
            theirs[&key],
            ours[&key]
        );
    }
}

#[test]
fn the_status_document_has_all_that_icecast_prints() {
    if !installed(&["icecast2", "ffmpeg"]) {
        return;
    }
    let mp3: &[&str] = &[
        "-c:a",
        "libmp3lame",
        "-b:a",
        "64k",
        "-content_type",
        "audio/mpeg",
        "-f",
        "mp3",
        "-write_xing",
        "0",
    ];
    let vorbis: &[&str] = &[
        "-c:a",
        "libvorbis",
        "-q:a",
        "2",
        "-content_type",
        "application/ogg",
        "-f",
        "ogg",
    ];
    let opus: &[&str] = &[
        "-c:a",
        "libopus",
        "-b:a",
        "64k",
        "-content_type",
        "audio/ogg",
        "-f",
        "ogg",
    ];
    for encoding in [mp3, vorbis, opus] {
        let icecast = Icecast::start();
        let server = Server::setup()
            .set("status_json_source", "icecast")
            .set("hostname", "radio.example.org")
            .set("location", "Moon")
            .set("admin_email", "studio@example.org")
            .start();
        let here = || get(server.address(), "/status-json.xsl", "").json()["icestats"].take();
        let _theirs = publish(icecast.address, PASSWORD, encoding);
        let _ours = publish(server.address(), crate::harness::SOURCE_PASSWORD, encoding);
        until("Icecast's source", || icecast.status().get("source").map(drop));
        // What the audio itself tells comes a moment after the source; if it never comes, the check below says what.
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience
            && !has_all(&icecast.status()["source"], &here()["source"]).unwrap_or(false)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        let title = |address: SocketAddr, auth: String| -> Reply {
            get(
                address,
                "/admin/metadata?mount=/live&mode=updinfo&song=A%20-%20B",
                &auth,
            )
        };
        if encoding == mp3 {
            assert_eq!(title(server.address(), Server::admin_auth()).status(), 200);
            let auth = format!("Authorization: {}\r\n", basic("admin", PASSWORD));
            assert_eq!(title(icecast.address, auth).status(), 200);
            until("the title", || {
                (icecast.status()["source"]["title"] == "A - B").then_some(())
            });
        }
        let (theirs, ours) = (icecast.status(), here());
        check_same(&theirs, &ours);
        check_same(&theirs["source"], &ours["source"]);
        for key in [
            "server_name",
            "server_description",
            "genre",
            "server_type",
            "server_url",
            "title",
        ] {
            let said = theirs["source"].get(key);
            assert!(
                said.is_none() || said == ours["source"].get(key),
                "{key} of {encoding:?}: {theirs} {ours}"
            );
        }
        for key in ["admin", "host", "location"] {
            assert_eq!(theirs[key], ours[key], "{key}");
        }
        check_dates(&theirs, &ours);
    }
}

/// Dates look alike: every digit and letter in the same place.
fn check_dates(theirs: &Value, ours: &Value) {
    let shape = |date: &Value| -> String {
        let shape = |c: char| match c {
            '0'..='9' => '9',
            'a'..='z' | 'A'..='Z' => 'a',
            other => other,
        };
        date.as_str().unwrap().chars().map(shape).collect()
    };
    for key in ["server_start", "server_start_iso8601"] {
        assert_eq!(shape(&theirs[key]), shape(&ours[key]), "{key}");
    }
    for key in ["stream_start", "stream_start_iso8601"] {
        assert_eq!(
            shape(&theirs["source"][key]),
            shape(&ours["source"][key]),
            "{key}"
        );
    }
}
