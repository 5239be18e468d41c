//! Encoders as stations run them.
//!
//! Contract: what an encoder publishes reaches a listener who was there from the start, byte for byte.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::harness::{
    Capture, Folder, Mp3, Pacer, Program, SOURCE_PASSWORD, Server, check_chains, decode, ffmpeg, installed,
    numbers, pages, until,
};

/// Sound that does not compress away.
const NOISE: &str = "anoisesrc=color=pink:amplitude=0.3:sample_rate=44100";

/// A server whose newcomers hear everything that these tests publish, and whose mounts end with their sources.
fn server() -> Server {
    Server::setup()
        .strict_loopback()
        .set("source_grace_seconds", 0)
        .set("default_burst_size", 1 << 20)
        .start()
}

/// Makes a file of so many seconds of noise.
fn sound(folder: &Folder, name: &str, seconds: u32, options: &[&str]) -> PathBuf {
    let path = folder.file(name);
    let length = seconds.to_string();
    let input = [
        "-f",
        "lavfi",
        "-i",
        NOISE,
        "-t",
        &length,
        "-ac",
        "2",
        "-map_metadata",
        "-1",
    ];
    let mut program = Program::start(ffmpeg(&input).args(options).arg(&path));
    let (status, output) = program.wait();
    assert!(status.success(), "{output}");
    path
}

const MP3: &[&str] = &[
    "-c:a",
    "libmp3lame",
    "-b:a",
    "128k",
    "-write_xing",
    "0",
    "-id3v2_version",
    "0",
];

/// Follows a mount from its first byte to its end.
fn listen_from_start(server: &Server, mount: &str) -> Vec<u8> {
    server.wait_for_mount(mount);
    Capture::start(server, mount, "").wait_for_end()
}

/// Asserts that two streams are the same without printing them.
fn check_same(what: &str, got: &[u8], sent: &[u8]) {
    let differs = got.iter().zip(sent).position(|(got, sent)| got != sent);
    assert!(
        got == sent,
        "{what}: got {} of {} bytes, first difference at {differs:?}",
        got.len(),
        sent.len()
    );
}

/// Checks that chained Ogg streams are well-formed and decodes each: ffmpeg gets the times at a joint wrong, also in
/// plain files.
fn check_songs(folder: &Folder, got: &[u8], expected: usize) {
    let songs = check_chains(&pages(got));
    assert_eq!(songs.len(), expected);
    for song in songs {
        decode(&folder.write("song.ogg", song).display().to_string(), 600);
    }
}

#[test]
fn ffmpeg_publishes_in_each_of_its_ways() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    let file = sound(&folder, "sound.mp3", 5, MP3);
    let sent = std::fs::read(&file).unwrap();
    let described: &[&str] = &[
        "-ice_name",
        "Näme",
        "-ice_description",
        "D",
        "-ice_genre",
        "G",
        "-ice_url",
        "http://u/",
        "-ice_public",
        "1",
    ];
    let http = |mount: &str| format!("http://source:{SOURCE_PASSWORD}@{}{mount}", server.address());
    let ways: [(&str, String, &[&str], &[&str]); 4] = [
        ("/put", server.publish_url("/put"), described, &[]),
        (
            "/legacy",
            server.publish_url("/legacy"),
            described,
            &["-legacy_icecast", "1"],
        ),
        (
            "/chunked",
            http("/chunked"),
            &["-method", "PUT"],
            &["-content_type", "audio/mpeg"],
        ),
        (
            "/at-once",
            http("/at-once"),
            &["-method", "PUT"],
            &["-send_expect_100", "0", "-auth_type", "basic"],
        ),
    ];
    thread::scope(|scope| {
        for (mount, url, options, more) in &ways {
            let (server, file, sent) = (&server, &file, &sent);
            scope.spawn(move || {
                let input = [
                    "-re",
                    "-i",
                    file.to_str().unwrap(),
                    "-c",
                    "copy",
                    "-write_xing",
                    "0",
                ];
                let output = ["-id3v2_version", "0", "-f", "mp3"];
                let command = &mut ffmpeg(&input);
                let mut encoder = Program::start(command.args(output).args(*options).args(*more).arg(url));
                server.wait_for_mount(mount);
                let listener = Capture::start(server, mount, "");
                if options == &described {
                    for (name, value) in [("icy-name", "Näme"), ("icy-genre", "G"), ("icy-pub", "1")] {
                        assert_eq!(listener.head.get(name), Some(value), "{mount}");
                    }
                }
                check_same(mount, &listener.wait_for_end(), sent);
                let (status, output) = encoder.wait();
                assert!(
                    status.success() && output.is_empty(),
                    "{mount}: {status} {output}"
                );
            });
        }
    });
    assert!(server.log_with("lockout").is_empty());
}

