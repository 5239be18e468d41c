//! Cookies: what browsers are given to keep, and the session that one of them stands for.
//!
//! Contract: a cookie is cleared with the attributes that it was set with, and where the outside speaks https it never
//! travels without.

use std::time::Duration;

use auth::{Account, NewSession, Presented, SESSION_LIFE, SessionError, SignIn};
use http::{HeaderMap, HeaderValue, header};
use store::AuditAction;

use crate::endpoint::{Answer, Call, Refusal, cookie};

/// The cookie of a session.
const SESSION: &str = "sid";

/// A session that just began.
pub(super) struct Begun {
    pub(super) session: NewSession,
    /// Sets the cookie.
    pub(super) headers: HeaderMap,
}

/// Begins a session for somebody who proved who they are, and writes it into the audit trail. The session that the
/// browser came with ends.
pub(super) fn begin(call: &Call, user: &str, method: SignIn<'_>) -> Answer<Begun> {
    let agent = call.request.header_text("user-agent").unwrap_or_default();
    let presented = Presented {
        ip: call.ip(),
        authorization: None,
        sid: cookie(&call.request, SESSION),
        user_agent: &agent,
    };
    let session = call
        .parts
        .auth
        .start_session(user, method, &presented)
        .map_err(|error| match error {
            // It was removed while it signed in.
            SessionError::NoUser => Refusal::new(http::StatusCode::UNAUTHORIZED, error.to_string()),
            error => Refusal::failed(error.to_string()),
        })?;
    let mut headers = HeaderMap::new();
    set(
        &mut headers,
        &session_cookie(&session.sid, SESSION_LIFE, is_secure(call)),
    );
    call.audit_as(user, AuditAction::Login, "auth", user, &method.to_string());
    Ok(Begun { session, headers })
}

/// Ends the session of the request and clears its cookie.
pub(super) fn end(call: &Call) -> HeaderMap {
    let ended = cookie(&call.request, SESSION).and_then(|sid| call.parts.auth.logout(call.ip(), sid));
    if let Some(user) = ended {
        call.audit_as(&user, AuditAction::Logout, "auth", &user, "");
    }
    let mut headers = HeaderMap::new();
    clear(call, &mut headers);
    headers
}

/// Clears the cookie of the session.
pub(super) fn clear(call: &Call, headers: &mut HeaderMap) {
    set(headers, &session_cookie("", Duration::ZERO, is_secure(call)));
}

/// Says in the audit trail that somebody could not sign in.
pub(super) fn refuse(call: &Call, user: &str, detail: &str) {
    let user: String = user
        .chars()
        .filter(|letter| !letter.is_control())
        .take(128)
        .collect();
    call.audit_as(
        if user.is_empty() { "unknown" } else { &user },
        AuditAction::LoginFailed,
        "auth",
        &user,
        detail,
    );
}

/// Refuses whoever is locked out, before anything is looked at.
pub(super) fn check_lockout(call: &Call) -> Answer<()> {
    match call.parts.auth.locked_out(call.ip()) {
        Some(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
        None => Ok(()),
    }
}

/// What a program is told that signed in.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(super) struct SignedIn {
    success: bool,
    /// Where a browser goes next.
    redirect: String,
    username: String,
    /// What forms must carry.
    csrf_token: String,
}

impl SignedIn {
    pub(super) fn new(account: &Account, begun: &Begun, next: &str) -> Self {
        Self {
            success: true,
            redirect: auth::safe_next(next).to_owned(),
            username: account.name.clone(),
            csrf_token: begun.session.session.csrf.clone(),
        }
    }
}

/// Whether the outside speaks https with us.
pub(super) fn is_secure(call: &Call) -> bool {
    call.request.scheme_https
        || call
            .config()
            .base_url
            .to_ascii_lowercase()
            .starts_with("https://")
}

/// Adds a cookie to those of an answer.
pub(super) fn set(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn session_cookie(sid: &str, life: Duration, secure: bool) -> String {
    with_attributes(SESSION, sid, "/", life, secure)
}

/// A cookie that no script sees and that other sites' forms do not bring along.
pub(super) fn with_attributes(name: &str, value: &str, path: &str, life: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    let seconds = life.as_secs();
    format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_cookie_lasts_a_week_and_is_cleared_as_it_was_set() {
        for (sid, life, secure, expected) in [
            (
                "ab12",
                SESSION_LIFE,
                false,
                "sid=ab12; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800",
            ),
            (
                "ab12",
                SESSION_LIFE,
                true,
                "sid=ab12; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800; Secure",
            ),
            (
                "",
                Duration::ZERO,
                false,
                "sid=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0",
            ),
            (
                "",
                Duration::ZERO,
                true,
                "sid=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure",
            ),
        ] {
            assert_eq!(session_cookie(sid, life, secure), expected);
        }
    }

    #[test]
    fn several_cookies_stand_side_by_side() {
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "bad\n"] {
            set(
                &mut headers,
                &with_attributes(name, "1", "/auth/x", Duration::from_secs(600), false),
            );
        }
        let found: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(
            found,
            [
                "a=1; Path=/auth/x; HttpOnly; SameSite=Lax; Max-Age=600",
                "b=1; Path=/auth/x; HttpOnly; SameSite=Lax; Max-Age=600",
            ]
        );
    }
}
