//! Signing in with passkeys, and everything that has to be refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use signin::passkey::record_use;
use signin::{PasskeyError, RelyingParty};

use crate::authenticator::{Device, Kind};
use crate::{Station, at, bytes, device, unbase64url};

#[test]
fn every_algorithm_registers_and_signs_in() {
    for kind in [Kind::Es256, Kind::Rs256, Kind::EdDsa] {
        let mut device = device(kind);
        let mut station = Station::with(&mut device);
        let passkey = &station.config.users["alice"].passkeys[0];
        assert_eq!(passkey.id, URL_SAFE_NO_PAD.encode(&device.id));
        assert_eq!(
            (passkey.name.as_str(), passkey.created_at.as_str()),
            ("Phone", "2027-01-15T08:00:00Z")
        );
        assert_eq!(passkey.last_used, "");
        for counter in [1, 2, 10] {
            device.counter = counter;
            assert_eq!(station.login(&device).unwrap().username, "alice", "{kind:?}");
            assert_eq!(station.stored("alice")["authenticator"]["signCount"], counter);
        }
        assert_eq!(
            station.config.users["alice"].passkeys[0].last_used,
            "2027-01-15T08:01:00Z"
        );
    }
}

#[test]
fn options_for_a_login() {
    let (key, options) = Station::new().begin();
    let challenge = &options["publicKey"]["challenge"];
    assert_eq!(unbase64url(challenge).len(), 32);
    assert_eq!(key, format!("login:{}", challenge.as_str().unwrap()));
    assert_eq!(
        options,
        json!({
            "publicKey": {
                "challenge": challenge, "timeout": 60000, "rpId": "radio.example", "userVerification": "required",
            },
            "challengeKey": key,
        })
    );
}

/// Everything that may be wrong with a login, each with the text that the API gives.
#[test]
fn logins_that_are_refused() {
    type Change = fn(&mut Device);
    let cases: &[(Change, &str)] = &[
        (
            |d| d.origin = "https://evil.example".into(),
            "Login failed: the origin https://evil.example is not allowed",
        ),
        (
            |d| d.origin = "http://radio.example".into(),
            "Login failed: the origin http://radio.example is not allowed",
        ),
        (
            |d| d.framed = true,
            "Login failed: it was asked from within another site",
        ),
        (
            |d| d.rp_id = "evil.example".into(),
            "Login failed: the relying party does not match",
        ),
        (
            |d| d.challenge = Some(vec![7; 32]),
            "Login failed: the challenge does not match",
        ),
        (
            |d| d.ceremony = Some("webauthn.create"),
            "Login failed: the answer is of another kind",
        ),
        (
            |d| d.flags &= !0x01,
            "Login failed: the user's presence was not confirmed",
        ),
        (
            |d| d.flags &= !0x04,
            "Login failed: the user was not verified by a PIN, a fingerprint or the like",
        ),
        (
            |d| d.flags &= !0x18,
            "Login failed: the backup eligibility has changed",
        ),
        (
            |d| d.flags &= !0x08,
            "Login failed: the answer is malformed (it is backed up without being eligible)",
        ),
        (
            |d| d.counter = 5,
            "Login failed: the signature counter did not grow, the passkey may have been copied",
        ),
        (
            |d| d.counter = 4,
            "Login failed: the signature counter did not grow, the passkey may have been copied",
        ),
        (
            |d| d.counter = 0,
            "Login failed: the signature counter did not grow, the passkey may have been copied",
        ),
        (|d| d.renew_key(), "Login failed: the signature does not match"),
        (
            |d| d.id = b"another credential".into(),
            "User not found for credential",
        ),
        (|d| d.handle = b"bob".into(), "User not found for credential"),
        (|d| d.handle = b"carol".into(), "User not found for credential"),
        (|d| d.handle = b"\xff".into(), "User not found for credential"),
        (|d| d.handle.clear(), "User not found for credential"),
    ];
    for (change, expected) in cases {
        let mut device = device(Kind::Es256);
        device.counter = 5;
        let mut station = Station::with(&mut device);
        let before = station.config.clone();
        device.counter = 6;
        change(&mut device);
        let error = station.login(&device).unwrap_err();
        assert_eq!(error.to_string(), *expected);
        assert_eq!(
            (error.status(), error.is_failed_proof()),
            (401, true),
            "{expected}"
        );
        assert_eq!(error.is_copy(), expected.contains("copied"), "{expected}");
        assert!(station.config == before, "{expected}");
    }
}

