//! How the station looks: its name, its colour, its text and its logo.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use auth::Action;
use bytes::Bytes;
use config::Config;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::{
    etag,
    logo::{self, LARGEST, Picture},
    settings,
};
use crate::{
    Reply,
    endpoint::{
        Answer, Call, Endpoint, Image, Json, Multipart, NoQuery, Other, Refusal, Status, delete, get, group,
        post, put, status,
    },
};

const LONGEST_TITLE: usize = 100;
const LARGEST_TEXT: usize = 64 << 10;
/// The folder below the data folder, and how `logo_path` begins.
const FOLDER: &str = "branding";
const NO_LOGO_PATH: &str = "logo_path must be empty or a file uploaded via /api/branding/logo";

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Branding",
        vec![
            get("/api/branding", Action::BrandingRead, read).says("How the station looks"),
            put("/api/branding", Action::BrandingUpdate, update).says("Change that; what is not given stays"),
            post("/api/branding/logo", Action::LogoUpdate, upload)
                .says("Upload a logo")
                .details("A PNG, JPEG, GIF or WebP picture of at most 2 MiB and 4096 by 4096 dots, in the field `logo`."),
            delete("/api/branding/logo", Action::LogoUpdate, remove)
                .says("Remove the logo")
                .fails(404, "There is none"),
            get("/branding/logo", Action::PublicPage, show)
                .says("The logo")
                .fails(404, "There is none"),
        ],
    )
}

/// How the station looks.
#[derive(Debug, Serialize, JsonSchema)]
struct Branding {
    page_title: String,
    page_subtitle: String,
    /// `#rgb` or `#rrggbb`
    accent_color: String,
    /// `branding/` and the name of a file, or empty.
    logo_path: String,
    /// Markdown.
    landing_markdown: String,
}

async fn read(call: Call, _: NoQuery, (): ()) -> Answer<Json<Branding>> {
    let config = call.config();
    Ok(Json(Branding {
        page_title: config.page_title.clone(),
        page_subtitle: config.page_subtitle.clone(),
        accent_color: config.accent_color.clone(),
        logo_path: config.logo_path.clone(),
        landing_markdown: config.landing_markdown.clone(),
    }))
}

/// What is to change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Update {
    /// At most 100 characters; empty is the program's name.
    page_title: Option<String>,
    /// At most 255 characters; empty is the usual one.
    page_subtitle: Option<String>,
    /// `#rgb` or `#rrggbb`
    accent_color: Option<String>,
    /// Empty, or a file that was uploaded.
    logo_path: Option<String>,
    /// Markdown, at most 64 KiB.
    landing_markdown: Option<String>,
}

async fn update(call: Call, _: NoQuery, Json(wanted): Json<Update>) -> Answer<Json<Status>> {
    if let Some(path) = wanted.logo_path.clone().filter(|path| !path.is_empty()) {
        let config = call.config();
        let is_known = config.logo_path == path;
        let found = on_disk(move || find(&config, &path)).await?;
        if found.is_none() && !is_known {
            return Err(Refusal::bad(NO_LOGO_PATH));
        }
    }
    let keys = [
        ("page_title", wanted.page_title.is_some()),
        ("page_subtitle", wanted.page_subtitle.is_some()),
        ("accent_color", wanted.accent_color.is_some()),
        ("logo_path", wanted.logo_path.is_some()),
        ("landing_markdown", wanted.landing_markdown.is_some()),
    ];
    let keys: Vec<&str> = keys
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    call.change(move |config| {
        let mut changed = config.clone();
        apply(&mut changed, wanted)?;
        *config = changed;
        Ok(())
    })
    .await?;
    call.audit(AuditAction::BrandingUpdated, "branding", "", &keys.join(", "));
    Ok(status("updated"))
}

