//! A source's connection: checked, claimed, then read until it ends.
//!
//! Contract: between the read and the ring nothing is waited for, and whatever ends the connection gives the
//! mount up.

use std::{
    io,
    num::NonZeroUsize,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use auth::{Credentials, Protocol as Proto, SourceVerdict};
use bytes::BytesMut;
use config::MountName;
use front::{Exchange, Outcome, Request, Stream, framing::Decoder, framing::Piece};
use http::header::{AUTHORIZATION, EXPECT};
use icecast::{
    Answer,
    source::{FIRST_AUDIO_PATIENCE, ReplyPlan, SourceMethod, SourceOffer},
};
use media::Format;
use mount::{
    Claim, ClaimError, Intake, Offer, Owner, Protocol,
    metrics::{SOURCE_CONNECTS, SourceResult},
};
use observe::{Value, span::Span};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use crate::{context::Context, respond, station};

/// One read from a source.
const READ: usize = 16 << 10;

/// The kernel gives a source up that has not acknowledged for this long.
const PEER_SILENCE: Duration = Duration::from_secs(60);

observe::event! {
    /// A source is there but its audio is not: often a proxy that collects the request first.
    pub(crate) struct NoAudio<'a> { mount: &'a str, ip: &'a str, ua: &'a str, framed_body: bool, hint: &'a str }
    = Warn "source_no_audio": "Source connected but has sent no audio after 10s"

    /// A banned client tried to publish.
    pub(crate) struct BannedSource<'a> { mount: &'a str, ip: std::net::IpAddr }
    = Warn "source_banned": "Banned IP source connection"
}

/// Answers a `SOURCE` or `PUT` request and, if it is welcome, stays with it to its end.
pub(crate) async fn publish(
    context: &Arc<Context>,
    mount: MountName,
    request: Request,
    exchange: Exchange,
) -> Outcome {
    let Some(method) = SourceMethod::of(&request.method) else {
        return respond::answer(exchange, Answer::reserved_path()).await;
    };
    let offer = SourceOffer::read(method, &request.headers);
    // RFC 9110 section 10.1.1 would have it ignored in HTTP/1.0, but liquidsoap's `PUT` is of that version and does
    // not begin without an interim answer.
    let expects_continue = icecast::text::header(&request.headers, EXPECT)
        .is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue"));
    if context.auth.gate().is_banned(request.client) {
        observe::emit(BannedSource {
            mount: mount.as_str(),
            ip: request.client,
        });
        return respond::answer(exchange, Answer::forbidden("Forbidden")).await;
    }
    let credentials = request
        .headers
        .get(AUTHORIZATION)
        .and_then(|v| Credentials::from_basic(v.as_bytes()));
    let opener = match context
        .auth
        .source(Proto::Icecast, request.client, &mount, credentials.as_ref())
        .await
    {
        SourceVerdict::Ok(opener) => opener,
        SourceVerdict::Busy => return respond::answer(exchange, Answer::too_many_logins()).await,
        SourceVerdict::NoCredentials | SourceVerdict::LockedOut | SourceVerdict::Wrong => {
            SOURCE_CONNECTS.of((Protocol::Icecast, SourceResult::Auth)).inc();
            return respond::answer(exchange, Answer::unauthorized_source()).await;
        }
    };
    let owner = Owner {
        protocol: Protocol::Icecast,
        label: request.client.to_string(),
        ip: Some(request.client),
        user_agent: offer.user_agent.clone().unwrap_or_default(),
        account: station::account(opener),
    };
    let session = match Session::claim(
        context,
        &mount,
        owner,
        station::of_source(offer.station),
        offer.content_type,
        offer
            .metaint
            .and_then(|interval| NonZeroUsize::try_from(interval).ok()),
    ) {
        Ok(session) => session,
        Err(refusal) => return respond::answer(exchange, refused(refusal)).await,
    };
    let raw = exchange.into_raw();
    let framed = raw.framing.is_framed();
    let plan = ReplyPlan::of(method, framed, expects_continue);
    let decoder = Decoder::for_source(raw.framing);
    let mut stream = raw.stream;
    // A source that cannot be watched is still a source.
    let _ = front::watch_peer(&stream, PEER_SILENCE);
    if stream.write_all(plan.before_body).await.is_err() {
        return Outcome::taken();
    }
    let early = BytesMut::from(&raw.buffered[..]);
    let span = session.span();
    let serve = async move {
        let (ended, stream) = session.run(stream, decoder, early, framed).await;
        let Some(mut stream) = stream else { return };
        if let (Ended::Complete, Some(after)) = (ended, plan.after_body) {
            // The source has all it needs to know; whether it reads this is up to it.
            let _ = stream.write_all(after).await;
        }
        let _ = stream.shutdown().await;
    };
    // A task of its own shows up under the mount's name; a panic in it has been told where it happened.
    let _ = context.sources.spawn(&span, mount.as_str(), serve).await;
    Outcome::taken()
}

fn refused(error: ClaimError) -> Answer {
    match error {
        ClaimError::Disabled => Answer::forbidden("Forbidden"),
        ClaimError::TooManySources => Answer::too_many_sources(),
        ClaimError::KeptFree { .. } => {
            Answer::forbidden("Disconnected by an administrator; try again in a few seconds")
        }
        _ => Answer::mount_in_use(),
    }
}

