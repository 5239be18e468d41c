//! Signing in with outside providers.
//!
//! Contract: somebody whom a provider vouches for is signed in if exactly one account is theirs; everybody else may at
//! most ask.

use std::{sync::Arc, time::Duration};

use auth::{AccessRequest, Action, Requested, SignIn};
use config::{Config, OidcProvider};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use icecast::playlist;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use signin::{Callback, Cookies, Identity, Match, SigninError, oidc};
use store::AuditAction;

use super::{cookie, login::see_other};
use crate::{
    Reply,
    endpoint::{self, Answer, Call, Endpoint, Html, Json, NoQuery, Other, Refusal, get, group},
    pages,
};

/// A request for an account that is repeated sooner than this is not written down again.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Sign-in providers",
        vec![
            get("/api/oidc/providers", Action::SignIn, offered).says("Providers that sign people in here"),
            get("/auth/{id}", Action::SignIn, begin)
                .says("Go to a provider to sign in")
                .details("`link=1` adds the identity to the account that is signed in.")
                .refuses_in_pages()
                .fails(303, "Sign in first")
                .fails(403, "Another site asked for the link")
                .fails(404, "There is no such provider")
                .fails(500, "The provider cannot be asked"),
            get("/auth/{id}/callback", Action::SignIn, finish)
                .says("Come back from a provider")
                .details(
                    "Whoever has no account here asks for one by this: 202, or 403 within a day of a denial.",
                )
                .refuses_in_pages()
                .fails(202, "Access requested")
                .fails(401, "What the provider says does not hold")
                .fails(
                    403,
                    "Another sign-in than the one that began, an unverified address, or a denial",
                )
                .fails(404, "There is no such provider")
                .fails(409, "The identity is another account's")
                .fails(500, "The provider cannot be asked"),
        ],
    )
}

/// A provider on the login page.
#[derive(Debug, Serialize, JsonSchema)]
struct Offered {
    id: String,
    name: String,
    /// `google`, `github` or `key`.
    icon: String,
}

async fn offered(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Offered>>> {
    let config = call.config();
    let enabled = config.oidc_providers.iter().filter(|provider| provider.enabled);
    let row = |provider: &OidcProvider| Offered {
        id: provider.id.clone(),
        name: provider.name.clone(),
        icon: provider.icon.clone(),
    };
    Ok(Json(enabled.map(row).collect()))
}

/// How to go there.
#[derive(Debug, Deserialize, JsonSchema)]
struct Going {
    /// A path of this server to go to afterwards.
    #[serde(default)]
    next: String,
    /// `1` adds the identity to the account that is signed in.
    #[serde(default)]
    link: String,
}

async fn begin(call: Call, query: Going, (): ()) -> Answer<Other<307, Html>> {
    let id = call.names[0].clone();
    let next = auth::safe_next(&query.next);
    let wants_link = matches!(query.link.as_str(), "1" | "true");
    let user = call
        .who
        .as_ref()
        .filter(|caller| auth::permits(caller, Action::IdentityLink, None));
    let link = match user {
        _ if !wants_link => None,
        None => {
            return Ok(Other::new(see_other(
                &pages::login_address(&call.request),
                HeaderMap::new(),
            )));
        }
        Some(_) if is_foreign(&call) => {
            let text = "Another site asked to link an account here. Begin on a page of this server.";
            return Ok(Other::new(pages::access(
                &call,
                StatusCode::FORBIDDEN,
                "Not linked",
                text,
            )));
        }
        Some(caller) => Some(caller.account.name.as_str()),
    };
    let begun = call
        .parts
        .signin
        .oidc
        .begin(&call.config(), &id, &base(&call), next, link, Timestamp::now())
        .await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(Other::new(failure(&call, &error))),
    };
    let mut headers = HeaderMap::new();
    let life = Duration::from_secs(oidc::COOKIE_MAX_AGE);
    for (name, value) in &begun.cookies {
        set(&call, &mut headers, name, value, life);
    }
    let mut reply = see_other(&begun.location, headers);
    *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    Ok(Other::new(reply))
}

