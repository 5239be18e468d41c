//! The configuration in the words of mounts.

use config::Config;
use mount::{MountSettings, Settings};

/// What the configuration says about mounts.
pub(crate) fn of_mounts(config: &Config) -> Settings {
    let mut settings = Settings {
        max_listeners: config.max_listeners.map(u64::from),
        max_listeners_per_ip: config.max_listeners_per_ip.unwrap_or(0),
        max_sources: config.max_sources.and_then(|limit| usize::try_from(limit).ok()),
        default_burst: config.default_burst_size,
        low_latency: config.low_latency_mode,
        grace: config.source_grace_seconds,
        settle: config.fallback_settle_seconds,
        takeover: config.source_takeover,
        source_timeout: config.source_timeout_seconds,
        fallbacks: config.fallback_mounts.clone().into_iter().collect(),
        ..Settings::default()
    };
    for (name, own) in &config.advanced_mounts {
        let entry = settings.mounts.entry(name.clone()).or_default();
        *entry = MountSettings {
            burst: Some(own.burst_size).filter(|burst| *burst > 0),
            name_override: own.name_override.clone().filter(|name| !name.is_empty()),
            max_listeners: own.max_listeners.map(u64::from),
            source_timeout: own.source_timeout_seconds,
        };
    }
    for relay in &config.relays {
        let entry = settings.mounts.entry(relay.mount.clone()).or_default();
        entry.burst = entry.burst.or_else(|| relay.burst());
    }
    let set = |map: &std::collections::BTreeMap<config::MountName, bool>, wanted: bool| {
        map.iter()
            .filter(|(_, value)| **value == wanted)
            .map(|(name, _)| name.clone())
            .collect()
    };
    settings.disabled = set(&config.disabled_mounts, true);
    settings.visible = set(&config.visible_mounts, true);
    settings.hidden = set(&config.visible_mounts, false);
    let names = config
        .mounts
        .keys()
        .chain(config.advanced_mounts.keys())
        .chain(config.visible_mounts.keys())
        .chain(config.fallback_mounts.keys())
        .chain(config.fallback_mounts.values())
        .chain(config.users.values().flat_map(|user| user.mounts.keys()))
        .chain(config.relays.iter().map(|relay| &relay.mount))
        .chain(
            config
                .transcoders
                .iter()
                .map(|transcoder| &transcoder.output_mount),
        )
        .chain(config.autodjs.iter().map(|dj| &dj.mount));
    settings.known = names.cloned().collect();
    settings
}
