//! One relay: connect, claim, feed, and try again.
//!
//! Contract: an attempt is made only while no other source has the mount, and never before the back-off allows it,
//! unless the mount became free or the terms changed. Whatever is awaited, the order to end comes first.

use std::{
    convert::Infallible,
    io,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use config::{MountName, Relay};
use http::StatusCode;
use icecast::{
    StationInfo,
    relay::{Backoff, RelayHead},
};
use media::Format;
use mount::{Claim, Intake, Mounts, Offer, Owner, Protocol, Station, Stopped};
use outbound::ResponseBody;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, sleep_until},
};

use crate::{
    Terms, Upstream,
    board::Gauge,
    metrics::{PULLS, Pulled},
    trouble::Trouble,
};

/// Shown as the address of the source.
const LABEL: &str = "relay-pull";

/// One read from the upstream.
const READ: usize = 16 << 10;

/// A relay on demand lets go after this long without a listener.
const UNWANTED: Duration = Duration::from_secs(30);

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// A mount that another source has is looked at this often, besides being told when it is free.
const RECHECK: Duration = Duration::from_secs(60);

/// What becomes of the mount of a relay that is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is removed at once.
    Remove,
    /// It waits for whoever goes on with it.
    HandOver,
}

/// The order to end. A sender that was dropped is one too.
type EndSignal = oneshot::Receiver<End>;

/// A relay that runs.
pub(crate) struct Pull {
    mount: MountName,
    on_demand: bool,
    upstream: Upstream,
    mounts: Arc<Mounts>,
    gauge: Arc<Gauge>,
    terms: watch::Receiver<Arc<Terms>>,
    backoff: Backoff,
    /// What the upstream's stream turned out to be in spite of its label, so that it goes on under the same type.
    correction: Option<Correction>,
}

struct Correction {
    declared: Option<String>,
    format: Format,
    content_type: String,
}

/// How a connection ended, other than by an order.
enum Over {
    /// It failed or was lost.
    Trouble(Trouble),
    /// Nobody listens any more.
    Unwanted,
}

impl Pull {
    pub(crate) fn new(
        record: &Relay,
        upstream: Upstream,
        mounts: Arc<Mounts>,
        gauge: Arc<Gauge>,
        terms: watch::Receiver<Arc<Terms>>,
    ) -> Self {
        Self {
            mount: record.mount.clone(),
            on_demand: record.on_demand,
            upstream,
            mounts,
            gauge,
            terms,
            backoff: Backoff::default(),
            correction: None,
        }
    }

    /// Pulls until it is told to end.
    pub(crate) async fn run(mut self, mut end: EndSignal) {
        let Err(ended) = self.go_on(&mut end).await;
        if ended == End::Remove {
            self.let_go_of_mount();
        }
        self.gauge.stopped();
    }

    async fn go_on(&mut self, end: &mut EndSignal) -> Result<Infallible, End> {
        loop {
            if self.on_demand {
                self.until_wanted(end).await?;
            }
            self.gauge.connecting();
            match self.attempt(end).await? {
                Over::Unwanted => {}
                Over::Trouble(trouble) => {
                    self.gauge.trouble(&trouble, now());
                    self.pause(&trouble, end).await?;
                }
            }
        }
    }

    /// Waits for somebody who wants to listen.
    async fn until_wanted(&self, end: &mut EndSignal) -> Result<(), End> {
        let mut changes = self.mounts.changes();
        loop {
            changes.borrow_and_update();
            if self.mounts.is_wanted(&self.mount) {
                return Ok(());
            }
            // What is left of the last connection is not for anybody.
            self.let_go_of_mount();
            self.gauge.idle();
            // The registry outlives its relays, so this always ends by a change.
            let _ = unless(end, changes.changed()).await?;
        }
    }

    /// One attempt, from the first check to the end of the connection.
    async fn attempt(&mut self, end: &mut EndSignal) -> Result<Over, End> {
        let terms = Arc::clone(&self.terms.borrow_and_update());
        match self.connect(&terms, end).await? {
            Ok(connection) => {
                PULLS.of(Pulled::Connected).inc();
                self.feed(connection, end).await
            }
            Err(trouble) => {
                PULLS.of(Pulled::from(&trouble)).inc();
                Ok(Over::Trouble(trouble))
            }
        }
    }

