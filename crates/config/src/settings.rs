//! The whole configuration, typed.
//!
//! Contract: a [`Config`] is complete. Every key has its value or its default; what the file held and
//! could not be used is not in it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde_json::Value;

use crate::{
    bind::Bind,
    codec::{
        Checked, Codec, DEFAULT_LISTENERS, Flag, Hash, Limit, Listeners, Maybe, Port, Seconds, SetError,
        Text, one_of, whole,
    },
    collections::{List, MapOf, Mount, Mounts, Words, split_index},
    json::Node,
    mount_name::MountName,
    problem::{Notes, Path},
    record::{Record, nested, record, split_path},
    records::{
        Acme, AdvancedMount, ApiToken, AutoDj, BanDetail, GeoIp, Ingest, LogConfig, MultiTenant,
        OidcProvider, PendingUser, Relay, Shoutcast, Smtp, Transcoder, User, WebAuthn, Webhook,
    },
    values::{
        Allowed, AllowedText, Endpoint, Endpoints, Net, StatusSource, colour, domain, origin, subtitle,
        title, web_address,
    },
};

/// The subtitle of a server that has none of its own.
pub(crate) const SUBTITLE: &str = "Live streaming server";

const DAYS: std::ops::RangeInclusive<i64> = 0..=36_500;

