//! Mail addresses: how they look and whose they are.
//!
//! Contract: what passes for an address can be put into a mail header as it is.

use config::{Config, User};

/// The longest address in bytes (RFC 5321, section 4.5.3.1.3, without its brackets).
pub(crate) const MAX_EMAIL: usize = 254;

/// The account that an address is linked to.
pub(crate) fn linked_user<'a>(config: &'a Config, email: &str) -> Option<&'a str> {
    let has = |user: &User| user.linked_emails.iter().any(|known| is_same_email(known, email));
    config
        .users
        .iter()
        .find(|(_, user)| has(user))
        .map(|(name, _)| name.as_str())
}

/// Letter case says nothing; no provider tells people apart by it.
pub(crate) fn is_same_email(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// Whether a text can be a mail address; whether somebody reads what is sent there only a provider knows.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let plain = |letter: char| {
        !letter.is_control()
            && !letter.is_whitespace()
            && !matches!(letter, '<' | '>' | '"' | ',' | ';' | '(' | ')' | '@')
    };
    text.len() <= MAX_EMAIL
        && !local.is_empty()
        && !domain.is_empty()
        && local.chars().all(plain)
        && domain.chars().all(|letter| plain(letter) && letter != '\\')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_nothing_else() {
        let long = format!("{}@example.org", "a".repeat(243));
        assert!(!is_email(&long) && is_email(&long[1..]));
        for bad in [
            "ann",
            "@b",
            "a@",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "<a@b>",
            "a@b.",
            "a@@b",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["a@b", "first.last+tag@mail.example.org", "ü@bücher.example"] {
            assert!(is_email(good), "{good}");
        }
    }
}
