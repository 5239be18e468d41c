//! Who a request is from, and what signing in and out comes to: by password, session and token, with the exact lines of
//! the trail.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use auth::{
    Auth, Caller, ChangeRequest, Identified, Login, NewToken, PoolSettings, Presented, Proof, SetupCheck,
    SetupToken, SignIn, UserChange, create_token, delete_user, update_user,
};
use base64::Engine as _;
use config::{Config, Role};
use jiff::Timestamp;
use observe::Capture;

fn hash(password: &str) -> String {
    bcrypt::hash_with_result(password, 4)
        .unwrap()
        .format_for_version(bcrypt::Version::TwoA)
}

fn config() -> Config {
    let file = format!(
        r#"{{"whitelisted_ips": ["198.51.100.0/24"], "users": {{
            "root": {{"password": "{}", "role": "superadmin"}},
            "bob": {{"password": "{}", "role": "dj", "mounts": {{"/bobs": ""}}}},
            "oidc": {{"password": "", "role": "admin"}}
        }}}}"#,
        hash("rootpass"),
        hash("bobpass"),
    );
    let loaded = config::Loaded::parse(Path::new("t.json"), file.into_bytes()).unwrap();
    Config::clone(&loaded.config)
}

fn start_with(config: Config) -> Auth {
    let pool = PoolSettings {
        threads: 1,
        queue: 64,
        cost: 4,
    };
    Auth::with_pool(Arc::new(config), pool).unwrap()
}

fn start() -> Auth {
    start_with(config())
}

