//! From a request to its answer: the checks that stand before every handler, in one order.
//!
//! Contract: method, forgery (403), who asks (401), how often (429), what they may (403), the body (400, 413, 415),
//! then the handler. A body that is no form is not read before it is known who sends it.

use std::{sync::Arc, time::Instant};

use auth::{Action, Caller, ChangeRequest, Identified, Presented};
use bytes::Bytes;
use front::{BodyError, Exchange, Outcome, Request};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use super::{
    Answer, Call, Endpoint, Form, content::Content as _, content::Done, content::Multipart,
    content::media_type, guard, refusal::Refusal, table::Found,
};
use crate::{Api, Reply, events::EventStream};

/// What of a feed may wait in the system for a slow reader; more would be old news.
const UNSENT: u32 = 16 << 10;

impl Api {
    /// Whether the request is for an endpoint of the table.
    pub(crate) fn has_endpoint(&self, request: &Request) -> bool {
        self.table.has(request.path(), raw_path(request).as_str())
    }

    /// Answers a request for an endpoint.
    pub(crate) async fn endpoint(&self, request: Request, mut exchange: Exchange) -> Outcome {
        let raw = raw_path(&request);
        let (endpoint, names) = match self.table.find(&request.method, request.path(), &raw) {
            Found::Endpoint(endpoint, names) => (endpoint, names),
            Found::OtherMethods(others) => {
                return exchange.respond(finish(other_method(&request, &others))).await;
            }
            Found::Nothing => {
                let reply = if request.path().starts_with("/api") {
                    Refusal::missing("Not found").json()
                } else {
                    Refusal::missing("404 page not found").plain()
                };
                return exchange.respond(finish(reply)).await;
            }
        };
        let done = match self.run(endpoint, names, request, &mut exchange).await {
            Ok(done) => done,
            Err(refusal) if endpoint.plain => Done::Reply(refusal.plain()),
            Err(refusal) => Done::Reply(refusal.json()),
        };
        match done {
            Done::Reply(mut reply) => {
                if endpoint.deprecated {
                    deprecate(&mut reply);
                }
                exchange.respond(finish(reply)).await
            }
            Done::Feed(opened) => {
                exchange.limit_unsent(UNSENT);
                let stream = EventStream::guarded(*opened, exchange.closing());
                exchange.respond(crate::events::private_feed(stream)).await
            }
        }
    }

    async fn run(
        &self,
        endpoint: &Endpoint,
        names: Vec<String>,
        request: Request,
        exchange: &mut Exchange,
    ) -> Answer<Done> {
        // A form may hold the token that shows that it is ours.
        let (_, is_form, _) = endpoint.takes;
        let early = if is_form {
            Some(read(exchange, endpoint.limit).await?)
        } else {
            None
        };
        if endpoint.changes {
            // Whoever signs in brings the proof along; a session that the browser still has decides nothing.
            let is_sign_in = matches!(endpoint.action, Action::SignIn | Action::Setup);
            self.check_forgery(is_sign_in, &request, early.as_ref())?;
        }
        let who = self.identify(endpoint, &request).await?;
        self.check_pace(endpoint, &request, who.as_ref())?;
        if let Some(caller) = &who
            && !endpoint.action.rule().anonymous
            && !auth::permits(caller, endpoint.action, None)
        {
            return Err(forbidden(endpoint, caller));
        }
        let bytes = match early {
            Some(bytes) => bytes,
            None if endpoint.limit > 0 => read(exchange, endpoint.limit).await?,
            None => Bytes::new(),
        };
        let call = Call {
            parts: Arc::clone(&self.parts),
            feeds: Arc::clone(&self.feeds),
            table: Arc::clone(&self.table),
            documents: Arc::clone(&self.documents),
            request,
            names,
            action: endpoint.action,
            who,
        };
        (endpoint.run)(call, bytes).await
    }

    /// Refuses what a page of somebody else could have made a browser send.
    pub(crate) fn check_forgery(
        &self,
        is_sign_in: bool,
        request: &Request,
        form: Option<&Bytes>,
    ) -> Answer<()> {
        let text = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        let token = text(HeaderName::from_static("x-csrf-token")).map(str::to_owned);
        let token = token.or_else(|| csrf_field(request, form?));
        let config = self.parts.config.load();
        let scheme = if request.scheme_https { "https" } else { "http" };
        let own = format!("{scheme}://{}", request.host);
        let origins = [own.as_str(), config.base_url.as_str()];
        let media = media_type(&request.headers);
        let authorization = request.headers.get(header::AUTHORIZATION);
        let change = ChangeRequest {
            is_api: request.path().starts_with("/api/"),
            media_type: &media,
            sec_fetch_site: text(HeaderName::from_static("sec-fetch-site")),
            origin: text(header::ORIGIN),
            own_origins: &origins,
            authorization: authorization.filter(|_| !is_sign_in).map(HeaderValue::as_bytes),
            sid: cookie(request, "sid").filter(|_| !is_sign_in),
            token: token.as_deref(),
        };
        self.parts
            .auth
            .check_csrf(request.client, &change)
            .map_err(|_| Refusal::forbidden())
    }

