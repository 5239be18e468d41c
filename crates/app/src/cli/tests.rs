//! What commands print and how they end.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    thread,
};

use super::{Outcome, Terminal, perform};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tinyice-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self, text: &str) -> String {
        let path = self.0.join("tinyice.json");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ran {
    /// None is that the server would start.
    code: Option<u8>,
    out: String,
    err: String,
}

fn run_with(words: &[&str], input: &str, colour: bool) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        input: &mut input.as_bytes(),
        out: &mut out,
        err: &mut err,
        asks: false,
        colour,
    };
    let outcome = perform(words.iter().map(ToString::to_string), &mut terminal);
    let code = match outcome {
        Outcome::Exit(code) => Some(code),
        Outcome::Serve(_) => None,
    };
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn run(words: &[&str]) -> Ran {
    run_with(words, "", false)
}

#[test]
fn flags_alone_start_the_server() {
    for words in [
        &[][..],
        &["-port=0"],
        &["-daemon", "-config", "x.json"],
        &["-log-level", "loud"],
    ] {
        assert_eq!(run(words).code, None, "{words:?}");
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    for (words, code, first) in [
        (&["-nonsense"][..], 2, "flag provided but not defined: -nonsense"),
        (&["-port"], 2, "flag needs an argument: -port"),
        (
            &["-port=x"],
            2,
            "invalid value \"x\" for flag -port: not a port from 1 to 65535 (0 lets the system choose)",
        ),
        (&["-h"], 0, "Usage of TinyIce:"),
        (&["--help"], 0, "Usage of TinyIce:"),
        (&["relaod"], 2, "unknown command \"relaod\""),
        (&["-json-logs", "true"], 2, "unknown command \"true\""),
    ] {
        let ran = run(words);
        assert_eq!(
            (ran.code, ran.err.lines().next(), ran.out.as_str()),
            (Some(code), Some(first), ""),
            "{words:?}"
        );
    }
    assert!(run(&["relaod"]).err.contains("did you mean \"reload\"?"));
    assert!(run(&["-json-logs", "true"]).err.contains("-json-logs=true"));
    let usage = run(&["-nonsense"]).err;
    assert!(usage.contains("  -port string\n    \tHTTP port"), "{usage}");
    assert!(
        usage.contains("  -daemon\n    \trun in the background\n"),
        "{usage}"
    );
    assert!(
        usage.contains("(default \"tinyice.json\")\n") && usage.contains("\nSubcommands:\n  version\n"),
        "{usage}"
    );
    let help = run(&["help"]);
    assert!(help.code == Some(0) && help.out.contains("Subcommands:") && help.err.is_empty());
}

#[test]
fn the_version_line_can_be_taken_apart() {
    for words in [
        &["version"][..],
        &["-version"],
        &["--version"],
        &["-config=/nowhere", "version"],
    ] {
        let ran = run(words);
        assert_eq!(ran.code, Some(0));
        let rest = ran
            .out
            .strip_prefix("TinyIce ")
            .unwrap()
            .strip_suffix(")\n")
            .unwrap();
        let (version, rest) = rest.split_once(" (commit ").unwrap();
        let fields: Vec<&str> = rest.split(", ").collect();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        let [commit, compiler, platform] = fields.as_slice() else {
            panic!("{rest}")
        };
        assert!(
            commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{commit}"
        );
        assert!(compiler.starts_with("rustc "), "{compiler}");
        let (system, processor) = platform.split_once('/').unwrap();
        assert!(system.bytes().all(|byte| byte.is_ascii_lowercase()), "{system}");
        assert!(
            processor
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "{processor}"
        );
    }
}

#[test]
fn get_prints_values() {
    let folder = Folder::new("get");
    let path =
        folder.config(r#"{"port": "8001", "domains": ["a.example", "b.example"], "mounts": {"/x": ""}}"#);
    for (words, code, out) in [
        (&["get", "port"][..], 0, "port = 8001\n"),
        (&["get", "PORT"], 0, "PORT = 8001\n"),
        (&["get", "host"], 0, "host = 0.0.0.0\n"),
        (&["get", "domains"], 0, "domains = [a.example b.example]\n"),
        (&["get", "use_https"], 0, "use_https = false\n"),
        (&["get", "max_listeners"], 0, "max_listeners = 100\n"),
        (
            &["get", "ingest.rtmp_enabled"],
            0,
            "ingest.rtmp_enabled = false\n",
        ),
        (&["get", "-json", "domains"], 0, "[\"a.example\",\"b.example\"]\n"),
        (&["get", "port", "-json"], 0, "\"8001\"\n"),
        (&["get", "hostnam"], 1, "hostnam = unknown\n"),
        (&["get"], 1, "Usage: get <option>\n"),
    ] {
        let ran = run(&[&["-config", &path], words].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(code), out),
            "{words:?} {}",
            ran.err
        );
    }
    let ran = run(&["-config", &path, "get", "hostnam"]);
    assert_eq!(ran.err, "did you mean \"hostname\"?\n");
    assert_eq!(folder.names(), ["tinyice.json"]);
}

#[test]
fn set_saves_or_says_why_not() {
    let folder = Folder::new("set");
    let path = folder.config(r#"{"x": 1, "port": "8000"}"#);
    let ran = run(&["set", "port", "8001", "-config", &path]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "Updated port to 8001\nRun 'tinyice reload' to apply\n")
    );
    let saved = fs::read_to_string(&path).unwrap();
    assert_eq!(saved, "{\n    \"x\": 1,\n    \"port\": \"8001\"\n}\n");
    for (words, out, err) in [
        (
            &["set", "port", "0"][..],
            "",
            "Error: port: string \"0\" is not a port; write a number from 1 to 65535\n",
        ),
        (
            &["set", "use_https", "maybe"],
            "",
            "Error: use_https: expected true or false, found string \"maybe\"; write true or false without quotes\n",
        ),
        (
            &["set", "hostnam", "x"],
            "Unknown or unsupported option: hostnam\n",
            "did you mean \"hostname\"?\n",
        ),
        (&["set", "port"], "Usage: set <option> <value>\n", ""),
    ] {
        let ran = run(&[&["-config", &path], words].concat());
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (Some(1), out, err),
            "{words:?}"
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), saved);
    let ran = run(&["-config", &path, "-port", "9999", "set", "max_listeners", "-1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let saved = fs::read_to_string(&path).unwrap();
    assert!(
        saved.contains("\"max_listeners\": -1") && saved.contains("\"8001\""),
        "flags are not saved: {saved}"
    );
}

#[test]
fn subcommands_make_no_configuration() {
    let folder = Folder::new("none");
    let path = folder.0.join("tinyice.json");
    let path = path.to_str().unwrap();
    let expected = format!("Error: config file not found: {path}\n");
    for words in [
        &["get", "port"][..],
        &["set", "port", "1"],
        &["dump-config"],
        &["check"],
        &["reset-password", "x"],
    ] {
        let ran = run(&[&["-config", path], words].concat());
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (Some(1), "", expected.as_str()),
            "{words:?}"
        );
    }
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn check_prints_every_problem_on_its_own_line() {
    let folder = Folder::new("check");
    for (text, code, lines) in [
        ("{}", 0, vec![": ok"]),
        (
            r#"{"prot": 1}"#,
            0,
            vec![":1:2: warning: prot: unknown key; did you mean \"port\"?"],
        ),
        (
            "{\"prot\": 1,\n\"port\": \"x\", \"use_https\": 1}",
            1,
            vec![
                ":1:2: warning: prot: unknown key; did you mean \"port\"?",
                ":2:9: port: string \"x\" is not a port; write a number from 1 to 65535",
                ":2:27: use_https: expected true or false, found number 1; write true or false without quotes",
            ],
        ),
    ] {
        let path = folder.config(text);
        let expected: String = lines.iter().map(|line| format!("{path}{line}\n")).collect();
        for words in [&["check"][..], &["-check-config"]] {
            let ran = run(&[&["-config", &path], words].concat());
            assert_eq!(
                (ran.code, ran.out.as_str()),
                (Some(code), expected.as_str()),
                "{text}"
            );
        }
    }
}

#[test]
fn dumps_are_json_masked_and_coloured_on_a_terminal_only() {
    let folder = Folder::new("dump");
    let path = folder.config(r#"{"admin_password": "s3cret", "x": [1, true, {}], "relays": []}"#);
    let ran = run(&["-config", &path, "dump-config"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(0), "Secrets are masked; add -secrets to print them\n")
    );
    let tree: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&tree["admin_password"], &tree["port"]),
        (&"***".into(), &"8000".into())
    );
    assert!(ran.out.contains("\n    \"x\": [\n        1,\n"), "{}", ran.out);
    let ran = run(&["-config", &path, "dump-config", "--secrets"]);
    assert!(ran.out.contains("s3cret") && ran.err.is_empty());
    let ran = run_with(&["-config", &path, "dump-config"], "", true);
    for part in [
        "\x1b[36m\"x\"\x1b[0m: [\n        \x1b[33m1\x1b[0m,\n        \x1b[35mtrue\x1b[0m,\n        {}\n    ]",
        "\x1b[32m\"8000\"\x1b[0m",
    ] {
        assert!(ran.out.contains(part), "{part:?} in {}", ran.out);
    }
}

#[test]
fn passwords_come_from_standard_input() {
    let ran = run_with(&["hash-password"], "hackme\n", false);
    assert_eq!(ran.code, Some(0));
    let hash = ran.out.trim_end();
    assert!(config::is_bcrypt(hash) && hash.starts_with("$2a$12$"), "{hash}");
    assert!(bcrypt::verify("hackme", hash).unwrap());
    for input in ["", "\n", &"x".repeat(73)] {
        let ran = run_with(&["hash-password"], input, false);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{input:?}");
    }
}

#[test]
fn a_lost_password_is_replaced() {
    let folder = Folder::new("reset");
    let path = folder.config(r#"{"users": {"boss": {"role": "superadmin", "x": 1}}}"#);
    let ran = run_with(
        &["-config", &path, "reset-password", "boss"],
        "correct horse\r\n",
        false,
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let tree: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        bcrypt::verify(
            "correct horse",
            tree["users"]["boss"]["password"].as_str().unwrap()
        )
        .unwrap()
    );
    assert_eq!(tree["users"]["boss"]["x"], 1);
    for (name, input, err) in [
        (
            "bos",
            "long enough\n",
            "Error: there is no user \"bos\"; users: boss\n",
        ),
        ("boss", "short\n", "Error: Password must be 8 to 72 bytes\n"),
        ("boss", "", "Error: no password on standard input\n"),
    ] {
        let ran = run_with(&["-config", &path, "reset-password", name], input, false);
        assert_eq!((ran.code, ran.err.as_str()), (Some(1), err));
    }
}

#[test]
fn reload_never_signals_a_stranger() {
    let folder = Folder::new("reload");
    let pid_file = folder.0.join("t.pid");
    let pid_file = pid_file.to_str().unwrap();
    let config = folder.config(r#"{"metrics_listen": ""}"#);
    let reload = || run(&["-config", &config, "-pid-file", pid_file, "reload"]);
    let missing = format!("Error: TinyIce does not appear to be running (could not read {pid_file})\n");
    assert_eq!((reload().code, reload().out), (Some(1), missing.clone()));
    for (content, out) in [
        ("x", missing.as_str()),
        ("0", &missing),
        ("-1", &missing),
        ("", &missing),
        ("1", "Error: Could not find process with PID 1\n"),
        (
            "2147483647\n",
            "Error: Could not find process with PID 2147483647\n",
        ),
    ] {
        fs::write(pid_file, content).unwrap();
        assert_eq!(
            (reload().code, reload().out.as_str()),
            (Some(1), out),
            "{content:?}"
        );
        assert_eq!(
            fs::read_to_string(pid_file).unwrap(),
            content,
            "the pid file is left alone"
        );
    }
}

/// Answers one request on a port of its own with a status line. Gives the address.
fn server(status: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let count = stream.read(&mut request).unwrap();
        write!(stream, "HTTP/1.0 {status}\r\n\r\ndatabase").unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    (address, answering)
}

#[test]
fn health_is_asked_on_the_internal_port_first_and_the_public_one_next() {
    let folder = Folder::new("health");
    let config = folder.config("{}");
    for (status, code, out, err) in [
        ("200 OK", 0, "ready\n", ""),
        ("503 Service Unavailable", 1, "", "not ready: database\n"),
    ] {
        let (address, answering) = server(status);
        let ran = run(&["-config", &config, "-metrics-listen", &address, "healthcheck"]);
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (Some(code), out, err)
        );
        assert!(
            answering
                .join()
                .unwrap()
                .starts_with("GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:")
        );
    }
    let (address, answering) = server("200 OK");
    let port = address.rsplit(':').next().unwrap().to_owned();
    let ran = run(&[
        "-config",
        &config,
        "-metrics-listen=",
        "-host=127.0.0.1",
        "-port",
        &port,
        "healthcheck",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "ready\n"));
    answering.join().unwrap();
    // The port of a listener that is gone refuses.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let ran = run(&[
        "-config",
        &config,
        "-metrics-listen=",
        "-host=127.0.0.1",
        "-port",
        &port,
        "healthcheck",
    ]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.starts_with(&format!("not ready: 127.0.0.1:{port}: ")),
        "{}",
        ran.err
    );
}

#[test]
fn completions_know_every_command_and_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.code, Some(0));
        for word in ["reset-password", "auth-log-file", "max_listeners", "dump-config"] {
            assert!(ran.out.contains(word), "{shell} {word}");
        }
    }
    assert_eq!(
        (run(&["completions"]).code, run(&["completions", "tcsh"]).code),
        (Some(1), Some(1))
    );
}
