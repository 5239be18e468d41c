//! The lines of the authentication trail and the lockout lines.
//!
//! Contract: names come from attackers. Nothing in such a line but the true address can match
//! `Authentication failed for user '.*' from <HOST>: `, which is what operators' ban filters look for.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Names are cut here.
const MAX_NAME: usize = 128;

observe::event! {
    /// Somebody failed to prove who they are. All texts are quoted already.
    pub(crate) struct AuthFailed<'a> {
        user: &'a str,
        ip: IpAddr,
        reason: &'a str,
        mount: Option<&'a str>,
        proto: Option<&'static str>,
    }
    = [Auth] Warn "auth_failed": "Authentication failed for user '{user}' from {ip}: {reason}"

    /// An account was used with its password in the request.
    pub(crate) struct AdminAccepted<'a> { user: &'a str, ip: IpAddr }
    = [Auth] Info "auth_admin_ok": "Admin auth successful (Basic)"

    /// Somebody signed in and has a session now. `user` is quoted.
    pub(crate) struct LoginSuccessful<'a> { user: &'a str, ip: IpAddr, method: &'a str }
    = [Auth] Info "login_ok": "Login successful"

    /// Somebody ended their session.
    pub(crate) struct SignedOut<'a> { user: &'a str, ip: IpAddr }
    = [Auth] Info "logout": "Signed out"

    /// All sessions of an account ended, or all but one.
    pub(crate) struct SessionsEnded<'a> { user: &'a str, ended: usize }
    = [Auth] Info "sessions_ended": "Sessions ended"

    /// A token came from where it was not used before.
    pub(crate) struct TokenFromNewAddress<'a> { user: &'a str, ip: IpAddr, token: &'a str }
    = [Auth] Info "token_new_address": "API token used from a new address"

    /// A change that a foreign page may have sent.
    pub(crate) struct CsrfRefused<'a> { user: &'a str, ip: IpAddr, reason: &'static str }
    = [Auth] Warn "csrf_refused": "Change refused: a page of another site may have sent it"

    /// A source proved that it may publish.
    pub(crate) struct SourceAccepted<'a> { mount: &'a str, ip: IpAddr, proto: Option<&'static str> }
    = [Auth] Info "auth_source_ok": "Source auth successful"

    /// An encoder has a wrong password; said at the first and at the last failure before the lockout.
    pub(crate) struct SourceRefused<'a> { mount: &'a str, ip: IpAddr, failures: usize, proto: Option<&'static str> }
    = Warn "source_wrong_password": "Source refused: wrong password for this mount"

    /// A client failed too often.
    pub(crate) struct BruteForceLockout<'a> { ip: IpAddr, reason: &'static str, until: &'a str, details: &'static str }
    = Warn "security_lockout": "IP {ip} locked out for 15 minutes due to 5 failed auth attempts"

    /// A client asked for too much that is not there.
    pub(crate) struct ScanLockout<'a> { ip: IpAddr, reason: &'static str, until: &'a str, details: &'static str }
    = Warn "security_lockout": "IP {ip} locked out for 15 minutes after 25 distinct 404 paths (likely scanner)"

    /// The same for the authentication trail.
    pub(crate) struct LockoutStarted<'a> { ip: IpAddr, reason: &'static str, until: &'a str }
    = [Auth] Warn "lockout_started": "Lockout started"

    /// A lockout ran out or was lifted.
    pub(crate) struct LockoutEnded { ip: IpAddr, reason: &'static str, cleared: bool }
    = [Auth] Info "lockout_ended": "Lockout ended"
}

/// Makes attacker text safe between single quotes: `\`, `'` and control characters become escapes, and what is
/// longer than 128 characters is cut.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars().take(MAX_NAME) {
        match character {
            '\\' => quoted.push_str("\\\\"),
            // Not `\'`: a filter would still see a quote followed by a forged address.
            '\'' => quoted.push_str("\\u0027"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            character => quoted.push(character),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let long = "x".repeat(200);
        for (name, expected) in [
            ("bob", "bob"),
            ("", ""),
            ("Zoë \"Z\"", "Zoë \"Z\""),
            ("a'b", "a\\u0027b"),
            ("a\\u0027b", "a\\\\u0027b"),
            ("a\r\n\tb\u{0}\u{9b}\u{7f}", "a\\r\\n\\tb\\u0000\\u009b\\u007f"),
            (&long, &long[..128]),
        ] {
            assert_eq!(quote(name), expected, "{name}");
        }
    }
}
