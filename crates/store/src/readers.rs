//! The threads that read: two, each with its own connection.
//!
//! Contract: a question is answered, turned away or given up in bounded time, and none can change the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use observe::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use crate::event::{ReadFailed, shown};
use crate::file;
use crate::metrics::{Answer, ERRORS, READ_DURATION, READS, Side, Trouble};
use crate::writer::Shared;

const THREADS: usize = 2;
/// Questions that may wait.
const WAITING: usize = 64;
/// From the question to its answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between looks at the clock: some tens of microseconds.
const STEPS: i32 = 10_000;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too many questions wait; ask again later.
    #[error("the history database is busy")]
    Busy,
    /// The question is too large for the time limit; ask for less.
    #[error("the history database took too long")]
    Timeout,
    /// The store was closed.
    #[error("the history database is closed")]
    Closed,
    /// The file cannot be read; the log says why.
    #[error("the history database cannot be read")]
    Failed,
}

type Question = Box<dyn FnOnce(&mut Reader) + Send>;

#[derive(Debug)]
struct Open {
    questions: Sender<Question>,
    /// Ends with the last thread.
    threads: mpsc::Receiver<()>,
}

/// The end of the readers where questions go in.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Empty when closed. The lock is held to take it or to put a question in.
    open: Mutex<Option<Open>>,
}

impl Readers {
    pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(WAITING);
        let (alive, threads) = mpsc::channel(1);
        for _ in 0..THREADS {
            let reader = Reader {
                shared: Arc::clone(&shared),
                connection: None,
            };
            let questions = receiver.clone();
            let alive = alive.clone();
            observe::thread::spawn("store-reader", move || {
                reader.run(&questions);
                drop(alive);
            })?;
        }
        Ok(Self {
            open: Mutex::new(
                "store_readers",
                Some(Open {
                    questions: sender,
                    threads,
                }),
            ),
        })
    }

    /// Answers what was asked and ends.
    pub(crate) async fn close(&self) {
        let open = self.open.lock().take();
        if let Some(Open {
            questions,
            mut threads,
        }) = open
        {
            drop(questions);
            threads.recv().await;
        }
    }

    /// Answers one question on one of the threads. A caller who goes away ends it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, answered) = oneshot::channel();
        let asked = Instant::now();
        let waiting = Arc::new(());
        let asker = Arc::downgrade(&waiting);
        let question: Question = Box::new(move |reader| {
            let gone = move || asked.elapsed() >= LIMIT || asker.strong_count() == 0;
            let result = reader.answer(gone, run);
            READ_DURATION.observe_duration(asked.elapsed());
            READS
                .of(match result {
                    Ok(_) => Answer::Ok,
                    Err(ReadError::Timeout) => Answer::Late,
                    Err(_) => Answer::Failed,
                })
                .inc();
            let _ = answer.send(result);
        });
        let put = match &*self.open.lock() {
            Some(open) => open.questions.try_send(question).map_err(|_| ReadError::Busy),
            None => Err(ReadError::Closed),
        };
        if let Err(error) = put {
            READS.of(Answer::Busy).inc();
            return Err(error);
        }
        let answer = answered.await;
        drop(waiting);
        answer.unwrap_or(Err(ReadError::Failed))
    }
}

/// One thread.
struct Reader {
    shared: Arc<Shared>,
    /// The connection, and which file of that name it is of.
    connection: Option<(Connection, u64)>,
}

impl Reader {
    fn run(mut self, questions: &Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            // A panic is a bug in one question and reported by the thread's watcher; the others go on.
            if catch_unwind(AssertUnwindSafe(|| question(&mut self))).is_err() {
                self.connection = None;
            }
        }
    }

    /// Runs a question until it is answered or who asked is gone.
    fn answer<T>(
        &mut self,
        gone: impl Fn() -> bool + Send + 'static,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        if gone() {
            return Err(ReadError::Timeout);
        }
        let result = self.connection().and_then(|connection| {
            connection.progress_handler(STEPS, Some(gone))?;
            let result = run(connection);
            connection.progress_handler(0, None::<fn() -> bool>)?;
            result
        });
        result.map_err(|error| {
            if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
                return ReadError::Timeout;
            }
            // What is wrong with this connection may be right with the next.
            self.connection = None;
            ERRORS.of((Side::Read, Trouble::of(&error))).inc();
            observe::emit_limited(
                Duration::from_secs(60),
                ReadFailed {
                    error: &error.to_string(),
                    path: &shown(self.shared.path()),
                },
            );
            ReadError::Failed
        })
    }

    fn connection(&mut self) -> rusqlite::Result<&Connection> {
        let generation = self.shared.generation();
        if self.connection.as_ref().is_none_or(|(_, of)| *of != generation) {
            self.connection = None;
            let connection = file::open_for_reading(self.shared.path())?;
            return Ok(&self.connection.insert((connection, generation)).0);
        }
        let (connection, _) = self.connection.as_ref().expect("it was looked at");
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::Future;
    use std::path::PathBuf;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn readers() -> (PathBuf, Readers) {
        let path =
            std::env::temp_dir().join(format!("readers-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        let database = path.join("history.db");
        crate::schema::open(&database).unwrap();
        let readers = Readers::start(Arc::new(Shared::new(&database, 1))).unwrap();
        (path, readers)
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn too_many_questions_are_turned_away() {
        let (path, readers) = readers();
        let (started, begin) = crossbeam_channel::unbounded();
        let (release, held) = crossbeam_channel::bounded::<()>(0);
        let ask = || {
            let (started, held) = (started.clone(), held.clone());
            Box::pin(readers.run(move |_| {
                let _ = started.send(());
                let _ = held.recv();
                Ok(())
            }))
        };
        let mut asked: Vec<_> = (0..THREADS).map(|_| ask()).collect();
        for question in &mut asked {
            assert!(poll(question.as_mut()).is_pending());
        }
        for _ in 0..THREADS {
            begin.recv().unwrap();
        }
        asked.extend((0..WAITING).map(|_| ask()));
        for question in &mut asked[THREADS..] {
            assert!(poll(question.as_mut()).is_pending());
        }
        assert_eq!(poll(ask().as_mut()), Poll::Ready(Err(ReadError::Busy)));
        drop(release);
        run(async {
            for question in asked {
                assert_eq!(question.await, Ok(()));
            }
            readers.close().await;
        });
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn who_goes_away_ends_the_question() {
        const ENDLESS: &str =
            "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";

        let (path, readers) = readers();
        for _ in 0..THREADS {
            let mut question =
                pin!(readers.run(|connection| connection.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))));
            assert!(poll(question.as_mut()).is_pending());
        }
        run(async {
            let answer = readers.run(|connection| connection.query_row("SELECT 7", [], |row| row.get(0)));
            assert_eq!(answer.await, Ok(7_i64));
            let refused = readers.run(|connection| connection.execute("DELETE FROM history_items", []));
            assert_eq!(refused.await, Err(ReadError::Failed));
            let panicked = readers.run(|_| -> rusqlite::Result<()> { panic!("a bug") });
            assert_eq!(panicked.await, Err(ReadError::Failed));
            readers.close().await;
            assert_eq!(readers.run(|_| Ok(())).await, Err(ReadError::Closed));
        });
        std::fs::remove_dir_all(path).unwrap();
    }
}
