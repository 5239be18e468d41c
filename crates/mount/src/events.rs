//! What happens to mounts, for the log and everybody else who watches.

use std::{net::IpAddr, time::Duration};

observe::event! {
    /// A source is on air.
    pub(crate) struct SourceConnected<'a> {
        mount: &'a str, ip: &'a str, ua: &'a str, protocol: &'a str, content_type: &'a str,
    }
    = Info "source_connected": "Source connected"

    /// A source does not send in its own time.
    pub(crate) struct SourceSlowed<'a> { mount: &'a str }
    = Warn "source_slowed": "Source sends faster than 160 Mbit/s and is slowed down: does the encoder send in real time?"

    /// A source went.
    pub(crate) struct SourceDisconnected<'a> {
        mount: &'a str, bytes_in: u64, reason: &'a str, connected: Duration,
    }
    = Info "source_disconnected": "Source disconnected"

    /// Another source holds the mount.
    pub(crate) struct SourceBusy<'a> { mount: &'a str, new_ip: &'a str, existing_ip: &'a str }
    = Warn "source_busy": "Source rejected: mount already has an active source"

    /// A silent source was replaced by its own return.
    pub(crate) struct SourceReplaced<'a> { mount: &'a str, ip: &'a str, silent: Duration }
    = Info "source_replaced": "Source replaced by its reconnection"

    /// The bytes are not what the label says.
    pub(crate) struct ContentTypeCorrected<'a> { mount: &'a str, declared: &'a str, found: &'a str }
    = Warn "content_type_corrected": "Source labels its stream wrongly, serving what the bytes are"

    /// The stream's header changed in a way that running decoders cannot follow.
    pub(crate) struct HeaderChanged<'a> { mount: &'a str }
    = Info "stream_header_changed": "Stream header changed, listeners have to reconnect"

    /// Another title.
    pub(crate) struct TitleChanged<'a> { mount: &'a str, song: &'a str }
    = Info "metadata_updated": "Metadata updated"

    /// A listener is in.
    pub(crate) struct ListenerConnected<'a> { mount: &'a str, ip: IpAddr, ua: &'a str, id: u64, feed: &'a str }
    = Info "listener_connected": "Listener connected"

    /// A listener is gone.
    pub(crate) struct ListenerDisconnected<'a> {
        mount: &'a str, ip: IpAddr, ua: &'a str, id: u64, reason: &'a str, bytes_out: u64, connected: Duration,
    }
    = Info "listener_disconnected": "Listener disconnected"

    /// Listeners go to the fallback.
    pub(crate) struct FallingBack<'a> { from: &'a str, to: &'a str, listeners: u64 }
    = Warn "fallback_begun": "Primary stream down, falling back"

    /// Listeners come back.
    pub(crate) struct Recovering<'a> { mount: &'a str, stable_for: Duration, listeners: u64 }
    = Info "fallback_ended": "Primary stream stable, recovering from fallback"

    /// A fallback exists but plays something that the listeners' decoders cannot follow.
    pub(crate) struct FallbackUnfit<'a> { mount: &'a str, fallback: &'a str }
    = Warn "fallback_unfit": "Fallback has another format, listeners cannot be moved to it"

    /// A mount's health changed.
    pub(crate) struct HealthChanged<'a> { mount: &'a str, from: &'a str, to: &'a str }
    = Info "health_changed": "Stream health changed"

    /// A mount was silent for too long.
    pub(crate) struct SilentRemoved<'a> { mount: &'a str, silent: Duration }
    = Warn "silent_mount_removed": "Removing mount after prolonged silence"
}
