//! The first-run setup: a page, and the two calls that it is made of.
//!
//! Contract: whether the setup is still to be done is decided in one place and by one request at a time; whoever comes
//! second finds nothing here.

use auth::{Action, Completed, Completion, SetupCheck, SignIn};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;
use tokio::sync::Semaphore;

use super::{cookie, login::as_page};
use crate::{
    endpoint::{
        Answer, Call, Endpoint, Form, Html, Json, NoQuery, Other, Refusal, WithHeaders, get, group, post,
    },
    pages::{self, SetupForm},
};

/// The name that most people keep.
const USER: &str = "admin";

/// Held from the decision until the token is gone, so that two who come together do not both find it.
static TURN: Semaphore = Semaphore::const_new(1);

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Setup",
        vec![
            get("/setup", Action::Setup, page)
                .says("The setup page")
                .refuses_in_pages()
                .fails(404, "The setup is done"),
            post("/setup", Action::Setup, submit)
                .says("Do the setup: `token`, `username`, `password`, `repeat`")
                .details("What the page sends where there is no script. The answer is a page too.")
                .refuses_in_pages()
                .fails(404, "The setup is done")
                .fails(503, "Too many passwords are being hashed"),
            post("/setup/verify-token", Action::Setup, verify)
                .says("Whether this is the setup token")
                .details("A wrong one counts towards the lockout of the address.")
                .fails(403, "It is not, or the request could be a foreign page's")
                .fails(404, "The setup is done"),
            post("/setup/complete", Action::Setup, complete)
                .says("Make the first superadmin")
                .details(
                    "Signs the caller in. The two source passwords are shown this once; `null` stands for one that was \
                     set before and is kept.",
                )
                .fails(403, "The token is wrong, or the request could be a foreign page's")
                .fails(404, "The setup is done")
                .fails(503, "Too many passwords are being hashed"),
        ],
    )
}

async fn page(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, Html>> {
    if !call.parts.setup.is_open() {
        return Ok(Other::new(pages::missing(&call)));
    }
    let form = SetupForm {
        user: USER,
        ..SetupForm::default()
    };
    Ok(Other::new(pages::setup(&call, StatusCode::OK, &form)))
}

async fn submit(call: Call, _: NoQuery, form: Form) -> Answer<Other<200, Html>> {
    let (token, user) = (form.text("token"), form.text("username"));
    let password = form.get("password").unwrap_or_default();
    let repeat = form.get("repeat").unwrap_or(password);
    let done = if password == repeat {
        set_up(&call, token, user, password).await
    } else {
        check(&call, token).and(Err(Refusal::bad("The passwords differ")))
    };
    let refusal = match done {
        Ok((completed, headers)) => {
            let (source, live) = (
                completed.default_source_pass.as_deref(),
                completed.live_mount_pass.as_deref(),
            );
            let mut reply = pages::setup_done(&call, user, source, live);
            reply.headers_mut().extend(headers);
            return Ok(Other::new(reply));
        }
        Err(refusal) => refusal,
    };
    if refusal.status() == StatusCode::NOT_FOUND {
        return Ok(Other::new(pages::missing(&call)));
    }
    let form = SetupForm {
        // A wrong one is not worth keeping.
        token: if refusal.status() == StatusCode::FORBIDDEN {
            ""
        } else {
            token
        },
        user,
        problem: refusal.text(),
    };
    let page = pages::setup(&call, refusal.status(), &form);
    Ok(Other::new(as_page(page, refusal)))
}

/// The token.
#[derive(Debug, Deserialize, JsonSchema)]
struct Token {
    /// As the server printed it at its start.
    #[serde(default)]
    token: String,
}

/// It is.
#[derive(Debug, Serialize, JsonSchema)]
struct Valid {
    valid: bool,
}

async fn verify(call: Call, _: NoQuery, Json(body): Json<Token>) -> Answer<Json<Valid>> {
    check(&call, body.token.trim())?;
    Ok(Json(Valid { valid: true }))
}

/// The first superadmin.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// As the server printed it at its start.
    #[serde(default)]
    token: String,
    /// 1 to 64 characters without control characters and `:`.
    #[serde(default)]
    username: String,
    /// 8 to 72 bytes.
    #[serde(default)]
    password: String,
}

/// What the setup made.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    success: bool,
    /// Opens mounts without a password of their own; null where it was set before.
    default_source_pass: Option<String>,
    /// Opens `/live`; null where it was set before.
    live_mount_pass: Option<String>,
}

async fn complete(call: Call, _: NoQuery, Json(body): Json<Wanted>) -> Answer<WithHeaders<Json<Done>>> {
    let (completed, headers) = set_up(&call, body.token.trim(), &body.username, &body.password).await?;
    let done = Done {
        success: true,
        default_source_pass: completed.default_source_pass,
        live_mount_pass: completed.live_mount_pass,
    };
    Ok(WithHeaders(headers, Json(done)))
}

/// Looks at a token; a wrong one is counted.
fn check(call: &Call, token: &str) -> Answer<()> {
    match call.parts.auth.check_setup(call.ip(), &call.parts.setup, token) {
        SetupCheck::Valid => Ok(()),
        SetupCheck::Wrong => Err(Refusal::new(StatusCode::FORBIDDEN, "Invalid setup token")),
        SetupCheck::Closed => Err(Refusal::missing("Not found")),
        SetupCheck::LockedOut(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
    }
}

/// Does the setup and signs the new superadmin in.
async fn set_up(call: &Call, token: &str, user: &str, password: &str) -> Answer<(Completed, HeaderMap)> {
    check(call, token)?;
    if user.is_empty() || password.is_empty() {
        return Err(Refusal::bad("Username and password are required"));
    }
    auth::check_user_name(user)?;
    let auth = &call.parts.auth;
    let completion = Completion {
        username: user.to_owned(),
        password_hash: auth.hash_password(password).await?,
        default_source: auth.new_source_password().await?,
        live_mount: auth.new_source_password().await?,
    };
    let turn = TURN
        .acquire()
        .await
        .map_err(|_| Refusal::failed("Internal error"))?;
    let (parts, token) = (std::sync::Arc::clone(&call.parts), token.to_owned());
    // Whoever asked may go meanwhile; what was begun is still done to its end.
    let work = move || {
        let _turn = turn;
        let mut completed = None;
        parts.administer.change(Box::new(|config| {
            completed = Some(auth::complete_setup(config, &parts.setup, &token, completion)?);
            Ok(())
        }))?;
        parts.setup.clear();
        // The copy for those who could not see the banner opens nothing any more; where it is not, it need not go.
        let _ = std::fs::remove_file(parts.config.load().data_dir.join("setup-token"));
        completed.ok_or_else(|| Refusal::failed("The change was not made"))
    };
    let completed = tokio::task::spawn_blocking(work).await;
    let completed = completed.map_err(|_| Refusal::failed("Internal error"))??;
    // With -force-setup there may be some of an account of this name.
    auth.end_of_user(user, None);
    call.audit_as(user, AuditAction::SetupComplete, "server", "", "");
    let begun = cookie::begin(call, user, SignIn::Setup)?;
    Ok((completed, begun.headers))
}
