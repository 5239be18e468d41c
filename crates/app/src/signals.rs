//! What the operator says by signals.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal, by what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT: end.
    Interrupt,
    /// SIGTERM: end.
    Terminate,
    /// SIGHUP: read the configuration again and reopen the log files.
    Reload,
    /// SIGUSR1: reopen the log files.
    Reopen,
    /// SIGQUIT: write down what every task does, then end.
    Dump,
}

impl Signal {
    /// As the log names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Reload => "hangup",
            Self::Reopen => "user defined signal 1",
            Self::Dump => "quit",
        }
    }

    /// The code of a process that this signal ended at once.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Dump => 2,
            _ => 143,
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hangup: Stream,
    user1: Stream,
    user2: Stream,
    quit: Stream,
}

impl Signals {
    /// Takes the signals over from their defaults.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Signal::Interrupt,
                _ = self.terminate.recv() => return Signal::Terminate,
                _ = self.hangup.recv() => return Signal::Reload,
                _ = self.user1.recv() => return Signal::Reopen,
                _ = self.quit.recv() => return Signal::Dump,
                // Reserved: taken so that it does not end the process.
                _ = self.user2.recv() => {}
            }
        }
    }

    /// The next one that asks for the end, whatever else comes before it.
    pub(crate) async fn next_end(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::Reload | Signal::Reopen => {}
                end => return end,
            }
        }
    }
}
