//! What the browser is sent with and what it brings back.

use std::collections::HashMap;

use signin::Identity;
use url::Url;

use crate::provider::{CLIENT, base64url};
use crate::{BASE, Return, Station, time, told};

#[tokio::test]
async fn somebody_signs_in() {
    let station = Station::new().await;
    let back = station.leave("idp", "/admin?tab=users", None, 0).await;
    assert_eq!(
        station.come_back(&back).await,
        Ok(Identity {
            provider: "idp".into(),
            subject: "subject-1".into(),
            email: "dj@radio.example".into(),
            name: "A DJ".into(),
            next: "/admin?tab=users".into(),
            link: None,
        })
    );
    let state = station.provider.state.lock();
    assert_eq!(state.form["client_id"], CLIENT);
    assert_eq!(
        state.form["redirect_uri"],
        "https://radio.example/auth/idp/callback"
    );
    assert!(!state.form.contains_key("client_secret"));
}

#[tokio::test]
async fn what_the_browser_is_sent_with() {
    let station = Station::new().await;
    let begun = station
        .oidc
        .begin(
            &station.config,
            "idp",
            "https://radio.example/",
            "/x",
            None,
            time(0),
        )
        .await
        .unwrap();
    let location: Url = begun.location.parse().unwrap();
    assert_eq!(location.path(), "/authorize");
    let mut asked: HashMap<_, _> = location.query_pairs().into_owned().collect();
    let cookies: HashMap<_, _> = begun.cookies.into_iter().collect();
    assert_eq!(asked.remove("state").as_ref(), cookies.get("oidc_state"));
    assert_eq!(asked.remove("nonce").as_ref(), cookies.get("oidc_nonce"));
    let challenge =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, cookies["pkce_verifier"].as_bytes());
    assert_eq!(
        asked.remove("code_challenge"),
        Some(base64url(challenge.as_ref()))
    );
    assert!(cookies["pkce_verifier"].len() >= 43);
    let mut rest: Vec<_> = asked.into_iter().collect();
    rest.sort();
    let rest: Vec<_> = rest
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        rest,
        [
            ("client_id", CLIENT),
            ("code_challenge_method", "S256"),
            ("redirect_uri", "https://radio.example/auth/idp/callback"),
            ("response_type", "code"),
            ("scope", "openid email profile"),
            ("tenant", "x"),
        ]
    );
}

#[tokio::test]
async fn providers_that_are_off_or_unknown() {
    let station = Station::new().await;
    for id in ["off", "none", ""] {
        let begun = station
            .oidc
            .begin(&station.config, id, BASE, "", None, time(0))
            .await;
        assert_eq!(told(begun), (404, "Unknown provider".into()), "{id}");
    }
}

/// What can be wrong with the browser's part, in the order in which it is judged.
#[tokio::test]
async fn callbacks_that_are_refused() {
    type Change = fn(&mut Return);
    let invalid = (403, "Invalid state parameter");
    let mismatch = (403, "State cookie mismatch");
    let cases: &[(&str, Change, (u16, &str))] = &[
        ("no state", |back| back.remove("state"), invalid),
        (
            "a state of somebody's own",
            |back| back.set("state", "idp:9999999999:AAAA.:AAAA"),
            invalid,
        ),
        (
            "a state of another provider",
            |back| back.provider = "github".into(),
            invalid,
        ),
        ("too late", |back| back.at = 600, invalid),
        (
            "no cookie",
            |back| drop(back.cookies.remove("oidc_state")),
            mismatch,
        ),
        (
            "another cookie",
            |back| drop(back.cookies.insert("oidc_state", "x".into())),
            mismatch,
        ),
        (
            "no code",
            |back| back.remove("code"),
            (400, "Missing authorization code"),
        ),
        (
            "an empty code",
            |back| back.set("code", ""),
            (400, "Missing authorization code"),
        ),
        (
            "no verifier",
            |back| drop(back.cookies.remove("pkce_verifier")),
            (400, "Missing PKCE verifier"),
        ),
        (
            "no nonce",
            |back| drop(back.cookies.remove("oidc_nonce")),
            (400, "Missing OIDC nonce"),
        ),
        (
            "an empty nonce",
            |back| drop(back.cookies.insert("oidc_nonce", String::new())),
            (400, "Missing OIDC nonce"),
        ),
        (
            "another code",
            |back| back.set("code", "x"),
            (401, "Authentication failed"),
        ),
        (
            "another verifier",
            |back| drop(back.cookies.insert("pkce_verifier", "x".into())),
            (401, "Authentication failed"),
        ),
        (
            "another address",
            |back| back.base = "http://radio.example".into(),
            (401, "Authentication failed"),
        ),
        (
            "another issuer",
            |back| back.set("iss", "https://evil.example"),
            (401, "Authentication failed"),
        ),
        (
            "another nonce",
            |back| drop(back.cookies.insert("oidc_nonce", "x".into())),
            (401, "ID token nonce mismatch"),
        ),
        (
            "cancelled",
            |back| {
                back.remove("code");
                back.set("error", "access_denied");
            },
            (303, "The sign-in was cancelled."),
        ),
        (
            "refused",
            |back| {
                back.set("error", "server_error");
                back.set("error_description", "Out of\r\ncheese <b>");
            },
            (303, "The provider refused the sign-in: Out ofcheese <b>"),
        ),
        (
            "refused without a word",
            |back| back.set("error", "server_error"),
            (303, "The provider refused the sign-in: server_error"),
        ),
    ];
    let station = Station::new().await;
    for (why, change, expected) in cases {
        let (status, text) = told(station.sign_in(change).await);
        assert_eq!((status, text.as_str()), *expected, "{why}");
    }
    assert_eq!(told(station.sign_in(|_| {}).await).0, 200);
}

#[tokio::test]
async fn a_state_is_used_once() {
    let station = Station::new().await;
    let back = station.leave("idp", "", None, 0).await;
    assert!(station.come_back(&back).await.is_ok());
    assert_eq!(
        told(station.come_back(&back).await),
        (403, "Invalid state parameter".into())
    );
    // Also where the first answer was no good.
    let mut back = station.leave("idp", "", None, 0).await;
    let code = std::mem::replace(&mut back.query[0].1, "x".into());
    assert_eq!(told(station.come_back(&back).await).0, 401);
    back.query[0].1 = code;
    assert_eq!(
        told(station.come_back(&back).await),
        (403, "Invalid state parameter".into())
    );
}

#[tokio::test]
async fn a_provider_that_was_switched_off_in_between() {
    let mut station = Station::new().await;
    let back = station.leave("idp", "", None, 0).await;
    station.config.oidc_providers[0].enabled = false;
    assert_eq!(
        told(station.come_back(&back).await),
        (404, "Unknown provider".into())
    );
}

#[tokio::test]
async fn somebody_links_an_identity() {
    let station = Station::new().await;
    let back = station.leave("idp", "", Some("alice"), 0).await;
    assert_eq!(
        station.come_back(&back).await.unwrap().link.as_deref(),
        Some("alice")
    );
}
