//! Sources and administrators before the one who decides: verdicts, counts and the exact lines of the trail.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::{Auth, Credentials, Opener, PoolSettings, Protocol, SourceVerdict, Verdict};
use config::{Config, MountName, Role};
use observe::Capture;

fn hash(password: &str) -> String {
    bcrypt::hash_with_result(password, 4)
        .unwrap()
        .format_for_version(bcrypt::Version::TwoA)
}

/// `/live` opens with "live", `/bobs` with "bobs", others with "default".
fn config(more: &str) -> Arc<Config> {
    let file = format!(
        r#"{{"default_source_password": "{}", "mounts": {{"/live": "{}"}}, "advanced_mounts": {{"/adv": {{"password": "{}"}}}},
        "users": {{
            "root": {{"password": "{}", "role": "superadmin", "mounts": {{}}}},
            "bob": {{"password": "{}", "role": "dj", "mounts": {{"/bobs": "{}"}}}},
            "oidc": {{"password": "", "role": "admin", "mounts": {{}}}}
        }} {more} }}"#,
        hash("default"),
        hash("live"),
        hash("adv"),
        hash("rootpass"),
        hash("bobpass"),
        hash("bobs"),
    );
    Arc::new(Config::clone(
        &config::Loaded::parse(Path::new("t.json"), file.into_bytes())
            .unwrap()
            .config,
    ))
}

fn start(more: &str) -> Auth {
    Auth::with_pool(
        config(more),
        PoolSettings {
            threads: 1,
            queue: 64,
            cost: 4,
        },
    )
    .unwrap()
}

fn mount(name: &str) -> MountName {
    MountName::parse(name).unwrap()
}

const IP: &str = "203.0.113.9";

fn ip() -> IpAddr {
    IP.parse().unwrap()
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.as_bytes().to_vec(),
    }
}

async fn source(auth: &Auth, name: &str, password: &str) -> SourceVerdict {
    auth.source(
        Protocol::Icecast,
        ip(),
        &mount(name),
        Some(&basic("source", password)),
    )
    .await
}

/// A verdict in a word.
async fn admin(auth: &Auth, name: Option<&str>, user: &str, password: &str) -> String {
    let name = name.map(mount);
    match auth
        .admin_or_source(ip(), name.as_ref(), Some(&basic(user, password)))
        .await
    {
        Verdict::Account(account) => {
            let mounts: Vec<_> = account.mounts.iter().map(MountName::as_str).collect();
            format!("{} {} {}", account.role.as_str(), account.name, mounts.join(" "))
                .trim_end()
                .to_owned()
        }
        Verdict::SourceOf(mount) => format!("source {mount}"),
        other => format!("{other:?}"),
    }
}

/// The lines without their time and place.
fn lines(capture: &Capture) -> Vec<String> {
    let record = |record: &Arc<observe::Record>| {
        let text = record.text();
        let mut parts = text.split('\t').skip(1);
        let level = parts.next().unwrap().to_owned();
        format!("{level} {}", parts.skip(1).collect::<Vec<_>>().join(" "))
    };
    capture.records().iter().map(record).collect()
}

#[tokio::test]
async fn a_source_needs_the_password_of_its_mount() {
    let auth = start("");
    for (name, password, expected) in [
        ("/live", "live", SourceVerdict::Ok(Opener::Mount)),
        ("/live", "default", SourceVerdict::Wrong),
        ("/other", "default", SourceVerdict::Ok(Opener::Mount)),
        ("/other", "live", SourceVerdict::Wrong),
        ("/adv", "adv", SourceVerdict::Ok(Opener::Mount)),
        ("/adv", "default", SourceVerdict::Wrong),
        (
            "/bobs",
            "bobs",
            SourceVerdict::Ok(Opener::Account("bob".to_owned())),
        ),
        ("/bobs", "bobpass", SourceVerdict::Wrong),
        ("/bobs", "rootpass", SourceVerdict::Wrong),
        ("/live", "", SourceVerdict::Wrong),
    ] {
        assert_eq!(source(&auth, name, password).await, expected, "{name} {password}");
        auth.succeed(ip());
    }
}

#[tokio::test]
async fn without_a_password_in_the_file_every_source_is_refused() {
    let auth = Auth::with_pool(
        Arc::new(Config::default()),
        PoolSettings {
            threads: 1,
            queue: 64,
            cost: 4,
        },
    )
    .unwrap();
    for password in ["", "hackme"] {
        assert_eq!(source(&auth, "/live", password).await, SourceVerdict::Wrong);
    }
}

