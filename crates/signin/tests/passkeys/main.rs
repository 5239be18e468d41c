//! Passkeys from begin to end, with an authenticator in software.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod authenticator;
mod login;
mod registration;

use std::time::Instant;

use authenticator::{Device, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use config::{Config, Role, User};
use jiff::Timestamp;
use serde_json::Value;
use signin::passkey::{add, record_use};
use signin::{PasskeyError, Passkeys, RelyingParty, SignedIn};

const ORIGIN: &str = "https://radio.example";

struct Station {
    passkeys: Passkeys,
    config: Config,
    now: Instant,
}

impl Station {
    fn new() -> Self {
        let mut config = Config::default();
        for name in ["alice", "bob"] {
            let user = User::new(name.into(), String::new(), Role::Dj);
            config.users.insert(name.into(), user);
        }
        let party = RelyingParty::new("radio.example", "Radio", &[ORIGIN]);
        Self {
            passkeys: Passkeys::new(party),
            config,
            now: Instant::now(),
        }
    }

    /// A station where alice has registered `device`.
    fn with(device: &mut Device) -> Self {
        let mut station = Self::new();
        station.register("alice", device).unwrap();
        station
    }

    fn register(&mut self, user: &str, device: &mut Device) -> Result<(), PasskeyError> {
        let options = self.passkeys.register_begin(&self.config.users[user], self.now)?;
        device.handle = unbase64url(&options["publicKey"]["user"]["id"]);
        let body = device.create(&options);
        let registered = self
            .passkeys
            .register_finish(user, "Phone", &bytes(&body), self.now, at(0))?;
        add(&mut self.config, user, registered)
    }

    fn begin(&self) -> (String, Value) {
        let asked = self
            .passkeys
            .login_begin("192.0.2.1".parse().unwrap(), self.now)
            .unwrap();
        (asked.challenge_key, asked.body)
    }

    fn login(&mut self, device: &Device) -> Result<SignedIn, PasskeyError> {
        let (key, options) = self.begin();
        self.finish(&key, &device.get(&options))
    }

    fn finish(&mut self, key: &str, body: &Value) -> Result<SignedIn, PasskeyError> {
        let signed_in = self
            .passkeys
            .login_finish(key, &bytes(body), &self.config, self.now, at(60))?;
        record_use(&mut self.config, &signed_in)?;
        Ok(signed_in)
    }

    fn stored(&self, user: &str) -> Value {
        let raw = &self.config.users[user].passkeys[0].raw_credential;
        serde_json::from_slice(&STANDARD.decode(raw).unwrap()).unwrap()
    }
}

fn device(kind: Kind) -> Device {
    Device::new(kind, "radio.example", ORIGIN)
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

fn unbase64url(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + s).unwrap()
}
