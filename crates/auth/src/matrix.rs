//! Who may do what: one table of all actions, roles and token scopes.
//!
//! Contract: [`permits`] is the only authority. A thing that the server can be asked to do is a row here, and what is
//! not granted in its row is refused.

use config::{MountName, Role};

use crate::caller::{Caller, Proof};

/// What a role may do with an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everywhere.
    All,
    /// On the mounts that the account has access to.
    Own,
    /// Nowhere.
    No,
}

/// What an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A mount, or a list that is cut down to the caller's mounts.
    Mount,
    /// The account of the caller.
    Caller,
    /// The server as a whole.
    Server,
}

/// What a token was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Looking at things.
    Read,
    /// Operating streams, their titles included.
    StreamsWrite,
    /// Setting titles.
    Metadata,
    /// Everything that the owner may do.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::StreamsWrite, Scope::Metadata, Scope::Admin];

    /// As in the file and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::StreamsWrite => "streams:write",
            Scope::Metadata => "metadata",
            Scope::Admin => "admin",
        }
    }

    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// What an action asks of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenNeeds {
    /// Nothing beyond being valid.
    Nothing,
    /// A scope, where the token names any.
    Scope(Scope),
    /// It cannot be done with a token: it would make a credential that outlives the token.
    NoToken,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What superadmins may.
    pub superadmin: Grant,
    /// What admins may.
    pub admin: Grant,
    /// What djs may.
    pub dj: Grant,
    /// Whether nobody has to sign in.
    pub anonymous: bool,
    /// What it is about.
    pub about: About,
    /// What it asks of a token.
    pub token: TokenNeeds,
}

impl Rule {
    /// What a role may.
    #[must_use]
    pub fn allows(&self, role: Role) -> Grant {
        match role {
            Role::Superadmin => self.superadmin,
            Role::Admin => self.admin,
            Role::Dj => self.dj,
        }
    }
}

/// Whether a request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Granted,
    /// Somebody has to sign in first (401).
    Unauthorized,
    /// Not for this caller (403).
    Forbidden,
}

/// What a request may do, with or without a caller. See [`permits`] for the mount.
#[must_use]
pub fn access(caller: Option<&Caller>, action: Action, mount: Option<&MountName>) -> Access {
    match caller {
        _ if action.rule().anonymous => Access::Granted,
        None => Access::Unauthorized,
        Some(caller) if permits(caller, action, mount) => Access::Granted,
        Some(_) => Access::Forbidden,
    }
}

/// Whether the caller may do this, by role, ownership and what the token was made for. Without a mount the question
/// is whether it may be done anywhere at all: whoever then touches a mount, or lists one, asks again with it.
#[must_use]
pub fn permits(caller: &Caller, action: Action, mount: Option<&MountName>) -> bool {
    let rule = action.rule();
    if rule.anonymous {
        return true;
    }
    let by_role = match rule.allows(caller.account.role) {
        Grant::All => true,
        Grant::Own => mount.is_none_or(|mount| caller.account.has_access(mount)),
        Grant::No => false,
    };
    by_role && token_permits(caller, rule, mount)
}

fn token_permits(caller: &Caller, rule: Rule, mount: Option<&MountName>) -> bool {
    let Proof::Token(token) = &caller.proof else {
        return true;
    };
    let in_scope = match rule.token {
        TokenNeeds::Nothing => true,
        TokenNeeds::Scope(scope) => token.has_scope(scope),
        TokenNeeds::NoToken => false,
    };
    let in_mounts = match (&token.mounts, rule.about) {
        (None, _) => true,
        (Some(mounts), About::Mount) => mount.is_none_or(|mount| mounts.contains(mount)),
        // It may look at its owner, and go; what it could change there would lead beyond its mounts.
        (Some(_), About::Caller) => {
            matches!(rule.token, TokenNeeds::Nothing | TokenNeeds::Scope(Scope::Read))
        }
        (Some(_), About::Server) => false,
    };
    in_scope && in_mounts
}

