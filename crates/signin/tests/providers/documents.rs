//! The exchange of the code, and what is kept of a provider's documents and keys.

use std::io::ErrorKind;
use std::net::TcpListener;

use config::Allowed;
use serde_json::json;

use crate::provider::{Key, SECRET, basic};
use crate::{BASE, DOCUMENT, Station, time, told};

#[tokio::test]
async fn token_endpoints_that_fail() {
    let failed = (401, "Authentication failed".to_owned());
    for (status, headers, body, expected) in [
        (
            200,
            "",
            r#"{"access_token":"at"}"#,
            (500, "Missing ID token".to_owned()),
        ),
        (200, "", r#"{"id_token":7}"#, (500, "Missing ID token".to_owned())),
        (200, "", "<html>", failed.clone()),
        (500, "", "{}", failed.clone()),
        (400, "", r#"{"error":"invalid_client"}"#, failed.clone()),
        // The secret does not follow a redirect.
        (307, "Location: /elsewhere\r\n", "{}", failed.clone()),
    ] {
        let station = Station::new().await;
        station.change(|state| {
            drop(
                state
                    .instead
                    .insert("/token", (status, headers.into(), body.into())),
            )
        });
        assert_eq!(told(station.sign_in(|_| {}).await), expected, "{status} {body}");
        assert_eq!(station.provider.asked("/elsewhere"), 0);
    }
}

#[tokio::test]
async fn the_secret_goes_as_the_provider_wants_it() {
    let station = Station::new().await;
    let back = station.leave("idp", "", None, 0).await;
    // Nothing is asked for after the token, so that its request is the last.
    station.change(|state| drop(state.instead.insert("/token", (400, String::new(), "{}".into()))));
    let _ = station.come_back(&back).await;
    assert_eq!(
        basic(&station.provider.state.lock().authorization),
        "tiny%26ice:s3cret%3A%2F%25"
    );

    let mut station = Station::new().await;
    station.change(|state| {
        state.document["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"])
    });
    station.sign_in(|_| {}).await.unwrap();
    assert_eq!(station.provider.state.lock().form["client_secret"], SECRET);

    // A public client has none.
    station.config.oidc_providers[0].client_secret.clear();
    station.sign_in(|_| {}).await.unwrap();
    let state = station.provider.state.lock();
    assert!(!state.form.contains_key("client_secret") && state.authorization.is_empty());
}

#[tokio::test]
async fn new_keys_are_asked_for_once_a_minute() {
    let station = Station::new().await;
    let sign_in = async |s: i64| {
        let back = station.leave("idp", "", None, s).await;
        told(station.come_back(&back).await).0
    };
    assert_eq!(sign_in(0).await, 200);
    station.change(|state| {
        let key = Key::es256();
        state.keys = vec![key.jwk("k2")];
        state.sign_with(key, "k2");
    });
    assert_eq!((sign_in(30).await, station.provider.asked("/keys")), (401, 1));
    assert_eq!((sign_in(60).await, station.provider.asked("/keys")), (200, 2));
    assert_eq!((sign_in(61).await, station.provider.asked("/keys")), (200, 2));
    // Somebody who makes up names of keys makes no requests with it.
    station.change(|state| state.header["kid"] = json!("k3"));
    assert_eq!((sign_in(70).await, station.provider.asked("/keys")), (401, 2));
    assert_eq!((sign_in(121).await, station.provider.asked("/keys")), (401, 3));
    assert_eq!((sign_in(122).await, station.provider.asked("/keys")), (401, 3));
}

#[tokio::test]
async fn documents_are_kept_as_long_as_they_say() {
    for (cache_control, fresh, stale) in [
        (None, 3599, 3600),
        (Some("max-age=600"), 599, 600),
        (Some("no-store"), 59, 60),
    ] {
        let station = Station::new().await;
        station.change(|state| state.cache_control = cache_control);
        for (s, asked) in [(0, 1), (1, 1), (fresh, 1), (stale, 2)] {
            station.leave("idp", "", None, s).await;
            assert_eq!(station.provider.asked(DOCUMENT), asked, "{cache_control:?} {s}");
        }
    }
}

#[tokio::test]
async fn many_people_make_one_request() {
    let station = Station::new().await;
    let begin = || {
        station
            .oidc
            .begin(&station.config, "idp", BASE, "", None, time(0))
    };
    let (a, b, c, d) = tokio::join!(begin(), begin(), begin(), begin());
    assert!([a, b, c, d].iter().all(Result::is_ok));
    assert_eq!(station.provider.asked(DOCUMENT), 1);
}

#[tokio::test]
async fn documents_that_cannot_be_had() {
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for (status, body, expected) in [
        (404, "{}", "status 404"),
        (200, "<html>", "200 X: the answer is not JSON"),
        (
            200,
            r#"{"issuer":"https://evil.example"}"#,
            "the issuer is \"https://evil.example\" instead of",
        ),
        (200, huge.as_str(), "200 X: the answer is over 1 MiB"),
    ] {
        let station = Station::new().await;
        station.change(|state| {
            drop(
                state
                    .instead
                    .insert(DOCUMENT, (status, String::new(), body.into())),
            )
        });
        let begin = |s| {
            station
                .oidc
                .begin(&station.config, "idp", BASE, "", None, time(s))
        };
        let (status, text) = told(begin(0).await);
        assert_eq!(status, 500);
        assert!(
            text.starts_with("Provider configuration error: http://127.0.0.1:"),
            "{text}"
        );
        assert!(text.contains(expected), "{text}");
        // The failure is remembered, and not for long.
        assert_eq!(told(begin(9).await), (500, text));
        assert_eq!(station.provider.asked(DOCUMENT), 1);
        station.change(|state| state.instead.clear());
        assert_eq!(told(begin(10).await).0, 200);
    }
}

#[tokio::test]
async fn both_spellings_of_the_address_work() {
    for end in ["", "/", DOCUMENT] {
        let mut station = Station::new().await;
        station.config.oidc_providers[0].discovery_url.push_str(end);
        assert_eq!(
            told(station.sign_in(|_| {}).await),
            (200, String::new()),
            "{end:?}"
        );
    }
}

/// What came by the API is asked only where the configuration lets calls go, whatever a name resolves to and whatever the
/// provider's document says.
#[tokio::test]
async fn guarded_providers_are_asked_only_where_calls_may_go() {
    let mut station = Station::new().await;
    station.config.oidc_providers[0].guarded = true;
    let refused = station
        .oidc
        .begin(&station.config, "idp", BASE, "", None, time(0))
        .await;
    let (status, text) = told(refused);
    assert!(
        status == 500 && text.contains("outbound_allow"),
        "{status} {text}"
    );
    assert_eq!(station.provider.asked(DOCUMENT), 0);

    let mut station = Station::new().await;
    station.config.oidc_providers[0].guarded = true;
    station.config.outbound_allow = vec![Allowed::Net("127.0.0.1/32".parse().unwrap())];
    station.sign_in(|_| {}).await.unwrap();

    // The document leads elsewhere in the network of the server.
    let mut station = Station::new().await;
    station.config.oidc_providers[0].guarded = true;
    station.config.outbound_allow = vec![Allowed::Net("127.0.0.1/32".parse().unwrap())];
    let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    station.change(|state| state.document["token_endpoint"] = json!(format!("http://{address}/token")));
    assert_eq!(
        told(station.sign_in(|_| {}).await),
        (401, "Authentication failed".to_owned())
    );
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
