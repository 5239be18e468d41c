//! Mail addresses that we write to.
//!
//! Contract: what passes can stand in a header, a command and a log line without quoting.

/// Longest address (RFC 5321 section 4.5.3.1.3, less the angle brackets).
const LONGEST: usize = 254;
/// Longest part before the `@` (RFC 5321 section 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;

/// Whether `text` is an address that we write to. Quoted local parts and literal addresses of hosts, which
/// the standard has and nobody uses, are not.
pub(crate) fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    text.len() <= LONGEST && is_local(local) && is_domain(domain)
}

fn is_local(local: &str) -> bool {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_letter(c);
    local.len() <= LONGEST_LOCAL
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(atom))
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || is_letter(c))
    };
    domain.split('.').all(label)
}

/// RFC 6531 allows characters beyond ASCII; those that are no letters or digits serve only to deceive.
fn is_letter(c: char) -> bool {
    !c.is_ascii() && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "dj@radio.example",
            "first.last+tag@mail.radio.example",
            "o'brien_99@x-y.example",
            "root@localhost",
            "müller@bücher.example",
        ] {
            assert!(is_mail_address(good), "{good}");
        }
        let long = format!("{}@radio.example", "a".repeat(65));
        let longer = format!("a@{}.example", vec!["a".repeat(60); 5].join("."));
        for bad in [
            "",
            "dj",
            "@radio.example",
            "dj@",
            "dj@radio..example",
            "dj@-radio.example",
            "a..b@radio.example",
            ".a@radio.example",
            "two words@radio.example",
            "dj@radio.example\r\nBcc: all@radio.example",
            "dj@radio.example ",
            "\"quoted\"@radio.example",
            "a@b@radio.example",
            "dj@[192.0.2.1]",
            "<script>@radio.example",
            "dj\u{202e}@radio.example",
            &long,
            &longer,
        ] {
            assert!(!is_mail_address(bad), "{bad:?}");
        }
    }
}
