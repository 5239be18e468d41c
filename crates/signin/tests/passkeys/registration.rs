//! Making, keeping and removing passkeys.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{Role, User};
use serde_json::json;
use signin::PasskeyError;
use signin::passkey::remove;

use crate::authenticator::{Device, Kind};
use crate::{Station, at, bytes, device, unbase64url};

#[test]
fn options_for_a_new_passkey() {
    let mut first = device(Kind::Es256);
    let station = Station::with(&mut first);
    let mut options = station
        .passkeys
        .register_begin(&station.config.users["alice"], station.now)
        .unwrap();
    let challenge = options["publicKey"]["challenge"].take();
    assert_eq!(unbase64url(&challenge).len(), 32);
    assert_eq!(
        options,
        json!({"publicKey": {
            "rp": {"id": "radio.example", "name": "Radio"},
            "user": {"id": "YWxpY2U", "name": "alice", "displayName": "alice"},
            "challenge": null,
            "pubKeyCredParams": [
                {"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -257},
            ],
            "timeout": 60000,
            "attestation": "none",
            "excludeCredentials": [
                {"type": "public-key", "id": URL_SAFE_NO_PAD.encode(&first.id), "transports": ["internal", "hybrid"]},
            ],
            "authenticatorSelection": {
                "residentKey": "required", "requireResidentKey": true, "userVerification": "required",
            },
        }})
    );
}

#[test]
fn registrations_that_are_refused() {
    type Change = fn(&mut Device);
    let cases: &[(Change, &str)] = &[
        (
            |d| d.origin = "https://evil.example".into(),
            "Registration failed: the origin https://evil.example is not allowed",
        ),
        (
            |d| d.rp_id = "evil.example".into(),
            "Registration failed: the relying party does not match",
        ),
        (
            |d| d.challenge = Some(vec![7; 32]),
            "Registration failed: the challenge does not match",
        ),
        (
            |d| d.ceremony = Some("webauthn.get"),
            "Registration failed: the answer is of another kind",
        ),
        (
            |d| d.flags &= !0x01,
            "Registration failed: the user's presence was not confirmed",
        ),
        (
            |d| d.flags &= !0x04,
            "Registration failed: the user was not verified by a PIN, a fingerprint or the like",
        ),
        (
            |d| d.attests = false,
            "Registration failed: the answer is malformed (attestationObject)",
        ),
        (
            |d| d.attested_id = Some(b"other".into()),
            "Registration failed: the answer is malformed (rawId is not the attested one)",
        ),
    ];
    for (change, expected) in cases {
        let mut device = device(Kind::Es256);
        change(&mut device);
        let error = Station::new().register("alice", &mut device).unwrap_err();
        assert_eq!(error.to_string(), *expected);
        assert_eq!(
            (error.status(), error.is_failed_proof()),
            (400, false),
            "{expected}"
        );
    }
}

#[test]
fn a_passkey_is_registered_once_and_by_one() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    for user in ["alice", "bob"] {
        let before = station.config.clone();
        let error = station.register(user, &mut device).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Registration failed: this passkey is registered already"
        );
        assert!(station.config == before);
    }
}

#[test]
fn handles_other_than_the_name() {
    // A handle that the record has.
    let mut one = device(Kind::Es256);
    let mut station = Station::with(&mut one);
    station.config.users.get_mut("alice").unwrap().passkey_handle = URL_SAFE_NO_PAD.encode([9; 32]);
    let mut other = device(Kind::Es256);
    station.register("alice", &mut other).unwrap();
    assert_eq!(other.handle, [9; 32]);
    assert_eq!(station.login(&other).unwrap().username, "alice");
    // The older passkey goes on knowing the user by name.
    assert_eq!(one.handle, b"alice");
    assert_eq!(station.login(&one).unwrap().username, "alice");

    // A name that is too long to be one.
    let name = "ü".repeat(64);
    let user = User::new(name.clone(), String::new(), Role::Dj);
    station.config.users.insert(name.clone(), user);
    let mut third = device(Kind::Es256);
    station.register(&name, &mut third).unwrap();
    assert_eq!(third.handle.len(), 32);
    assert_eq!(
        station.config.users[&name].passkey_handle,
        URL_SAFE_NO_PAD.encode(&third.handle)
    );
    assert_eq!(station.login(&third).unwrap().username, name);
}

#[test]
fn passkeys_are_removed_by_id() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    let id = station.config.users["alice"].passkeys[0].id.clone();
    let told = |error: PasskeyError| (error.to_string(), error.status());
    assert_eq!(
        told(remove(&mut station.config, "alice", "").unwrap_err()),
        ("Missing passkey ID".into(), 400)
    );
    for (user, id) in [("bob", id.as_str()), ("carol", &id), ("alice", "AAAA")] {
        let error = remove(&mut station.config, user, id).unwrap_err();
        assert_eq!(told(error), ("Passkey not found".into(), 404));
    }
    assert_eq!(remove(&mut station.config, "alice", &id).unwrap().name, "Phone");
    assert_eq!(station.login(&device), Err(PasskeyError::UserNotFound));
}

#[test]
fn names_are_tidied() {
    for (given, expected) in [
        ("", "Passkey"),
        (" \n ", "Passkey"),
        (" My\u{0} phone ", "My phone"),
        (&"x".repeat(99), &"x".repeat(64)),
    ] {
        let station = Station::new();
        let mut device = device(Kind::Es256);
        let options = station
            .passkeys
            .register_begin(&station.config.users["alice"], station.now)
            .unwrap();
        device.handle = b"alice".into();
        let body = bytes(&device.create(&options));
        let registered = station
            .passkeys
            .register_finish("alice", given, &body, station.now, at(0))
            .unwrap();
        assert_eq!(registered.passkey.name, expected);
    }
}

#[test]
fn a_user_has_so_many_and_no_more() {
    let mut station = Station::new();
    for _ in 0..32 {
        station.register("alice", &mut device(Kind::EdDsa)).unwrap();
    }
    let error = station.register("alice", &mut device(Kind::EdDsa)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Registration failed: there are 32 passkeys already"
    );
}

#[test]
fn passkeys_survive_the_configuration_file() {
    let mut device = device(Kind::Es256);
    let mut station = Station::with(&mut device);
    let text = config::to_text(&station.config.to_value());
    let loaded = config::Loaded::parse(Path::new("tinyice.json"), text.into()).unwrap();
    station.config = loaded.config;
    assert_eq!(station.login(&device).unwrap().username, "alice");
}
