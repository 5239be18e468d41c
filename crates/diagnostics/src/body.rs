//! The body of a response: whole, or a stream of parts.
//!
//! Contract: a stream ends when its producer drops the sender, and a producer is told when nobody reads any more.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::client::Served;

/// Parts that wait for a reader at most.
const WAITING: usize = 4;

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Parts(mpsc::Receiver<Bytes>),
}

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    _served: Served,
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>, served: Served) -> Body {
        Body {
            content: Content::Whole(bytes.into()),
            _served: served,
        }
    }

    pub(crate) fn parts(served: Served) -> (mpsc::Sender<Bytes>, Body) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let body = Body {
            content: Content::Parts(receiver),
            _served: served,
        };
        (sender, body)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Parts(parts) => parts.poll_recv(context).map(|part| part.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts(_) => SizeHint::default(),
        }
    }
}
