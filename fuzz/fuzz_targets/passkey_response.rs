#![no_main]

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::{Config, Passkey, Role, User};
use jiff::Timestamp;
use serde_json::{Value, json};
use signin::{PasskeyError, Passkeys, RelyingParty};

/// What a browser sends around the parts that an authenticator makes.
fn body(challenge: &Value, ceremony: &str, part: &str, bytes: &[u8]) -> Vec<u8> {
    let base64url = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let client_data = json!({"type": ceremony, "challenge": challenge, "origin": "https://radio.example"});
    let mut response = json!({
        "clientDataJSON": base64url(client_data.to_string().as_bytes()),
        "signature": "AAAA",
        "userHandle": base64url(b"alice"),
    });
    response[part] = base64url(bytes).into();
    json!({"type": "public-key", "rawId": "AA", "response": response}).to_string().into_bytes()
}

// Whatever comes back, nobody is signed in by it: there is no key that could have signed it. What registers, reads
// back.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    let (now, at) = (Instant::now(), Timestamp::UNIX_EPOCH);
    let passkeys = Passkeys::new(RelyingParty::new("radio.example", "", &["https://radio.example"]));
    let mut config = Config::default();
    let mut user = User::new("alice".into(), String::new(), Role::Dj);
    let stored = if kind % 5 == 4 { input } else { b"{\"publicKey\":\"pAEBAycgBiFYIETgbd0zHDao3GZ7q1K8rmNIbJFqpeM55qzrqoSTS/gy\"}" };
    user.passkeys.push(Passkey::new("AA".into(), STANDARD.encode(stored)));
    config.users.insert("alice".into(), user.clone());

    if matches!(kind % 5, 0 | 1) {
        let options = passkeys.register_begin(&user, now).expect("there is a party and room");
        let body = match kind % 5 {
            0 => input.to_vec(),
            _ => body(&options["publicKey"]["challenge"], "webauthn.create", "attestationObject", input),
        };
        match passkeys.register_finish("alice", "", &body, now, at) {
            Ok(registered) => {
                signin::passkey::add(&mut config, "alice", registered).expect_err("the id is taken");
            }
            Err(error) => assert!(matches!(error, PasskeyError::RegistrationFailed(_)), "{error}"),
        }
        return;
    }
    let asked = passkeys.login_begin([192, 0, 2, 1].into(), now).expect("there is a party and room");
    let body = match kind % 5 {
        2 => input.to_vec(),
        _ => body(&asked.body["publicKey"]["challenge"], "webauthn.get", "authenticatorData", input),
    };
    let outcome = passkeys.login_finish(&asked.challenge_key, &body, &config, now, at);
    assert!(outcome.is_err_and(|error| error.is_failed_proof()));
});
