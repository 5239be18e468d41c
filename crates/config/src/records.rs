//! The objects nested in the file: mounts, relays, users, transcoders and so on.
//!
//! Contract: a record in hand has every key that it cannot work without.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    codec::{Checked, Flag, Hash, Limit, Maybe, Port, Seconds, Secret, Text, one_of, whole},
    collections::{List, MapOf, Mount, Mounts, Words},
    mount_name::MountName,
    record::{Record, nested, record},
    values::{
        AcmeChallenge, AudioFormat, Endpoint, EndpointText, Format, LogFormat, LogLevel, OpusApplication,
        Role, Visibility, web_address,
    },
};

/// Largest burst that may be configured: 16 MiB.
pub const MAX_BURST: u64 = 16 * 1024 * 1024;
const BURSTS: std::ops::RangeInclusive<i64> = 0..=16 * 1024 * 1024;
const DAY: i64 = 86_400;

/// Stands in a record under construction until its mount is read; never leaves this crate.
fn no_mount() -> MountName {
    MountName::parse_internal("/-").expect("a legal name")
}

record! {
    /// Settings of one mount.
    AdvancedMount requires [] {
        /// Bcrypt hash of the source password; empty falls through to the default password.
        "password" password: String = String::new(), Hash, always;
        /// Bytes sent at once to a new listener; 0 is the default of the server.
        "burst_size" burst_size: u64 = 0, whole(BURSTS), always;
        /// Replaces the name that the source sends.
        "name_override" name_override: Option<String> = None, Maybe(Text), absent;
        /// Listeners that this mount takes; none is no limit of its own.
        "max_listeners" max_listeners: Option<u32> = None, Limit, absent;
        /// Silence after which the source is dropped, where it differs from the general one.
        "source_timeout_seconds" source_timeout_seconds: Option<Duration> = None, Maybe(Seconds(1..=DAY)), absent;
    }
}

record! {
    /// A mount pulled from another server.
    Relay requires ["url", "mount"] {
        /// Address of the upstream mount.
        "url" url: String = String::new(), Text, always;
        /// The mount here.
        "mount" mount: MountName = no_mount(), Mount, always;
        /// Plain text; sent as the password of user `source`.
        "password" password: String = String::new(), Secret, always;
        /// As written; see [`Relay::burst`].
        "burst_size" burst_size: u64 = 0, whole(BURSTS), always;
        /// Whether it runs.
        "enabled" enabled: bool = false, Flag, always;
        /// Pull only while somebody listens.
        "on_demand" on_demand: bool = false, Flag, absent;
    }
}

impl Relay {
    /// A relay that runs, with all else at its default.
    #[must_use]
    pub fn new(url: String, mount: MountName) -> Self {
        Self {
            url,
            mount,
            enabled: true,
            ..Self::blank()
        }
    }

    /// The burst in bytes. Values under 1,024 come from a form that meant something else and count as unset.
    #[must_use]
    pub fn burst(&self) -> Option<u64> {
        (self.burst_size >= 1024).then_some(self.burst_size)
    }
}

record! {
    /// One output made from another mount.
    Transcoder requires ["name", "input_mount", "output_mount"] {
        /// Unique name.
        "name" name: String = String::new(), Text, always;
        /// The mount that is decoded.
        "input_mount" input_mount: MountName = no_mount(), Mount, always;
        /// The mount that is made.
        "output_mount" output_mount: MountName = no_mount(), Mount, always;
        /// What it makes.
        "format" format: AudioFormat = AudioFormat::Mp3, Format, always;
        /// Kilobits a second.
        "bitrate" bitrate: u32 = 128, whole(6..=510), always;
        /// Whether it runs.
        "enabled" enabled: bool = false, Flag, always;
        /// Whether the output is listed.
        "visibility" visibility: Visibility = Visibility::Follow, one_of::<Visibility>(), absent;
        /// Hertz; 0 is that of the input (MP3) or 48000 (Opus).
        "sample_rate" sample_rate: u32 = 0, whole(0..=192_000), absent;
        /// 1 or 2; 0 is 2.
        "channels" channels: u8 = 0, whole(0..=2), absent;
        /// What the Opus encoder is tuned for.
        "opus_application" opus_application: OpusApplication = OpusApplication::Audio,
            one_of::<OpusApplication>(), absent;
        /// Variable bit rate; none is on.
        "opus_vbr" opus_vbr: Option<bool> = None, Maybe(Flag), absent;
        /// 0 is the encoder's default, at most 10.
        "opus_complexity" opus_complexity: u8 = 0, whole(0..=10), absent;
        /// 5, 10, 20, 40 or 60; 0 is 20.
        "opus_frame_size_ms" opus_frame_size_ms: u8 = 0, whole(0..=60), absent;
    }
}

