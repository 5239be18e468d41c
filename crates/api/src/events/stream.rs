//! A feed as the body of an answer.
//!
//! Contract: it holds at most what one burst is, and asks for the next one only when that was taken.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use front::{Closing, Phase};
use http_body::{Body, Frame};
use tokio::time::{Instant, sleep_until};

use super::{burst::RETRY, feeds::Subscription, group::CatchUp};

/// How often it is asked whether the reader may still read.
const RECHECK: Duration = Duration::from_secs(10);

/// The body of a feed. It ends with the shutdown of the front that it is served by.
pub(crate) struct EventStream {
    ready: VecDeque<Bytes>,
    next: Next,
}

/// Says whether the reader of a feed may still read it.
pub(crate) type StillValid = Box<dyn Fn() -> bool + Send + Sync>;

/// A feed that was opened for somebody.
pub(crate) struct Opened {
    pub(crate) subscription: Subscription,
    pub(crate) beginning: CatchUp,
    pub(crate) still_valid: StillValid,
}

type Next = Pin<Box<dyn Future<Output = Option<(Waiting, Vec<Bytes>)>> + Send>>;

struct Waiting {
    subscription: Subscription,
    closing: Closing,
    still_valid: Option<StillValid>,
    next_check: Instant,
}

impl EventStream {
    /// A feed for anybody.
    pub(crate) fn new(subscription: Subscription, beginning: CatchUp, closing: Closing) -> Self {
        Self::of(subscription, beginning, closing, None)
    }

    /// A feed that ends when its reader may no longer read it.
    pub(crate) fn guarded(opened: Opened, closing: Closing) -> Self {
        Self::of(
            opened.subscription,
            opened.beginning,
            closing,
            Some(opened.still_valid),
        )
    }

    fn of(
        subscription: Subscription,
        beginning: CatchUp,
        closing: Closing,
        still_valid: Option<StillValid>,
    ) -> Self {
        let mut ready = VecDeque::from([RETRY]);
        ready.extend(beginning.text);
        let waiting = Waiting {
            subscription,
            closing,
            still_valid,
            next_check: Instant::now() + RECHECK,
        };
        Self {
            ready,
            next: Box::pin(waiting.news()),
        }
    }
}

impl Waiting {
    async fn news(mut self) -> Option<(Self, Vec<Bytes>)> {
        loop {
            let check = async {
                match &self.still_valid {
                    Some(_) => sleep_until(self.next_check).await,
                    None => std::future::pending().await,
                }
            };
            let news = tokio::select! {
                news = self.subscription.news() => news,
                () = self.closing.reached(Phase::Draining) => None,
                () = check => {
                    self.next_check += RECHECK;
                    if self.still_valid.as_ref().is_some_and(|is_valid| !is_valid()) {
                        return None;
                    }
                    continue;
                }
            };
            return news.map(|news| (self, news));
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            let Some((waiting, news)) = ready!(self.next.as_mut().poll(cx)) else {
                return Poll::Ready(None);
            };
            self.ready = news.into();
            self.next = Box::pin(waiting.news());
        }
    }
}