    async fn identify(&self, endpoint: &Endpoint, request: &Request) -> Answer<Option<Caller>> {
        let is_public = endpoint.action.rule().anonymous;
        let authorization = request
            .headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        let agent = request.header_text("user-agent").unwrap_or_default();
        let presented = Presented {
            ip: request.client,
            // Encoders and players send passwords of mounts to public addresses; they are no sign-in.
            authorization: authorization.filter(|_| !is_public),
            sid: cookie(request, "sid"),
            user_agent: &agent,
        };
        let identified = self.parts.auth.identify(&presented).await;
        match identified {
            Identified::Caller(caller) => Ok(Some(caller)),
            _ if is_public => Ok(None),
            Identified::Anonymous | Identified::Wrong => Err(Refusal::unauthorized()),
            Identified::LockedOut(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
            Identified::Busy => {
                let refusal = Refusal::unavailable("Too many sign-ins are waiting; try again shortly");
                Err(refusal.header(header::RETRY_AFTER, HeaderValue::from_static("2")))
            }
        }
    }

    fn check_pace(&self, endpoint: &Endpoint, request: &Request, who: Option<&Caller>) -> Answer<()> {
        if self.parts.auth.gate().is_whitelisted(request.client) {
            return Ok(());
        }
        let now: Instant = tokio::time::Instant::now().into_std();
        let pace = match who {
            Some(_) if endpoint.changes => &self.paces.changes,
            Some(_) => &self.paces.reads,
            // Signing in has a count of its own, and listeners of a household share an address.
            None if endpoint.changes => return Ok(()),
            None => &self.paces.public,
        };
        let who = match who {
            Some(caller) => caller.account.name.clone(),
            None => front::household(request.client).to_string(),
        };
        pace.lock()
            .take(who, now)
            .map_err(|wait| Refusal::too_many("Too many requests; slow down", wait))
    }
}

/// What whoever is signed in is told who may not do this.
fn forbidden(endpoint: &Endpoint, caller: &Caller) -> Refusal {
    let by_token = matches!(caller.proof, auth::Proof::Token(_));
    if by_token && endpoint.action == Action::TokenCreate {
        return auth::TokenError::ByToken.into();
    }
    Refusal::forbidden()
}

async fn read(exchange: &mut Exchange, limit: usize) -> Answer<Bytes> {
    exchange.read_body(limit).await.map_err(|error| match error {
        BodyError::TooLarge => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
        error => Refusal::new(error.status(), error.to_string()),
    })
}

/// The token in a form.
fn csrf_field(request: &Request, bytes: &Bytes) -> Option<String> {
    let form = match media_type(&request.headers).as_str() {
        "multipart/form-data" => {
            let parts = Multipart::read(&request.headers, bytes.clone()).ok()?;
            let part = parts.0.into_iter().find(|part| part.name == "csrf")?;
            return String::from_utf8(part.bytes.to_vec()).ok();
        }
        _ => Form::read(&request.headers, bytes.clone()).ok()?,
    };
    form.get("csrf").map(str::to_owned)
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
}

fn raw_path(request: &Request) -> String {
    request.target.uri().path().to_owned()
}

/// The answer where the path exists and the method does not.
fn other_method(request: &Request, others: &[&Endpoint]) -> Reply {
    // The steps of the setup are no addresses to be found out about.
    if request.path().starts_with("/setup/") {
        return Refusal::missing("Not found").json();
    }
    let mut methods: Vec<&str> = Vec::new();
    for endpoint in others {
        methods.push(endpoint.method.as_str());
        if endpoint.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.dedup();
    let mut allow = methods.join(", ");
    let reply = if request.method == Method::OPTIONS {
        allow.push_str(", OPTIONS");
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::NO_CONTENT;
        reply
    } else {
        let plain = others.iter().all(|endpoint| endpoint.plain);
        // A link or a picture must not change anything, and must not look as if it could.
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let is_old = request.path().starts_with("/admin/");
        let refusal = if is_old && is_read && others.iter().all(|endpoint| endpoint.changes) {
            Refusal::forbidden()
        } else {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        };
        if plain { refusal.plain() } else { refusal.json() }
    };
    let mut reply = reply;
    set(&mut reply, header::ALLOW, &allow);
    reply
}

fn finish(mut reply: Reply) -> Reply {
    guard(reply.headers_mut());
    reply
}

/// RFC 9745; the date is that of the release in which the old interface got a successor.
fn deprecate(reply: &mut Reply) {
    set(reply, HeaderName::from_static("deprecation"), "@1767225600");
    let link = HeaderValue::from_static("</api/docs>; rel=\"successor-version\"");
    reply.headers_mut().append(header::LINK, link);
}

fn set<B>(reply: &mut Response<B>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
