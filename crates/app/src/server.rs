//! The server from start to end: everything is made here, in order, and taken down in reverse.

mod running;

use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use auth::SetupToken;
use config::{Config, FirstRunSecrets, LoadError, Loaded, Overrides};
use observe::log::LogHandle;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, watch};

use self::running::{HasStopped, SHUTDOWN, Server, ShutdownFailed};
use crate::{
    banner::{self, Occasion},
    calls,
    configuration::{self, ConfigWarning},
    context::Order,
    daemon,
    doors::{self, Doors},
    handler::Switchboard,
    hot_swap::{self, Swapped},
    logging,
    pid_file::{PidFile, PidFileError, PidKeeper},
    service_manager, shoutcast,
    signals::{Signal, Signals},
    telemetry::Telemetry,
};

observe::event! {
    /// The server starts with a file that was there.
    struct Starting<'a> { path: &'a str }
    = Info "starting": "Starting TinyIce with existing configuration"

    /// How many descriptors the process may have.
    struct OpenFiles { limit: u64 }
    = Info "open_files": "Limit of open files"

    /// It could not be raised.
    struct OpenFilesFailed { error: io::Error }
    = Warn "open_files_failed": "Could not raise the limit of open files"

    /// No pid file, no harm.
    struct NoPidFile<'a> { error: &'a str }
    = Error "pid_file_failed": "{error}"

    /// The beginning of the end.
    struct ShuttingDown<'a> { signal: &'a str }
    = Info "shutting_down": "Received {signal}, shutting down..."

    /// Nothing can be done.
    struct Fatal<'a> { error: &'a str }
    = Fatal "fatal": "{error}"
}

/// What the command line decided.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// Values in place of the file's.
    pub(crate) overrides: Overrides,
    /// Where the pid goes.
    pub(crate) pid_file: Option<PathBuf>,
    /// Open the setup again.
    pub(crate) force_setup: bool,
}