const PUBLIC: bool = true;
const SIGNED: bool = false;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $action:ident $name:literal: $anonymous:ident $superadmin:ident $admin:ident $dj:ident, $about:ident $needs:ident;)+) => {
        /// Something that the server can be asked to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[doc = $doc])+ $action),+ }

        impl Action {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Action] = &[$(Action::$action),+];

            /// Its row.
            #[must_use]
            pub fn rule(self) -> Rule {
                match self {
                    $(Action::$action => Rule {
                        superadmin: Grant::$superadmin,
                        admin: Grant::$admin,
                        dj: Grant::$dj,
                        anonymous: $anonymous,
                        about: About::$about,
                        token: actions!(@needs $needs),
                    }),+
                }
            }

            /// In words, for documentation.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Action::$action => $name),+ }
            }
        }
    };
    (@needs Any) => { TokenNeeds::Nothing };
    (@needs NoToken) => { TokenNeeds::NoToken };
    (@needs $scope:ident) => { TokenNeeds::Scope(Scope::$scope) };
}

// Columns: who must sign in; superadmin, admin, dj; what it is about; what a token needs.
actions! {
    /// Streams, playlists, posters, HLS and WebRTC playback.
    Listen "listen": PUBLIC All All All, Mount Any;
    /// Pages, the player, assets, the logo.
    PublicPage "see public pages": PUBLIC All All All, Server Any;
    /// Status documents, the public feed, the API's documentation, the version.
    PublicRead "read public documents": PUBLIC All All All, Server Any;
    /// The songs of a mount.
    HistoryRead "read the song history": PUBLIC All All All, Mount Any;
    /// A picture for a video mount; how often is limited elsewhere.
    PosterUpload "upload a poster": PUBLIC All All All, Mount Any;
    /// By password, passkey or outside provider.
    SignIn "sign in": PUBLIC All All All, Caller Any;
    /// The end of one's session.
    SignOut "sign out": PUBLIC All All All, Caller Any;
    /// The first run; the setup token decides.
    Setup "set the server up": PUBLIC All All All, Server Any;

    /// The administration pages.
    Dashboard "open the dashboard": SIGNED Own Own Own, Mount Read;
    /// The private event feed.
    FeedRead "follow the event feed": SIGNED Own Own Own, Mount Read;
    /// Who one is.
    MeRead "read the own account": SIGNED All All All, Caller Any;
    /// A new password for oneself.
    MePassword "change the own password": SIGNED All All All, Caller NoToken;
    /// Where one is signed in.
    SessionsRead "list own sessions": SIGNED All All All, Caller Read;
    /// Signing out elsewhere or everywhere.
    SessionsEnd "end own sessions": SIGNED All All All, Caller Admin;
    /// Own tokens.
    TokensRead "list own API tokens": SIGNED All All All, Caller Read;
    /// Tokens of other accounts.
    TokensReadAll "list all API tokens": SIGNED All No No, Server Admin;
    /// A new token.
    TokenCreate "create an API token": SIGNED All All All, Caller NoToken;
    /// The end of an own token; a token may end itself.
    TokenRevoke "revoke an own API token": SIGNED All All All, Caller Any;
    /// The end of another account's token.
    TokenRevokeAny "revoke any API token": SIGNED All No No, Server Admin;
    /// Own passkeys.
    PasskeysRead "list own passkeys": SIGNED All All All, Caller Read;
    /// A new passkey.
    PasskeyRegister "register a passkey": SIGNED All All All, Caller NoToken;
    /// The end of an own passkey.
    PasskeyDelete "delete an own passkey": SIGNED All All All, Caller NoToken;
    /// An outside identity for the own account.
    IdentityLink "link an outside identity": SIGNED All All All, Caller NoToken;

    /// The mounts and what they do.
    StreamsRead "list streams": SIGNED Own Own Own, Mount Read;
    /// A mount of one's own; configuration may keep admins from it.
    MountClaim "create a mount": SIGNED All All No, Mount StreamsWrite;
    /// Its settings.
    MountUpdate "change a mount's settings": SIGNED All Own No, Mount StreamsWrite;
    /// Its password.
    MountPassword "change a mount's password": SIGNED All Own No, Mount StreamsWrite;
    /// Its end.
    MountDelete "delete a mount": SIGNED All Own No, Mount StreamsWrite;
    /// Whether it takes sources and listeners.
    MountEnable "enable or disable a mount": SIGNED All Own Own, Mount StreamsWrite;
    /// Whether it is listed.
    MountShow "show or hide a mount": SIGNED All Own Own, Mount StreamsWrite;
    /// Where its listeners go without a source.
    FallbackRead "read a mount's fallback": SIGNED Own Own Own, Mount Read;
    /// The same, changed.
    FallbackUpdate "change a mount's fallback": SIGNED All Own Own, Mount StreamsWrite;
    /// Its title.
    MetadataUpdate "set a title": SIGNED All Own Own, Mount Metadata;
    /// The end of its source.
    SourceKick "kick a source": SIGNED All Own Own, Mount StreamsWrite;
    /// Who listens.
    ListenersRead "list listeners": SIGNED Own Own Own, Mount Read;
    /// The end of some or all listeners of a mount.
    ListenersKick "kick listeners of a mount": SIGNED All Own Own, Mount StreamsWrite;
    /// Listeners to another mount.
    ListenersMove "move listeners": SIGNED All Own Own, Mount StreamsWrite;
    /// The end of all listeners of all mounts.
    ListenersKickAll "kick all listeners": SIGNED All No No, Server StreamsWrite;
    /// Publishing from the browser.
    GoLive "go live from the browser": SIGNED All Own Own, Mount StreamsWrite;
    /// As other servers of the kind offer it.
    IcecastRead "read Icecast's administration lists": SIGNED Own Own Own, Mount Read;

    /// The players.
    AutoDjRead "list AutoDJs": SIGNED Own Own Own, Mount Read;
    /// Their shell commands.
    AutoDjCommandsRead "see an AutoDJ's commands": SIGNED All No No, Server Admin;
    /// Play, pause, skip, volume and the like.
    AutoDjControl "control an AutoDJ": SIGNED All Own Own, Mount StreamsWrite;
    /// Playlist, queue and files of one.
    AutoDjPlaylistRead "read an AutoDJ's playlist": SIGNED Own Own Own, Mount Read;
    /// The same, changed.
    AutoDjPlaylistUpdate "change an AutoDJ's playlist": SIGNED All Own Own, Mount StreamsWrite;
    /// A new player.
    AutoDjCreate "create an AutoDJ": SIGNED All No No, Server Admin;
    /// Its settings.
    AutoDjUpdate "change an AutoDJ": SIGNED All No No, Server Admin;
    /// Its end.
    AutoDjDelete "delete an AutoDJ": SIGNED All No No, Server Admin;
    /// Whether it runs.
    AutoDjToggle "switch an AutoDJ on or off": SIGNED All No No, Server Admin;
    /// Folders of the machine.
    MediaBrowse "browse media folders": SIGNED All No No, Server Admin;

    /// The relays.
    RelaysRead "list relays": SIGNED All No No, Server Read;
    /// A new relay.
    RelayCreate "create a relay": SIGNED All No No, Server Admin;
    /// Its settings, on or off, again.
    RelayUpdate "change a relay": SIGNED All No No, Server Admin;
    /// Its end.
    RelayDelete "delete a relay": SIGNED All No No, Server Admin;
    /// The transcoders.
    TranscodersRead "list transcoders": SIGNED All No No, Server Read;
    /// A new transcoder.
    TranscoderCreate "create a transcoder": SIGNED All No No, Server Admin;
    /// Its settings.
    TranscoderUpdate "change a transcoder": SIGNED All No No, Server Admin;
    /// Its end.
    TranscoderDelete "delete a transcoder": SIGNED All No No, Server Admin;
    /// The webhooks, their presets and deliveries.
    WebhooksRead "list webhooks": SIGNED All No No, Server Read;
    /// A new webhook.
    WebhookCreate "create a webhook": SIGNED All No No, Server Admin;
    /// Its settings.
    WebhookUpdate "change a webhook": SIGNED All No No, Server Admin;
    /// Its end.
    WebhookDelete "delete a webhook": SIGNED All No No, Server Admin;
    /// A trial delivery.
    WebhookTest "test a webhook": SIGNED All No No, Server Admin;

    /// The accounts.
    UsersRead "list users": SIGNED All No No, Server Read;
    /// A new account.
    UserCreate "create a user": SIGNED All No No, Server Admin;
    /// Password, role, mounts, addresses, passkeys.
    UserUpdate "change a user": SIGNED All No No, Server Admin;
    /// Its end.
    UserDelete "delete a user": SIGNED All No No, Server Admin;
    /// People who ask for an account.
    PendingRead "list access requests": SIGNED All No No, Server Read;
    /// Yes.
    PendingApprove "approve an access request": SIGNED All No No, Server Admin;
    /// No.
    PendingDeny "deny an access request": SIGNED All No No, Server Admin;
    /// The outside providers with their settings.
    ProvidersRead "read sign-in providers": SIGNED All No No, Server Admin;
    /// The same, changed.
    ProvidersUpdate "change sign-in providers": SIGNED All No No, Server Admin;

    /// The banned addresses.
    BansRead "list bans": SIGNED All No No, Server Read;
    /// A new ban.
    BanAdd "ban an address": SIGNED All No No, Server Admin;
    /// Its end.
    BanRemove "unban an address": SIGNED All No No, Server Admin;
    /// The exempt addresses.
    WhitelistRead "list the whitelist": SIGNED All No No, Server Read;
    /// A new exemption.
    WhitelistAdd "whitelist an address": SIGNED All No No, Server Admin;
    /// Its end.
    WhitelistRemove "remove an address from the whitelist": SIGNED All No No, Server Admin;
    /// Who failed and who scanned.
    LockoutsRead "list lockouts": SIGNED All All No, Server Read;
    /// A lockout lifted.
    LockoutClear "clear a lockout": SIGNED All All No, Server Admin;
    /// Who did what.
    AuditRead "read the audit log": SIGNED All No No, Server Read;

    /// How the station looks.
    BrandingRead "read the branding": SIGNED All All All, Server Read;
    /// The same, changed.
    BrandingUpdate "change the branding": SIGNED All No No, Server Admin;
    /// The logo, new or gone.
    LogoUpdate "change the logo": SIGNED All No No, Server Admin;
    /// The settings of the server.
    SettingsRead "read the settings": SIGNED All No No, Server Read;
    /// The same, changed.
    SettingsUpdate "change the settings": SIGNED All No No, Server Admin;
    /// A trial mail.
    MailTest "send a test mail": SIGNED All No No, Server Admin;
    /// Bursts and coalescing for all mounts.
    LowLatencyToggle "switch low latency": SIGNED All No No, Server Admin;
    /// The configuration without its secrets.
    ConfigExport "export the configuration": SIGNED All No No, Server Admin;

    /// Totals, traffic, insights, places, agents, transcoder figures.
    StatisticsRead "read statistics": SIGNED Own Own Own, Mount Read;
    /// The metrics on the public port.
    MetricsRead "read the metrics": SIGNED All All All, Server Read;
    /// Process, sockets, disk, certificates.
    SystemRead "read the state of the system": SIGNED All No No, Server Read;
    /// Another process takes over.
    HotSwap "replace the running process": SIGNED All No No, Server Admin;
    /// The tenants and what they use.
    TenantsRead "list tenants": SIGNED All No No, Server Read;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Account, TokenRef};
    use std::collections::BTreeSet;

    fn mount(name: &str) -> MountName {
        MountName::parse(name).unwrap()
    }

    /// An account that owns `/own`, with a token that names these scopes and mounts, `-` for none.
    fn caller(role: Role, scopes: &str, mounts: &str) -> Caller {
        let words = |text: &str| match text {
            "-" => None,
            text => Some(text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()),
        };
        let account = Account {
            name: "ann".into(),
            role,
            mounts: BTreeSet::from([mount("/own")]),
        };
        let proof = match (words(scopes), words(mounts)) {
            (None, None) => Proof::Password,
            (scopes, mounts) => Proof::Token(TokenRef::new(
                "0123456789abcdef",
                scopes.map(|scopes| scopes.iter().filter_map(|scope| Scope::parse(scope)).collect()),
                mounts.map(|mounts| mounts.iter().map(|name| mount(name)).collect()),
            )),
        };
        Caller::new(account, proof)
    }

    /// The answers for superadmin, admin and dj: **a**nywhere, **o**wn mounts, `-` nowhere.
    fn row(action: Action) -> String {
        let ask = |role| {
            let caller = caller(role, "-", "-");
            let on = |mount: Option<&MountName>| permits(&caller, action, mount);
            match (on(None), on(Some(&mount("/own"))), on(Some(&mount("/other")))) {
                (true, true, true) => 'a',
                (true, true, false) => 'o',
                (false, false, false) => '-',
                other => panic!("{action:?} {role:?} {other:?}"),
            }
        };
        [Role::Superadmin, Role::Admin, Role::Dj]
            .map(ask)
            .iter()
            .collect()
    }

    #[test]
    fn roles_may_what_the_contract_says() {
        use Action::*;
        for (expected, actions) in [
            (
                "aoo",
                &[
                    Dashboard,
                    FeedRead,
                    StreamsRead,
                    StatisticsRead,
                    SourceKick,
                    ListenersKick,
                    MetadataUpdate,
                    MountEnable,
                    MountShow,
                    GoLive,
                    AutoDjRead,
                    AutoDjControl,
                    AutoDjPlaylistUpdate,
                    FallbackUpdate,
                    ListenersRead,
                    ListenersMove,
                    IcecastRead,
                ][..],
            ),
            ("ao-", &[MountUpdate, MountPassword, MountDelete]),
            ("aa-", &[MountClaim, LockoutsRead, LockoutClear]),
            (
                "aaa",
                &[
                    Listen,
                    PublicPage,
                    PublicRead,
                    HistoryRead,
                    SignIn,
                    SignOut,
                    Setup,
                    MeRead,
                    MePassword,
                    TokensRead,
                    TokenCreate,
                    TokenRevoke,
                    PasskeyRegister,
                    PasskeyDelete,
                    PasskeysRead,
                    SessionsRead,
                    SessionsEnd,
                    BrandingRead,
                    MetricsRead,
                    IdentityLink,
                    PosterUpload,
                ],
            ),
            (
                "a--",
                &[
                    TokensReadAll,
                    TokenRevokeAny,
                    UsersRead,
                    UserCreate,
                    UserUpdate,
                    UserDelete,
                    PendingRead,
                    PendingApprove,
                    PendingDeny,
                    BansRead,
                    BanAdd,
                    BanRemove,
                    WhitelistRead,
                    WhitelistAdd,
                    WhitelistRemove,
                    RelaysRead,
                    RelayCreate,
                    RelayUpdate,
                    RelayDelete,
                    TranscodersRead,
                    TranscoderCreate,
                    TranscoderUpdate,
                    TranscoderDelete,
                    WebhooksRead,
                    WebhookCreate,
                    WebhookUpdate,
                    WebhookDelete,
                    WebhookTest,
                    AutoDjCreate,
                    AutoDjUpdate,
                    AutoDjDelete,
                    AutoDjToggle,
                    AutoDjCommandsRead,
                    MediaBrowse,
                    SettingsRead,
                    SettingsUpdate,
                    BrandingUpdate,
                    LogoUpdate,
                    AuditRead,
                    HotSwap,
                    ListenersKickAll,
                    LowLatencyToggle,
                    TenantsRead,
                    MailTest,
                    ProvidersRead,
                    ProvidersUpdate,
                    ConfigExport,
                    SystemRead,
                ],
            ),
        ] {
            for action in actions {
                assert_eq!(row(*action), expected, "{action:?}");
            }
        }
    }

    #[test]
    fn every_action_has_words_of_its_own_and_no_role_more_than_a_higher_one() {
        let names: BTreeSet<_> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
        for action in Action::ALL {
            let rank = |role| match action.rule().allows(role) {
                Grant::No => 0,
                Grant::Own => 1,
                Grant::All => 2,
            };
            assert!(
                rank(Role::Superadmin) >= rank(Role::Admin) && rank(Role::Admin) >= rank(Role::Dj),
                "{action:?}"
            );
            assert!(
                !action.rule().anonymous || rank(Role::Dj) == 2,
                "{action:?}: what nobody needs an account for, every account may"
            );
        }
    }

    #[test]
    fn tokens_may_what_they_were_made_for() {
        use Action::*;
        for (role, scopes, mounts, action, on, expected) in [
            (Role::Superadmin, "read", "-", UsersRead, "", true),
            (Role::Superadmin, "read", "-", UserCreate, "", false),
            (Role::Superadmin, "admin", "-", UserCreate, "", true),
            (Role::Superadmin, "admin", "-", MetadataUpdate, "/other", true),
            (Role::Superadmin, "", "-", StreamsRead, "", false),
            (Role::Superadmin, "", "-", MeRead, "", true),
            (Role::Superadmin, "", "-", Listen, "/other", true),
            (
                Role::Superadmin,
                "streams:write",
                "-",
                MetadataUpdate,
                "/other",
                true,
            ),
            (Role::Superadmin, "streams:write", "-", StreamsRead, "", false),
            (Role::Superadmin, "metadata", "-", SourceKick, "/own", false),
            (Role::Dj, "metadata", "-", MetadataUpdate, "/own", true),
            (Role::Dj, "metadata", "-", MetadataUpdate, "/other", false),
            (Role::Dj, "admin", "-", UsersRead, "", false),
            (Role::Dj, "wrong", "-", StreamsRead, "", false),
            (Role::Superadmin, "-", "/a", StreamsRead, "", true),
            (Role::Superadmin, "-", "/a", StreamsRead, "/a", true),
            (Role::Superadmin, "-", "/a", StreamsRead, "/b", false),
            (Role::Superadmin, "-", "/a", UsersRead, "", false),
            (Role::Superadmin, "-", "/a", MeRead, "", true),
            (Role::Superadmin, "-", "/a", SessionsEnd, "", false),
            (Role::Superadmin, "-", "/a", MountClaim, "/b", false),
            (Role::Dj, "-", "/a", SourceKick, "/a", false),
            (Role::Dj, "-", "/own", SourceKick, "/own", true),
            // What makes another credential is not for tokens at all.
            (Role::Superadmin, "admin", "-", TokenCreate, "", false),
            (Role::Superadmin, "admin", "-", PasskeyRegister, "", false),
            (Role::Superadmin, "admin", "-", MePassword, "", false),
            (Role::Superadmin, "admin", "-", TokenRevoke, "", true),
        ] {
            let caller = caller(role, scopes, mounts);
            let on = (!on.is_empty()).then(|| mount(on));
            assert_eq!(
                permits(&caller, action, on.as_ref()),
                expected,
                "{role:?} {scopes:?} {mounts:?} {action:?} {on:?}"
            );
        }
    }

    #[test]
    fn nobody_is_asked_to_sign_in_first() {
        let dj = caller(Role::Dj, "-", "-");
        for (who, action, expected) in [
            (None, Action::Listen, Access::Granted),
            (None, Action::StreamsRead, Access::Unauthorized),
            (Some(&dj), Action::StreamsRead, Access::Granted),
            (Some(&dj), Action::UsersRead, Access::Forbidden),
        ] {
            assert_eq!(access(who, action, None), expected, "{action:?}");
        }
    }
}
