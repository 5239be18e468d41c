//! Who may publish: which passwords open a mount, for every protocol that publishes.
//!
//! Contract: a client that is locked out causes no password work, a request without credentials is no failure, and a
//! mount for which no password is set is closed.

use std::net::IpAddr;

use config::{Config, MountName};

use crate::attempt::Attempt;
use crate::auth::Auth;
use crate::credentials::Credentials;
use crate::lockout::{FAILURES, Failure};
use crate::metrics::Attempted;
use crate::password::Busy;
use crate::trail::{SourceAccepted, SourceRefused, quote};

/// What a source speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP SOURCE or PUT.
    Icecast,
    /// RTMP publish.
    Rtmp,
    /// SRT publish.
    Srt,
    /// A WebRTC offer with a source password.
    WebRtc,
}

impl Protocol {
    /// The field `proto` of the trail; the oldest protocol has none, as its lines always were.
    fn field(self) -> Option<&'static str> {
        match self {
            Protocol::Icecast => None,
            Protocol::Rtmp => Some("rtmp"),
            Protocol::Srt => Some("srt"),
            Protocol::WebRtc => Some("webrtc"),
        }
    }
}

/// Whose password opened a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The mount's own, or the default one.
    Mount,
    /// That of an account for this mount.
    Account(String),
}

/// Whether a source may publish. Everything but `Ok` is answered with 401, `Busy` with 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceVerdict {
    /// It may.
    Ok(Opener),
    /// It sent no credentials; ask for them. Not a failure.
    NoCredentials,
    /// Its address failed too often.
    LockedOut,
    /// The password does not open the mount.
    Wrong,
    /// Too many checks are waiting.
    Busy,
}

/// The hashes of the passwords that open a mount. The first level that has one decides: the owners' own (each of
/// them, should several own the mount), the mount's, its advanced settings', the default. No hash means that nobody
/// may publish.
pub fn source_hashes(config: &Config, mount: &MountName) -> Vec<String> {
    openers(config, mount).into_iter().map(|(_, hash)| hash).collect()
}

/// The same with whose they are.
fn openers(config: &Config, mount: &MountName) -> Vec<(Opener, String)> {
    let of_users: Vec<_> = config
        .users
        .iter()
        .filter_map(|(name, user)| Some((Opener::Account(name.clone()), user.mounts.get(mount)?.clone())))
        .collect();
    if of_users.iter().any(|(_, hash)| !hash.is_empty()) {
        return of_users;
    }
    if let Some(hash) = config.mounts.get(mount) {
        return vec![(Opener::Mount, hash.clone())];
    }
    let of_mount = config
        .advanced_mounts
        .get(mount)
        .map(|settings| &settings.password);
    // A mount that was given to somebody without a password keeps its own, and is closed to the default one.
    let default = Some(&config.default_source_password).filter(|_| of_users.is_empty());
    [of_mount, default]
        .into_iter()
        .flatten()
        .find(|hash| !hash.is_empty())
        .map_or(of_users, |hash| vec![(Opener::Mount, hash.clone())])
}

