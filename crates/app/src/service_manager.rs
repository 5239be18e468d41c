//! What systemd is told. Without it nothing happens.

use sd_notify::NotifyState;

/// Sends a state.
pub(crate) fn tell(state: &[NotifyState<'_>]) {
    // A service manager that cannot be reached is no reason to stop.
    let _ = sd_notify::notify(state);
}

/// Says that the configuration is being read again; systemd wants the time with it.
pub(crate) fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}
