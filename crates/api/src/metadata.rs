//! Title updates: `/admin/metadata` and Shoutcast's `/admin.cgi`.

use auth::{Action, Credentials, Verdict};
use config::MountName;
use front::Request;
use http::{StatusCode, header};
use icecast::{
    Answer,
    metadata::{self, BadUpdate, MetadataUpdate, ShoutcastUpdate},
};
use mount::Title;

use crate::{Api, Reply, endpoint::cookie, plain};

impl Api {
    pub(crate) async fn update_metadata(&self, request: &Request, form: &[u8]) -> Reply {
        let credentials = Self::credentials(request);
        if !request.headers.contains_key(header::AUTHORIZATION) && cookie(request, "sid").is_none() {
            return plain(metadata::unauthorized());
        }
        let update = match MetadataUpdate::parse(request.query().unwrap_or_default().as_bytes(), form) {
            Ok(update) => update,
            Err(error) => return plain(Answer::from(error)),
        };
        let mount = self.meant(&update);
        let text = String::from_utf8_lossy(form);
        match self
            .signed_in(request, &text, Action::MetadataUpdate, Some(mount))
            .await
        {
            Some(Ok(_)) => {
                return plain(if self.set_title(mount, &update) {
                    metadata::done()
                } else {
                    metadata::no_such_mount()
                });
            }
            Some(Err(refusal)) if refusal.status() == StatusCode::FORBIDDEN => {
                return plain(metadata::forbidden());
            }
            Some(Err(_)) => return plain(metadata::unauthorized()),
            None => {}
        }
        match self
            .parts
            .auth
            .admin_or_source(request.client, Some(mount), credentials.as_ref())
            .await
        {
            Verdict::SourceOf(_) => {}
            Verdict::Account(account) if account.has_access(mount) => {}
            Verdict::Account(account) => {
                self.parts.auth.refuse_access(request.client, &account, mount);
                return plain(metadata::forbidden());
            }
            Verdict::Busy => return plain(Answer::too_many_logins()),
            Verdict::NoCredentials | Verdict::Wrong | Verdict::LockedOut => {
                return plain(metadata::unauthorized());
            }
        }
        plain(if self.set_title(mount, &update) {
            metadata::done()
        } else {
            metadata::no_such_mount()
        })
    }

    pub(crate) async fn shoutcast_metadata(&self, request: &Request, form: &[u8]) -> Reply {
        let config = self.parts.config.load_full();
        let mount = config.shoutcast.as_ref().map(|shoutcast| shoutcast.mount.clone());
        let default = mount.or_else(|| MountName::parse("/stream").ok());
        let Some(default) = default else {
            return plain(metadata::no_such_mount());
        };
        let query = request.query().unwrap_or_default().as_bytes();
        let update = match ShoutcastUpdate::parse(query, form, &default) {
            Ok(update) => update,
            Err(BadUpdate::NoPassword) => {
                return plain(metadata::refusal_page(
                    StatusCode::UNAUTHORIZED,
                    "Password needed",
                ));
            }
            Err(_) => return plain(metadata::refusal_page(StatusCode::BAD_REQUEST, "Bad request")),
        };
        let mount = &update.update.mount;
        let credentials = Credentials::password(update.password.clone());
        match self
            .parts
            .auth
            .admin_or_source(request.client, Some(mount), Some(&credentials))
            .await
        {
            Verdict::SourceOf(_) => {}
            Verdict::Busy => return plain(Answer::too_many_logins()),
            _ => return plain(metadata::refusal_page(StatusCode::UNAUTHORIZED, "Wrong password")),
        }
        if self.set_title(mount, &update.update) {
            plain(metadata::done_page())
        } else {
            plain(metadata::refusal_page(StatusCode::NOT_FOUND, "No such mount"))
        }
    }

    /// The mount that an update means: some encoders send `+` for itself, others for a space.
    fn meant<'a>(&self, update: &'a MetadataUpdate) -> &'a MountName {
        match &update.literal_mount {
            Some(literal) if self.parts.mounts.live(&update.mount).is_none() => literal,
            _ => &update.mount,
        }
    }

    fn set_title(&self, mount: &MountName, update: &MetadataUpdate) -> bool {
        let Some(stream) = self.parts.mounts.live(mount) else {
            return false;
        };
        let mut title = match &update.title {
            Some(new) => Title {
                text: new.song.clone(),
                artist: new.artist.clone(),
                title: new.title.clone(),
                url: None,
            },
            None => Title::clone(&stream.title()),
        };
        if update.url.is_some() {
            title.url.clone_from(&update.url);
        }
        stream.set_title(title);
        true
    }
}