/// Puts the changes into a configuration, which is of no use after an error.
fn apply(config: &mut Config, wanted: Update) -> Answer<()> {
    if let Some(title) = wanted.page_title {
        let title = settings::line("page_title", &title)?;
        if title.chars().count() > LONGEST_TITLE {
            return Err(Refusal::bad(format!(
                "page_title: at most {LONGEST_TITLE} characters"
            )));
        }
        settings::set(config, "page_title", &title)?;
    }
    if let Some(subtitle) = wanted.page_subtitle {
        settings::set(
            config,
            "page_subtitle",
            &settings::line("page_subtitle", &subtitle)?,
        )?;
    }
    if let Some(colour) = wanted.accent_color {
        settings::set(config, "accent_color", &colour)?;
    }
    if let Some(text) = wanted.landing_markdown {
        if text.len() > LARGEST_TEXT {
            return Err(Refusal::bad(format!(
                "landing_markdown: at most {} KiB",
                LARGEST_TEXT >> 10
            )));
        }
        config.landing_markdown = text;
    }
    if let Some(path) = wanted.logo_path {
        config.logo_path = path;
    }
    Ok(())
}

/// A logo that is there now.
#[derive(Debug, Serialize, JsonSchema)]
struct Uploaded {
    status: &'static str,
    /// `branding/` and the name of the file.
    path: String,
}

async fn upload(call: Call, _: NoQuery, Multipart(parts): Multipart) -> Answer<Json<Uploaded>> {
    let part = parts
        .into_iter()
        .find(|part| part.name == "logo" && part.file_name.is_some());
    let part = part
        .filter(|part| !part.bytes.is_empty())
        .ok_or_else(|| Refusal::bad("No file uploaded"))?;
    if part.bytes.len() > LARGEST {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "File too large (max 2MB)",
        ));
    }
    let picture =
        logo::check(part.file_name.as_deref().unwrap_or_default(), &part.bytes).map_err(Refusal::bad)?;
    let config = call.config();
    let name = format!("logo.{}", picture.extension());
    let path = format!("{FOLDER}/{name}");
    let folder = folder(&config);
    let stored = on_disk(move || store(&folder, &name, &part.bytes)).await?;
    stored.map_err(|error| Refusal::failed(format!("The logo cannot be stored: {error}")))?;
    point_to(&call, path.clone()).await?;
    call.audit(AuditAction::LogoUploaded, "branding", &path, "");
    Ok(Json(Uploaded { status: "ok", path }))
}

async fn remove(call: Call, _: NoQuery, (): ()) -> Answer<Json<Status>> {
    if call.config().logo_path.is_empty() {
        return Err(Refusal::missing("There is no logo"));
    }
    point_to(&call, String::new()).await?;
    call.audit(AuditAction::BrandingUpdated, "branding", "", "logo removed");
    Ok(status("deleted"))
}

/// Makes another file the logo, or none, and removes the one before.
async fn point_to(call: &Call, path: String) -> Answer<()> {
    let now = path.clone();
    let before = call
        .change(move |config| Ok(std::mem::replace(&mut config.logo_path, path)))
        .await?;
    if before != now {
        let config = call.config();
        // What is left behind is no longer shown.
        on_disk(move || find(&config, &before).map(fs::remove_file)).await?;
    }
    Ok(())
}

async fn show(call: Call, _: NoQuery, (): ()) -> Answer<Other<200, Image>> {
    let config = call.config();
    let found = on_disk(move || find(&config, &config.logo_path).and_then(|path| load(&path))).await?;
    let (picture, bytes) = found.ok_or_else(|| Refusal::missing("404 page not found"))?;
    Ok(Other::new(answer(&call, picture, bytes)))
}

fn answer(call: &Call, picture: Picture, bytes: Bytes) -> Reply {
    let tag = etag::tag(&bytes);
    let is_known = etag::is_known(&call.request, &tag);
    let mut reply = Response::new(if is_known {
        Full::default()
    } else {
        Full::new(bytes)
    });
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.media()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Whoever opens it by itself gets a picture and nothing that runs.
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::ETAG, tag);
    reply
}

fn folder(config: &Config) -> PathBuf {
    config.data_dir.join(FOLDER)
}