/// Why the server did not start. Each is worth exit code 1 and one line.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("Failed to load config: {0}")]
    Config(#[from] LoadError),
    #[error("Failed to create config: {0}")]
    Create(String),
    #[error("Failed to initialize logging: {0}: {1}")]
    Log(observe::log::OpenError, String),
    #[error("{0}")]
    Bind(#[from] front::BindError),
    #[error("{0}")]
    Pid(PidFileError),
    #[error("{what}: {error}")]
    System { what: &'static str, error: io::Error },
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// Runs the server. Gives the exit code of the process.
pub(crate) fn run(invocation: Invocation) -> u8 {
    if daemon::is_child() {
        daemon::detach();
    }
    let (overrides, path) = (invocation.overrides.clone(), invocation.config.clone());
    match start_and_serve(invocation) {
        Ok(code) => code,
        Err(error) => {
            // The last words go to the terminal, in the shape that whoever reads it expects.
            let config = Loaded::read(&path)
                .map(|loaded| loaded.config)
                .unwrap_or_default()
                .with(&overrides);
            let log = observe::log::start(observe::log::Settings {
                format: logging::format(&config),
                ..Default::default()
            });
            observe::emit(Fatal {
                error: &error.to_string(),
            });
            if let Ok(log) = log {
                log.flush(Duration::from_secs(1));
            }
            1
        }
    }
}

fn start_and_serve(mut invocation: Invocation) -> Result<u8, StartError> {
    let (mut loaded, secrets) = load(&invocation)?;
    let hashed = configuration::hash_plain(&mut loaded.config).map_err(StartError::Create)?;
    let mut config = loaded.config.with(&invocation.overrides);
    if daemon::is_child() && config.log.file.is_none() {
        // A background process without a log file would be silent for ever.
        let file = config.data_dir.join("tinyice.log").to_string_lossy().into_owned();
        invocation.overrides.log_file = Some(file);
        config = loaded.config.with(&invocation.overrides);
    }
    let log = logging::start(&config).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        StartError::Log(error, cause)
    })?;
    for problem in &loaded.warnings {
        observe::emit(ConfigWarning {
            problem: &problem.to_string(),
        });
    }
    configuration::warn_hashed(&hashed);
    // A predecessor still holds the file; it is taken over once it lets go.
    let pid_file = if hot_swap::is_successor() {
        None
    } else {
        write_pid_file(&invocation)?
    };
    match front::raise_open_files() {
        Ok(files) => observe::emit(OpenFiles {
            limit: files.now.unwrap_or(0),
        }),
        Err(error) => observe::emit(OpenFilesFailed { error }),
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = observe::metrics::measure_polls(builder.enable_all().thread_name("main"))
        .build()
        .map_err(system("cannot start the runtime"))?;
    let start = Start {
        invocation,
        loaded,
        config,
        secrets,
        hashed: !hashed.is_empty(),
        pid_file,
        log: log.clone(),
    };
    let code = runtime.block_on(serve(start));
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(200));
    log.flush(Duration::from_secs(2));
    code
}

/// Loads the file, or makes the one of a first run.
fn load(invocation: &Invocation) -> Result<(Loaded, Option<FirstRunSecrets>), StartError> {
    match Loaded::read(&invocation.config) {
        Ok(loaded) => Ok((loaded, None)),
        Err(LoadError::Missing { .. }) => {
            let host = invocation.overrides.bind_host.as_deref().unwrap_or("0.0.0.0");
            let (tree, secrets) =
                config::first_run(host, |password| bcrypt::hash(password, bcrypt::DEFAULT_COST))
                    .map_err(|error| StartError::Create(error.to_string()))?;
            config::create(&invocation.config, &tree)
                .map_err(|error| StartError::Create(error.to_string()))?;
            Ok((Loaded::read(&invocation.config)?, Some(secrets)))
        }
        Err(error) => Err(error.into()),
    }
}

impl Invocation {
    /// Where the pid goes, if anywhere: a service manager knows the process itself, so there the file is only
    /// written when it is asked for.
    fn pid_path(&self) -> Option<PathBuf> {
        match &self.pid_file {
            Some(path) => Some(path.clone()),
            None if std::env::var_os("NOTIFY_SOCKET").is_some() => None,
            None => Some("tinyice.pid".into()),
        }
    }
}

fn write_pid_file(invocation: &Invocation) -> Result<Option<PidFile>, StartError> {
    let Some(path) = invocation.pid_path() else {
        return Ok(None);
    };
    match PidFile::write(&path) {
        Ok(file) => Ok(Some(file)),
        Err(taken @ PidFileError::Taken(_)) => Err(StartError::Pid(taken)),
        Err(error) => {
            observe::emit(NoPidFile {
                error: &error.to_string(),
            });
            Ok(None)
        }
    }
}

/// Everything that is known before the first socket is opened.
struct Start {
    invocation: Invocation,
    loaded: Loaded,
    /// The configuration in force.
    config: Config,
    /// Passwords that were made just now.
    secrets: Option<FirstRunSecrets>,
    /// Plain-text passwords were hashed, which has to be saved.
    hashed: bool,
    pid_file: Option<PidFile>,
    log: LogHandle,
}

async fn serve(start: Start) -> Result<u8, StartError> {
    let Start {
        mut invocation,
        loaded,
        config,
        secrets,
        hashed,
        pid_file,
        log,
    } = start;
    let mut signals = Signals::new().map_err(system("cannot listen for signals"))?;
    let mut sockets = doors::wanted(&config);
    if secrets.is_none() {
        observe::emit(Starting {
            path: &loaded.document.path().display().to_string(),
        });
    }
    let (listening, shoutcast_port) = doors::first(&sockets, &config)?;
    let port = listening
        .local_addrs()
        .first()
        .map_or(config.port, std::net::SocketAddr::port);
    if config.port == 0 {
        // The port that the system chose is the one that links and a reload have to know.
        invocation.overrides.port = Some(port);
        sockets.port = port;
    }
    let setup = setup_token(&config, &invocation)?;
    let (orders, mut ordered) = mpsc::channel(1);
    let server = Server::build(&invocation, loaded, Arc::clone(&setup), orders, log.clone()).await?;
    let telemetry = Telemetry::start(&server.context, &server.fanout, &config);
    let (stop, stopped) = watch::channel(false);
    if hashed {
        server.configuration.save_hashed(&server.context);
    }
    server.spawn_tasks();
    let mut shoutcast = shoutcast::Port::open(&server.context, shoutcast_port, &config);
    if let Some(token) = setup.reveal() {
        show_banner(&invocation, &config, port, &token, secrets.as_ref());
        keep_token(&config, &token);
    }
    drop(secrets);
    if daemon::is_child() {
        daemon::report_ready().map_err(system("cannot tell the parent process"))?;
    }

    let calls = calls::start(&server.context, stopped);
    let mut doors = Doors::open(
        listening,
        sockets,
        Arc::new(Switchboard(Arc::clone(&server.context))),
    );
    service_manager::tell(&[NotifyState::Ready]);
    hot_swap::report_ready().map_err(system("cannot tell the predecessor"))?;
    let mut pid_file = PidKeeper::new(
        pid_file,
        invocation.pid_path().filter(|_| hot_swap::is_successor()),
    );

    let last = loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            Some(order) = ordered.recv() => {
                let drain = match order {
                    Order::Swap(drain) => drain,
                    Order::Reload(done) => {
                        // Whoever asked may have gone.
                        let _ = done.send(reload(&server, &mut doors, &mut shoutcast, &telemetry));
                        continue;
                    }
                };
                if let Some(pid) = server.swap(&doors, &shoutcast).await {
                    observe::emit(Swapped { pid, drain });
                    service_manager::tell(&[NotifyState::MainPid(pid)]);
                    pid_file.hand_over();
                    shoutcast.close();
                    doors.leave();
                    // The successor waits for its turn at the internal port.
                    tokio::task::block_in_place(|| telemetry.close());
                    return server.drain(drain, stop, calls, signals).await;
                }
                continue;
            }
        };
        match signal {
            Signal::Reload => {
                // The log has told what is wrong with the file.
                let _ = reload(&server, &mut doors, &mut shoutcast, &telemetry);
            }
            Signal::Reopen => server.reopen_logs(),
            Signal::Dump => {
                server.dump();
                server.context.log.load().flush(Duration::from_secs(2));
                return Ok(Signal::Dump.exit_code());
            }
            end => break end,
        }
    };
    shoutcast.close();
    observe::emit(ShuttingDown { signal: last.name() });
    server.context.stopping.store(true, Ordering::Relaxed);
    service_manager::tell(&[NotifyState::Stopping]);
    let ended = tokio::select! {
        ended = tokio::time::timeout(SHUTDOWN, server.shut_down(stop, Some(doors), calls)) => ended,
        second = signals.next_end() => {
            // The operator has no patience left.
            server.context.log.load().flush(Duration::from_millis(200));
            return Ok(second.exit_code());
        }
    };
    if ended.is_err() {
        observe::emit(ShutdownFailed {
            error: "connections were still open after 10 s",
        });
    }
    observe::emit(HasStopped {});
    telemetry.finish().await;
    server.context.log.load().flush(Duration::from_secs(2));
    Ok(0)
}

