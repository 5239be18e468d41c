//! TinyIce, a live streaming server: one program that takes audio in and delivers it to very many listeners.

mod banner;
mod configuration;
mod context;
mod handler;
mod ingest;
mod listen;
mod logging;
mod pid_file;
mod respond;
mod server;
mod settings;
mod shoutcast;
mod signals;
mod station;

fn main() {
    let mut invocation = server::Invocation {
        config: "tinyice.json".into(),
        overrides: config::Overrides::default(),
        pid_file: None,
        force_setup: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("-config", Some(value)) => invocation.config = value.into(),
            ("-host", Some(value)) => invocation.overrides.bind_host = Some(value),
            ("-port", Some(value)) => invocation.overrides.port = value.parse().ok(),
            _ => std::process::exit(2),
        }
    }
    std::process::exit(server::run(invocation));
}
