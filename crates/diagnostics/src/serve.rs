//! From a connection to requests, from a request to a page, from a page's answer to a response.
//!
//! Contract: every request gets a response with the same protective headers, and what a page does happens in a lane.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use crate::answer::BINARY;
use crate::body::Body;
use crate::client::{Client, Socket};
use crate::context::Context;
use crate::lane::{Lane, Undone};
use crate::pages::{self, Call, Place};
use crate::{Answer, Cancelled, encoding, host, html};

/// The longest request head; longer ones are refused with 431.
const HEAD: usize = 16 * 1024;
/// The longest request body; longer ones are refused with 413.
const BODY: usize = 64 * 1024;
/// A page that is quicker than this answers also those who close their side right after asking, as `nc -N` does.
const QUICK: Duration = Duration::from_secs(1);

/// What all responses have. The answers are of this moment and for nobody's cache; a browser neither guesses types nor
/// lets other sites embed or read them.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(html::POLICY),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Serves a client until it leaves, its time is up, or the port closes.
pub(crate) async fn connection(context: &Arc<Context>, client: &Arc<Client>) {
    let service = hyper::service::service_fn(|request| {
        let (context, client) = (Arc::clone(context), Arc::clone(client));
        async move { Ok::<_, Infallible>(respond(context, client, request).await) }
    });
    let io = TokioIo::new(Socket(Arc::clone(client)));
    // Limits on time are the client's own, see `Client::overdue`. With half-closed connections allowed, `nc -N` works;
    // long work looks itself whether the client is still there.
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut closing = context.closing.subscribe();
    let overdue = client.overdue(&context.limits);
    let mut overdue = pin!(overdue);
    let mut closed = false;
    loop {
        tokio::select! {
            // How the connection ended says nothing about the server.
            _ = &mut connection => return,
            () = &mut overdue => return,
            _ = closing.wait_for(|closing| *closing), if !closed => {
                closed = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(context: Arc<Context>, client: Arc<Client>, request: Request<Incoming>) -> Response<Body> {
    let served = client.served();
    let head_only = request.method() == Method::HEAD;
    let (place, call) = match admit(&context, request).await {
        Ok(admitted) => admitted,
        Err(answer) => return response(answer, head_only, served),
    };
    if head_only && pages::takes_long(&place, &call) {
        // Nobody would see what took so long to make.
        return response(Answer::new(BINARY, ""), head_only, served);
    }
    match place {
        Place::Bundle => crate::bundle::respond(&context, &client, served),
        Place::Own(own) if pages::follows(own, &call) => {
            pages::flight::respond(&context, &client, call, served)
        }
        place => {
            let answer = answer(&context, Some(&client), place, call).await;
            response(answer, head_only, served)
        }
    }
}

/// Checks a request and finds its page.
async fn admit(context: &Arc<Context>, request: Request<Incoming>) -> Result<(Place, Call), Answer> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let names = context.names.read().clone();
    host::check(parts.version, &parts.uri, headers, &names)?;
    host::check_origin(&parts.method, headers)?;
    let place = pages::find(context, parts.uri.path())?;
    let method = match parts.method {
        Method::HEAD => Method::GET,
        method => method,
    };
    pages::check_method(&place, &method)?;
    let body = read(context, body).await?;
    let query = parts.uri.query().unwrap_or_default();
    let call = Call {
        method,
        path: parts.uri.path().to_owned(),
        query: crate::Query::parse(query)?.with_accept(encoding::prefers_json(headers)),
        body,
        accept: encoding::joined(headers, header::ACCEPT),
        gzip: observe::metrics::wants_gzip(Some(&encoding::joined(headers, header::ACCEPT_ENCODING))),
    };
    Ok((place, call))
}

async fn read(context: &Context, body: Incoming) -> Result<Vec<u8>, Answer> {
    let refused = |status, reason: &str| Err(Answer::refused(status, reason));
    match timeout(context.limits.body, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a request's body has at most 64 kB",
        ),
        Ok(Err(_)) => refused(StatusCode::BAD_REQUEST, "the request's body cannot be read"),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the request's body took too long"),
    }
}

/// Has a page make its answer in its lane. With a client, long work ends when the client leaves.
pub(crate) async fn answer(
    context: &Arc<Context>,
    client: Option<&Client>,
    place: Place,
    call: Call,
) -> Answer {
    let cancelled = Cancelled::new();
    let path = call.path.clone();
    match place {
        Place::Bundle => Answer::refused(StatusCode::NOT_FOUND, "a bundle holds no bundle"),
        Place::Redirect(target) => Answer::refused(StatusCode::TEMPORARY_REDIRECT, target)
            .with_header(header::LOCATION, HeaderValue::from_static(target)),
        Place::Ready => pages::health::ready(context, &call).await,
        Place::Own(own) => {
            let lane = if own.is_metrics() {
                &context.lanes.metrics
            } else {
                &context.lanes.own
            };
            let inner = Arc::clone(context);
            let work = move |_: &Cancelled| {
                let answer = (own.render)(&inner, &call).unwrap_or_else(Answer::from);
                finish(answer, call.gzip)
            };
            run(lane, &path, &cancelled, work).await
        }
        Place::Page(at) => {
            let page = context.pages.pages[at].clone();
            let work = move |cancelled: &Cancelled| finish((page.render)(&call.query, cancelled), call.gzip);
            let job = run(&context.lanes.pages[at], &path, &cancelled, work);
            unless_gone(client, job).await
        }
        Place::Profile => {
            let work = move |cancelled: &Cancelled| {
                let rest = call.path.strip_prefix(pages::PROFILES).unwrap_or_default();
                let left = || cancelled.is_set();
                finish(
                    crate::pprof::answer(rest, &call.query, &call.method, &call.body, &left),
                    call.gzip,
                )
            };
            let job = run(&context.lanes.profiles, &path, &cancelled, work);
            unless_gone(client, job).await
        }
    }
}

async fn run(
    lane: &Lane,
    path: &str,
    cancelled: &Cancelled,
    work: impl FnOnce(&Cancelled) -> Answer + Send + 'static,
) -> Answer {
    lane.run(path, cancelled, work).await.unwrap_or_else(Undone::into)
}

/// Ends work when its client leaves, once it takes so long that leaving is a decision.
async fn unless_gone(client: Option<&Client>, job: impl Future<Output = Answer>) -> Answer {
    let Some(client) = client else {
        return job.await;
    };
    let gone = async {
        sleep(QUICK).await;
        client.gone().await;
    };
    tokio::select! {
        answer = job => answer,
        () = gone => Answer::refused(StatusCode::REQUEST_TIMEOUT, "given up: the client closed its side"),
    }
}

fn finish(answer: Answer, gzip: bool) -> Answer {
    if gzip { encoding::compress(answer) } else { answer }
}

pub(crate) fn response(answer: Answer, head_only: bool, served: crate::client::Served) -> Response<Body> {
    let length = answer.body.len();
    let bytes = if head_only { Vec::new() } else { answer.body };
    let mut response = Response::new(Body::whole(bytes, served));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if let Ok(content_type) = HeaderValue::from_str(&answer.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    headers.extend(HEADERS);
    response
}

/// A response whose parts are still to come.
pub(crate) fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(HEADERS);
    response
}
