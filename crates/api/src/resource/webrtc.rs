//! WebRTC and publishing from the browser. This release has neither and says so, to those who may.
//!
//! Contract: who may not publish learns nothing here, not even whether the release could.

use auth::{Action, Caller, ChangeRequest, Credentials, Identified, Presented, Protocol, SourceVerdict};
use config::MountName;
use http::{HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::endpoint::{
    Answer, AnyJson, Call, Endpoint, NoQuery, Other, Raw, Refusal, cookie, group, media_type, mount_name,
    post,
};

/// A session description with all its candidates.
const OFFER: usize = 64 << 10;
/// A piece of what a browser records.
const CHUNK: usize = 4 << 20;
const UNAVAILABLE: &str = "WebRTC is not available in this release";

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "WebRTC",
        vec![
            // Sources have passwords of their own, so that the question who asks is answered below.
            post("/webrtc/source-offer", Action::Listen, publish)
                .reads()
                .says("Publish on a mount")
                .details(
                    "The password of the mount's source by Basic or `password=`, or a session with its `X-CSRF-Token` or a \
                     token of an account with access to the mount.",
                )
                .fails(401, "The credentials do not open the mount")
                .fails(403, "The mount is disabled or not the account's, or the request could be a foreign page's")
                .fails(503, UNAVAILABLE),
            post("/webrtc/offer", Action::Listen, listen)
                .reads()
                .refuses_in_json()
                .says("Listen to a mount")
                .fails(503, UNAVAILABLE),
            post("/admin/golive/chunk", Action::GoLive, chunk)
                .says("Publish what a browser records, piece by piece")
                .fails(503, "It is not available in this release"),
        ],
    )
}

/// Where to publish.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Publish {
    /// Required.
    mount: String,
    /// Of the mount's source; old pages send it here.
    password: Option<String>,
}

async fn publish(call: Call, query: Publish, _: Raw<OFFER>) -> Answer<Other<200, AnyJson>> {
    if query.mount.trim().is_empty() {
        return Err(Refusal::bad("mount query param required"));
    }
    let mount = mount_name(&query.mount)?;
    authorise(&call, &mount, query.password).await?;
    if call.config().is_disabled(&mount) {
        return Err(Refusal::forbidden());
    }
    Err(Refusal::unavailable(UNAVAILABLE))
}

/// Whether the request may publish there. What is presented openly counts before the cookie.
async fn authorise(call: &Call, mount: &MountName, password: Option<String>) -> Answer<()> {
    let authorization = call
        .request
        .headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let basic = authorization.and_then(Credentials::from_basic);
    let by_query = || {
        password
            .filter(|password| !password.is_empty())
            .map(Credentials::password)
    };
    if let Some(credentials) = basic.or_else(by_query) {
        let auth = &call.parts.auth;
        return match auth
            .source(Protocol::WebRtc, call.ip(), mount, Some(&credentials))
            .await
        {
            SourceVerdict::Ok(_) => Ok(()),
            SourceVerdict::Busy => Err(Refusal::unavailable(
                "Too many sign-ins are waiting; try again shortly",
            )),
            SourceVerdict::Wrong | SourceVerdict::LockedOut | SourceVerdict::NoCredentials => {
                Err(Refusal::unauthorized())
            }
        };
    }
    let caller = match presented(call).await? {
        Some(caller) => caller,
        None => {
            let caller = call.who.clone().ok_or_else(Refusal::unauthorized)?;
            check_forgery(call)?;
            caller
        }
    };
    if auth::permits(&caller, Action::GoLive, Some(mount)) {
        return Ok(());
    }
    call.parts.auth.refuse_access(call.ip(), &caller.account, mount);
    Err(Refusal::forbidden())
}

/// The account behind a token or a password, where one is presented to an endpoint that asks nobody to sign in.
pub(super) async fn presented(call: &Call) -> Answer<Option<Caller>> {
    let authorization = call
        .request
        .headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    if authorization.is_none() {
        return Ok(None);
    }
    let agent = call.request.header_text("user-agent").unwrap_or_default();
    let presented = Presented {
        ip: call.ip(),
        authorization,
        sid: None,
        user_agent: &agent,
    };
    match call.parts.auth.identify(&presented).await {
        Identified::Caller(caller) => Ok(Some(caller)),
        Identified::LockedOut(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
        Identified::Busy => Err(Refusal::unavailable(
            "Too many sign-ins are waiting; try again shortly",
        )),
        Identified::Anonymous | Identified::Wrong => Err(Refusal::unauthorized()),
    }
}

/// Refuses what a page of somebody else made a browser send with the cookie of a session.
fn check_forgery(call: &Call) -> Answer<()> {
    let request = &call.request;
    let text = |name: &'static str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let config = call.config();
    let scheme = if request.scheme_https { "https" } else { "http" };
    let own = format!("{scheme}://{}", request.host);
    let change = ChangeRequest {
        is_api: false,
        media_type: &media_type(&request.headers),
        sec_fetch_site: text("sec-fetch-site"),
        origin: text("origin"),
        own_origins: &[own.as_str(), config.base_url.as_str()],
        authorization: None,
        sid: cookie(request, "sid"),
        token: text("x-csrf-token"),
    };
    call.parts
        .auth
        .check_csrf(call.ip(), &change)
        .map_err(|_| Refusal::forbidden())
}

async fn listen(_: Call, _: NoQuery, _: Raw<OFFER>) -> Answer<Other<200, AnyJson>> {
    // Pages of other sites may ask, so they may read why not.
    let anybody = HeaderValue::from_static("*");
    Err(Refusal::unavailable(UNAVAILABLE).header(header::ACCESS_CONTROL_ALLOW_ORIGIN, anybody))
}

/// Where a piece belongs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Piece {
    /// Required.
    mount: String,
}

async fn chunk(call: Call, query: Piece, _: Raw<CHUNK>) -> Answer<Other<200>> {
    call.mount(&query.mount)?;
    Err(Refusal::unavailable(
        "Publishing from the browser is not available in this release",
    ))
}
