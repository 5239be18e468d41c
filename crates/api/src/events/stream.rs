//! A feed as the body of an answer.
//!
//! Contract: it holds at most what one burst is, and asks for the next one only when that was taken.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use front::{Closing, Phase};
use http_body::{Body, Frame};

use super::{burst::RETRY, feeds::Subscription, group::CatchUp};

/// The body of a feed. It ends with the shutdown of the front that it is served by.
pub(crate) struct EventStream {
    ready: VecDeque<Bytes>,
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = Option<(Waiting, Vec<Bytes>)>> + Send>>;

struct Waiting {
    subscription: Subscription,
    closing: Closing,
}

impl EventStream {
    pub(crate) fn new(subscription: Subscription, beginning: CatchUp, closing: Closing) -> Self {
        let mut ready = VecDeque::from([RETRY]);
        ready.extend(beginning.text);
        let waiting = Waiting {
            subscription,
            closing,
        };
        Self {
            ready,
            next: Box::pin(waiting.news()),
        }
    }
}

impl Waiting {
    async fn news(mut self) -> Option<(Self, Vec<Bytes>)> {
        let news = tokio::select! {
            news = self.subscription.news() => news,
            () = self.closing.reached(Phase::Draining) => None,
        };
        news.map(|news| (self, news))
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