impl Transcoder {
    /// A transcoder that runs, with all else at its default.
    #[must_use]
    pub fn new(name: String, input_mount: MountName, output_mount: MountName) -> Self {
        Self {
            name,
            input_mount,
            output_mount,
            enabled: true,
            ..Self::blank()
        }
    }
}

record! {
    /// A player that fills a mount from files.
    AutoDj requires ["name", "mount"] {
        /// Unique name.
        "name" name: String = String::new(), Text, always;
        /// The mount it plays on.
        "mount" mount: MountName = no_mount(), Mount, always;
        /// Folder of the music; may be empty for one that asks a command.
        "music_dir" music_dir: String = String::new(), Text, always;
        /// What it makes.
        "format" format: AudioFormat = AudioFormat::Mp3, Format, always;
        /// Kilobits a second.
        "bitrate" bitrate: u32 = 128, whole(6..=510), always;
        /// Plays at start.
        "enabled" enabled: bool = false, Flag, always;
        /// Begins again at the end.
        "loop" r#loop: bool = false, Flag, always;
        /// Sends titles.
        "inject_metadata" inject_metadata: bool = false, Flag, always;
        /// Listed on the public pages.
        "visible" visible: bool = false, Flag, always;
        /// Paths of files.
        "playlist" playlist: Vec<String> = Vec::new(), List(Text), always;
        /// Loaded at start; base name in `playlists/`.
        "last_playlist" last_playlist: String = String::new(), Text, always;
        /// Serves MPD clients.
        "mpd_enabled" mpd_enabled: bool = false, Flag, always;
        /// Where it serves them.
        "mpd_port" mpd_port: Option<Endpoint> = None, Maybe(EndpointText), always;
        /// Plain text.
        "mpd_password" mpd_password: String = String::new(), Secret, always;
        /// Shell command that prints the next file.
        "song_command" song_command: String = String::new(), Text, always;
        /// Seconds; 0 is 5.
        "song_command_timeout" song_command_timeout: Duration = Duration::ZERO, Seconds(0..=DAY), always;
        /// Shell command run when a track starts.
        "on_play_command" on_play_command: String = String::new(), Text, absent;
        /// Seconds; 0 is 10.
        "on_play_command_timeout" on_play_command_timeout: Duration = Duration::ZERO, Seconds(0..=DAY), absent;
    }
}

impl AutoDj {
    /// An AutoDJ that is off, with all else at its default.
    #[must_use]
    pub fn new(name: String, mount: MountName) -> Self {
        Self {
            name,
            mount,
            ..Self::blank()
        }
    }
}

record! {
    /// Publishing by RTMP and SRT.
    Ingest requires [] {
        /// Serves RTMP.
        "rtmp_enabled" rtmp_enabled: bool = false, Flag, always;
        /// Where.
        "rtmp_port" rtmp_port: Endpoint = Endpoint::port(1935), EndpointText, always;
        /// Serves SRT.
        "srt_enabled" srt_enabled: bool = false, Flag, always;
        /// Where.
        "srt_port" srt_port: Endpoint = Endpoint::port(9000), EndpointText, always;
        /// Milliseconds.
        "srt_latency" srt_latency: u32 = 120, whole(20..=8000), always;
    }
}

