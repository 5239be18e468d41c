//! What the server calls out for: relays and directory reports, as the configuration in force says.
//!
//! Contract: a reload reaches both, and touches only what it changes.

use std::{net::SocketAddr, sync::Arc};

use config::Config;
use http::HeaderValue;
use icecast::relay::OwnAddresses;
use observe::task::{self, TaskHandle};
use outbound::{Client, Policy};
use relay::{Announcing, Pulls, Terms};
use signin::RelyingParty;
use tokio::sync::watch;
use webhook::Facts;

use crate::{chronicle, context::Context};

/// How relays introduce themselves.
pub(crate) const AGENT: &str = concat!("TinyIce/", env!("CARGO_PKG_VERSION"));

/// Starts relays and directory reports. The task ends soon after `stopped` says so.
pub(crate) fn start(context: &Arc<Context>, stopped: watch::Receiver<bool>) -> TaskHandle<()> {
    task::spawn("calls", (), call(Arc::clone(context), stopped))
}

async fn call(context: Arc<Context>, mut stopped: watch::Receiver<bool>) {
    let client = Client::new(Policy::new(&[]), HeaderValue::from_static(AGENT));
    let mut reloaded = context.reloaded.subscribe();
    let mut config = context.config.load_full();
    let mounts = &context.mounts;
    let mut pulls = Pulls::new(
        Arc::clone(mounts),
        context.relays.clone(),
        terms(&client, &config, &context.instance),
        context.sources.runtime().clone(),
    );
    let announcing = watch::Sender::new(Arc::new(announcing(&client, &config)));
    let directory = {
        let mut stopped = stopped.clone();
        let until = async move {
            // The sender is only dropped after the end.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        task::spawn(
            "directory",
            (),
            relay::report(Arc::clone(mounts), announcing.subscribe(), until),
        )
    };
    loop {
        pulls
            .apply(&config.relays, terms(&client, &config, &context.instance))
            .await;
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = reloaded.changed() => {}
        }
        config = context.config.load_full();
        announcing.send_replace(Arc::new(self::announcing(&client, &config)));
        let parts = context.api.parts();
        parts.webhooks.reload(
            of_webhooks(&client, &config),
            facts(&config),
            config.webhooks.clone(),
        );
        parts
            .signin
            .passkeys
            .set_party(RelyingParty::from_config(&config));
        if let Some(store) = &parts.store {
            store.retain(chronicle::retention(&config)).await;
        }
    }
    // A panic in it has been reported where it happened.
    let _ = tokio::join!(pulls.stop(), directory);
}

fn terms(client: &Client, config: &Config, instance: &str) -> Terms {
    Terms {
        client: client.clone().with_policy(Policy::of_config(config)),
        own: own(config),
        instance: instance.to_owned(),
    }
}

fn announcing(client: &Client, config: &Config) -> Announcing {
    let directory = config
        .directory_listing
        .then(|| config.directory_server.parse().ok())
        .flatten();
    Announcing {
        client: client.clone().with_policy(Policy::of_config(config)),
        directories: directory.into_iter().collect(),
        base: base(config),
        page_title: config.page_title.clone(),
    }
}

/// The client of webhooks, which reaches nothing private unless the configuration opens it for them.
pub(crate) fn of_webhooks(client: &Client, config: &Config) -> Client {
    client.clone().with_policy(Policy::of_webhooks(config))
}

/// What webhooks are told of the server.
pub(crate) fn facts(config: &Config) -> Facts {
    Facts {
        hostname: config.hostname.clone(),
        base_url: config.base_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Where this server is reached, so that no relay pulls from it.
fn own(config: &Config) -> OwnAddresses {
    let ports = [Some(config.port), config.use_https.then_some(config.https_port)];
    let mut own = OwnAddresses::default();
    for port in ports.into_iter().flatten() {
        for host in config.bind_host.split(',').map(str::trim) {
            match host {
                "" => own.listening.push(SocketAddr::from(([0, 0, 0, 0], port))),
                host => match host.parse() {
                    Ok(ip) => own.listening.push(SocketAddr::new(ip, port)),
                    Err(_) => own.names.push((host.to_owned(), port)),
                },
            }
        }
        if !config.hostname.is_empty() {
            own.names.push((config.hostname.clone(), port));
        }
    }
    own.add_base_url(&config.base_url);
    own
}

/// Where mounts are found from outside. Empty, which is nowhere, where nobody has said.
fn base(config: &Config) -> String {
    if !config.base_url.is_empty() {
        return config.base_url.trim_end_matches('/').to_owned();
    }
    match config.hostname.as_str() {
        "" => String::new(),
        host if config.use_https && config.https_port == 443 => format!("https://{host}"),
        host if config.use_https => format!("https://{host}:{}", config.https_port),
        host => format!("http://{host}:{}", config.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    #[test]
    fn a_relay_of_this_server_is_known_by_every_address_of_it() {
        let config = config(|config| {
            config.bind_host = "192.0.2.1, radio.lan".into();
            config.hostname = "radio.example".into();
            config.base_url = "https://www.radio.example".into();
            config.use_https = true;
        });
        let everywhere = Config::default();
        for (config, url, ours) in [
            (&config, "http://192.0.2.1:8000/a", true),
            (&config, "https://192.0.2.1/a", true),
            (&config, "http://radio.lan:8000/a", true),
            (&config, "http://radio.example:8000/a", true),
            (&config, "https://www.radio.example/a", true),
            (&config, "http://radio.example:8001/a", false),
            (&config, "http://127.0.0.1:8000/a", false),
            (&everywhere, "http://127.0.0.1:8000/a", true),
            (&everywhere, "http://[::1]:8000/a", true),
            (&everywhere, "https://127.0.0.1/a", false),
        ] {
            assert_eq!(own(config).names_us(&url.parse().unwrap()), ours, "{url}");
        }
    }

    #[test]
    fn directories_are_told_the_public_address() {
        let announced = |change: fn(&mut Config)| {
            let client = Client::new(Policy::new(&[]), HeaderValue::from_static("test"));
            let announcing = announcing(&client, &config(change));
            (announcing.directories.len(), announcing.base)
        };
        assert_eq!(announced(|_| {}), (0, String::new()));
        let named = |config: &mut Config| {
            config.directory_listing = true;
            config.hostname = "radio.example".into();
        };
        assert_eq!(announced(named), (1, "http://radio.example:8000".into()));
        let based = |config: &mut Config| config.base_url = "https://radio.example".into();
        assert_eq!(announced(based), (0, "https://radio.example".into()));
        let secure = |config: &mut Config| {
            config.hostname = "radio.example".into();
            config.use_https = true;
        };
        assert_eq!(announced(secure), (0, "https://radio.example".into()));
    }
}
