//! ID tokens, good and forged.

use serde_json::json;

use crate::provider::{CLIENT, Key, State};
use crate::{NOW, Station, told};

/// What can be wrong with the token's claims.
#[tokio::test]
async fn tokens_that_are_refused() {
    let bad = (401, "Invalid ID token");
    let unverified = (403, "Provider has not verified your email address");
    let station = Station::new().await;
    let good = station.provider.state.lock().claims.clone();
    for (key, value, expected) in [
        ("iss", json!("https://evil.example"), bad),
        ("iss", json!(null), bad),
        ("aud", json!("somebody else"), bad),
        ("aud", json!([]), bad),
        ("aud", json!([CLIENT, "other"]), bad),
        ("aud", json!({"x": CLIENT}), bad),
        ("azp", json!("other"), bad),
        ("azp", json!(7), bad),
        ("exp", json!(NOW - 60), bad),
        ("exp", json!("soon"), bad),
        ("exp", json!(null), bad),
        ("iat", json!(NOW + 61), bad),
        ("nbf", json!(NOW + 61), bad),
        ("sub", json!(""), bad),
        ("sub", json!(7), bad),
        ("sub", json!("x".repeat(256)), bad),
        ("nonce", json!("another"), (401, "ID token nonce mismatch")),
        ("nonce", json!(7), (401, "ID token nonce mismatch")),
        ("email_verified", json!(false), unverified),
        ("email_verified", json!("false"), unverified),
        ("email_verified", json!(1), unverified),
        ("email_verified", json!(null), unverified),
        ("email", json!(null), (400, "No email returned by provider")),
        ("email", json!(" "), (400, "No email returned by provider")),
    ] {
        station.change(|state| {
            state.claims = good.clone();
            state.claims[key] = value.clone();
        });
        let (status, text) = told(station.sign_in(|_| {}).await);
        assert_eq!((status, text.as_str()), expected, "{key} {value}");
    }
}

#[tokio::test]
async fn tokens_that_are_odd_and_good() {
    let station = Station::new().await;
    let good = station.provider.state.lock().claims.clone();
    for change in [
        json!({"email_verified": "true"}),
        json!({"aud": [CLIENT]}),
        json!({"aud": ["other", CLIENT], "azp": CLIENT}),
        json!({"exp": NOW - 59}),
        json!({"exp": (NOW as f64) + 0.5}),
        json!({"iat": NOW + 60, "nbf": NOW + 60}),
    ] {
        station.change(|state| {
            state.claims = good.clone();
            for (key, value) in change.as_object().unwrap() {
                state.claims[key] = value.clone();
            }
        });
        assert_eq!(
            told(station.sign_in(|_| {}).await),
            (200, String::new()),
            "{change}"
        );
    }
    station.change(|state| {
        state.claims["name"] = json!("");
        state.claims["preferred_username"] = json!("dj");
    });
    assert_eq!(station.sign_in(|_| {}).await.unwrap().name, "dj");
}

#[tokio::test]
async fn every_algorithm_that_a_provider_may_use() {
    let rsa = || match Key::rs256() {
        Key::Rs256(key) => key,
        _ => unreachable!(),
    };
    let ed = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    for key in [Key::rs256(), Key::Ps256(rsa()), Key::es256(), Key::EdDsa(ed)] {
        let name = key.algorithm();
        let result = Station::sign_in_at(|state| {
            state.keys = vec![Key::rs256().jwk("other"), key.jwk("k2")];
            state.sign_with(key, "k2");
        });
        assert_eq!(told(result.await), (200, String::new()), "{name}");
    }
    // Without a key's name the one that fits is found.
    let result = Station::sign_in_at(|state| {
        let key = Key::es256();
        state.keys.push(key.jwk("k2"));
        state.sign_with(key, "");
        state.header = json!({"alg": "ES256"});
    });
    assert_eq!(told(result.await), (200, String::new()));
}

/// Forgeries, each of which has fooled somebody's verification.
#[tokio::test]
async fn signatures_that_are_refused() {
    type Change = fn(&mut State);
    let cases: &[(&str, Change)] = &[
        ("none", |state| state.sign_with(Key::None, "k1")),
        ("the public key as a shared secret", |state| {
            let n = state.keys[0]["n"].as_str().unwrap().as_bytes().to_vec();
            state.sign_with(Key::Hs256(n), "k1");
        }),
        ("another key under the known name", |state| {
            state.sign_with(Key::rs256(), "k1")
        }),
        ("another key without a name", |state| {
            state.sign_with(Key::rs256(), "");
            state.header = json!({"alg": "RS256"});
        }),
        ("a key that is not published", |state| {
            state.sign_with(Key::es256(), "k9")
        }),
        ("an algorithm that is not announced", |state| {
            let key = Key::es256();
            state.keys.push(key.jwk("k2"));
            state.sign_with(key, "k2");
            state.document["id_token_signing_alg_values_supported"] = json!(["RS256"]);
        }),
        ("an algorithm of another key", |state| {
            state.header["alg"] = json!("ES256")
        }),
        ("another algorithm of the same key", |state| {
            state.header["alg"] = json!("PS256")
        }),
        ("a key for encryption", |state| {
            state.keys[0]["use"] = json!("enc")
        }),
        ("a key for another algorithm", |state| {
            state.keys[0]["alg"] = json!("RS512")
        }),
        ("a critical extension", |state| {
            state.header["crit"] = json!(["b64"])
        }),
        ("a key in the header", |state| {
            let key = Key::es256();
            let jwk = key.jwk("k1");
            state.sign_with(key, "k1");
            state.header["jwk"] = jwk;
        }),
        ("no algorithm", |state| state.header = json!({"kid": "k1"})),
    ];
    for (why, change) in cases {
        assert_eq!(
            told(Station::sign_in_at(change).await),
            (401, "Invalid ID token".into()),
            "{why}"
        );
    }
}

#[tokio::test]
async fn tokens_that_are_none() {
    for token in [
        json!("x"),
        json!("a.b.c"),
        json!("e30.e30"),
        json!("e30.e30.e30.e30.e30"),
        json!("x".repeat(70_000)),
    ] {
        let result = Station::sign_in_at(|state| {
            let body = json!({"access_token": "at", "id_token": token}).to_string();
            state.instead.insert("/token", (200, String::new(), body));
        });
        assert_eq!(told(result.await), (401, "Invalid ID token".into()), "{token}");
    }
}
