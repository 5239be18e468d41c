//! The same facts in the words of the protocol and in the words of mounts.

use auth::Opener;
use icecast::StationInfo;
use mount::Station;

/// The account on whose behalf a source publishes.
pub(crate) fn account(opener: Opener) -> Option<String> {
    match opener {
        Opener::Account(name) => Some(name),
        Opener::Mount => None,
    }
}

/// What a source said, for its mount.
pub(crate) fn of_source(info: StationInfo) -> Station {
    Station {
        name: info.name,
        description: info.description,
        genre: info.genre,
        url: info.url,
        public: info.public.unwrap_or(false),
        bitrate: info.bitrate,
        audio_info: info.raw_audio_info,
        audio_facts: info.audio_info,
    }
}