#[tokio::test]
async fn missing_credentials_are_no_failure() {
    let auth = start("");
    let capture = Capture::start();
    for _ in 0..20 {
        assert_eq!(
            auth.source(Protocol::Icecast, ip(), &mount("/live"), None).await,
            SourceVerdict::NoCredentials
        );
        assert_eq!(
            auth.admin_or_source(ip(), None, None).await,
            Verdict::NoCredentials
        );
    }
    assert_eq!((auth.lockouts(), lines(&capture)), (vec![], vec![]));
}

#[tokio::test]
async fn the_trail_of_a_source() {
    let auth = start("");
    let capture = Capture::start();
    source(&auth, "/live", "live").await;
    assert_eq!(
        lines(&capture),
        [r#"INFO Source auth successful {"mount": "/live", "ip": "203.0.113.9"}"#]
    );
    auth.source(
        Protocol::Srt,
        ip(),
        &mount("/live"),
        Some(&Credentials::password("live")),
    )
    .await;
    assert_eq!(
        lines(&capture),
        [r#"INFO Source auth successful {"mount": "/live", "ip": "203.0.113.9", "proto": "srt"}"#]
    );
    source(&auth, "/live", "wrong").await;
    assert_eq!(
        lines(&capture),
        [
            r#"WARN Authentication failed for user 'source' from 203.0.113.9: source password mismatch {"user": "source", "ip": "203.0.113.9", "reason": "source password mismatch", "mount": "/live"}"#,
            r#"WARN Source refused: wrong password for this mount {"mount": "/live", "ip": "203.0.113.9", "failures": 1}"#,
        ]
    );
    auth.source(
        Protocol::WebRtc,
        ip(),
        &mount("/live"),
        Some(&Credentials::password("x")),
    )
    .await;
    let webrtc = lines(&capture);
    let start =
        "WARN Authentication failed for user 'webrtc-source' from 203.0.113.9: invalid source password {";
    assert!(webrtc.len() == 1 && webrtc[0].starts_with(start), "{webrtc:?}");
    auth.source(
        Protocol::Rtmp,
        ip(),
        &mount("/live"),
        Some(&Credentials::password("x")),
    )
    .await;
    let rtmp = lines(&capture);
    assert!(
        rtmp.len() == 1
            && rtmp[0].contains("user 'unknown' from")
            && rtmp[0].ends_with(r#""proto": "rtmp"}"#),
        "{rtmp:?}"
    );
}

#[tokio::test]
async fn the_fifth_failure_locks_out_and_says_so() {
    let auth = start("");
    let capture = Capture::start();
    for _ in 0..5 {
        assert_eq!(source(&auth, "/live", "wrong").await, SourceVerdict::Wrong);
    }
    let written = lines(&capture);
    let without_until: Vec<_> = written[5..]
        .iter()
        .map(|line| line.split(" {").next().unwrap())
        .collect();
    assert_eq!(
        without_until,
        [
            "WARN Authentication failed for user 'source' from 203.0.113.9: source password mismatch",
            "WARN IP 203.0.113.9 locked out for 15 minutes due to 5 failed auth attempts",
            "WARN Lockout started",
            "WARN Source refused: wrong password for this mount",
        ]
    );
    assert!(
        written[6].contains(r#""reason": "brute_force_auth", "until": "20"#),
        "{}",
        written[6]
    );
    assert!(
        written[6].ends_with(r#"Z", "details": "5 failed authentication attempts"}"#),
        "{}",
        written[6]
    );

    // The right password does not help, and a locked client gets one line in ten seconds.
    for _ in 0..3 {
        assert_eq!(source(&auth, "/live", "live").await, SourceVerdict::LockedOut);
    }
    assert_eq!(admin(&auth, None, "root", "rootpass").await, "LockedOut");
    let written = lines(&capture);
    let start = "WARN Authentication failed for user 'source' from 203.0.113.9: too many failed attempts. locked out until ";
    assert!(written.len() == 1 && written[0].starts_with(start), "{written:?}");
    assert_eq!(auth.lockouts()[0].count, 5);

    // Others go on, and so does the client once somebody lifts the lockout.
    let other = "203.0.113.10".parse().unwrap();
    let credentials = basic("", "live");
    let verdict = auth
        .source(Protocol::Icecast, other, &mount("/live"), Some(&credentials))
        .await;
    assert_eq!(verdict, SourceVerdict::Ok(Opener::Mount));
    assert!(auth.clear_lockout(ip()) && !auth.clear_lockout(ip()));
    assert_eq!(
        source(&auth, "/live", "live").await,
        SourceVerdict::Ok(Opener::Mount)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lockout_ends_after_15_minutes() {
    let auth = start("");
    for _ in 0..5 {
        auth.fail(ip(), "setup", "invalid setup token");
    }
    let capture = Capture::start();
    tokio::time::advance(Duration::from_secs(15 * 60 - 1)).await;
    assert!(auth.is_locked(ip()));
    auth.sweep();
    assert_eq!(lines(&capture), [] as [&str; 0]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!auth.is_locked(ip()));
    auth.sweep();
    assert_eq!(
        lines(&capture),
        [r#"INFO Lockout ended {"ip": "203.0.113.9", "reason": "brute_force_auth", "cleared": false}"#]
    );
    assert_eq!(auth.lockouts(), []);
}

#[tokio::test]
async fn a_success_clears_the_count() {
    let auth = start("");
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(source(&auth, "/live", "wrong").await, SourceVerdict::Wrong);
        }
        assert_eq!(
            source(&auth, "/live", "live").await,
            SourceVerdict::Ok(Opener::Mount)
        );
    }
    assert_eq!(auth.lockouts(), []);
}

#[tokio::test]
async fn exempt_clients_are_never_counted() {
    let auth = start(r#", "whitelisted_ips": ["203.0.113.0/24"]"#);
    for _ in 0..10 {
        assert_eq!(source(&auth, "/live", "wrong").await, SourceVerdict::Wrong);
        assert_eq!(admin(&auth, None, "root", "wrong").await, "Wrong");
    }
    assert_eq!(auth.lockouts(), []);
}

#[tokio::test]
async fn an_exemption_frees_a_locked_client_at_once() {
    let auth = start("");
    for _ in 0..5 {
        auth.fail(ip(), "x", "invalid credentials");
    }
    assert_eq!(source(&auth, "/live", "live").await, SourceVerdict::LockedOut);
    auth.reload(config(r#", "whitelisted_ips": ["203.0.113.9"]"#));
    assert!(auth.gate().is_whitelisted(ip()));
    assert_eq!(
        source(&auth, "/live", "live").await,
        SourceVerdict::Ok(Opener::Mount)
    );
}

#[tokio::test]
async fn accounts_and_sources_share_one_entry() {
    let auth = start("");
    for (name, user, password, expected) in [
        (None, "root", "rootpass", "superadmin root"),
        (None, "bob", "bobpass", "dj bob /bobs"),
        (Some("/live"), "bob", "bobpass", "dj bob /bobs"),
        (Some("/live"), "source", "live", "source /live"),
        (Some("/live"), "root", "live", "source /live"),
        (Some("/live"), "", "live", "source /live"),
        (Some("/other"), "source", "default", "source /other"),
        (Some("/adv"), "source", "adv", "source /adv"),
        // A mount with its own password does not take the default one.
        (Some("/live"), "source", "default", "Wrong"),
        (None, "source", "live", "Wrong"),
        (None, "root", "bobpass", "Wrong"),
        (None, "oidc", "", "Wrong"),
        (None, "nobody", "", "Wrong"),
    ] {
        assert_eq!(
            admin(&auth, name, user, password).await,
            expected,
            "{name:?} {user} {password}"
        );
        auth.succeed(ip());
    }
}

#[tokio::test]
async fn access_is_to_own_mounts_only() {
    let auth = start("");
    let account = |user: &'static str, password: &'static str| {
        let auth = &auth;
        async move {
            match auth
                .admin_or_source(ip(), None, Some(&basic(user, password)))
                .await
            {
                Verdict::Account(account) => account,
                other => panic!("{other:?}"),
            }
        }
    };
    let (bob, root) = (account("bob", "bobpass").await, account("root", "rootpass").await);
    assert_eq!(
        (bob.role, bob.is_superadmin(), root.is_superadmin()),
        (Role::Dj, false, true)
    );
    assert!(bob.has_access(&mount("/bobs")) && !bob.has_access(&mount("/live")));
    assert!(root.has_access(&mount("/bobs")) && root.has_access(&mount("/live")));
    let capture = Capture::start();
    auth.refuse_access(ip(), &bob, &mount("/live"));
    assert_eq!(
        lines(&capture),
        [
            r#"WARN Authentication failed for user 'bob' from 203.0.113.9: no access to mount /live {"user": "bob", "ip": "203.0.113.9", "reason": "no access to mount /live", "mount": "/live"}"#
        ]
    );
    assert_eq!(auth.lockouts(), []);
}

#[tokio::test]
async fn song_titles_of_an_encoder_are_no_failed_logins() {
    let auth = start("");
    let capture = Capture::start();
    for _ in 0..20 {
        assert_eq!(
            admin(&auth, Some("/live"), "source", "live").await,
            "source /live"
        );
    }
    assert_eq!((auth.lockouts(), lines(&capture)), (vec![], vec![]));
}

#[tokio::test]
async fn one_wrong_request_is_one_failure() {
    let auth = start("");
    let capture = Capture::start();
    for (name, user, reason) in [
        (Some("/live"), "source", "source password mismatch"),
        (Some("/live"), "root", "invalid password"),
        (None, "root", "invalid password"),
        (None, "nobody", "user not found"),
    ] {
        assert_eq!(admin(&auth, name, user, "wrong").await, "Wrong");
        let written = lines(&capture);
        let start = format!("WARN Authentication failed for user '{user}' from 203.0.113.9: {reason} {{");
        assert!(
            written.len() == 1 && written[0].starts_with(&start),
            "{written:?}"
        );
    }
    assert_eq!(auth.lockouts()[0].count, 4);
    assert_eq!(admin(&auth, None, "root", "rootpass").await, "superadmin root");
    assert_eq!(
        lines(&capture),
        [r#"INFO Admin auth successful (Basic) {"user": "root", "ip": "203.0.113.9"}"#]
    );
    assert_eq!(auth.lockouts(), []);
}

#[tokio::test]
async fn a_forged_name_cannot_ban_somebody_else() {
    let auth = start("");
    let capture = Capture::start();
    let forged = "x' from 198.51.100.1: y\nAuthentication failed for user 'z' from 198.51.100.2: ";
    admin(&auth, None, forged, "wrong").await;
    let name = mount("/x' from 198.51.100.3: ");
    auth.source(Protocol::Icecast, ip(), &name, Some(&basic(forged, "wrong")))
        .await;
    for record in capture
        .records()
        .iter()
        .filter(|record| record.name == "auth_failed")
    {
        for line in [record.text(), record.json()] {
            // What a filter's `user '.*' from <HOST>: ` can match, wherever it looks.
            let after_quotes: Vec<_> = line.split("' from ").skip(1).collect();
            assert_eq!(after_quotes.len(), 1, "{line}");
            assert!(
                after_quotes[0].starts_with("203.0.113.9: ") && !line.contains('\n'),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn scanners_are_found_and_listeners_are_not() {
    let auth = start(r#", "visible_mounts": {"/seen": true}, "fallback_mounts": {"/live": "/spare"}"#);
    for _ in 0..10 {
        for path in [
            "/live",
            "/bobs",
            "/adv",
            "/seen",
            "/spare",
            "/favicon.ico",
            "/.well-known/x",
        ] {
            auth.miss(ip(), path);
        }
    }
    assert_eq!(auth.scanners(), []);
    let capture = Capture::start();
    for number in 0..24 {
        auth.miss(ip(), &format!("/{number}.php"));
    }
    assert!(!auth.is_scanning(ip()) && lines(&capture).is_empty());
    auth.miss(ip(), "/last.php");
    assert!(auth.is_scanning(ip()));
    let written = lines(&capture);
    let start =
        "WARN IP 203.0.113.9 locked out for 15 minutes after 25 distinct 404 paths (likely scanner) {";
    assert!(written.len() == 2 && written[0].starts_with(start), "{written:?}");
    assert!(
        written[0].ends_with(r#"Z", "details": "25 distinct 404 paths"}"#),
        "{written:?}"
    );
    assert!(!auth.is_locked(ip()), "a scanner may still prove itself");
    assert!(auth.clear_scan(ip()) && !auth.is_scanning(ip()));
}

#[tokio::test]
async fn exempt_clients_may_look_around() {
    let auth = start("");
    let loopback = "127.0.0.1".parse().unwrap();
    for number in 0..100 {
        auth.miss(loopback, &format!("/{number}"));
    }
    assert!(!auth.is_scanning(loopback) && auth.scanners().is_empty());
}

#[tokio::test]
async fn attempts_at_once_win_nothing() {
    let auth = Arc::new(start(""));
    let tries = (0..40).map(|number| {
        let auth = Arc::clone(&auth);
        let password = if number == 39 {
            "live".to_owned()
        } else {
            format!("guess {number}")
        };
        observe::task::spawn(
            "guess",
            (),
            async move { source(&auth, "/live", &password).await },
        )
    });
    let tries: Vec<_> = tries.collect();
    let mut verdicts = Vec::new();
    for attempt in tries {
        verdicts.push(attempt.await.unwrap());
    }
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| **verdict == SourceVerdict::Wrong)
            .count(),
        5
    );
    assert_eq!(verdicts[39], SourceVerdict::LockedOut);
}
