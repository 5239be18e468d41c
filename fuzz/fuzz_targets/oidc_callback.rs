#![no_main]

use std::sync::LazyLock;

use config::Config;
use jiff::Timestamp;
use outbound::{Client, Policy};
use signin::oidc::id_token::{Rules, Unverified};
use signin::oidc::keys::{Algorithm, Keys};
use signin::{Callback, Cookies, Oidc, SigninError};
use tokio::runtime::{Builder, Runtime};

static OIDC: LazyLock<Oidc> = LazyLock::new(|| {
    let agent = "TinyIce".parse().expect("a legal value");
    Oidc::new(Client::new(Policy::new(&[]), agent))
});
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

const RULES: Rules<'_> = Rules {
    issuer: "https://idp.example",
    client_id: "tinyice",
    algorithms: &[Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
};

// Nothing that was not made by the process gets past the state, and no text is a token that verifies.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let callback = Callback {
        provider: "idp",
        query: first,
        cookies: Cookies {
            verifier: Some("x"),
            state: Some(second),
            nonce: Some("x"),
        },
        external_base: "https://radio.example",
    };
    let config = Config::default();
    let outcome = RUNTIME.block_on(OIDC.finish(&config, callback, Timestamp::UNIX_EPOCH));
    assert_eq!(outcome, Err(SigninError::InvalidState));

    if let (Ok(token), Some(keys)) = (Unverified::read(first), Keys::parse(second.as_bytes())) {
        assert!(token.verify(&keys, &RULES, Timestamp::UNIX_EPOCH).is_err());
    }
});
