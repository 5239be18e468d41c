//! Signing in with a password, and signing out.
//!
//! Contract: a person gets pages and a program gets JSON, with the same statuses; only a page of ours, or somebody who
//! was asked, signs anybody out.

use auth::{Account, Action, Login, SignIn};
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    cookie::{self, SignedIn},
    forms::{self, Back},
};
use crate::{
    Reply,
    endpoint::{
        Answer, Call, Endpoint, Form, Html, Json, NoQuery, Other, Refusal, WithHeaders, get, group, post,
        wants_json,
    },
    pages::{self, LoginForm},
};

/// The longest a name is that is shown again.
const LONGEST_NAME: usize = 128;

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Signing in",
        vec![
            get("/login", Action::SignIn, page)
                .says("The login page")
                .fails(303, "Somebody is signed in already"),
            post("/login", Action::SignIn, submit)
                .says("Sign in: `username`, `password`, `next`")
                .details(
                    "Form data, as urlencoded or multipart. Sets the cookie `sid` and leads on to `next`, a path of \
                     this server. A failure is a page, or JSON where `Accept` asks for it.",
                )
                .refuses_in_pages()
                .fails(401, "Name or password are wrong")
                .fails(503, "Too busy with other sign-ins"),
            post("/api/login", Action::SignIn, sign_in)
                .says("Sign in as a program")
                .details("Sets the cookie `sid`. Programs that keep no cookies are better off with an API token.")
                .fails(401, "Name or password are wrong")
                .fails(503, "Too busy with other sign-ins"),
            get("/logout", Action::SignOut, follow_out)
                .says("Sign out, or ask whether to where another site leads here")
                .fails(303, "Signed out"),
            post("/logout", Action::SignOut, submit_out).says("Sign out"),
            post("/api/logout", Action::SignOut, sign_out).says("Sign out as a program"),
        ],
    )
}

/// Where to go.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// A path of this server to go to afterwards.
    #[serde(default)]
    next: String,
    /// Why somebody is here again: `cancelled` or `failed`.
    #[serde(default)]
    notice: String,
}

async fn page(call: Call, query: Wanted, (): ()) -> Answer<Other<200, Html>> {
    let next = auth::safe_next(&query.next);
    // What anybody could put into a link is not shown; only words of ours are.
    let notice = match query.notice.as_str() {
        "cancelled" => "The sign-in was cancelled.",
        "failed" => "The provider could not sign you in. Try again, or use another way.",
        _ => "",
    };
    if call.who.as_ref().is_some_and(|caller| caller.session().is_some()) {
        return Ok(Other::new(see_other(next, HeaderMap::new())));
    }
    let form = LoginForm {
        next,
        notice,
        ..LoginForm::default()
    };
    Ok(Other::new(pages::login(&call, StatusCode::OK, &form)))
}

async fn submit(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = forms::fields(&call, form);
    let user = form.get("username").unwrap_or_default();
    let next = auth::safe_next(form.text("next"));
    let tried = prove(&call, user, form.get("password").unwrap_or_default()).await;
    let begun = tried.and_then(|account| cookie::begin(&call, &account.name, SignIn::Password));
    let reply = match begun {
        Ok(begun) => see_other(next, begun.headers),
        Err(refusal) if wants_json(&call.request.headers) => refusal.json(),
        Err(refusal) => {
            let form = LoginForm {
                next,
                user: cut(user),
                problem: refusal.text(),
                notice: "",
            };
            as_page(pages::login(&call, refusal.status(), &form), refusal)
        }
    };
    Ok(Other::new(reply))
}

/// Who.
#[derive(Debug, Deserialize, JsonSchema)]
struct Credentials {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// A path of this server to go to afterwards.
    #[serde(default)]
    next: String,
}

async fn sign_in(
    call: Call,
    _: NoQuery,
    Json(body): Json<Credentials>,
) -> Answer<WithHeaders<Json<SignedIn>>> {
    let account = prove(&call, &body.username, &body.password).await?;
    let begun = cookie::begin(&call, &account.name, SignIn::Password)?;
    let told = SignedIn::new(&account, &begun, &body.next);
    Ok(WithHeaders(begun.headers, Json(told)))
}

/// Whose password it is.
async fn prove(call: &Call, user: &str, password: &str) -> Answer<Account> {
    match call.parts.auth.login(call.ip(), user, password.as_bytes()).await {
        Login::Ok(account) => Ok(account),
        Login::Wrong => {
            cookie::refuse(call, user, "invalid credentials");
            Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "Invalid username or password",
            ))
        }
        Login::LockedOut(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
        Login::Busy => Err(
            Refusal::unavailable("Too many sign-ins are waiting; try again shortly")
                .header(header::RETRY_AFTER, header::HeaderValue::from_static("2")),
        ),
    }
}