/// How a source's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As its framing announced.
    Complete,
    /// In any other way.
    Cut,
}

/// A source that has its mount.
pub(crate) struct Session {
    intake: Intake,
    silence: Duration,
    mount: MountName,
    ip: String,
    user_agent: String,
}

impl Session {
    /// Claims the mount.
    pub(crate) fn claim(
        context: &Arc<Context>,
        mount: &MountName,
        owner: Owner,
        station: mount::Station,
        content_type: Option<String>,
        interval: Option<NonZeroUsize>,
    ) -> Result<Self, ClaimError> {
        let labelled = content_type.is_some();
        let content_type = content_type.unwrap_or_else(|| "audio/mpeg".to_owned());
        let format = Format::from_content_type(&content_type).unwrap_or(Format::Opaque);
        let (ip, user_agent) = (owner.label.clone(), owner.user_agent.clone());
        let account = owner.account.clone();
        let offer = Offer {
            owner,
            station,
            content_type,
            format,
        };
        let claim: Claim = context.mounts.claim(mount, offer, Instant::now())?;
        // A change that removed the account since its password was checked found no source to cut.
        if account.is_some_and(|name| !context.config.load().users.contains_key(&name)) {
            return Err(ClaimError::Disabled);
        }
        Ok(Self {
            intake: Intake::new(claim, labelled, interval),
            silence: context.mounts.settings().source_timeout(mount),
            mount: mount.clone(),
            ip,
            user_agent,
        })
    }

    /// What the session's log lines and traces belong to.
    pub(crate) fn span(&self) -> Span {
        let fields = [
            ("mount", Value::text(self.mount.as_str())),
            ("ip", Value::text(&self.ip)),
            ("user_agent", Value::text(&self.user_agent)),
        ];
        Span::start("source", fields)
    }

    /// Reads on the runtime of the caller until the source ends, is silent for too long or is told to stop. Gives the
    /// stream back for last words, if there is one.
    pub(crate) async fn run(
        mut self,
        stream: Stream,
        mut decoder: Decoder,
        mut buffer: BytesMut,
        framed: bool,
    ) -> (Ended, Option<Stream>) {
        let mut stream = match stream.move_here() {
            Ok(stream) => stream,
            Err(error) => {
                self.intake.finish(reason_of(&error), Instant::now());
                return (Ended::Cut, None);
            }
        };
        let mut stopped = pin!(self.intake.claim().stopped());
        // Set again only when it goes off, not with each read.
        let mut alarm = pin!(sleep(FIRST_AUDIO_PATIENCE));
        let mut warned = false;
        let mut heard = Instant::now();
        let (ended, reason) = loop {
            match self.take(&mut decoder, &mut buffer, heard) {
                Ok(false) => {}
                Ok(true) => break (Ended::Complete, "end of stream"),
                Err(()) => break (Ended::Cut, "bad framing"),
            }
            if let Some(rest) = self.intake.rest(heard) {
                sleep(rest).await;
            }
            // A source that never pauses must not outrun the order to stop.
            if let Some(stopped) = self.intake.claim().is_stopped() {
                break (Ended::Cut, stopped.as_str());
            }
            buffer.reserve(READ);
            tokio::select! {
                biased;
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) => break (Ended::Cut, "closed by source"),
                    Ok(_) => heard = Instant::now(),
                    Err(error) => break (Ended::Cut, reason_of(&error)),
                },
                stopped = &mut stopped => break (Ended::Cut, stopped.as_str()),
                () = &mut alarm => {
                    let now = Instant::now();
                    let expected = self.intake.claim().has_data() || warned;
                    let patience = if expected { self.silence } else { FIRST_AUDIO_PATIENCE };
                    if now < heard + patience {
                        alarm.as_mut().reset((heard + patience).into());
                    } else if expected {
                        break (Ended::Cut, "silent");
                    } else {
                        warned = true;
                        self.warn(framed);
                        heard = now;
                        alarm.as_mut().reset((now + self.silence).into());
                    }
                }
            }
        };
        self.intake.finish(reason, Instant::now());
        (ended, Some(stream))
    }

    /// Passes on what is in the buffer, read at `now`; true at the end of the body.
    fn take(&mut self, decoder: &mut Decoder, buffer: &mut BytesMut, now: Instant) -> Result<bool, ()> {
        loop {
            match decoder.decode(buffer) {
                Ok(Piece::Data(bytes)) => self.intake.push(&bytes, now),
                Ok(Piece::More) => return Ok(false),
                Ok(Piece::End) => return Ok(true),
                Err(_) => return Err(()),
            }
        }
    }

    fn warn(&self, framed_body: bool) {
        observe::emit(NoAudio {
            mount: self.mount.as_str(),
            ip: &self.ip,
            ua: &self.user_agent,
            framed_body,
            hint: "a reverse proxy in front may be buffering the request body (nginx: proxy_request_buffering off)",
        });
    }
}

fn reason_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "reset by source",
        io::ErrorKind::TimedOut => "source unreachable",
        _ => "read error",
    }
}