fn ip(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

fn presented<'a>(authorization: Option<&'a str>, sid: Option<&'a str>) -> Presented<'a> {
    Presented {
        ip: ip(9),
        authorization: authorization.map(str::as_bytes),
        sid,
        user_agent: "Browser/1.0",
    }
}

/// Who a request is from, in a line.
async fn who(auth: &Auth, authorization: Option<&str>, sid: Option<&str>) -> String {
    match auth.identify(&presented(authorization, sid)).await {
        Identified::Caller(caller) => {
            let account = &caller.account;
            format!("{} {} {}", account.role.as_str(), account.name, caller.method())
        }
        Identified::LockedOut(_) => "LockedOut".into(),
        other => format!("{other:?}"),
    }
}

async fn caller(auth: &Auth, authorization: Option<&str>, sid: Option<&str>) -> Caller {
    match auth.identify(&presented(authorization, sid)).await {
        Identified::Caller(caller) => caller,
        other => panic!("{other:?}"),
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

fn sign_in(auth: &Auth, user: &str, old: Option<&str>) -> (String, String) {
    let begun = auth
        .start_session(user, SignIn::Password, &presented(None, old))
        .unwrap();
    (begun.sid, begun.session.csrf)
}

/// Makes a token for an account, and takes the configuration over.
fn mint(auth: &Auth, config: &mut Config, user: &str, expires_at: &str) -> String {
    let owner = Caller::new(auth::Account::of(config, user).unwrap(), Proof::Password);
    let wanted = NewToken {
        name: "ci".into(),
        expires_at: expires_at.into(),
        ..NewToken::default()
    };
    let long_ago = Timestamp::UNIX_EPOCH;
    let token = create_token(config, &owner, wanted, long_ago).unwrap().token;
    auth.reload(Arc::new(config.clone()));
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_token_decides_then_a_session_then_a_password() {
    let mut config = config();
    let auth = start_with(config.clone());
    let token = mint(&auth, &mut config, "root", "");
    let (sid, _) = sign_in(&auth, "oidc", None);
    let lower = token.replacen("Bearer", "bearer", 1);
    let good = basic("bob", "bobpass");
    for (authorization, sid, expected) in [
        (None, None, "Anonymous"),
        (Some(token.as_str()), None, "superadmin root token"),
        (Some(&lower), Some(sid.as_str()), "superadmin root token"),
        (Some("Bearer nonsense"), Some(&sid), "Wrong"),
        (Some("Bearer"), Some(&sid), "Wrong"),
        (None, Some(&sid), "admin oidc session"),
        (Some(&good), Some(&sid), "admin oidc session"),
        (Some(&good), Some("nonsense"), "dj bob basic"),
        (Some(&good.replacen("Basic", "BASIC", 1)), None, "dj bob basic"),
        (Some("Basic !!!"), None, "Wrong"),
        (Some("Basic !!!"), Some(&sid), "admin oidc session"),
        (Some("Digest x"), None, "Anonymous"),
        (None, Some("nonsense"), "Anonymous"),
    ] {
        assert_eq!(
            who(&auth, authorization, sid).await,
            expected,
            "{authorization:?} {sid:?}"
        );
    }
    assert_eq!(auth.lockouts(), [], "none of these counts against anybody");
}

#[tokio::test]
async fn only_passwords_are_counted_and_refused() {
    let mut config = config();
    let auth = start_with(config.clone());
    let token = mint(&auth, &mut config, "bob", "");
    let (sid, _) = sign_in(&auth, "bob", None);
    for (user, password) in [("bob", "x"), ("bob", "y"), ("nobody", "x"), ("oidc", "")] {
        assert_eq!(who(&auth, Some(&basic(user, password)), None).await, "Wrong");
    }
    assert_eq!(auth.login(ip(9), "bob", b"x").await, Login::Wrong);
    // Locked out now; only passwords are not looked at.
    let good = basic("bob", "bobpass");
    assert_eq!(who(&auth, Some(&good), None).await, "LockedOut");
    assert_eq!(who(&auth, Some(&good), Some(&sid)).await, "dj bob session");
    assert_eq!(who(&auth, Some(&token), None).await, "dj bob token");
    let Login::LockedOut(until) = auth.login(ip(9), "bob", b"bobpass").await else {
        panic!("a locked-out address signs in");
    };
    let text = until.to_string();
    let time = text
        .strip_prefix("too many failed attempts. locked out until ")
        .unwrap();
    assert!(time.len() == 8 && time.matches(':').count() == 2, "{text}");
    let wait = until.wait().as_secs();
    assert!((890..=900).contains(&wait), "{wait}");
    assert!(auth.locked_out(ip(9)).is_some() && auth.locked_out(ip(8)).is_none());
    // Another address is not concerned, and an exempt one never is.
    assert!(
        matches!(auth.login(ip(8), "bob", b"bobpass").await, Login::Ok(account) if account.role == Role::Dj)
    );
    for _ in 0..9 {
        assert_eq!(
            auth.login([198, 51, 100, 1].into(), "bob", b"x").await,
            Login::Wrong
        );
    }
}

#[tokio::test]
async fn logins_are_written_down() {
    let auth = start();
    let capture = Capture::start();
    auth.login(ip(9), "bob", b"wrong").await;
    auth.login(ip(9), "no'body\n", b"wrong").await;
    auth.login(ip(9), "oidc", b"").await;
    auth.login(ip(9), "", b"").await;
    assert_eq!(auth.lockouts()[0].count, 4);
    auth.login(ip(9), "bob", b"bobpass").await;
    assert_eq!(auth.lockouts(), [], "a success forgets");
    let (sid, _) = sign_in(&auth, "bob", None);
    auth.start_session("bob", SignIn::Provider("google"), &presented(None, None))
        .unwrap();
    assert_eq!(auth.logout(ip(9), &sid).as_deref(), Some("bob"));
    assert_eq!(auth.logout(ip(9), &sid), None);
    assert_eq!(auth.end_of_user("bob", None), 1);
    let failed = |user: &str| {
        format!(
            "WARN Authentication failed for user '{user}' from 203.0.113.9: invalid credentials \
             {{\"user\": \"{}\", \"ip\": \"203.0.113.9\", \"reason\": \"invalid credentials\"}}",
            user.replace('\\', "\\\\")
        )
    };
    assert_eq!(
        lines(&capture),
        [
            failed("bob"),
            failed("no\\u0027body\\n"),
            failed("oidc"),
            failed("unknown"),
            r#"INFO Login successful {"user": "bob", "ip": "203.0.113.9", "method": "password"}"#.into(),
            r#"INFO Login successful {"user": "bob", "ip": "203.0.113.9", "method": "oidc:google"}"#.into(),
            r#"INFO Signed out {"user": "bob", "ip": "203.0.113.9"}"#.into(),
            r#"INFO Sessions ended {"user": "bob", "ended": 1}"#.into(),
        ]
    );
    assert!(
        auth.start_session("nobody", SignIn::Password, &presented(None, None))
            .is_err()
    );
}

#[tokio::test]
async fn signing_in_ends_the_session_of_the_browser() {
    let auth = start();
    let (old, _) = sign_in(&auth, "bob", None);
    let (elsewhere, _) = sign_in(&auth, "bob", None);
    let (new, _) = sign_in(&auth, "root", Some(&old));
    for (sid, expected) in [
        (&old, "Anonymous"),
        (&elsewhere, "dj bob session"),
        (&new, "superadmin root session"),
    ] {
        assert_eq!(who(&auth, None, Some(sid)).await, expected);
    }
    let bob = caller(&auth, None, Some(&elsewhere)).await;
    let rows = auth.sessions_of(&bob);
    assert!(rows.len() == 1 && rows[0].current && rows[0].user_agent == "Browser/1.0");
    let root = caller(&auth, None, Some(&new)).await;
    assert!(!auth.revoke_session(&root, &rows[0].id), "only one's own");
    assert!(auth.revoke_session(&bob, &rows[0].id));
    assert_eq!(who(&auth, None, Some(&elsewhere)).await, "Anonymous");
    assert_eq!(auth.counts().sessions, 1);
}

#[tokio::test]
async fn rights_are_those_of_today() {
    let mut config = config();
    let auth = start_with(config.clone());
    let token = mint(&auth, &mut config, "root", "");
    let by_token = caller(&auth, Some(&token), None).await;
    let good = basic("root", "rootpass");
    let by_password = caller(&auth, Some(&good), None).await;
    let [(first, _), (second, _)] = [(); 2].map(|()| sign_in(&auth, "root", None));
    let by_session = caller(&auth, None, Some(&first)).await;
    let roles = |auth: &Auth| {
        [&by_token, &by_session, &by_password]
            .map(|caller| auth.still_valid(caller).map(|caller| caller.account.role))
    };
    assert_eq!(roles(&auth), [Some(Role::Superadmin); 3]);

    // Another superadmin demotes root, who keeps one session.
    config.users.get_mut("oidc").unwrap().role = Role::Superadmin;
    config.users.get_mut("oidc").unwrap().password = hash("oidcpass");
    let demotion = UserChange {
        role: Some(Role::Admin),
        ..UserChange::default()
    };
    assert!(update_user(&mut config, "root", demotion).unwrap().ends_sessions);
    auth.reload(Arc::new(config.clone()));
    assert_eq!(roles(&auth), [Some(Role::Admin), None, None]);
    let kept = by_session.session().unwrap().id.clone();
    assert_eq!(auth.end_of_user("root", Some(&kept)), 1);
    assert_eq!(roles(&auth), [Some(Role::Admin), Some(Role::Admin), None]);
    assert_eq!(who(&auth, None, Some(&first)).await, "admin root session");
    assert_eq!(who(&auth, None, Some(&second)).await, "Anonymous");
    assert_eq!(who(&auth, Some(&token), None).await, "admin root token");

    // Gone, and made anew under the same name: nothing of before comes back.
    let before = config.users["root"].clone();
    delete_user(&mut config, "oidc", "root").unwrap();
    auth.reload(Arc::new(config.clone()));
    assert_eq!(roles(&auth), [None; 3]);
    assert_eq!(who(&auth, Some(&token), None).await, "Wrong");
    assert_eq!(who(&auth, Some(&good), None).await, "Wrong");
    config.users.insert("root".into(), before);
    auth.reload(Arc::new(config));
    assert_eq!(who(&auth, Some(&token), None).await, "Wrong");
    assert_eq!(who(&auth, None, Some(&first)).await, "Anonymous");
    assert_eq!(who(&auth, Some(&good), None).await, "admin root basic");
}

#[tokio::test]
async fn tokens_end_and_are_noticed_where_they_are_new() {
    let mut config = config();
    let auth = start_with(config.clone());
    let token = mint(&auth, &mut config, "bob", "");
    // It was good when it was made.
    let over = mint(&auth, &mut config, "bob", "2020-01-01T00:00:00Z");
    let capture = Capture::start();
    assert_eq!(who(&auth, Some(&over), None).await, "Wrong");
    for _ in 0..3 {
        assert_eq!(who(&auth, Some(&token), None).await, "dj bob token");
    }
    let id = &config.api_tokens[0].id;
    assert_eq!(
        lines(&capture),
        [format!(
            r#"INFO API token used from a new address {{"user": "bob", "ip": "203.0.113.9", "token": "{id}"}}"#
        )]
    );
    let uses = auth.take_token_uses();
    assert_eq!((uses.len(), &uses[0].id, uses[0].ip), (1, id, ip(9)));
    assert_eq!(auth.take_token_uses(), []);
    let bob = caller(&auth, Some(&token), None).await;
    let rows = auth.token_rows(&bob);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].last_used_ip, "203.0.113.9");
    assert_eq!(rows[1].last_used_at, "");
    // A later process knows where it was used.
    let later = start_with(config.clone());
    later.restore_token_uses(uses);
    let capture = Capture::start();
    assert_eq!(who(&later, Some(&token), None).await, "dj bob token");
    assert_eq!(lines(&capture), [] as [String; 0]);
}

#[tokio::test]
async fn setup_tokens_cannot_be_guessed() {
    let auth = start();
    let told = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&told);
    auth.on_lockout(move |lockout| {
        assert_eq!((lockout.ip, lockout.reason), (ip(9), "brute_force_auth"));
        assert_eq!(lockout.details, "5 failed authentication attempts");
        assert!(lockout.until > Timestamp::now());
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let setup = SetupToken::generate().unwrap();
    let token = setup.reveal().unwrap();
    assert_eq!(auth.check_setup(ip(9), &setup, &token), SetupCheck::Valid);
    let capture = Capture::start();
    for guess in ["", "x", &token[1..], "y", "z"] {
        assert_eq!(auth.check_setup(ip(9), &setup, guess), SetupCheck::Wrong);
    }
    assert!(
        lines(&capture)[0]
            .starts_with("WARN Authentication failed for user 'setup' from 203.0.113.9: invalid setup token"),
        "{:?}",
        lines(&capture)
    );
    for _ in 0..3 {
        assert!(matches!(
            auth.check_setup(ip(9), &setup, &token),
            SetupCheck::LockedOut(_)
        ));
    }
    assert_eq!(told.load(Ordering::Relaxed), 1, "told once");
    setup.clear();
    assert_eq!(auth.check_setup(ip(9), &setup, &token), SetupCheck::Closed);
    assert_eq!(auth.check_setup(ip(8), &setup, ""), SetupCheck::Closed);
}

#[tokio::test]
async fn forged_changes_are_refused_without_telling_a_token() {
    let mut config = config();
    let auth = start_with(config.clone());
    let bearer = mint(&auth, &mut config, "root", "");
    let (sid, csrf) = sign_in(&auth, "bob", None);
    let password = basic("bob", "bobpass");
    let capture = Capture::start();
    let form = "application/x-www-form-urlencoded";
    let guess = "f".repeat(64);
    for (authorization, sid, media_type, token, origin, expected) in [
        (None, Some(&sid), form, Some(&csrf), None, "ok"),
        (None, Some(&sid), form, Some(&guess), None, "wrong_token"),
        (None, Some(&sid), form, None, None, "missing_token"),
        (
            None,
            Some(&sid),
            form,
            None,
            Some("https://evil.example"),
            "foreign_origin",
        ),
        (None, Some(&sid), "application/json", None, None, "ok"),
        (Some(&password), None, "application/json", None, None, "ok"),
        (Some(&password), None, form, None, None, "basic_form"),
        (Some(&password), Some(&sid), form, Some(&csrf), None, "ok"),
        (Some(&bearer), None, form, None, None, "ok"),
        (Some(&bearer), Some(&sid), form, None, None, "ok"),
        // Nobody: it is refused for that, if it must not sign in first.
        (None, None, form, None, None, "ok"),
        (None, Some(&guess), form, None, None, "ok"),
        (None, None, form, None, Some("null"), "foreign_origin"),
    ] {
        let change = ChangeRequest {
            is_api: true,
            media_type,
            sec_fetch_site: None,
            origin,
            own_origins: &["http://radio.example:8000"],
            authorization: authorization.map(|text| text.as_bytes()),
            sid: sid.map(String::as_str),
            token: token.map(String::as_str),
        };
        let seen = auth.check_csrf(ip(9), &change);
        let seen = seen.map_or_else(|refusal| refusal.as_str(), |()| "ok");
        assert_eq!(
            seen, expected,
            "{authorization:?} {sid:?} {media_type} {token:?} {origin:?}"
        );
    }
    let lines = lines(&capture);
    assert_eq!(
        lines[0],
        "WARN Change refused: a page of another site may have sent it \
         {\"user\": \"bob\", \"ip\": \"203.0.113.9\", \"reason\": \"wrong_token\"}"
    );
    assert!(
        lines[3].contains("\"user\": \"unknown\"") && lines.len() == 5,
        "{lines:?}"
    );
    let told = lines.concat();
    assert!(!told.contains(&csrf) && !told.contains(&guess) && !told.contains(&sid));
    assert_eq!(
        auth.lockouts(),
        [],
        "a forged request is no attempt of its sender"
    );
}

#[tokio::test(start_paused = true)]
async fn guessing_from_many_addresses_gets_slow_and_locks_nobody_out() {
    let auth = start();
    let took = async |from: IpAddr, user: &str, password: &str| {
        let began = tokio::time::Instant::now();
        let login = auth.login(from, user, password.as_bytes()).await;
        (matches!(login, Login::Ok(_)), began.elapsed())
    };
    for name in ["root", "nobody"] {
        for last in 0..20 {
            assert_eq!(
                took(ip(last), name, "guess").await,
                (false, Duration::ZERO),
                "{name}"
            );
        }
        let (_, waited) = took(ip(100), name, "guess").await;
        assert!((1..=4).contains(&waited.as_secs()), "{name} {waited:?}");
    }
    // Right all the same, and at once where it was right a moment ago.
    let (right, waited) = took(ip(101), "root", "rootpass").await;
    assert!(right && waited >= Duration::from_secs(1), "{waited:?}");
    assert_eq!(took(ip(102), "root", "rootpass").await, (true, Duration::ZERO));
    assert_eq!(took(ip(103), "bob", "bobpass").await, (true, Duration::ZERO));
    tokio::time::advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(took(ip(104), "root", "guess").await, (false, Duration::ZERO));
}