record! {
    /// Every key of the configuration file under its own name.
    Config requires [] {
        /// Address to listen on; empty, `0.0.0.0` and `::` are all addresses. May be a comma list, and `unix:/path`.
        "bind_host" bind_host: String = "0.0.0.0".to_owned(), Bind, always;
        /// HTTP port.
        "port" port: u16 = 8000, Port, always;
        /// Public name.
        "hostname" hostname: String = String::new(), Text, always;
        /// Public origin without a trailing slash; empty is guessed from requests.
        "base_url" base_url: String = String::new(), Checked(origin), always;
        /// Listeners that the server takes; none is no limit.
        "max_listeners" max_listeners: Option<u32> = Some(DEFAULT_LISTENERS), Listeners, always;
        /// No burst and no coalescing where a mount says nothing else.
        "low_latency_mode" low_latency_mode: bool = false, Flag, always;
        /// Peers whose forwarding headers count.
        "trusted_proxies" trusted_proxies: Vec<IpNet> = Vec::new(), Words(Net), always;
        /// Addresses that are dropped.
        "banned_ips" banned_ips: Vec<IpNet> = Vec::new(), Words(Net), always;
        /// Addresses that are never locked out nor counted.
        "whitelisted_ips" whitelisted_ips: Vec<IpNet> = Vec::new(), Words(Net), always;

        /// Shown in the status documents.
        "location" location: String = String::new(), Text, always;
        /// Contact in the status documents.
        "admin_email" admin_email: String = String::new(), Text, always;
        /// Name of the station.
        "page_title" page_title: String = "TinyIce".to_owned(), Checked(title), always;
        /// Line under the name.
        "page_subtitle" page_subtitle: String = SUBTITLE.to_owned(), Checked(subtitle), always;
        /// `#rgb` or `#rrggbb`.
        "accent_color" accent_color: String = "#ff6600".to_owned(), Checked(colour), always;
        /// File below `branding/`.
        "logo_path" logo_path: String = String::new(), Text, always;
        /// Text of the landing page.
        "landing_markdown" landing_markdown: String = String::new(), Text, always;

        /// Bcrypt hash; opens mounts without a password of their own.
        "default_source_password" default_source_password: String = String::new(), Hash, always;
        /// Bcrypt hashes of the mounts' source passwords.
        "mounts" mounts: BTreeMap<MountName, String> = BTreeMap::new(), Mounts(Hash), always;
        /// Settings per mount.
        "advanced_mounts" advanced_mounts: BTreeMap<MountName, AdvancedMount> = BTreeMap::new(),
            Mounts(nested::<AdvancedMount>()), always;
        /// Mounts that refuse sources and listeners where true.
        "disabled_mounts" disabled_mounts: BTreeMap<MountName, bool> = BTreeMap::new(), Mounts(Flag), always;
        /// Mounts listed on the public pages where true.
        "visible_mounts" visible_mounts: BTreeMap<MountName, bool> = BTreeMap::new(), Mounts(Flag), always;
        /// Where listeners go while a mount has no source.
        "fallback_mounts" fallback_mounts: BTreeMap<MountName, MountName> = BTreeMap::new(), Mounts(Mount), always;
        /// Ladders of bit rates, lowest first, under their primary mount.
        "variant_groups" variant_groups: BTreeMap<MountName, Vec<MountName>> = BTreeMap::new(),
            Mounts(List(Mount)), absent;
        /// Automatic MP3 copies of other sources, kilobits a second.
        "auto_transcode_mp3_bitrates" auto_transcode_mp3_bitrates: Vec<u32> = Vec::new(),
            Words(whole(32..=320)), absent;
        /// Mounts pulled from other servers.
        "relays" relays: Vec<Relay> = Vec::new(), List(nested::<Relay>()), always;
        /// Outputs made from other mounts.
        "transcoders" transcoders: Vec<Transcoder> = Vec::new(), List(nested::<Transcoder>()), always;
        /// Players that fill mounts from files.
        "autodjs" autodjs: Vec<AutoDj> = Vec::new(), List(nested::<AutoDj>()), always;
        /// Folders that the folder browser may list; none is the built-in list.
        "media_roots" media_roots: Option<Vec<String>> = None, Maybe(Words(Text)), absent;

        /// HTTPS on `https_port`. Implied by `auto_https`.
        "use_https" use_https: bool = false, Flag, always;
        /// Certificates from an authority.
        "auto_https" auto_https: bool = false, Flag, always;
        /// HTTPS port.
        "https_port" https_port: u16 = 443, Port, always;
        /// PEM file of the certificate chain.
        "cert_file" cert_file: String = String::new(), Text, always;
        /// PEM file of the key.
        "key_file" key_file: String = String::new(), Text, always;
        /// Names for which certificates are requested.
        "domains" domains: Vec<String> = Vec::new(), Words(Checked(domain)), always;
        /// Contact told to the authority.
        "acme_email" acme_email: String = String::new(), Text, always;
        /// Another authority; empty is the usual one.
        "acme_directory_url" acme_directory_url: String = String::new(), Checked(web_address), always;

        /// Announce public mounts.
        "directory_listing" directory_listing: bool = false, Flag, always;
        /// Where they are announced.
        "directory_server" directory_server: String = DIRECTORY.to_owned(), Checked(directory), always;
        /// RTMP and SRT.
        "ingest" ingest: Ingest = Ingest::blank(), nested::<Ingest>(), always;
        /// Kept as it is.
        "multi_tenant" multi_tenant: MultiTenant = MultiTenant::blank(), nested::<MultiTenant>(), always;
        /// Accounts by name.
        "users" users: BTreeMap<String, User> = BTreeMap::new(), MapOf(nested::<User>()), always;
        /// Tokens for the API.
        "api_tokens" api_tokens: Vec<ApiToken> = Vec::new(), List(nested::<ApiToken>()), absent;
        /// Name of the first superadmin.
        "admin_user" admin_user: String = "admin".to_owned(), Checked(admin_name), always;
        /// Its hash in old files.
        "admin_password" admin_password: String = String::new(), Hash, always;
        /// Whether the first-run setup was done.
        "setup_complete" setup_complete: bool = false, Flag, always;
        /// Whether changes are written to the audit trail.
        "audit_enabled" audit_enabled: bool = false, Flag, always;
        /// Outside providers for sign-in.
        "oidc_providers" oidc_providers: Vec<OidcProvider> = Vec::new(), List(nested::<OidcProvider>()), absent;
        /// People who ask for an account.
        "pending_users" pending_users: Vec<PendingUser> = Vec::new(), List(nested::<PendingUser>()), absent;
        /// The relying party of passkeys.
        "webauthn" webauthn: Option<WebAuthn> = None, Maybe(nested::<WebAuthn>()), absent;
        /// Outgoing mail.
        "smtp" smtp: Option<Smtp> = None, Maybe(nested::<Smtp>()), absent;
        /// Addresses told about events.
        "webhooks" webhooks: Vec<Webhook> = Vec::new(), List(nested::<Webhook>()), always;

        /// Base of everything the server writes; the working directory when not given.
        "data_dir" data_dir: PathBuf = PathBuf::from("."), Folder, absent;
        /// Where the internal port listens; empty is off.
        "metrics_listen" metrics_listen: Vec<Endpoint> = internal_port(), Endpoints, absent;
        /// Private places that relays and the directory may reach.
        "outbound_allow" outbound_allow: Vec<Allowed> = Vec::new(), Words(AllowedText), absent;
        /// The same for webhooks.
        "outbound_allow_webhooks" outbound_allow_webhooks: Vec<Allowed> = Vec::new(), Words(AllowedText), absent;
        /// Ends and comments of bans.
        "ban_details" ban_details: Vec<BanDetail> = Vec::new(), List(nested::<BanDetail>()), absent;
        /// Whether administrators who are no superadmin may take mounts that nobody owns.
        "admins_claim_mounts" admins_claim_mounts: bool = true, Flag, absent;
        /// Days; 0 is for ever.
        "audit_retention_days" audit_retention_days: u32 = 365, whole(DAYS), absent;
        /// Days; 0 is for ever.
        "history_retention_days" history_retention_days: u32 = 0, whole(DAYS), absent;
        /// Connections from one address; none is no limit.
        "max_connections_per_ip" max_connections_per_ip: Option<u32> = Some(200), Limit, absent;
        /// Whether shell commands may run; none is "if the file has one". See [`Config::commands_allowed`].
        "allow_commands" allow_commands: Option<bool> = None, Maybe(Flag), absent;
        /// Where the log goes.
        "log" log: LogConfig = LogConfig::blank(), nested::<LogConfig>(), absent;
        /// Details of the certificate authority.
        "acme" acme: Acme = Acme::blank(), nested::<Acme>(), absent;
        /// Where traces go; empty is nowhere.
        "otlp_endpoint" otlp_endpoint: String = String::new(), Checked(web_address), absent;
        /// The map of listeners.
        "geoip" geoip: GeoIp = GeoIp::blank(), nested::<GeoIp>(), absent;

        /// Bytes sent at once to a new listener where the mount says nothing.
        "default_burst_size" default_burst_size: u64 = 65_536, whole(0..=16 * 1024 * 1024), absent;
        /// How long a mount waits for its source to come back; zero is not at all.
        "source_grace_seconds" source_grace_seconds: Duration = Duration::from_secs(5), Seconds(0..=600), absent;
        /// How long a source must be back before listeners leave the fallback; zero is at once.
        "fallback_settle_seconds" fallback_settle_seconds: Duration = Duration::from_secs(30),
            Seconds(0..=3600), absent;
        /// Silence after which a source is dropped.
        "source_timeout_seconds" source_timeout_seconds: Duration = Duration::from_secs(60),
            Seconds(1..=86_400), absent;
        /// Plays mounts on the plain port in HTTPS mode too.
        "plain_listeners" plain_listeners: bool = false, Flag, absent;
        /// Shoutcast v1 sources; off when absent.
        "shoutcast" shoutcast: Option<Shoutcast> = None, Maybe(nested::<Shoutcast>()), absent;
        /// Sources at one time; none is no limit.
        "max_sources" max_sources: Option<u32> = None, Limit, absent;
        /// Listeners from one address; none is no limit.
        "max_listeners_per_ip" max_listeners_per_ip: Option<u32> = None, Limit, absent;
        /// A new source takes a live mount over instead of being refused.
        "source_takeover" source_takeover: bool = false, Flag, absent;
        /// How the status document writes `source`.
        "status_json_source" status_json_source: StatusSource = StatusSource::Array,
            one_of::<StatusSource>(), absent;
    }
}

