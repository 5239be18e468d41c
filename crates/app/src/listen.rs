//! A listener's request: resolved, let in, then handed to delivery.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::MountName;
use fanout::{Interleave, Wire};
use front::{Exchange, Outcome, Request, head::Version};
use http::{Method, Response, header};
use http_body_util::Empty;
use icecast::{
    StationInfo,
    listener::{self, AfterHead, FedBy, ListenerHead},
    relay::{self, Chain},
};
use jiff::Timestamp;
use media::Format;
use mount::{
    Protocol, Settings, Stream, Tuned,
    metrics::{LISTENER_CONNECTS, ListenerProtocol, ListenerResult},
};

use crate::{context::Context, respond};

/// How long a listener waits for a relay that pulls only while somebody listens.
const ON_DEMAND: Duration = Duration::from_secs(10);

observe::event! {
    /// A relay chain came back to where it began.
    struct RelayLoop<'a> { mount: &'a str, ip: std::net::IpAddr }
    = Warn "relay_loop": "Refused a relay that would listen to itself"

    /// A listener's socket could not be taken over.
    struct HandOverFailed<'a> { mount: &'a str, error: std::io::Error }
    = Error "listener_hand_over_failed": "Could not hand a listener to delivery"
}

/// Answers `GET` and `HEAD` of a mount.
pub(crate) async fn listen(
    context: &Arc<Context>,
    mount: MountName,
    request: Request,
    exchange: Exchange,
) -> Outcome {
    if relay::is_loop(&request.headers, &context.instance) {
        observe::emit(RelayLoop {
            mount: mount.as_str(),
            ip: request.client,
        });
        count(ListenerResult::Loop);
        return respond::answer(exchange, relay::loop_detected()).await;
    }
    let (stream, primary) = match tune(context, &mount).await {
        Tuned::On { stream, primary } => (stream, primary),
        Tuned::Disabled => {
            count(ListenerResult::Disabled);
            return respond::answer(exchange, listener::forbidden()).await;
        }
        Tuned::Off { known } => {
            if !known {
                context.auth.miss(request.client, mount.as_str());
            }
            count(ListenerResult::NotFound);
            return respond::answer(exchange, listener::not_found()).await;
        }
    };
    let metaint = listener::metaint(&request.headers, stream.format());
    let config = context.config.load();
    let station = describe(&stream, &context.mounts.settings());
    let chain = relay::is_relay(&request.headers).then(|| chain(context, &stream));
    let request_id = request.request_id.to_string();
    let head = ListenerHead {
        http_10: request.version != Version::Http11,
        content_type: stream.content_type(),
        station: &station,
        page_title: &config.page_title,
        metaint,
        fed_by: if primary { FedBy::Primary } else { FedBy::Fallback },
        chain: chain.as_deref(),
        request_id: Some(&request_id),
        date: Timestamp::now(),
    };
    if request.method == Method::HEAD {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.headers_mut() = head.to_headers();
        return exchange.respond(response).await;
    }
    let head = head.to_bytes(AfterHead::Stream);
    drop(config);
    let now = Instant::now();
    let exempt = context.auth.gate().is_whitelisted(request.client);
    let entrance = match context.mounts.seat(&mount, &stream, request.client, exempt, now) {
        Ok(entrance) => entrance,
        Err(_) => {
            count(ListenerResult::Full);
            return respond::answer(exchange, listener::full()).await;
        }
    };
    let text = |name: header::HeaderName| icecast::text::header(&request.headers, name).unwrap_or_default();
    let entrance = entrance.with_agent(&text(header::USER_AGENT), &text(header::REFERER));
    let interleave = match stream.format() {
        Format::Ogg => Interleave::ogg(fastrand::u32(..)),
        _ if metaint.is_some() => Interleave::icy(),
        _ => Interleave::Plain,
    };
    // Reading and writing are the same for both kinds of sockets; only a close look tells them apart.
    let socket = exchange
        .into_raw()
        .stream
        .into_fd()
        .map(std::net::TcpStream::from);
    match socket.and_then(Wire::plain) {
        Ok(wire) => context.mounts.enter(entrance, wire, head, interleave),
        Err(error) => {
            count(ListenerResult::Error);
            observe::emit(HandOverFailed {
                mount: mount.as_str(),
                error,
            });
        }
    }
    Outcome::taken()
}

/// Counts a request that came to nothing; those that listen are counted where they enter.
fn count(result: ListenerResult) {
    LISTENER_CONNECTS.of((ListenerProtocol::Http, result)).inc();
}

/// Finds the stream; gives a relay on demand the time to connect.
async fn tune(context: &Context, mount: &MountName) -> Tuned {
    let tuned = context.mounts.tune(mount);
    if !matches!(tuned, Tuned::Off { .. }) || !context.is_on_demand(mount) {
        return tuned;
    }
    let mut changes = context.mounts.changes();
    context.mounts.ask_for(mount);
    let arrival = async {
        loop {
            let tuned = context.mounts.tune(mount);
            if !matches!(tuned, Tuned::Off { .. }) || changes.changed().await.is_err() {
                return tuned;
            }
        }
    };
    tokio::time::timeout(ON_DEMAND, arrival)
        .await
        .unwrap_or_else(|_| {
            context.mounts.forget_wish(mount);
            context.mounts.tune(mount)
        })
}

/// The instances that a relay must not be, if it pulls this stream from us.
fn chain(context: &Context, stream: &Stream) -> String {
    let relayed = stream.owner().protocol == Protocol::Relay;
    let before = if relayed {
        context.relays.chain(stream.mount())
    } else {
        Chain::default()
    };
    before.through(&context.instance)
}

/// What listeners are told of the station.
fn describe(stream: &Stream, settings: &Settings) -> StationInfo {
    let station = stream.station();
    let own = settings
        .mounts
        .get(stream.mount())
        .and_then(|own| own.name_override.clone());
    StationInfo {
        name: own
            .filter(|name| !name.is_empty())
            .or_else(|| station.name.clone()),
        description: station.description.clone(),
        genre: station.genre.clone(),
        url: station.url.clone(),
        public: Some(station.public),
        bitrate: stream.bitrate(),
        audio_info: station.audio_facts.clone(),
        raw_audio_info: station.audio_info.clone(),
    }
}
