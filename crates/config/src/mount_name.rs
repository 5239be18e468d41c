//! The name of a mount: the percent-decoded path that sources publish to and listeners ask for.
//!
//! Contract: a `MountName` in hand is always legal; nothing that the server itself answers under
//! (pages, API, derived names such as playlists) can be one.

use std::{borrow::Borrow, fmt, sync::Arc};

/// A legal mount name. Begins with `/`, is at most 255 bytes long and case-sensitive. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountName(Arc<str>);

/// Why a path cannot be a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMountName {
    /// The server answers there itself, or derives the name from another mount.
    #[error("the path is reserved")]
    Reserved,
    /// The path breaks the rules for names; the text says which rule.
    #[error("{0}")]
    Illegal(&'static str),
}

/// First path segments that belong to the server.
const RESERVED_SEGMENTS: &[&str] = &[
    "login",
    "logout",
    "setup",
    "auth",
    "admin",
    "api",
    "explore",
    "developers",
    "kiosk",
    "player",
    "player-webrtc",
    "embed",
    "assets",
    "branding",
    "webrtc",
    ".well-known",
];

/// Whole paths that belong to the server.
const RESERVED_PATHS: &[&str] = &[
    "/favicon.ico",
    "/admin.cgi",
    "/events",
    "/status-json.xsl",
    "/status.xsl",
    "/7.html",
    "/stats",
    "/metrics",
    "/healthz",
    "/readyz",
];

/// Endings that name something derived from a mount, not a mount.
const DERIVED_ENDINGS: &[&str] = &["/whep", "/poster.jpg", ".m3u8", ".m3u", ".pls", ".xspf"];

impl MountName {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 255;

    /// Takes a percent-decoded path (`/live`), as a source or the API gives it.
    ///
    /// # Errors
    /// [`BadMountName`] says whether the path belongs to the server or breaks a rule.
    pub fn parse(path: &str) -> Result<Self, BadMountName> {
        let legal = Self::parse_internal(path)?;
        let first = path[1..].split('/').next().unwrap_or_default();
        let segment_ts = path.ends_with(".ts") && path.contains("/segment-");
        if RESERVED_SEGMENTS.contains(&first)
            || RESERVED_PATHS.contains(&path)
            || segment_ts
            || DERIVED_ENDINGS.iter().any(|ending| path.ends_with(ending))
            || legal.is_internal()
        {
            return Err(BadMountName::Reserved);
        }
        Ok(legal)
    }

    /// Like [`MountName::parse`] but also takes the names that the server derives from mounts (`/x/video`).
    ///
    /// # Errors
    /// [`BadMountName::Illegal`] only.
    pub fn parse_internal(path: &str) -> Result<Self, BadMountName> {
        use BadMountName::Illegal;
        if !path.starts_with('/') {
            return Err(Illegal("a mount name begins with \"/\""));
        }
        if path.len() == 1 {
            return Err(BadMountName::Reserved);
        }
        if path.len() > Self::MAX_LEN {
            return Err(Illegal("a mount name has at most 255 bytes"));
        }
        if path.ends_with('/') {
            return Err(Illegal("a mount name does not end in \"/\""));
        }
        if path.chars().any(|c| c.is_control() || c == '\\') {
            return Err(Illegal("a mount name has no control characters and no backslash"));
        }
        if path[1..]
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(Illegal("a mount name has no empty, \".\" or \"..\" segment"));
        }
        Ok(Self(path.into()))
    }

    /// The name with its leading `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server made this mount for its own use (`/x/video`, `/x/_pcm`): never listed.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        // `/video` has no parent that it could belong to: somebody's mount may well be called that.
        self.0.ends_with("/_pcm") || self.0.len() > "/video".len() && self.0.ends_with("/video")
    }
}

impl fmt::Display for MountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for MountName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for MountName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_are_kept_as_they_are() {
        for name in [
            "/live",
            "/playerfm",
            "/eventsradio",
            "/adminradio",
            "/a/b",
            "/Ünï.ogg",
            "/stream.mp3",
        ] {
            assert_eq!(
                MountName::parse(name).map(|n| n.to_string()),
                Ok(name.to_owned()),
                "{name}"
            );
        }
    }

    #[test]
    fn the_server_keeps_its_own_paths() {
        for name in [
            "/",
            "/admin",
            "/admin/x",
            "/player/x",
            "/api",
            "/events",
            "/x.m3u",
            "/x.pls",
            "/x/video",
            "/x/_pcm",
            "/x/whep",
            "/x/poster.jpg",
            "/x/playlist.m3u8",
            "/x/master.m3u8",
            "/x/segment-1.ts",
            "/.well-known/x",
        ] {
            assert_eq!(MountName::parse(name), Err(BadMountName::Reserved), "{name}");
        }
    }

    #[test]
    fn illegal_names_say_why() {
        let long = format!("/{}", "a".repeat(255));
        for name in [
            "", "live", "/a//b", "/a/../b", "/./a", "/a/", "/a\\b", "/a\u{7}b", &long,
        ] {
            assert!(
                matches!(MountName::parse(name), Err(BadMountName::Illegal(_))),
                "{name}"
            );
        }
    }
}
