//! The queue between everybody and the writer.
//!
//! Contract: putting something in never waits. A full queue loses the newest, and statistics before anything else.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::entry::Write;
use crate::metrics::{Lost, What};
use crate::tidy::{Retention, Tidied};
use crate::writer::Shared;

/// Bytes that may wait; records of others have no small bound of their own.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The largest record.
const MOST_RECORD: usize = 1024 * 1024;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Write),
    Flush(oneshot::Sender<()>),
    Tidy(Timestamp, oneshot::Sender<Tidied>),
    Retain(Retention, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The end of the queue where jobs go in.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

impl Queue {
    pub(crate) fn new(shared: Arc<Shared>) -> (Queue, Receiver<Job>) {
        let (jobs, receiver) = crossbeam_channel::bounded(shared.capacity());
        (Queue { jobs, shared }, receiver)
    }

    /// Puts a write into the queue or loses it.
    pub(crate) fn write(&self, write: Write) {
        let what = What::of(&write);
        let size = write.size();
        let waiting = self.shared.queued();
        if size > MOST_RECORD {
            return self.shared.lose(what, Lost::TooLarge, 1);
        }
        let full = waiting >= self.shared.capacity()
            || self.shared.queued_bytes() + size > MOST_BYTES
            || write.is_statistics() && waiting >= self.shared.capacity() / 4 * 3;
        if full {
            return self.shared.lose(what, Lost::Full, 1);
        }
        self.shared.enter(size);
        match self.jobs.try_send(Job::Write(write)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.shared.leave(1, size);
                self.shared.lose(what, Lost::Full, 1);
            }
            Err(TrySendError::Disconnected(_)) => {
                self.shared.leave(1, size);
                self.shared.lose(what, Lost::Closed, 1);
            }
        }
    }

    /// Puts a question into the queue; a full one gives it back, one without a writer gives nothing.
    pub(crate) fn ask(&self, question: Job) -> Result<(), Option<Job>> {
        self.jobs.try_send(question).map_err(|error| match error {
            TrySendError::Full(question) => Some(question),
            TrySendError::Disconnected(_) => None,
        })
    }

    /// Puts a question into the queue if there is a place.
    pub(crate) fn try_ask(&self, question: Job) -> bool {
        self.ask(question).is_ok()
    }
}