impl Auth {
    /// Whether a source may publish on a mount. The caller has looked at bans before.
    pub async fn source(
        &self,
        protocol: Protocol,
        ip: IpAddr,
        mount: &MountName,
        credentials: Option<&Credentials>,
    ) -> SourceVerdict {
        let ip = ip.to_canonical();
        let user = credentials.map_or("", |credentials| credentials.user.as_str());
        let user = match (protocol, user) {
            (Protocol::WebRtc, _) => "webrtc-source",
            (_, "") => "unknown",
            (_, user) => user,
        };
        let attempt = Attempt {
            ip,
            user,
            kind: Attempted::Source,
            mount: Some(mount),
            proto: protocol.field(),
        };
        if self.refuse_locked(&attempt).is_some() {
            return SourceVerdict::LockedOut;
        }
        let Some(credentials) = credentials else {
            return SourceVerdict::NoCredentials;
        };
        let (mut openers, hashes): (Vec<_>, _) = openers(&self.config(), mount).into_iter().unzip();
        let found = match self.passwords().find(hashes, &credentials.password).await {
            Ok(found) => found,
            Err(Busy) => return SourceVerdict::Busy,
        };
        if self.refuse_locked(&attempt).is_some() {
            return SourceVerdict::LockedOut;
        }
        if let Some(place) = found {
            self.succeed(ip);
            observe::emit(SourceAccepted {
                mount: &quote(mount.as_str()),
                ip,
                proto: attempt.proto,
            });
            return SourceVerdict::Ok(openers.swap_remove(place));
        }
        let reason = match protocol {
            Protocol::WebRtc => "invalid source password",
            _ => "source password mismatch",
        };
        let failures = match self.count(&attempt, reason) {
            Some(Failure::Counted(failures)) => failures,
            Some(Failure::Locked(_)) => FAILURES,
            // An exempt client would get such a line for ever; its lines are in the trail.
            Some(Failure::Renewed(_)) | None => 0,
        };
        if failures == 1 || failures == FAILURES {
            observe::emit(SourceRefused {
                mount: mount.as_str(),
                ip,
                failures,
                proto: attempt.proto,
            });
        }
        SourceVerdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes are named by one letter, and stand for themselves.
    fn check(file: &str, mount: &str, expected: &str) {
        let hash = |letter: char| format!("$2a$04${}", letter.to_string().repeat(53));
        let file: String = file
            .split('#')
            .enumerate()
            .map(|(part, text)| match (part, text.chars().next()) {
                (0, _) | (_, None) => text.to_owned(),
                (_, Some(letter)) => format!("{}{}", hash(letter), &text[1..]),
            })
            .collect();
        let loaded = config::Loaded::parse(std::path::Path::new("t.json"), file.into_bytes()).unwrap();
        let found = source_hashes(&loaded.config, &MountName::parse(mount).unwrap());
        let letters: Vec<_> = found
            .iter()
            .map(|hash| hash.chars().last().unwrap_or('-').to_string())
            .collect();
        assert_eq!(letters.join(" "), expected, "{mount}");
    }

    #[test]
    fn the_first_level_with_a_password_decides() {
        let file = r##"{
            "default_source_password": "#z",
            "mounts": {"/m": "#b", "/given": "#b", "/own": "#b", "/both": "#b", "/closed": ""},
            "advanced_mounts": {
                "/a": {"password": "#c"}, "/m": {"password": "#c"}, "/none": {"burst_size": 1}, "/adv": {"password": "#f"}, "/own": {"password": "#c"}
            },
            "users": {
                "ann": {"password": "", "role": "dj", "mounts": {"/own": "#a", "/two": "#a", "/unset": "", "/given": "", "/adv": ""}},
                "bob": {"password": "", "role": "admin", "mounts": {"/two": "#d", "/half": ""}},
                "cid": {"password": "", "role": "admin", "mounts": {"/half": "#e"}}
            }
        }"##;
        check(file, "/own", "a");
        check(file, "/two", "a d");
        check(file, "/half", "- e");
        check(file, "/m", "b");
        check(file, "/a", "c");
        check(file, "/none", "z");
        check(file, "/other", "z");
        // Fail closed: an own entry without a password is no reason to take a more general one.
        check(file, "/closed", "-");
        check(file, "/unset", "-");
        // Given to somebody who has no password for it: those of the mount go on.
        check(file, "/given", "b");
        check(file, "/adv", "f");
    }

    #[test]
    fn a_password_has_an_owner() {
        let file = r#"{"mounts": {"/m": "x"}, "users": {
            "ann": {"password": "", "role": "dj", "mounts": {"/two": "a", "/m": ""}},
            "bob": {"password": "", "role": "dj", "mounts": {"/two": "b"}}
        }}"#;
        let loaded = config::Loaded::parse(std::path::Path::new("t.json"), file.into()).unwrap();
        let owners = |mount: &str| -> Vec<Opener> {
            let found = openers(&loaded.config, &MountName::parse(mount).unwrap());
            found.into_iter().map(|(opener, _)| opener).collect()
        };
        let account = |name: &str| Opener::Account(name.to_owned());
        assert_eq!(owners("/two"), [account("ann"), account("bob")]);
        assert_eq!(owners("/m"), [Opener::Mount]);
    }

    #[test]
    fn without_passwords_nobody_publishes() {
        check(r#"{"default_source_password": ""}"#, "/live", "");
    }
}