async fn finish(call: Call, _: NoQuery, (): ()) -> Answer<Other<303, Html>> {
    let value = |name: &str| endpoint::cookie(&call.request, name);
    let [verifier, state, nonce] = oidc::COOKIES.map(value);
    let callback = Callback {
        provider: &call.names[0],
        query: call.request.query().unwrap_or_default(),
        cookies: Cookies {
            verifier,
            state,
            nonce,
        },
        external_base: &base(&call),
    };
    let finished = call
        .parts
        .signin
        .oidc
        .finish(&call.config(), callback, Timestamp::now())
        .await;
    let mut reply = match finished {
        Ok(identity) if identity.link.is_some() => link(&call, &identity).await?,
        Ok(identity) => enter(&call, &identity).await?,
        Err(error) => failure(&call, &error),
    };
    // They were read, and are good for nothing more.
    for name in oidc::COOKIES {
        set(&call, reply.headers_mut(), name, "", Duration::ZERO);
    }
    Ok(Other::new(reply))
}

/// Signs in whoever the identity is.
async fn enter(call: &Call, identity: &Identity) -> Answer<Reply> {
    let matched = signin::match_user(&call.config(), identity);
    let user = match matched {
        Match::User {
            username,
            is_new: false,
        } => username,
        Match::User { is_new: true, .. } => {
            let first = identity.clone();
            // Looked up again: of two who come at once one may be somebody else by now.
            let bound = move |config: &mut Config| match signin::match_user(config, &first) {
                Match::User { username, .. } => {
                    let bound = signin::bind(config, &username, &first);
                    bound.map_err(|error| Refusal::conflict(error.to_string()))?;
                    Ok(username)
                }
                _ => Err(Refusal::conflict("The account was changed meanwhile; try again")),
            };
            match call.change(bound).await {
                Ok(username) => username,
                Err(refusal) => {
                    return Ok(pages::access(
                        call,
                        refusal.status(),
                        "Not signed in",
                        refusal.text(),
                    ));
                }
            }
        }
        Match::Unclear(reason) => {
            let reason = reason.to_string();
            cookie::refuse(
                call,
                &identity.email,
                &format!("{}: {reason}", SignIn::Provider(&identity.provider)),
            );
            return Ok(pages::access(
                call,
                StatusCode::FORBIDDEN,
                "Not signed in",
                &reason,
            ));
        }
        Match::Nobody => return ask(call, identity).await,
    };
    let begun = cookie::begin(call, &user, SignIn::Provider(&identity.provider))?;
    Ok(see_other(auth::safe_next(&identity.next), begun.headers))
}

/// Takes down that somebody without an account wants one.
async fn ask(call: &Call, identity: &Identity) -> Answer<Reply> {
    let request = AccessRequest {
        email: identity.email.clone(),
        name: identity.name.clone(),
        provider: identity.provider.clone(),
        sub: identity.subject.clone(),
    };
    let (now, config) = (Timestamp::now(), call.config());
    // Tried on a copy first: what changes nothing that matters is not worth a write of the file.
    let tried = auth::request_access(&mut (*config).clone(), &request, now, || true);
    let requested = match tried {
        Ok(Requested::Refreshed) if is_fresh(&config, &request, now) => Ok(Requested::Refreshed),
        Ok(Requested::New(_) | Requested::Refreshed) => {
            let (parts, ip) = (Arc::clone(&call.parts), call.ip());
            let change = move |config: &mut Config| {
                let requested =
                    auth::request_access(config, &request, now, || parts.auth.admit_access_request(ip))?;
                Ok(requested)
            };
            call.change(change).await
        }
        other => other.map_err(Refusal::from),
    };
    Ok(match requested {
        Ok(Requested::Denied) => {
            let text = "Your access request was denied. You can try again later.";
            pages::access(call, StatusCode::FORBIDDEN, "Access Denied", text)
        }
        Ok(requested) => {
            if let Requested::New(pending) = requested {
                call.parts.signin.mailer.notify(&config, &pending);
                call.parts.webhooks.tell(webhook::Notice::UserPending {
                    name: pending.name.clone(),
                    email: pending.email.clone(),
                    provider: pending.provider.clone(),
                });
            }
            let text = "There is no account for you here yet. The administrators have been asked for one; come back \
                        when they have let you in.";
            pages::access(call, StatusCode::ACCEPTED, "Access Requested", text)
        }
        Err(refusal) => {
            let mut reply = pages::access(call, refusal.status(), "Not now", refusal.text());
            if refusal.status() == StatusCode::TOO_MANY_REQUESTS {
                reply
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("3600"));
            }
            reply
        }
    })
}