/// The directory that lists public streams.
const DIRECTORY: &str = "http://dir.xiph.org/cgi-bin/yp-cgi";

fn directory(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Ok(DIRECTORY.to_owned())
    } else {
        web_address(text)
    }
}

fn admin_name(text: &str) -> Result<String, &'static str> {
    Ok(if text.is_empty() {
        "admin".to_owned()
    } else {
        text.to_owned()
    })
}

fn internal_port() -> Vec<Endpoint> {
    ["127.0.0.1", "::1"]
        .map(|host| Endpoint {
            host: Some(host.to_owned()),
            port: 8081,
        })
        .into()
}

/// A directory; empty is the working directory.
struct Folder;

impl Codec for Folder {
    type Out = PathBuf;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<PathBuf> {
        let text = Text.read(node, path, notes)?;
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn write(&self, value: &PathBuf) -> Value {
        Value::from(value.to_string_lossy())
    }
}

impl Default for Config {
    /// What the file `{}` means.
    fn default() -> Self {
        Self::blank()
    }
}

impl Config {
    /// Every known top-level key.
    pub const KEYS: &'static [&'static str] = <Self as Record>::KEYS;

    /// The burst of a mount in bytes: its own, its relay's, else the default.
    #[must_use]
    pub fn burst_of(&self, mount: &MountName) -> u64 {
        let own = self
            .advanced_mounts
            .get(mount)
            .map(|own| own.burst_size)
            .filter(|burst| *burst > 0);
        let relay = || {
            self.relays
                .iter()
                .find(|relay| relay.mount == *mount)
                .and_then(Relay::burst)
        };
        own.or_else(relay).unwrap_or(self.default_burst_size)
    }

    /// Silence after which the source of a mount is dropped.
    #[must_use]
    pub fn source_timeout_of(&self, mount: &MountName) -> Duration {
        let own = self
            .advanced_mounts
            .get(mount)
            .and_then(|own| own.source_timeout_seconds);
        own.unwrap_or(self.source_timeout_seconds)
    }

    /// Whether the mount refuses sources and listeners.
    #[must_use]
    pub fn is_disabled(&self, mount: &MountName) -> bool {
        self.disabled_mounts.get(mount).copied().unwrap_or(false)
    }