async fn follow_out(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, Html>> {
    let session = call
        .who
        .as_ref()
        .and_then(|caller| Some((caller, caller.session()?)));
    let reply = match session {
        // Whoever only looks ahead has not clicked yet.
        Some((caller, session)) if is_look(&call) || !is_own_wish(&call) => {
            pages::logout(&call, &caller.account.name, &session.csrf)
        }
        _ => see_other("/login", cookie::end(&call)),
    };
    Ok(Other::new(reply))
}

async fn submit_out(call: Call, _: NoQuery, _: Form) -> Answer<Back> {
    Ok(Other::new(see_other("/login", cookie::end(&call))))
}

/// What a program is told that signed out.
#[derive(Debug, Serialize, JsonSchema)]
struct SignedOut {
    success: bool,
}

async fn sign_out(call: Call, _: NoQuery, (): ()) -> Answer<WithHeaders<Json<SignedOut>>> {
    Ok(WithHeaders(cookie::end(&call), Json(SignedOut { success: true })))
}

/// Whether a browser asks in advance, or for the head alone.
fn is_look(call: &Call) -> bool {
    let purpose = call.request.header_text("sec-purpose").unwrap_or_default();
    call.request.method == Method::HEAD || purpose.contains("prefetch")
}

/// Whether a link was followed on a page of ours, or an address was typed.
fn is_own_wish(call: &Call) -> bool {
    let text = |name: &str| call.request.header_text(name);
    let scheme = if call.request.scheme_https {
        "https"
    } else {
        "http"
    };
    let config = call.config();
    let own = [
        format!("{scheme}://{}", call.request.host),
        config.base_url.clone(),
    ];
    comes_from_us(
        text("sec-fetch-site").as_deref(),
        text("referer").as_deref(),
        &own,
    )
}

/// The browser's word counts; one that gives none may still say where it comes from.
fn comes_from_us(site: Option<&str>, referer: Option<&str>, own: &[String]) -> bool {
    match (site, referer) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, None) => true,
        (None, Some(referer)) => own.iter().filter(|own| !own.is_empty()).any(|own| {
            referer
                .strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        }),
    }
}

/// The page for a refusal, which says when to come back as the refusal does.
pub(super) fn as_page(mut page: Reply, refusal: Refusal) -> Reply {
    if let Some(seconds) = refusal.plain().headers_mut().remove(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    page
}

/// Sends a browser on, with cookies.
pub(super) fn see_other(address: &str, headers: HeaderMap) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let location = ascii(address)
        .parse()
        .unwrap_or_else(|_| header::HeaderValue::from_static("/"));
    reply.headers_mut().insert(header::LOCATION, location);
    reply.headers_mut().extend(headers);
    reply
}

/// An address as a header can carry it; what is escaped already stays so.
fn ascii(address: &str) -> String {
    percent_encoding::utf8_percent_encode(address, percent_encoding::CONTROLS).to_string()
}

fn cut(name: &str) -> &str {
    let end = name
        .char_indices()
        .nth(LONGEST_NAME)
        .map_or(name.len(), |(end, _)| end);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_do_not_sign_anybody_out() {
        let own = ["http://radio.example:8000".to_owned(), String::new()];
        for (site, referer, expected) in [
            (Some("same-origin"), None, true),
            (Some("none"), Some("https://evil.example/"), true),
            (Some("cross-site"), None, false),
            (Some("same-site"), None, false),
            (Some("future"), None, false),
            (None, None, true),
            (None, Some("http://radio.example:8000/admin"), true),
            (None, Some("http://radio.example:8000"), true),
            (None, Some("http://radio.example:80000/"), false),
            (None, Some("http://radio.example:8000.evil.example/"), false),
            (None, Some("https://evil.example/"), false),
            (None, Some(""), false),
        ] {
            assert_eq!(
                comes_from_us(site, referer, &own),
                expected,
                "{site:?} {referer:?}"
            );
        }
    }

    #[test]
    fn redirects_carry_any_letter() {
        for (address, expected) in [
            ("/admin?tab=a%20b", "/admin?tab=a%20b"),
            ("/player/Ü", "/player/%C3%9C"),
            ("/a\nb", "/a%0Ab"),
        ] {
            let reply = see_other(address, HeaderMap::new());
            assert_eq!(reply.headers()[header::LOCATION], expected);
        }
    }

    #[test]
    fn names_are_cut_between_letters() {
        let long = "ü".repeat(200);
        assert_eq!((cut("ann"), cut(&long).chars().count()), ("ann", LONGEST_NAME));
    }
}
