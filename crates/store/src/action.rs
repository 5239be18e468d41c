//! What can be done, as the audit trail calls it.
//!
//! Contract: every action is in exactly one category, so whoever looks through them all misses none.

observe::label! {
    /// An action that the audit trail may name.
    pub enum AuditAction {
        Login = "login",
        Logout = "logout",
        LoginFailed = "login_failed",
        SetupComplete = "setup_complete",
        PasskeyRegistered = "passkey_registered",
        PasskeyDeleted = "passkey_deleted",
        TokenCreated = "token_created",
        TokenRevoked = "token_revoked",
        StreamKicked = "stream_kicked",
        ListenerKicked = "listener_kicked",
        ListenersKickedAll = "listeners_kicked_all",
        ListenersMoved = "listeners_moved",
        MountCreated = "mount_created",
        MountUpdated = "mount_updated",
        MountDeleted = "mount_deleted",
        MountEnabled = "mount_enabled",
        MountDisabled = "mount_disabled",
        MountHidden = "mount_hidden",
        MountMadeVisible = "mount_made_visible",
        GoliveStarted = "golive_started",
        WebrtcSourceStarted = "webrtc_source_started",
        AutodjCreated = "autodj_created",
        AutodjUpdated = "autodj_updated",
        AutodjDeleted = "autodj_deleted",
        RelayCreated = "relay_created",
        RelayUpdated = "relay_updated",
        RelayDeleted = "relay_deleted",
        TranscoderCreated = "transcoder_created",
        TranscoderUpdated = "transcoder_updated",
        TranscoderDeleted = "transcoder_deleted",
        WebhookCreated = "webhook_created",
        WebhookUpdated = "webhook_updated",
        WebhookDeleted = "webhook_deleted",
        WebhookTested = "webhook_tested",
        UserCreated = "user_created",
        UserUpdated = "user_updated",
        UserDeleted = "user_deleted",
        PendingApproved = "pending_approved",
        PendingDenied = "pending_denied",
        IpBanned = "ip_banned",
        IpUnbanned = "ip_unbanned",
        IpWhitelisted = "ip_whitelisted",
        IpUnwhitelisted = "ip_unwhitelisted",
        LockoutCleared = "lockout_cleared",
        SettingsUpdated = "settings_updated",
        BrandingUpdated = "branding_updated",
        LogoUploaded = "logo_uploaded",
        Hotswap = "hotswap",
        ConfigReloaded = "config_reloaded",
        LowLatencyToggled = "low_latency_toggled",
    }
}

/// Categories by name.
const CATEGORIES: [(&str, &[AuditAction]); 9] = [
    (
        "auth",
        &[
            AuditAction::Login,
            AuditAction::Logout,
            AuditAction::LoginFailed,
            AuditAction::SetupComplete,
            AuditAction::PasskeyRegistered,
            AuditAction::PasskeyDeleted,
            AuditAction::TokenCreated,
            AuditAction::TokenRevoked,
        ],
    ),
    (
        "streams",
        &[
            AuditAction::StreamKicked,
            AuditAction::ListenerKicked,
            AuditAction::ListenersKickedAll,
            AuditAction::ListenersMoved,
            AuditAction::MountCreated,
            AuditAction::MountUpdated,
            AuditAction::MountDeleted,
            AuditAction::MountEnabled,
            AuditAction::MountDisabled,
            AuditAction::MountHidden,
            AuditAction::MountMadeVisible,
            AuditAction::GoliveStarted,
            AuditAction::WebrtcSourceStarted,
        ],
    ),
    (
        "autodj",
        &[
            AuditAction::AutodjCreated,
            AuditAction::AutodjUpdated,
            AuditAction::AutodjDeleted,
        ],
    ),
    (
        "relays",
        &[
            AuditAction::RelayCreated,
            AuditAction::RelayUpdated,
            AuditAction::RelayDeleted,
        ],
    ),
    (
        "transcoders",
        &[
            AuditAction::TranscoderCreated,
            AuditAction::TranscoderUpdated,
            AuditAction::TranscoderDeleted,
        ],
    ),
    (
        "webhooks",
        &[
            AuditAction::WebhookCreated,
            AuditAction::WebhookUpdated,
            AuditAction::WebhookDeleted,
            AuditAction::WebhookTested,
        ],
    ),
    (
        "users",
        &[
            AuditAction::UserCreated,
            AuditAction::UserUpdated,
            AuditAction::UserDeleted,
            AuditAction::PendingApproved,
            AuditAction::PendingDenied,
        ],
    ),
    (
        "security",
        &[
            AuditAction::IpBanned,
            AuditAction::IpUnbanned,
            AuditAction::IpWhitelisted,
            AuditAction::IpUnwhitelisted,
            AuditAction::LockoutCleared,
        ],
    ),
    (
        "settings",
        &[
            AuditAction::SettingsUpdated,
            AuditAction::BrandingUpdated,
            AuditAction::LogoUploaded,
            AuditAction::Hotswap,
            AuditAction::ConfigReloaded,
            AuditAction::LowLatencyToggled,
        ],
    ),
];

/// The actions of a category, or none if there is no such category.
pub fn category_actions(category: &str) -> Option<&'static [AuditAction]> {
    CATEGORIES
        .iter()
        .find(|(name, _)| *name == category)
        .map(|(_, actions)| *actions)
}

#[cfg(test)]
mod tests {
    use observe::metrics::Label as _;

    use super::*;

    #[test]
    fn every_action_is_in_one_category() {
        for action in AuditAction::VALUES {
            let found: Vec<_> = CATEGORIES
                .iter()
                .filter(|(_, actions)| actions.iter().any(|known| known.as_str() == *action))
                .map(|(name, _)| name)
                .collect();
            assert_eq!(found.len(), 1, "{action} in {found:?}");
        }
    }

    #[test]
    fn what_is_done_to_listeners_is_found_with_the_streams() {
        let streams = category_actions("streams").expect("a category");
        for action in [AuditAction::ListenerKicked, AuditAction::ListenersMoved] {
            assert!(streams.contains(&action), "{action:?}");
        }
        assert_eq!(category_actions("nonsense"), None);
    }
}