/// Reads the configuration again, and lets everything that runs follow.
fn reload(
    server: &Server,
    doors: &mut Doors,
    shoutcast: &mut shoutcast::Port,
    telemetry: &Telemetry,
) -> Result<Vec<String>, String> {
    service_manager::tell_reloading();
    let changed = tokio::task::block_in_place(|| server.configuration.reload(&server.context));
    if changed.is_ok() {
        let config = server.context.config.load();
        doors.follow(&config);
        shoutcast.follow(&config);
        telemetry.follow(&server.context);
    }
    server.reopen_logs();
    service_manager::tell(&[NotifyState::Ready]);
    changed
}

fn setup_token(config: &Config, invocation: &Invocation) -> Result<Arc<SetupToken>, StartError> {
    let open = invocation.force_setup || !config.setup_complete;
    let token = if open {
        SetupToken::generate().map_err(|error| StartError::Create(format!("no random bytes: {error}")))?
    } else {
        SetupToken::none()
    };
    Ok(Arc::new(token))
}

fn show_banner(
    invocation: &Invocation,
    config: &Config,
    port: u16,
    token: &str,
    secrets: Option<&FirstRunSecrets>,
) {
    let occasion = match (secrets, invocation.force_setup) {
        (Some(_), _) => Occasion::FirstRun,
        (None, true) => Occasion::Forced,
        (None, false) => Occasion::NotComplete,
    };
    let host = if config.hostname.is_empty() {
        "localhost"
    } else {
        &config.hostname
    };
    let text = banner::text(occasion, &format!("http://{host}:{port}"), token, secrets);
    let mut out = io::stdout().lock();
    // Without a standard output there is nobody to show it to.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A copy of the token for those who cannot see the banner.
fn keep_token(config: &Config, token: &str) {
    let path = config.data_dir.join("setup-token");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path);
    // Where nothing can be written the banner has to do.
    let _ = file.and_then(|mut file| writeln!(file, "{token}"));
}