/// Whether the same request was written down a short while ago.
fn is_fresh(config: &Config, request: &AccessRequest, now: Timestamp) -> bool {
    config.pending_users.iter().any(|pending| {
        let at = pending.requested_at.parse::<Timestamp>().ok();
        pending.email.eq_ignore_ascii_case(&request.email)
            && (&pending.provider, &pending.sub) == (&request.provider, &request.sub)
            && at.is_some_and(|at| now.duration_since(at) < FRESH)
    })
}

/// Adds the identity to the account that asked for it, and to no other.
async fn link(call: &Call, identity: &Identity) -> Answer<Reply> {
    let caller = call
        .who
        .as_ref()
        .filter(|caller| auth::permits(caller, Action::IdentityLink, None));
    let user = caller.map(|caller| caller.account.name.clone());
    let Some(user) = user.filter(|user| Some(user) == identity.link.as_ref()) else {
        let text = "The account that asked for the link is not signed in here.";
        return Ok(pages::access(call, StatusCode::FORBIDDEN, "Not linked", text));
    };
    let (owner, wanted) = (user.clone(), identity.clone());
    let linked = call
        .change(move |config| Ok(signin::link(config, &owner, &wanted)))
        .await?;
    if let Err(error) = linked {
        return Ok(pages::access(
            call,
            StatusCode::CONFLICT,
            "Not linked",
            &error.to_string(),
        ));
    }
    call.audit(
        AuditAction::UserUpdated,
        "user",
        &user,
        &format!("linked {} at {}", identity.email, identity.provider),
    );
    Ok(see_other(auth::safe_next(&identity.next), HeaderMap::new()))
}

/// What somebody sees whose sign-in did not work.
fn failure(call: &Call, error: &SigninError) -> Reply {
    if let SigninError::Declined(text) = error {
        // A text in an address could be anybody's, so the page is told which of its own to show.
        let notice = if text.contains("cancelled") {
            "cancelled"
        } else {
            "failed"
        };
        return see_other(&format!("/login?notice={notice}"), HeaderMap::new());
    }
    let text = error.to_string();
    // Those for which somebody had to begin here; anybody can send the others as often as they like.
    if matches!(
        error,
        SigninError::Exchange
            | SigninError::BadIdToken
            | SigninError::NonceMismatch
            | SigninError::Unverified
    ) {
        cookie::refuse(call, "", &format!("{}: {text}", SignIn::Provider(&call.names[0])));
    }
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    pages::access(call, status, "Not signed in", &text)
}

/// Our address as the browser sees it.
fn base(call: &Call) -> String {
    let config = call.config();
    playlist::base(
        &config.base_url,
        call.request.scheme_https,
        Some(&call.request.host),
        &config.hostname,
    )
}

/// Whether a page of another site leads here.
fn is_foreign(call: &Call) -> bool {
    let site = call.request.header_text("sec-fetch-site");
    site.is_some_and(|site| !matches!(site.as_str(), "same-origin" | "none"))
}

fn set(call: &Call, headers: &mut HeaderMap, name: &str, value: &str, life: Duration) {
    let path = pages::auth_path(&call.names[0]);
    cookie::set(
        headers,
        &cookie::with_attributes(name, value, &path, life, cookie::is_secure(call)),
    );
}

#[cfg(test)]
mod tests {
    use config::PendingUser;

    use super::*;

    #[test]
    fn a_request_is_fresh_for_an_hour() {
        let request = AccessRequest {
            email: "A@b.example".into(),
            name: String::new(),
            provider: "google".into(),
            sub: "1".into(),
        };
        let mut pending = PendingUser::new("id".into(), "a@b.example".into());
        (pending.provider, pending.sub) = ("google".into(), "1".into());
        for (requested_at, provider, expected) in [
            ("2026-08-10T11:30:00Z", "google", true),
            ("2026-08-10T11:00:00Z", "google", false),
            ("2026-08-10T11:30:00Z", "github", false),
            ("never", "google", false),
        ] {
            (pending.requested_at, pending.provider) = (requested_at.into(), provider.into());
            let config = Config {
                pending_users: vec![pending.clone()],
                ..Config::default()
            };
            let now = "2026-08-10T12:00:00Z".parse().unwrap();
            assert_eq!(
                is_fresh(&config, &request, now),
                expected,
                "{requested_at} {provider}"
            );
        }
    }
}