/// Sends numbered frames by a chunked `PUT` of curl; gives the status that curl saw.
fn put_with_curl(url: &str, options: &[&str], audio: &[u8]) -> String {
    let user = format!("source:{SOURCE_PASSWORD}");
    let mut command = Command::new("curl");
    command
        .args([
            "-sS",
            "-T",
            "-",
            "-u",
            &user,
            "-H",
            "Content-Type: audio/mpeg",
            "-w",
            "%{http_code}",
        ])
        .args(["-o", "/dev/null"])
        .args(options)
        .arg(url);
    let (mut curl, stdin) = Program::start_fed(&mut command);
    Pacer {
        rate: 30_000,
        piece: 1_234,
    }
    .write(audio, stdin);
    let (status, output) = curl.wait();
    assert!(status.success(), "{status} {output}");
    output.trim().to_owned()
}

#[test]
fn a_chunked_put_arrives_as_it_was_sent() {
    if !installed(&["curl"]) {
        return;
    }
    let server = server();
    thread::scope(|scope| {
        for (index, expect) in ["Expect:", "Expect: 100-continue"].into_iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                let mount = format!("/{index}");
                let audio = Mp3::new('c').bytes(60_000);
                thread::scope(|scope| {
                    let sending = scope.spawn(|| put_with_curl(&server.url(&mount), &["-H", expect], &audio));
                    check_same(expect, &listen_from_start(server, &mount), &audio);
                    assert_eq!(sending.join().unwrap(), "200");
                });
            });
        }
    });
}

/// nginx in front of a server, on a socket in the folder so that no port is needed.
fn nginx(server: &Server, folder: &Folder) -> (Program, PathBuf) {
    let socket = folder.file("nginx.sock");
    let path = |name: &str| folder.file(name).display().to_string();
    let config = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr error;
         events {{ worker_connections 64; }}
         http {{
           access_log off; client_max_body_size 0;
           client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp};
           uwsgi_temp_path {temp}; scgi_temp_path {temp};
           server {{
             listen unix:{socket};
             location / {{
               proxy_pass http://{address}; proxy_http_version 1.1;
               proxy_request_buffering off; proxy_buffering off;
             }}
           }}
         }}",
        pid = path("nginx.pid"),
        temp = path("temp"),
        socket = socket.display(),
        address = server.address(),
    );
    let config = folder.write("nginx.conf", config);
    let program = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    let mut command = Command::new(program);
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(config);
    let program = Program::start(&mut command);
    until("nginx listening", || socket.exists().then_some(()));
    (program, socket)
}