#[test]
fn a_question_is_answered_once() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    let (key, options) = station.begin();
    let body = device.get(&options);
    assert!(station.finish(&key, &body).is_ok());
    assert_eq!(station.finish(&key, &body), Err(PasskeyError::NoLogin));

    // Also when the first answer was wrong.
    let (key, options) = station.begin();
    assert!(station.finish(&key, &json!({})).is_err());
    assert_eq!(
        station.finish(&key, &device.get(&options)),
        Err(PasskeyError::NoLogin)
    );

    let error = station.finish("login:", &body).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("No active login session", 400)
    );
    for key in ["", "login:AAAA", "register:AAAA", &key[6..]] {
        assert_eq!(station.finish(key, &body), Err(PasskeyError::NoLogin), "{key}");
    }

    let error = station
        .passkeys
        .register_finish("alice", "", b"{}", station.now, at(0))
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("No active registration session", 400)
    );
}

#[test]
fn questions_last_a_minute() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    for (seconds, in_time) in [(59, true), (60, false), (3600, false)] {
        let (key, options) = station.begin();
        station.now += Duration::from_secs(seconds);
        assert_eq!(
            station.finish(&key, &device.get(&options)).is_ok(),
            in_time,
            "{seconds}"
        );
        station.now += Duration::from_secs(60);
    }
}

#[test]
fn an_answer_to_one_question_is_none_to_another() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    let (_, first) = station.begin();
    let (key, _) = station.begin();
    let error = station.finish(&key, &device.get(&first)).unwrap_err();
    assert_eq!(error.to_string(), "Login failed: the challenge does not match");
}

#[test]
fn a_passkey_signs_in_its_owner_alone() {
    let (mut alices, mut bobs) = (device(Kind::Es256), device(Kind::EdDsa));
    let mut station = Station::with(&mut alices);
    station.register("bob", &mut bobs).unwrap();
    assert_eq!(station.login(&alices).unwrap().username, "alice");
    assert_eq!(station.login(&bobs).unwrap().username, "bob");
    // Bob's key under alice's name is not found, and alice's id with bob's key does not verify.
    bobs.handle = alices.handle.clone();
    assert_eq!(station.login(&bobs), Err(PasskeyError::UserNotFound));
    bobs.id = alices.id.clone();
    assert!(matches!(station.login(&bobs), Err(PasskeyError::LoginFailed(_))));
}

#[test]
fn a_counter_of_zero_stays_zero() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    for _ in 0..3 {
        assert!(station.login(&device).is_ok());
    }
    device.counter = 1;
    assert!(station.login(&device).is_ok());
    device.counter = 0;
    assert!(station.login(&device).unwrap_err().is_copy());
}

#[test]
fn two_uses_of_one_counter_are_told_apart_when_they_are_kept() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    device.counter = 8;
    let asked = [station.begin(), station.begin()];
    let signed_in = asked.map(|(key, options)| {
        let body = bytes(&device.get(&options));
        station
            .passkeys
            .login_finish(&key, &body, &station.config, station.now, at(0))
            .unwrap()
    });
    assert_eq!(record_use(&mut station.config, &signed_in[0]), Ok(()));
    assert!(
        record_use(&mut station.config, &signed_in[1])
            .unwrap_err()
            .is_copy()
    );
    station.config.users.remove("alice");
    assert_eq!(
        record_use(&mut station.config, &signed_in[0]),
        Err(PasskeyError::UserNotFound)
    );
}

#[test]
fn the_backup_state_is_followed() {
    let mut device = device(Kind::Es256);
    device.flags = 0x0d;
    let mut station = Station::with(&mut device);
    assert_eq!(station.stored("alice")["flags"]["backupState"], false);
    device.flags = 0x1d;
    station.login(&device).unwrap();
    assert_eq!(station.stored("alice")["flags"]["backupState"], true);
}