record! {
    /// An address told about events.
    Webhook requires ["url"] {
        /// `wh_` and 12 hex digits.
        "id" id: String = String::new(), Text, always;
        /// Shown in lists.
        "name" name: String = String::new(), Text, absent;
        /// Where the request goes.
        "url" url: String = String::new(), Text, always;
        /// HTTP method; empty is POST.
        "method" method: String = String::new(), Text, absent;
        /// Names of the events.
        "events" events: Vec<String> = Vec::new(), List(Text), always;
        /// Further request headers.
        "headers" headers: BTreeMap<String, String> = BTreeMap::new(), MapOf(Secret), absent;
        /// Template; empty is the standard envelope.
        "body_template" body_template: String = String::new(), Text, absent;
        /// Empty is `application/json`.
        "content_type" content_type: String = String::new(), Text, absent;
        /// Whether it is told.
        "enabled" enabled: bool = false, Flag, always;
        /// Signs what is sent; empty is no signature.
        "secret" secret: String = String::new(), Secret, absent;
    }
}

record! {
    /// Somebody who may log in.
    User requires [] {
        /// The same as the key of the entry.
        "username" username: String = String::new(), Text, always;
        /// Bcrypt hash; empty never matches.
        "password" password: String = String::new(), Hash, always;
        /// What the user may do. An unknown word is the least.
        "role" role: Role = Role::Dj, one_of::<Role>(), always;
        /// Mounts of the user, with the bcrypt hash of each source password.
        "mounts" mounts: BTreeMap<MountName, String> = BTreeMap::new(), Mounts(Hash), always;
        /// Credentials for login without a password.
        "passkeys" passkeys: Vec<Passkey> = Vec::new(), List(nested::<Passkey>()), absent;
        /// Addresses that sign in by an outside provider; the first gets notices.
        "linked_emails" linked_emails: Vec<String> = Vec::new(), List(Text), absent;
        /// Who the user is at outside providers; more certain than an address, which can change hands.
        "linked_identities" linked_identities: Vec<LinkedIdentity> = Vec::new(), List(nested::<LinkedIdentity>()), absent;
        /// Base64url of the random handle that passkeys know the user by; empty is the name's bytes.
        "passkey_handle" passkey_handle: String = String::new(), Text, absent;
    }
}

impl User {
    /// A user with no mounts.
    #[must_use]
    pub fn new(username: String, password: String, role: Role) -> Self {
        Self {
            username,
            password,
            role,
            ..Self::blank()
        }
    }
}

record! {
    /// A user's identity at an outside provider.
    LinkedIdentity requires ["provider", "sub"] {
        /// The provider's id in this file.
        "provider" provider: String = String::new(), Text, always;
        /// The provider's own name of the user, which never changes.
        "sub" sub: String = String::new(), Text, always;
    }
}

impl LinkedIdentity {
    /// The identity `sub` at a provider.
    #[must_use]
    pub fn new(provider: String, sub: String) -> Self {
        Self { provider, sub }
    }
}

record! {
    /// What is known of a ban beside its address.
    BanDetail requires ["ip"] {
        /// As in `banned_ips`.
        "ip" ip: String = String::new(), Text, always;
        /// RFC 3339; empty is never.
        "expires_at" expires_at: String = String::new(), Text, absent;
        /// Why.
        "comment" comment: String = String::new(), Text, absent;
    }
}

impl BanDetail {
    /// A ban for ever, without a word.
    #[must_use]
    pub fn new(ip: String) -> Self {
        Self { ip, ..Self::blank() }
    }
}

record! {
    /// A stored credential of a user.
    Passkey requires ["id"] {
        /// Base64url without padding.
        "id" id: String = String::new(), Text, always;
        /// Base64 of a JSON object.
        "raw_credential" raw_credential: String = String::new(), Secret, always;
        /// Given by the user.
        "name" name: String = String::new(), Text, always;
        /// RFC 3339.
        "created_at" created_at: String = String::new(), Text, always;
        /// RFC 3339 or empty.
        "last_used" last_used: String = String::new(), Text, always;
    }
}

impl Passkey {
    /// A credential without name or times.
    #[must_use]
    pub fn new(id: String, raw_credential: String) -> Self {
        Self {
            id,
            raw_credential,
            ..Self::blank()
        }
    }
}