#[test]
fn a_chunked_put_through_nginx_arrives_as_it_was_sent() {
    if !installed(&["curl", "nginx"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    let (_nginx, socket) = nginx(&server, &folder);
    let socket = socket.display().to_string();
    thread::scope(|scope| {
        for (index, expect) in ["Expect:", "Expect: 100-continue"].into_iter().enumerate() {
            let (server, socket) = (&server, &socket);
            scope.spawn(move || {
                let mount = format!("/{index}");
                let url = format!("http://nginx{mount}");
                let audio = Mp3::new('n').bytes(60_000);
                let options = ["--unix-socket", socket.as_str(), "-H", expect];
                thread::scope(|scope| {
                    let sending = scope.spawn(|| put_with_curl(&url, &options, &audio));
                    server.wait_for_mount(&mount);
                    let live = Capture::start(server, &mount, "");
                    // While the source still sends: nothing on the way collects the body.
                    assert!(numbers(&live.wait_for(20_000)).len() > 40);
                    assert!(!sending.is_finished());
                    check_same(expect, &live.wait_for_end(), &audio);
                    assert_eq!(sending.join().unwrap(), "200");
                });
            });
        }
    });
}

fn ezstream(server: &Server, folder: &Folder, format: &str, mount: &str, files: &[&PathBuf]) -> Program {
    let list: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    let list = folder.write(&format!("{format}.m3u"), list);
    let config = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
         <ezstream>
           <servers><server>
             <hostname>127.0.0.1</hostname><port>{port}</port><password>{SOURCE_PASSWORD}</password>
             <reconnect_attempts>1</reconnect_attempts>
           </server></servers>
           <streams><stream>
             <mountpoint>{mount}</mountpoint><format>{format}</format><stream_name>Easy</stream_name>
           </stream></streams>
           <intakes><intake>
             <type>playlist</type><filename>{list}</filename><stream_once>Yes</stream_once>
           </intake></intakes>
         </ezstream>",
        port = server.port(),
        list = list.display(),
    );
    let config = folder.write(&format!("{format}.xml"), config);
    // It refuses a file with a password that others can read.
    let _ = Command::new("chmod").arg("600").arg(&config).status();
    Program::start(Command::new("ezstream").arg("-v").arg("-c").arg(config))
}

#[test]
fn ezstream_sends_mp3_by_libshout() {
    if !installed(&["ezstream", "ffmpeg"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    let plain = sound(&folder, "plain.mp3", 4, MP3);
    let tagged = folder.file("tagged.mp3");
    let input = ["-i", plain.to_str().unwrap(), "-c", "copy", "-write_xing", "0"];
    let tags = ["-metadata", "artist=Sigur Rós", "-metadata", "title=Untitled"];
    assert!(
        Program::start(ffmpeg(&input).args(tags).arg(&tagged))
            .wait()
            .0
            .success()
    );
    let mut encoder = ezstream(&server, &folder, "MP3", "/easy.mp3", &[&tagged]);
    server.wait_for_mount("/easy.mp3");
    let listener = Capture::start(&server, "/easy.mp3", "");
    assert_eq!(listener.head.get("icy-name"), Some("Easy"));
    server.wait_for_title("/easy.mp3", "Untitled");
    assert_eq!(
        server.status_of("/easy.mp3").unwrap()["yp_currently_playing"],
        "Sigur Rós - Untitled"
    );
    // The tag in front of the frames is no audio.
    check_same(
        "ezstream",
        &listener.wait_for_end(),
        &std::fs::read(&plain).unwrap(),
    );
    let (status, output) = encoder.wait();
    assert!(status.success(), "{status} {output}");
    assert!(server.log_with("lockout").is_empty());
}

const VORBIS: &[&str] = &["-c:a", "libvorbis", "-b:a", "128k"];

#[test]
fn ezstream_sends_ogg_with_its_own_titles() {
    if !installed(&["ezstream", "ffmpeg"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    let first = sound(
        &folder,
        "1.ogg",
        3,
        &[VORBIS, &["-metadata", "title=One"]].concat(),
    );
    let second = sound(
        &folder,
        "2.ogg",
        3,
        &[VORBIS, &["-metadata", "title=Two", "-ar", "22050"]].concat(),
    );
    let _encoder = ezstream(&server, &folder, "Ogg", "/easy.ogg", &[&first, &second]);
    server.wait_for_mount("/easy.ogg");
    let listener = Capture::start(&server, "/easy.ogg", "");
    assert_eq!(listener.head.get("Content-Type"), Some("application/ogg"));
    server.wait_for_title("/easy.ogg", "One");
    server.wait_for_title("/easy.ogg", "Two");
    let got = listener.wait_for_end();
    check_songs(&folder, &got, 2);
}

#[test]
fn ices_sends_a_playlist_of_ogg_files() {
    if !installed(&["ices2", "ffmpeg"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    let titles = ["Eins", "Zwei"];
    let files = titles.map(|title| {
        let tags = format!("title={title}");
        sound(
            &folder,
            &format!("{title}.ogg"),
            4,
            &[VORBIS, &["-metadata", &tags, "-metadata", "artist=A"]].concat(),
        )
    });
    let list: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    let list = folder.write("list.txt", list);
    let config = format!(
        "<?xml version=\"1.0\"?>
         <ices>
           <background>0</background><logpath>{folder}</logpath><logfile>ices.log</logfile>
           <loglevel>4</loglevel><consolelog>1</consolelog>
           <stream>
             <metadata><name>Ices</name><genre>G</genre><description>D</description></metadata>
             <input>
               <module>playlist</module>
               <param name=\"type\">basic</param><param name=\"file\">{list}</param>
               <param name=\"random\">0</param><param name=\"once\">1</param>
             </input>
             <instance>
               <hostname>127.0.0.1</hostname><port>{port}</port><password>{SOURCE_PASSWORD}</password>
               <mount>/ices.ogg</mount><reconnectattempts>1</reconnectattempts>
             </instance>
           </stream>
         </ices>",
        folder = folder.path().display(),
        list = list.display(),
        port = server.port(),
    );
    let config = folder.write("ices.xml", config);
    let _encoder = Program::start(Command::new("ices2").arg(config));
    server.wait_for_mount("/ices.ogg");
    let listener = Capture::start(&server, "/ices.ogg", "");
    assert_eq!(listener.head.get("icy-name"), Some("Ices"));
    for title in titles {
        server.wait_for_title("/ices.ogg", title);
    }
    // Into the second song, not only into its headers.
    listener.wait_for(std::fs::metadata(&files[0]).unwrap().len() as usize + 10_000);
    let late = Capture::start(&server, "/ices.ogg", "");
    // The late one's burst stops at the headers of the song that is on.
    check_songs(&folder, &listener.wait_for_end(), 2);
    check_songs(&folder, &late.wait_for_end(), 1);
}

#[test]
fn gstreamer_sends_by_libshout() {
    if !installed(&["gst-launch-1.0"]) {
        return;
    }
    let plugins = Command::new("gst-inspect-1.0")
        .args(["--exists", "shout2send"])
        .status();
    if !plugins.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "shout2send is not installed");
        println!("skipped: shout2send is not installed");
        return;
    }
    let (server, folder) = (server(), Folder::new());
    thread::scope(|scope| {
        for (mount, kind, encoder) in [
            (
                "/gst.mp3",
                "audio/mpeg",
                &["lamemp3enc", "target=bitrate", "bitrate=128", "cbr=true"][..],
            ),
            ("/gst.ogg", "application/ogg", &["vorbisenc", "!", "oggmux"][..]),
        ] {
            let (server, folder) = (&server, &folder);
            scope.spawn(move || {
                let place = [
                    "ip=127.0.0.1".to_owned(),
                    format!("port={}", server.port()),
                    format!("mount={mount}"),
                ];
                let mut command = Command::new("gst-launch-1.0");
                command
                    .args([
                        "-q",
                        "audiotestsrc",
                        "is-live=true",
                        "num-buffers=200",
                        "wave=pink-noise",
                    ])
                    .args(["!", "audioconvert", "!"])
                    .args(encoder)
                    .args(["!", "shout2send", &format!("password={SOURCE_PASSWORD}")])
                    .args(place);
                let mut program = Program::start(&mut command);
                server.wait_for_mount(mount);
                let listener = Capture::start(server, mount, "");
                assert_eq!(listener.head.get("Content-Type"), Some(kind));
                let got = listener.wait_for_end();
                assert!(got.len() > 30_000, "{mount}: {} bytes", got.len());
                decode(&folder.write(&mount[1..], got).display().to_string(), 600);
                let (status, output) = program.wait();
                assert!(status.success(), "{status} {output}");
            });
        }
    });
}