/// Records of older releases have no flags, and keys in other cases.
#[test]
fn records_with_little_in_them_sign_in_and_grow() {
    let mut device = device(Kind::EdDsa);
    let mut station = Station::with(&mut device);
    let full = station.stored("alice");
    let little = json!({"ID": full["id"], "PublicKey": full["publicKey"], "Authenticator": {"SignCount": 3}});
    let passkey = &mut station.config.users.get_mut("alice").unwrap().passkeys[0];
    passkey.raw_credential = STANDARD.encode(little.to_string());
    device.counter = 3;
    assert!(station.login(&device).unwrap_err().is_copy());
    device.counter = 4;
    assert!(station.login(&device).is_ok());
    let stored = station.stored("alice");
    assert_eq!(
        stored["Authenticator"],
        json!({"SignCount": 4, "cloneWarning": false})
    );
    assert_eq!(stored["flags"]["backupEligible"], true);
}

#[test]
fn without_a_party_there_are_no_passkeys() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    let (key, options) = station.begin();
    station.passkeys.set_party(None);
    assert!(!station.passkeys.is_configured());
    let user = station.config.users["alice"].clone();
    for error in [
        station.passkeys.register_begin(&user, station.now).unwrap_err(),
        station
            .passkeys
            .register_finish("alice", "", b"", station.now, at(0))
            .unwrap_err(),
        station
            .passkeys
            .login_begin("192.0.2.1".parse().unwrap(), station.now)
            .unwrap_err(),
        station.finish(&key, &device.get(&options)).unwrap_err(),
    ] {
        assert_eq!(
            (error.to_string().as_str(), error.status()),
            ("WebAuthn not configured", 503)
        );
    }
    // A reload brings them back, for other pages.
    station.passkeys.set_party(RelyingParty::new(
        "radio.example",
        "",
        &["https://studio.radio.example"],
    ));
    let error = station.login(&device).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Login failed: the origin https://radio.example is not allowed"
    );
    device.origin = "https://studio.radio.example".into();
    assert!(station.login(&device).is_ok());
}

#[test]
fn too_many_questions() {
    let station = Station::new();
    for _ in 0..20 {
        station.begin();
    }
    let error = station
        .passkeys
        .login_begin("192.0.2.1".parse().unwrap(), station.now)
        .unwrap_err();
    assert_eq!(
        error,
        PasskeyError::TooMany {
            retry_after: Duration::from_secs(60)
        }
    );
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("Too many pending passkey logins; try again shortly", 429)
    );
    // Nobody else suffers.
    assert!(
        station
            .passkeys
            .login_begin("192.0.2.2".parse().unwrap(), station.now)
            .is_ok()
    );
}

#[test]
fn bodies_of_any_shape_are_errors() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    for (body, expected) in [
        ("", "it is not a JSON object"),
        ("[]", "it is not a JSON object"),
        ("{}", "its type is not public-key"),
        (r#"{"type":"public-key"}"#, "rawId is missing"),
        (
            r#"{"type":"public-key","rawId":"AA","id":"AQ"}"#,
            "id and rawId differ",
        ),
        (r#"{"type":"public-key","rawId":"AA"}"#, "response is missing"),
        (
            r#"{"type":"public-key","rawId":"AA","response":{}}"#,
            "clientDataJSON",
        ),
        (
            r#"{"type":"public-key","rawId":"AA","response":{"clientDataJSON":"e30","authenticatorData":1}}"#,
            "authenticatorData",
        ),
    ] {
        let (key, _) = station.begin();
        let error = station
            .passkeys
            .login_finish(&key, body.as_bytes(), &station.config, station.now, at(0))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Login failed: the answer is malformed ({expected})"),
            "{body}"
        );
    }
    let (key, _) = station.begin();
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    let error = station
        .finish(&key, &serde_json::from_str(&long).unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Login failed: the answer is malformed (it is too long)"
    );
}

#[test]
fn a_copy_is_refused_before_anything_is_kept() {
    let mut device = device(Kind::Es256);
    device.counter = 5;
    let station = Station::with(&mut device);
    for (counter, refused) in [(4, true), (5, true), (6, false)] {
        device.counter = counter;
        let (key, options) = station.begin();
        let body = bytes(&device.get(&options));
        let judged = station
            .passkeys
            .login_finish(&key, &body, &station.config, station.now, at(0));
        assert_eq!(judged.is_err_and(|error| error.is_copy()), refused, "{counter}");
    }
}
