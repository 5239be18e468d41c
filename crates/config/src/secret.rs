//! Which values are secrets, and how they look to others.
//!
//! Contract: after [`mask`] no password, hash, token or credential is left in a tree.

use serde_json::Value;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Whether a stored password is a bcrypt hash (`$2a$`, `$2b$`, `$2y$`, cost 4 to 31).
#[must_use]
pub fn is_bcrypt(text: &str) -> bool {
    let bytes = text.as_bytes();
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u8>().ok());
    bytes.len() == 60
        && matches!(&bytes[..4], b"$2a$" | b"$2b$" | b"$2y$")
        && cost.is_some_and(|cost| (4..=31).contains(&cost))
        && bytes[6] == b'$'
        && bytes[7..]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
}

/// Replaces every secret in a tree of the configuration. Empty ones stay: that nothing is set is no secret.
pub fn mask(tree: &mut Value) {
    mask_under("", tree);
}

fn mask_under(key: &str, value: &mut Value) {
    let key = key.to_ascii_lowercase();
    match value {
        Value::Object(map) => {
            let all = matches!(key.as_str(), "mounts" | "headers");
            for (name, value) in map.iter_mut() {
                if all && value.is_string() {
                    hide(value)
                } else {
                    mask_under(name, value)
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                if key == "webhooks" {
                    hide_address(value);
                }
                mask_under(&key, value);
            }
        }
        Value::String(text) if is_secret(&key) => hide_text(text),
        Value::Number(_) if is_secret(&key) => *value = Value::from(MASK),
        Value::String(text) => hide_credentials(text),
        _ => {}
    }
}

/// The path of a webhook's address is often its whole protection.
fn hide_address(webhook: &mut Value) {
    let Value::Object(map) = webhook else { return };
    for (_, url) in map.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case("url")) {
        let Value::String(text) = url else { continue };
        let path = text
            .find("://")
            .and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash + 1));
        if let Some(path) = path {
            text.replace_range(path.., MASK);
        }
    }
}

fn is_secret(key: &str) -> bool {
    [
        "password",
        "passphrase",
        "secret",
        "hmac_key",
        "token_hash",
        "raw_credential",
        "token",
        "api_key",
    ]
    .iter()
    .any(|ending| key.ends_with(ending))
}

fn hide(value: &mut Value) {
    if let Value::String(text) = value {
        hide_text(text);
    }
}

fn hide_text(text: &mut String) {
    if !text.is_empty() {
        *text = MASK.to_owned();
    }
}

/// `https://user:password@host/` keeps its host only; web addresses often carry a token as their query.
fn hide_credentials(text: &mut String) {
    let Some(scheme) = text.find("://") else { return };
    let authority = scheme + 3;
    let end = text[authority..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| authority + at);
    if let Some(at) = text[end..].find('?') {
        text.replace_range(end + at + 1.., MASK);
    }
    if let Some(at) = text[authority..end].rfind('@') {
        text.replace_range(authority..authority + at, MASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_bcrypt_strings_are_hashes() {
        let tail = "a".repeat(53);
        for (text, expected) in [
            (format!("$2a$12${tail}"), true),
            (format!("$2b$04${tail}"), true),
            (format!("$2y$31${tail}"), true),
            (format!("$2x$12${tail}"), false),
            (format!("$2a$32${tail}"), false),
            (format!("$2a$12${tail}a"), false),
            (format!("$2a$12${}!", &tail[1..]), false),
            ("hackme".to_owned(), false),
            (String::new(), false),
            ("ä".repeat(30), false),
        ] {
            assert_eq!(is_bcrypt(&text), expected, "{text}");
        }
    }

    #[test]
    fn no_secret_survives_the_mask() {
        let mut tree = serde_json::json!({
            "admin_password": "S", "default_source_password": "", "mounts": {"/live": "S"},
            "Advanced_Mounts": {"/a": {"password": "S", "burst_size": 1}},
            "users": {"bob": {"password": "S", "mounts": {"/b": "S"}, "passkeys": [{"id": "i", "raw_credential": "S"}]}},
            "relays": [{"url": "http://S:S@up.example/x?auth=S", "password": "S"}],
            "api_tokens": [{"id": "i", "token_hash": "S"}],
            "oidc_providers": [{"client_secret": "S"}], "smtp": {"password": 5},
            "acme": {"eab_hmac_key": "S"}, "autodjs": [{"mpd_password": "S"}],
            "webhooks": [{"url": "https://hooks.example/S", "headers": {"Authorization": "S"}}], "page_title": "kept",
        });
        mask(&mut tree);
        let text = tree.to_string();
        assert!(
            !text.contains("\"S") && !text.contains("S\"") && !text.contains("S:S") && !text.contains("/S"),
            "{text}"
        );
        assert_eq!(tree["page_title"], "kept");
        assert_eq!(tree["default_source_password"], "");
        assert_eq!(tree["relays"][0]["url"], "http://***@up.example/x?***");
        assert_eq!(tree["smtp"]["password"], "***");
    }
}
