//! What happens to relays and directory reports, for the log and everybody else who watches.

use std::time::Duration;

observe::event! {
    /// A relay is on air.
    pub(crate) struct RelayConnected<'a> {
        mount: &'a str, url: &'a str, upstream: Option<&'a str>, content_type: Option<&'a str>, metaint: Option<u32>,
    }
    = Info "relay_connected": "Relay connected"

    /// A relay that was on air is not any more.
    pub(crate) struct RelayLost<'a> { mount: &'a str, url: &'a str, error: &'a str, connected: Duration }
    = Warn "relay_lost": "Relay lost its upstream, reconnecting"

    /// A relay cannot connect, or not any more for another reason than before.
    pub(crate) struct RelayFailed<'a> { mount: &'a str, url: &'a str, error: &'a str }
    = Warn "relay_failed": "Relay cannot connect, trying again"

    /// A relay cannot even try.
    pub(crate) struct RelayUnusable<'a> { mount: &'a str, error: &'a str }
    = Error "relay_unusable": "Relay has no usable address"

    /// Nobody listens to a relay that pulls on demand.
    pub(crate) struct RelayIdle<'a> { mount: &'a str }
    = Info "relay_idle": "Relay waits for listeners"

    /// A relay was disabled, deleted or changed.
    pub(crate) struct RelayStopped<'a> { mount: &'a str }
    = Info "relay_stopped": "Relay stopped"

    /// A directory lists a mount.
    pub(crate) struct DirectoryListed<'a> { mount: &'a str, directory: &'a str }
    = Info "directory_listed": "Directory lists the mount"

    /// A directory refuses a mount.
    pub(crate) struct DirectoryRefused<'a> { mount: &'a str, directory: &'a str, message: &'a str }
    = Warn "directory_refused": "Directory refuses: {message}"

    /// A directory cannot be reached.
    pub(crate) struct DirectoryFailed<'a> { mount: &'a str, directory: &'a str, error: &'a str }
    = Warn "directory_failed": "Directory cannot be reached"

    /// Nothing can be reported.
    pub(crate) struct DirectoryPointless<'a> { error: &'a str }
    = Warn "directory_pointless": "Directory reporting is on, but {error}"
}