record! {
    /// A token for the API.
    ApiToken requires ["id"] {
        /// First 16 characters of the hash.
        "id" id: String = String::new(), Text, always;
        /// Given by the user.
        "name" name: String = String::new(), Text, always;
        /// SHA-256 of the token in lower-case hex.
        "token_hash" token_hash: String = String::new(), Secret, always;
        /// Owner.
        "username" username: String = String::new(), Text, always;
        /// The owner's role when it was made; the current one counts.
        "role" role: String = String::new(), Text, always;
        /// RFC 3339.
        "created_at" created_at: String = String::new(), Text, always;
        /// RFC 3339 or empty.
        "last_used_at" last_used_at: String = String::new(), Text, always;
        /// Address or empty.
        "last_used_ip" last_used_ip: String = String::new(), Text, always;
        /// RFC 3339; empty is never.
        "expires_at" expires_at: String = String::new(), Text, always;
        /// First characters of the token itself, for lists; absent in old records.
        "prefix" prefix: Option<String> = None, Maybe(Text), absent;
        /// What it may do; none is everything that the owner may.
        "scopes" scopes: Option<Vec<String>> = None, Maybe(List(Text)), absent;
        /// Mounts it may touch; none is all of the owner's.
        "mounts" mounts: Option<Vec<MountName>> = None, Maybe(List(Mount)), absent;
    }
}

impl ApiToken {
    /// A token without owner or times.
    #[must_use]
    pub fn new(id: String, token_hash: String) -> Self {
        Self {
            id,
            token_hash,
            ..Self::blank()
        }
    }
}

record! {
    /// An outside provider for sign-in.
    OidcProvider requires ["id"] {
        /// Part of the address of its login page.
        "id" id: String = String::new(), Text, always;
        /// Shown on the button.
        "name" name: String = String::new(), Text, always;
        /// Given by the provider.
        "client_id" client_id: String = String::new(), Text, always;
        /// Plain text.
        "client_secret" client_secret: String = String::new(), Secret, always;
        /// The issuer.
        "discovery_url" discovery_url: String = String::new(), Text, always;
        /// `google`, `github` or `key`.
        "icon" icon: String = String::new(), Text, always;
        /// Whether it is offered.
        "enabled" enabled: bool = false, Flag, always;
        /// Whether it is asked only where `outbound_allow` lets calls go, as everything that comes by the API.
        "guarded" guarded: bool = false, Flag, absent;
    }
}

record! {
    /// Somebody who asks for an account.
    PendingUser requires ["id"] {
        /// A UUID.
        "id" id: String = String::new(), Text, always;
        /// Verified by the provider.
        "email" email: String = String::new(), Text, always;
        /// As the provider says.
        "name" name: String = String::new(), Text, always;
        /// Which provider.
        "provider" provider: String = String::new(), Text, always;
        /// RFC 3339.
        "requested_at" requested_at: String = String::new(), Text, always;
        /// RFC 3339; set when refused.
        "denied_at" denied_at: Option<String> = None, Maybe(Text), absent;
        /// The provider's own name of the person; empty in old records.
        "sub" sub: String = String::new(), Text, absent;
    }
}

impl Webhook {
    /// A webhook that is told, with all else at its default.
    #[must_use]
    pub fn new(id: String, url: String) -> Self {
        Self {
            id,
            url,
            enabled: true,
            ..Self::blank()
        }
    }
}

impl OidcProvider {
    /// A provider that is offered under its id, without address and credentials.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self {
            name: id.clone(),
            id,
            icon: "key".to_owned(),
            enabled: true,
            ..Self::blank()
        }
    }
}

impl PendingUser {
    /// A request without times.
    #[must_use]
    pub fn new(id: String, email: String) -> Self {
        Self {
            id,
            email,
            ..Self::blank()
        }
    }
}

record! {
    /// The relying party of passkeys.
    WebAuthn requires [] {
        /// Domain.
        "rp_id" rp_id: String = String::new(), Text, always;
        /// Shown by the browser.
        "rp_name" rp_name: String = String::new(), Text, always;
        /// Origins that may use it.
        "rp_origins" rp_origins: Vec<String> = Vec::new(), Words(Text), always;
    }
}