    /// Connects and claims the mount.
    async fn connect(&self, terms: &Terms, end: &mut EndSignal) -> Result<Result<Connection, Trouble>, End> {
        if let Err(trouble) = self.may_connect(terms) {
            return Ok(Err(trouble));
        }
        let request = self.upstream.request(&terms.instance);
        let response = match unless(end, Box::pin(terms.client.send(request))).await? {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure.into())),
        };
        let head = RelayHead::read(&response.headers);
        let trouble = match response.status {
            StatusCode::LOOP_DETECTED => Trouble::Circle,
            status if status != StatusCode::OK => Trouble::Status(response.status_text()),
            _ if head.chain.leads_back_to(&terms.instance) => Trouble::Circle,
            _ if head.is_document() => Trouble::Document(head.content_type.unwrap_or_default()),
            _ => {
                let claimed = self.claim(&head);
                return Ok(claimed.map(|claim| self.connection(claim, head, response.body)));
            }
        };
        Ok(Err(trouble))
    }

    /// Whether it makes sense to ask the upstream at all.
    fn may_connect(&self, terms: &Terms) -> Result<(), Trouble> {
        if terms.own.names_us(self.upstream.url()) {
            return Err(Trouble::Ourselves);
        }
        if self.mounts.settings().disabled.contains(&self.mount) {
            return Err(Trouble::MountDisabled);
        }
        if self.is_taken() {
            return Err(Trouble::MountInUse);
        }
        Ok(())
    }

    /// Whether another source has the mount, or is expected back. Relays never come back for a mount that they lost,
    /// they ask for it like this.
    fn is_taken(&self) -> bool {
        self.mounts
            .snapshot_one(&self.mount, now())
            .is_some_and(|snapshot| snapshot.has_source || snapshot.owner.protocol != Protocol::Relay)
    }

    fn claim(&self, head: &RelayHead) -> Result<Claim, Trouble> {
        let (format, content_type) = match &self.correction {
            Some(known) if known.declared == head.content_type => (known.format, known.content_type.clone()),
            _ => {
                let declared = head.content_type.clone();
                let content_type = declared.unwrap_or_else(|| "audio/mpeg".to_owned());
                let format = Format::from_content_type(&content_type).unwrap_or(Format::Opaque);
                (format, content_type)
            }
        };
        let offer = Offer {
            owner: Owner {
                protocol: Protocol::Relay,
                label: LABEL.to_owned(),
                ip: None,
                user_agent: head.server.clone().unwrap_or_default(),
                account: None,
            },
            station: station(&head.station),
            content_type,
            format,
        };
        Ok(self.mounts.claim(&self.mount, offer, now())?)
    }

    fn connection(&self, claim: Claim, head: RelayHead, body: ResponseBody) -> Connection {
        self.gauge.connected(&head, now());
        let interval = head
            .metaint
            .and_then(|interval| NonZeroUsize::try_from(interval).ok());
        let intake = Intake::new(claim, head.content_type.is_some(), interval);
        Connection {
            intake,
            body,
            declared: head.content_type,
        }
    }

    /// Passes on what the upstream sends until that ends in some way.
    async fn feed(&mut self, connection: Connection, end: &mut EndSignal) -> Result<Over, End> {
        let Connection {
            mut intake,
            mut body,
            declared,
        } = connection;
        let mut buffer = vec![0; READ];
        let mut audience = Audience::new(self.on_demand);
        let (over, reason) = loop {
            tokio::select! {
                biased;
                ended = &mut *end => {
                    let ended = ended.unwrap_or(End::Remove);
                    if ended == End::Remove {
                        // With the claim in hand nobody else can be hit.
                        self.mounts.stop_source(&self.mount, Stopped::Kicked);
                    }
                    break (Err(ended), "relay stopped");
                }
                stopped = intake.claim().stopped() => {
                    let over = match stopped {
                        Stopped::Shutdown => Err(End::HandOver),
                        stopped => Ok(Over::Trouble(Trouble::Stopped(stopped))),
                    };
                    break (over, stopped.as_str());
                }
                () = audience.next_look() => {
                    if audience.is_gone(self.mounts.is_wanted(&self.mount)) {
                        self.mounts.stop_source(&self.mount, Stopped::Kicked);
                        break (Ok(Over::Unwanted), "nobody listens");
                    }
                }
                read = body.next(&mut buffer) => match read {
                    Ok(bytes @ 1..) => {
                        let now = now();
                        intake.push(&buffer[..bytes], now);
                        self.gauge.data(bytes, now);
                        self.backoff.data(now);
                        if let Some(rest) = intake.rest(now) {
                            sleep(rest).await;
                        }
                    }
                    ended => {
                        let reason = reason_of(&ended);
                        break (Ok(Over::Trouble(Trouble::Lost(reason))), reason);
                    }
                },
            }
        };
        let stream = Arc::clone(intake.claim().stream());
        intake.finish(reason, now());
        self.correction = (declared.as_deref() != Some(stream.content_type())).then(|| Correction {
            declared,
            format: stream.format(),
            content_type: stream.content_type().to_owned(),
        });
        over
    }

    /// Waits until it makes sense to try again.
    async fn pause(&mut self, trouble: &Trouble, end: &mut EndSignal) -> Result<(), End> {
        let in_use = matches!(trouble, Trouble::MountInUse | Trouble::Stopped(Stopped::Replaced));
        // The upstream was not asked, so it need not be spared.
        let wait = if in_use {
            RECHECK
        } else {
            self.backoff.next(fastrand::f64)
        };
        let mut terms = self.terms.clone();
        let over = async {
            tokio::select! {
                () = sleep(wait) => {}
                () = self.until_free(), if in_use => {}
                _ = terms.changed() => {}
            }
        };
        unless(end, over).await
    }

    /// Waits until no other source has the mount.
    async fn until_free(&self) {
        let mut changes = self.mounts.changes();
        loop {
            changes.borrow_and_update();
            if !self.is_taken() || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Removes what a released claim has left behind. A mount that is somebody else's by now is not touched.
    fn let_go_of_mount(&self) {
        let left = self
            .mounts
            .snapshot_one(&self.mount, now())
            .is_some_and(|snapshot| !snapshot.has_source && snapshot.owner.protocol == Protocol::Relay);
        if left {
            self.mounts.stop_source(&self.mount, Stopped::Kicked);
        }
    }
}

/// An upstream that was accepted.
struct Connection {
    intake: Intake,
    body: ResponseBody,
    /// The content type as the upstream gave it.
    declared: Option<String>,
}

/// Looks after a relay on demand from time to time.
struct Audience {
    look_at: Option<Instant>,
    wanted_at: Instant,
}

impl Audience {
    fn new(on_demand: bool) -> Self {
        let now = now();
        Self {
            look_at: on_demand.then(|| now + LOOK),
            wanted_at: now,
        }
    }

    /// Resolves when it is time to look; never for a relay that pulls in any case.
    async fn next_look(&self) {
        match self.look_at {
            Some(at) => sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Notes whether somebody listens; true when nobody has for long enough.
    fn is_gone(&mut self, wanted: bool) -> bool {
        let now = now();
        self.look_at = Some(now + LOOK);
        if wanted {
            self.wanted_at = now;
        }
        now.saturating_duration_since(self.wanted_at) >= UNWANTED
    }
}

/// The clock of the timers, which tests can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for `future`, unless the order to end comes first.
async fn unless<F: Future>(end: &mut EndSignal, future: F) -> Result<F::Output, End> {
    tokio::select! {
        biased;
        ended = end => Err(ended.unwrap_or(End::Remove)),
        output = future => Ok(output),
    }
}

fn reason_of(ended: &io::Result<usize>) -> &'static str {
    use io::ErrorKind as Kind;
    match ended {
        Ok(_) => "the upstream ended the stream",
        Err(error) => match error.kind() {
            Kind::TimedOut => "the upstream is silent",
            Kind::UnexpectedEof => "the upstream cut the connection",
            Kind::InvalidData => "the upstream sends broken chunks",
            Kind::ConnectionReset => "connection reset by the upstream",
            _ => "the upstream cannot be read",
        },
    }
}

fn station(info: &StationInfo) -> Station {
    let info = info.clone();
    Station {
        name: info.name,
        description: info.description,
        genre: info.genre,
        url: info.url,
        public: false,
        bitrate: info.bitrate,
        audio_info: info.raw_audio_info,
        audio_facts: info.audio_info,
    }
}