/// The file that a `logo_path` names, if it is a regular one inside the folder.
fn find(config: &Config, logo_path: &str) -> Option<PathBuf> {
    let name = logo_path.strip_prefix(FOLDER)?.strip_prefix(['/', '\\'])?;
    if !is_plain(name) {
        return None;
    }
    let path = folder(config).join(name);
    // Links lead elsewhere.
    let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
    is_file.then_some(path)
}

/// Whether a name can only be that of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(harmless)
}

/// A picture, if the file is one.
fn load(path: &Path) -> Option<(Picture, Bytes)> {
    use io::Read as _;
    // Older versions took somewhat more.
    let most = 8 * LARGEST as u64;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some((logo::sniff(&bytes)?, bytes.into()))
}

/// Writes the file so that whoever reads it finds the old one or the new one.
fn store(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".upload-{:016x}", fastrand::u64(..)));
    let written = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(name))
    };
    let result = written();
    if result.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Does what waits for the disk where nothing else waits.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::failed("Internal error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_checked() {
        let text = |text: &str| Some(text.to_owned());
        let none = Update::default;
        for (wanted, expected) in [
            (none(), Ok("")),
            (
                Update {
                    page_title: text(" My Radio "),
                    ..none()
                },
                Ok("page_title=\"My Radio\""),
            ),
            (
                Update {
                    page_title: text(&"x".repeat(101)),
                    ..none()
                },
                Err("page_title: at most 100 characters"),
            ),
            (
                Update {
                    page_title: text("a\u{1b}b"),
                    ..none()
                },
                Err("page_title: must be one line without control characters"),
            ),
            (
                Update {
                    accent_color: text("#0af"),
                    ..none()
                },
                Ok("accent_color=\"#0af\""),
            ),
            (
                Update {
                    accent_color: text("red;}"),
                    ..none()
                },
                Err("accent_color: write a colour such as #f60 or #ff6600"),
            ),
            (
                Update {
                    landing_markdown: text("# Hi\n"),
                    ..none()
                },
                Ok("landing_markdown=\"# Hi\\n\""),
            ),
            (
                Update {
                    landing_markdown: text(&"x".repeat(LARGEST_TEXT + 1)),
                    ..none()
                },
                Err("landing_markdown: at most 64 KiB"),
            ),
        ] {
            let mut config = Config::default();
            let seen = apply(&mut config, wanted).map(|()| {
                let keys = Config::default().changes(&config);
                keys.iter()
                    .map(|key| format!("{key}={}", config.get(key).unwrap()))
                    .collect::<String>()
            });
            assert_eq!(seen.as_deref().map_err(Refusal::text), expected);
        }
    }

    #[test]
    fn only_regular_files_in_the_folder_are_found() {
        let data =
            std::env::temp_dir().join(format!("branding-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let config = Config {
            data_dir: data.clone(),
            ..Config::default()
        };
        let inside = folder(&config);
        store(&inside, "logo.png", b"\x89PNG\r\n\x1a\n").unwrap();
        fs::create_dir(inside.join("sub")).unwrap();
        fs::write(data.join("secret.png"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(data.join("secret.png"), inside.join("link.png")).unwrap();
        for (path, expected) in [
            ("branding/logo.png", true),
            ("branding\\logo.png", true),
            ("branding/sub", false),
            ("branding/link.png", false),
            ("branding/none.png", false),
            ("branding/../secret.png", false),
            ("branding/", false),
            ("branding", false),
            ("brandinglogo.png", false),
            ("branding/.", false),
            ("secret.png", false),
            ("/etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(find(&config, path).is_some(), expected, "{path}");
        }
        assert_eq!(load(&inside.join("logo.png")).unwrap().0, Picture::Png);
        assert!(load(&data.join("secret.png")).is_none());
        let names: Vec<_> = fs::read_dir(&inside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            names
                .iter()
                .all(|name| !name.to_string_lossy().starts_with(".upload")),
            "{names:?}"
        );
        fs::remove_dir_all(&data).unwrap();
    }
}
