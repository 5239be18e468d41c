//! What of a hook is not shown: values of headers that hold credentials, its secret, credentials in its address.
//!
//! Contract: what [`mask`] made of a hook shows nothing secret, and [`unmask`] puts back what a client that only read
//! it sends again.

use config::Webhook;
use url::Url;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Words in the names of headers whose values are credentials.
const WORDS: &[&str] = &[
    "auth",
    "cookie",
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "signature",
    "credential",
    "session",
    "bearer",
];

/// Whether a header of that name and value holds a credential.
#[must_use]
pub fn is_secret_header(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let value = value.trim_start().to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
        || value.starts_with("bearer ")
        || value.starts_with("basic ")
}

/// The hook as it may be shown to those who administer it.
#[must_use]
pub fn mask(hook: &Webhook) -> Webhook {
    let mut shown = hook.clone();
    for (name, value) in &mut shown.headers {
        if !value.is_empty() && is_secret_header(name, value) {
            MASK.clone_into(value);
        }
    }
    if !shown.secret.is_empty() {
        MASK.clone_into(&mut shown.secret);
    }
    shown.url = mask_address(&shown.url);
    shown
}

/// Puts the secrets of `stored` where `sent` has the mask.
pub fn unmask(sent: &mut Webhook, stored: &Webhook) {
    for (name, value) in &mut sent.headers {
        let before = stored
            .headers
            .iter()
            .find(|(before, _)| before.eq_ignore_ascii_case(name));
        if let (MASK, Some((_, before))) = (value.as_str(), before) {
            value.clone_from(before);
        }
    }
    if sent.secret == MASK {
        sent.secret.clone_from(&stored.secret);
    }
    if sent.url == mask_address(&stored.url) {
        sent.url.clone_from(&stored.url);
    }
}

/// An address without its credentials. A text that is no address is shown as it is only if it cannot hold any.
fn mask_address(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.username().is_empty() && url.password().is_none() => text.to_owned(),
        Ok(url) => outbound::masked(&url).to_string(),
        Err(_) if text.contains('@') => MASK.to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// The secrets of a hook as they may come back in an answer.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Shorter ones would hide half the text, and protect nothing.
    const SHORTEST: usize = 4;

    pub(crate) fn of(hook: &Webhook) -> Self {
        let mut secrets = vec![hook.secret.clone()];
        for (name, value) in &hook.headers {
            if is_secret_header(name, value) {
                // `Bearer x` and `Basic x` may come back without the first word.
                secrets.extend(value.split_whitespace().last().map(str::to_owned));
                secrets.push(value.clone());
            }
        }
        if let Ok(url) = Url::parse(&hook.url) {
            secrets.extend(url.password().map(str::to_owned));
            secrets.push(url.username().to_owned());
        }
        secrets.retain(|secret| secret.len() >= Self::SHORTEST);
        // The longest first, or the rest of one that holds another would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// `text` without them.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), MASK)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Webhook {
        let mut hook = Webhook::new(
            "wh_1".to_owned(),
            "https://user:pass word@hooks.example/x?y".to_owned(),
        );
        hook.secret = "geheimnis".to_owned();
        hook.headers = [
            ("Authorization", "Bearer abcdef"),
            ("X-Api-Key", "k"),
            ("X-Custom", "basic dXNlcjpwYXNz"),
            ("Title", "{{.Title}}"),
            ("Cookie", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        hook
    }

    #[test]
    fn masks_and_puts_back() {
        let stored = hook();
        let mut shown = mask(&stored);
        assert_eq!(shown.url, "https://user:***@hooks.example/x?y");
        assert_eq!(shown.secret, MASK);
        assert_eq!(
            shown.headers.values().map(String::as_str).collect::<Vec<_>>(),
            [MASK, "", "{{.Title}}", MASK, MASK]
        );
        unmask(&mut shown, &stored);
        assert_eq!(
            (&shown.url, &shown.secret, &shown.headers),
            (&stored.url, &stored.secret, &stored.headers)
        );
    }

    #[test]
    fn what_was_changed_stays_changed() {
        let stored = hook();
        let mut sent = mask(&stored);
        sent.url = "https://hooks.example/".to_owned();
        sent.secret = String::new();
        sent.headers.insert("X-Api-Key".to_owned(), "new".to_owned());
        sent.headers.insert("X-New-Token".to_owned(), MASK.to_owned());
        unmask(&mut sent, &stored);
        assert_eq!(
            (sent.url.as_str(), sent.secret.as_str()),
            ("https://hooks.example/", "")
        );
        assert_eq!(
            (
                sent.headers["X-Api-Key"].as_str(),
                sent.headers["X-New-Token"].as_str()
            ),
            ("new", MASK)
        );
    }

    #[test]
    fn answers_do_not_give_secrets_away() {
        let secrets = Secrets::of(&hook());
        assert_eq!(
            secrets.hide("got Bearer abcdef, abcdef and geheimnis from user"),
            "got ***, *** and *** from ***"
        );
    }
}
