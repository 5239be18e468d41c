//! What is counted, and that no password is ever told, in a process of its own: one test, one thing after the other.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use auth::metrics::{ALL, Attempted, CHECK_DURATION, CHECKS, Checked, FAILURES, collector};
use auth::{
    Auth, Credentials, Login, Opener, PoolSettings, Presented, Protocol, SignIn, SourceVerdict, Verdict,
};
use config::{Config, MountName};
use observe::metrics::{Format, collect_with, register, render};
use observe::span;

/// A password that must not be found anywhere, right or wrong.
const SECRET: &str = "hunter2-marker";

fn config() -> Arc<Config> {
    let hash = bcrypt::hash_with_result(SECRET, 4)
        .unwrap()
        .format_for_version(bcrypt::Version::TwoA);
    let file = format!(
        r#"{{"mounts": {{"/live": "{hash}"}}, "banned_ips": ["192.0.2.0/24", "2001:db8::1"],
        "users": {{"bob": {{"password": "{hash}", "role": "superadmin", "mounts": {{}}}},
        "passkey": {{"password": "", "role": "admin", "mounts": {{}}}}}}}}"#
    );
    let loaded = config::Loaded::parse(Path::new("t.json"), file.into_bytes()).unwrap();
    Arc::new(Config::clone(&loaded.config))
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.as_bytes().to_vec(),
    }
}

fn counted() -> ([u64; 4], [u64; 4]) {
    use Attempted::{Admin, Metadata, Other, Source};
    use Checked::{Busy, Cached, Matched, Wrong};
    (
        [Source, Admin, Metadata, Other].map(|kind| FAILURES.of(kind).get()),
        [Cached, Matched, Wrong, Busy].map(|result| CHECKS.of(result).get()),
    )
}

#[tokio::test]
async fn everything_is_counted_and_no_password_is_told() {
    let pool = PoolSettings {
        threads: 1,
        queue: 64,
        cost: 4,
    };
    let auth = Arc::new(Auth::with_pool(config(), pool).unwrap());
    register(ALL);
    collect_with(collector(Arc::downgrade(&auth)));
    let live = MountName::parse("/live").unwrap();
    let wrong = format!("{SECRET}!");
    let ip = |last: u8| IpAddr::from([203, 0, 113, last]);
    let source = async |last, password: &str| {
        auth.source(
            Protocol::Icecast,
            ip(last),
            &live,
            Some(&basic("source", password)),
        )
        .await
    };
    assert_eq!(counted(), ([0; 4], [0; 4]));

    assert_eq!(source(1, SECRET).await, SourceVerdict::Ok(Opener::Mount));
    assert_eq!(counted(), ([0; 4], [0, 1, 0, 0]));
    assert_eq!(source(1, SECRET).await, SourceVerdict::Ok(Opener::Mount));
    assert_eq!(counted(), ([0; 4], [1, 1, 0, 0]));
    assert_eq!(source(1, &wrong).await, SourceVerdict::Wrong);
    assert_eq!(counted(), ([1, 0, 0, 0], [1, 1, 1, 0]));
    // Without credentials nobody has failed.
    let none = auth.source(Protocol::Icecast, ip(1), &live, None).await;
    assert_eq!(none, SourceVerdict::NoCredentials);
    let admin = auth
        .admin_or_source(ip(1), None, Some(&basic("bob", &wrong)))
        .await;
    assert_eq!(admin, Verdict::Wrong);
    let metadata = auth
        .admin_or_source(ip(1), Some(&live), Some(&basic("bob", &wrong)))
        .await;
    assert_eq!(metadata, Verdict::Wrong);
    auth.fail(ip(1), "setup", "wrong setup token");
    assert_eq!(counted(), ([1, 1, 1, 1], [1, 1, 3, 0]));
    let right = auth
        .admin_or_source(ip(2), None, Some(&basic("bob", SECRET)))
        .await;
    assert!(matches!(right, Verdict::Account(_)), "{right:?}");
    assert_eq!(CHECK_DURATION.snapshot().count(), 4, "all but the cached ones");

    // One client is locked out by its fifth failure, another by what it looked for.
    assert_eq!(auth.counts().lockouts, 0);
    source(1, &wrong).await;
    assert_eq!(source(1, SECRET).await, SourceVerdict::LockedOut);
    assert_eq!(counted().0, [2, 1, 1, 1], "a locked client is not asked");
    for number in 0..25 {
        auth.miss(ip(3), &format!("/{number}"));
    }
    let counts = auth.counts();
    assert_eq!((counts.lockouts, counts.scanners, counts.bans), (1, 1, 2));
    let text = render(Format::Text);
    for line in [
        "tinyice_auth_failures_total{kind=\"source\"} 2\n",
        "tinyice_auth_checks_total{result=\"busy\"} 0\n",
        "tinyice_lockouts 2\n",
        "tinyice_bans 2\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(auth.clear_lockout(ip(1)) && auth.clear_scan(ip(3)));
    assert!(render(Format::Text).contains("tinyice_lockouts 0\n"));

    // A wrong login costs one check on a password thread, whether the account is there, has a password or not.
    let before = (counted(), CHECK_DURATION.snapshot().count());
    for (done, user) in (1..).zip(["bob", "nobody", "passkey", ""]) {
        assert_eq!(auth.login(ip(4), user, wrong.as_bytes()).await, Login::Wrong);
        let after = (counted(), CHECK_DURATION.snapshot().count());
        assert_eq!(after.0.1[2], before.0.1[2] + done, "{user}");
        assert_eq!(after.1, before.1 + done, "{user}");
        assert_eq!(FAILURES.of(Attempted::Login).get(), done, "{user}");
    }
    let presented = Presented {
        ip: ip(4),
        authorization: None,
        sid: None,
        user_agent: "",
    };
    let begun = auth.start_session("bob", SignIn::Passkey, &presented).unwrap();
    let text = render(Format::Text);
    for line in [
        "tinyice_auth_logins_total{method=\"passkey\"} 1\n",
        "tinyice_sessions 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }

    let records = observe::recent();
    assert!(records.len() > 8);
    let told = records.iter().flat_map(|record| [record.json(), record.text()]);
    let spans = span::recent();
    for text in told.chain(spans.iter().map(|span| format!("{span:?}"))) {
        assert!(!text.contains(SECRET) && !text.contains(&begun.sid), "{text}");
    }
}