record! {
    /// Outgoing mail.
    Smtp requires [] {
        /// Whether mail is sent.
        "enabled" enabled: bool = false, Flag, always;
        /// Server.
        "host" host: String = String::new(), Text, always;
        /// Port; 0 in the file is 587.
        "port" port: u16 = 587, SmtpPort, always;
        /// Sender.
        "from" from: String = String::new(), Text, always;
        /// Empty is no login.
        "username" username: String = String::new(), Text, always;
        /// Plain text.
        "password" password: String = String::new(), Secret, always;
    }
}

/// A port that is a number in the file; 0 is 587.
struct SmtpPort;

impl crate::codec::Codec for SmtpPort {
    type Out = u16;

    fn read(
        &self,
        node: &crate::json::Node,
        path: &crate::problem::Path<'_>,
        notes: &mut crate::problem::Notes<'_>,
    ) -> Option<u16> {
        let zero = matches!(&node.kind, crate::json::Kind::Number(text) if text == "0");
        if zero { None } else { Port.read(node, path, notes) }
    }

    fn write(&self, value: &u16) -> serde_json::Value {
        serde_json::Value::from(*value)
    }
}

record! {
    /// Kept as it is; nothing uses it yet.
    MultiTenant requires [] {
        /// Kept.
        "enabled" enabled: bool = false, Flag, always;
        /// Kept.
        "default_tenant" default_tenant: String = "default".to_owned(), Text, always;
        /// Kept.
        "tenant_store" tenant_store: String = "config".to_owned(), Text, always;
    }
}

record! {
    /// Where the log goes.
    LogConfig requires [] {
        /// How much.
        "level" level: LogLevel = LogLevel::Info, one_of::<LogLevel>(), always;
        /// JSON lines, whatever the format says.
        "json" json: bool = false, Flag, always;
        /// The shape of the lines; see [`LogConfig::shape`].
        "format" format: LogFormat = LogFormat::Text, one_of::<LogFormat>(), absent;
        /// Appended to instead of standard output.
        "file" file: Option<String> = None, Maybe(Text), absent;
        /// A separate trail of logins.
        "auth_file" auth_file: Option<String> = None, Maybe(Text), absent;
    }
}

impl LogConfig {
    /// The shape of the lines, by both keys that say something about it.
    #[must_use]
    pub fn shape(&self) -> LogFormat {
        if self.json { LogFormat::Json } else { self.format }
    }
}

record! {
    /// Details of the certificate authority.
    Acme requires [] {
        /// Key id of an external account.
        "eab_kid" eab_kid: String = String::new(), Text, absent;
        /// Its key.
        "eab_hmac_key" eab_hmac_key: String = String::new(), Secret, absent;
        /// Further root certificates to trust.
        "ca_file" ca_file: String = String::new(), Text, absent;
        /// How names are checked.
        "challenge" challenge: AcmeChallenge = AcmeChallenge::Auto, one_of::<AcmeChallenge>(), absent;
    }
}

record! {
    /// The map of listeners.
    GeoIp requires [] {
        /// Whether the database is fetched and used.
        "enabled" enabled: bool = true, Flag, always;
        /// A database of your own.
        "path" path: String = String::new(), Text, absent;
        /// Where it is fetched.
        "url" url: String = String::new(), Checked(web_address), absent;
    }
}

record! {
    /// Shoutcast v1 sources on a port of their own.
    Shoutcast requires ["port"] {
        /// The source port, by habit the stream port + 1.
        "port" port: u16 = 8001, Port, always;
        /// The mount that they feed.
        "mount" mount: MountName = MountName::parse_internal("/stream").expect("a legal name"), Mount, always;
    }
}

/// A record whose every key has a default.
macro_rules! all_default {
    ($($name:ident),*) => { $( impl Default for $name { fn default() -> Self { Self::blank() } } )* };
}

all_default!(
    AdvancedMount,
    Ingest,
    WebAuthn,
    Smtp,
    MultiTenant,
    LogConfig,
    Acme,
    GeoIp,
    Shoutcast
);
