//! Playlist files, which bookmark a mount.

use config::MountName;
use front::{Request, cors, route::PlaylistKind};
use http::Method;
use icecast::playlist::{self, Playlist};

use crate::{Api, Reply, not_found, plain};

impl Api {
    pub(crate) fn playlist(&self, mount: &MountName, kind: PlaylistKind, request: &Request) -> Reply {
        let mut reply = self.playlist_or_refusal(mount, kind, request);
        cors::simple(reply.headers_mut());
        reply
    }

    fn playlist_or_refusal(&self, mount: &MountName, kind: PlaylistKind, request: &Request) -> Reply {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return front::route::method_not_allowed(front::route::ALLOW_READ);
        }
        let config = self.parts.config.load();
        // A bookmark of a station that is off for the night must still work, so configured mounts have one too.
        let on_air = matches!(self.parts.mounts.tune(mount), mount::Tuned::On { .. });
        if mount.is_internal() || !on_air && !self.parts.mounts.settings().known.contains(mount) {
            return not_found();
        }
        let snapshot = self.parts.mounts.snapshot_one(mount, std::time::Instant::now());
        let station = snapshot.map(|snapshot| snapshot.station);
        let name = station.as_ref().and_then(|station| station.name.clone());
        let description = station.as_ref().and_then(|station| station.description.clone());
        let base = playlist::base(
            &config.base_url,
            request.scheme_https,
            Some(&request.host),
            &config.hostname,
        );
        let playlist = Playlist {
            base: &base,
            mount,
            name: name.as_deref().unwrap_or(&config.page_title),
            description: description.as_deref().unwrap_or_default(),
        };
        let kind = match kind {
            PlaylistKind::M3u => playlist::PlaylistKind::M3u,
            PlaylistKind::M3u8 => playlist::PlaylistKind::M3u8,
            PlaylistKind::Pls => playlist::PlaylistKind::Pls,
            PlaylistKind::Xspf => playlist::PlaylistKind::Xspf,
        };
        plain(playlist.answer(kind))
    }
}
