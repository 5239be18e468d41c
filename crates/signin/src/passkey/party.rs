//! Who we are to browsers: the relying party.
//!
//! Contract: one that exists can work: it has an id that browsers accept and at least one origin.

use config::Config;
use url::{Host, Url};

/// What browsers show where the configuration says nothing.
const NAME: &str = "TinyIce";

/// Who passkeys are made for. A passkey made for one id is of no use to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    name: String,
    origins: Vec<String>,
}

impl RelyingParty {
    /// What the configuration says: the key `webauthn` as it is, else `base_url`, else this machine.
    ///
    /// None is a configuration that passkeys cannot work with: no id, no origin, or an address where browsers want
    /// a name.
    #[must_use]
    pub fn from_config(config: &Config) -> Option<Self> {
        if let Some(given) = config
            .webauthn
            .as_ref()
            .filter(|given| **given != config::WebAuthn::default())
        {
            return Self::new(&given.rp_id, &given.rp_name, &given.rp_origins);
        }
        if config.base_url.is_empty() {
            let origins = [
                format!("http://localhost:{}", config.port),
                format!("https://localhost:{}", config.https_port),
            ];
            return Self::new("localhost", NAME, &origins);
        }
        let base = Url::parse(&config.base_url).ok()?;
        match base.host() {
            Some(Host::Domain(name)) => Self::new(name, NAME, &[&config.base_url]),
            _ => None,
        }
    }

    /// A relying party with these origins.
    #[must_use]
    pub fn new(id: &str, name: &str, origins: &[impl AsRef<str>]) -> Option<Self> {
        let origins: Vec<_> = origins.iter().map(|origin| canonical(origin.as_ref())).collect();
        let is_name = matches!(Host::parse(id), Ok(Host::Domain(_)));
        let name = if name.is_empty() { NAME } else { name };
        (is_name && !origins.is_empty()).then(|| Self {
            id: id.to_owned(),
            name: name.to_owned(),
            origins,
        })
    }

    /// The domain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What browsers show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether pages of this origin may use it.
    pub(crate) fn permits(&self, origin: &str) -> bool {
        self.origins.iter().any(|ours| ours == origin)
    }
}

/// An origin as browsers write it: lower case, without a default port, without a slash. Those of apps
/// (`android:apk-key-hash:…`) stay as they are.
fn canonical(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.origin().ascii_serialization(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The expected text is id, name and origins; empty is none.
    fn check(json: &str, expected: &str) {
        let loaded = config::Loaded::parse(Path::new("tinyice.json"), json.as_bytes().into()).unwrap();
        let told = RelyingParty::from_config(&loaded.config)
            .map(|party| format!("{} {} {}", party.id, party.name, party.origins.join(" ")));
        assert_eq!(told.unwrap_or_default(), expected, "{json}");
    }

    #[test]
    fn parties_by_configuration() {
        check("{}", "localhost TinyIce http://localhost:8000 https://localhost");
        check(
            r#"{"port": 9000, "https_port": 9443}"#,
            "localhost TinyIce http://localhost:9000 https://localhost:9443",
        );
        check(
            r#"{"base_url": "https://Radio.Example:8443"}"#,
            "radio.example TinyIce https://radio.example:8443",
        );
        check(r#"{"base_url": "https://192.0.2.1"}"#, "");
        check(
            r#"{"base_url": "https://x.example", "webauthn": {"rp_id": "radio.example", "rp_name": "Radio",
                "rp_origins": ["https://radio.example:443", "https://Studio.radio.example/", "android:apk-key-hash:aB"]}}"#,
            "radio.example Radio https://radio.example https://studio.radio.example android:apk-key-hash:aB",
        );
        check(
            r#"{"webauthn": {"rp_id": "radio.example", "rp_name": "", "rp_origins": []}}"#,
            "",
        );
        check(
            r#"{"webauthn": {"rp_id": "192.0.2.1", "rp_origins": ["https://192.0.2.1"]}}"#,
            "",
        );
        check(
            r#"{"webauthn": {}}"#,
            "localhost TinyIce http://localhost:8000 https://localhost",
        );
    }

    #[test]
    fn origins_are_compared_whole() {
        let party = RelyingParty::new("radio.example", "", &["https://radio.example"]).unwrap();
        assert!(party.permits("https://radio.example"));
        for other in [
            "http://radio.example",
            "https://radio.example:8443",
            "https://radio.example.evil.example",
            "https://x.radio.example",
            "https://radio.example/",
            "null",
            "",
        ] {
            assert!(!party.permits(other), "{other}");
        }
    }
}