    /// Whether the mount is listed on public pages.
    #[must_use]
    pub fn is_visible(&self, mount: &MountName) -> bool {
        self.visible_mounts.get(mount).copied().unwrap_or(false)
    }

    /// Whether shell commands may run: as said, else when the file already has one.
    #[must_use]
    pub fn commands_allowed(&self) -> bool {
        let has_one = |dj: &AutoDj| !dj.song_command.is_empty() || !dj.on_play_command.is_empty();
        self.allow_commands
            .unwrap_or_else(|| self.autodjs.iter().any(has_one))
    }

    /// The top-level keys whose values differ, for the summary of a reload.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<&'static str> {
        self.changed_keys(newer)
    }

    /// The value of a key as it stands in a complete file. Letter case does not matter; paths are
    /// dotted (`ingest.rtmp_enabled`, `relays[0].url`).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        let tree = Value::Object(self.write_fields(true));
        lookup(&tree, alias(key)).cloned()
    }

    /// Sets a key from a word as typed in a shell. Strict: nothing is changed on an error.
    ///
    /// # Errors
    /// [`SetError`] says whether the key or the value is wrong.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), SetError> {
        self.set_path(alias(key), text).map_err(|error| match error {
            SetError::UnknownKey(_) => SetError::UnknownKey(key.to_owned()),
            SetError::BadValue { reason, .. } => SetError::BadValue {
                key: key.to_owned(),
                reason,
            },
        })
    }

    /// The configuration as a tree with every key; see [`mask`](crate::mask) before showing it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.write_fields(true))
    }

    /// Replaces plain-text passwords where hashes belong, and returns the keys that held one.
    ///
    /// A plain `admin_password` is a reset by hand: it becomes the password of the user named
    /// `admin_user` and is taken out.
    ///
    /// # Errors
    /// The first error of `hash`; keys before it are already replaced.
    pub fn hash_plain<E>(
        &mut self,
        mut hash: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Vec<String>, E> {
        let mut keys = Vec::new();
        if is_plain(&self.admin_password) {
            let hashed = hash(&self.admin_password)?;
            self.admin_password = hashed.clone();
            let name = self.admin_user.clone();
            match self.users.get_mut(&name) {
                Some(user) => user.password = hashed,
                None => {
                    let user = User::new(name.clone(), hashed, crate::values::Role::Superadmin);
                    self.users.insert(name, user);
                }
            }
            keys.push("admin_password".to_owned());
        }
        let mut replace = |slot: &mut String, key: String| {
            if is_plain(slot) {
                *slot = hash(slot)?;
                keys.push(key);
            }
            Ok(())
        };
        replace(
            &mut self.default_source_password,
            "default_source_password".to_owned(),
        )?;
        for (mount, password) in &mut self.mounts {
            replace(password, format!("mounts.{mount}"))?;
        }
        for (mount, own) in &mut self.advanced_mounts {
            replace(&mut own.password, format!("advanced_mounts.{mount}.password"))?;
        }
        for (name, user) in &mut self.users {
            replace(&mut user.password, format!("users.{name}.password"))?;
            for (mount, password) in &mut user.mounts {
                replace(password, format!("users.{name}.mounts.{mount}"))?;
            }
        }
        Ok(keys)
    }
}

fn is_plain(password: &str) -> bool {
    !password.is_empty() && !crate::secret::is_bcrypt(password)
}

/// Other names of keys that commands take.
fn alias(key: &str) -> &str {
    if key.eq_ignore_ascii_case("host") {
        "bind_host"
    } else {
        key
    }
}

/// The value at a dotted path; keys that hold dots themselves are found too.
fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let exact = map
                .iter()
                .find_map(|(key, value)| lookup(value, after(path, key, false)?));
            exact.or_else(|| {
                map.iter()
                    .find_map(|(key, value)| lookup(value, after(path, key, true)?))
            })
        }
        Value::Array(values) => {
            let (index, rest) = split_index(path)?;
            lookup(values.get(index)?, rest)
        }
        _ => None,
    }
}

/// What of a path follows a key, if the path begins with that key.
fn after<'a>(path: &'a str, key: &str, any_case: bool) -> Option<&'a str> {
    let head = path.get(..key.len())?;
    if head != key && !(any_case && head.eq_ignore_ascii_case(key)) {
        return None;
    }
    match path.as_bytes().get(key.len()) {
        None => Some(""),
        Some(b'.') => Some(&path[key.len() + 1..]),
        Some(b'[') => Some(&path[key.len()..]),
        Some(_) => None,
    }
}

/// The first word of a key path, for messages about unknown ones.
#[must_use]
pub fn suggest_key(key: &str) -> Option<&'static str> {
    crate::record::nearest(split_path(key).0, Config::KEYS.iter().copied())
}
