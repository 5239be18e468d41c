//! What is playing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use media::icy;
use ring::Mark;

/// A title, in the forms in which it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Title {
    /// The whole text, as players show it: `artist - title`, or what the encoder sent.
    pub text: String,
    /// Performer, when told apart.
    pub artist: Option<String>,
    /// Title, when told apart.
    pub title: Option<String>,
    /// Link that goes with it.
    pub url: Option<String>,
}

impl Title {
    /// A title that came in one piece.
    #[must_use]
    pub fn whole(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A title from parts; the text joins those that are there.
    #[must_use]
    pub fn parts(artist: Option<String>, title: Option<String>) -> Self {
        let artist = artist.filter(|text| !text.is_empty());
        let title = title.filter(|text| !text.is_empty());
        let text = match (&artist, &title) {
            (Some(artist), Some(title)) => format!("{artist} - {title}"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => String::new(),
        };
        Self {
            text,
            artist,
            title,
            url: None,
        }
    }

    /// The in-band metadata block of this title. Revisions are unique in the process, so that a listener moved
    /// to another mount is told that mount's title.
    pub(crate) fn mark(&self) -> Arc<Mark> {
        static REVISION: AtomicU64 = AtomicU64::new(1);
        Arc::new(Mark {
            revision: REVISION.fetch_add(1, Ordering::Relaxed),
            block: icy::block(&self.text, self.url.as_deref()),
        })
    }
}
