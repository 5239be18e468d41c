//! Players that fill a mount from files. This release has none: it says so to those who may know, and keeps others
//! out as it will.

use auth::Action;
use percent_encoding::percent_decode_str;

use super::streams::OneMount;
use crate::endpoint::{
    Answer, AnyJson, Call, Endpoint, Form, NoQuery, Other, Refusal, delete, get, group, post, put,
};

type Nothing = Other<200, AnyJson>;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = vec![
        get("/api/autodj", Action::AutoDjRead, unavailable).says("AutoDJs"),
        post("/api/autodj", Action::AutoDjCreate, unavailable).says("Add an AutoDJ"),
        put("/api/autodj", Action::AutoDjUpdate, unavailable)
            .says("Change an AutoDJ")
            .and_patch(),
        delete("/api/autodj", Action::AutoDjDelete, unavailable).says("Remove an AutoDJ"),
        get("/api/autodj/browse", Action::MediaBrowse, unavailable).says("Folders with music"),
        get("/api/autodj/playlist", Action::AutoDjPlaylistRead, of_mount).says("The playlist"),
        post("/api/autodj/playlist", Action::AutoDjPlaylistUpdate, of_mount).says("Add to the playlist"),
        delete("/api/autodj/playlist", Action::AutoDjPlaylistUpdate, of_mount)
            .says("Remove from the playlist"),
        post(
            "/api/autodj/playlist/clear",
            Action::AutoDjPlaylistUpdate,
            of_mount,
        )
        .says("Empty the playlist"),
        post(
            "/api/autodj/playlist/reorder",
            Action::AutoDjPlaylistUpdate,
            of_mount,
        )
        .says("Move an entry of the playlist"),
        get("/api/autodj/queue", Action::AutoDjPlaylistRead, of_mount).says("What plays next"),
        post("/api/autodj/queue", Action::AutoDjPlaylistUpdate, of_mount).says("Add to what plays next"),
        get("/api/autodj/files", Action::AutoDjPlaylistRead, of_mount).says("The music of an AutoDJ"),
        get("/api/autodj/{rest...}", Action::AutoDjPlaylistRead, of_path)
            .says("Playlist, queue and files by path"),
        post("/api/autodj/{rest...}", Action::AutoDjControl, of_path).says("Everything else by path"),
        delete("/api/autodj/{rest...}", Action::AutoDjPlaylistUpdate, of_path).says("Removals by path"),
    ];
    for path in [
        "/api/autodj/play",
        "/api/autodj/pause",
        "/api/autodj/next",
        "/api/autodj/shuffle",
        "/api/autodj/loop",
    ] {
        endpoints.push(post(path, Action::AutoDjControl, of_mount).says("Control an AutoDJ"));
    }
    let endpoints = endpoints.into_iter().map(|endpoint| {
        endpoint
            .fails(503, "This release has no AutoDJ")
            .fails(404, "There is no such operation")
    });
    group("AutoDJ", endpoints.collect())
}

fn not_here() -> Refusal {
    Refusal::unavailable("AutoDJ is not available in this release")
}

async fn unavailable(_: Call, _: NoQuery, (): ()) -> Answer<Nothing> {
    Err(not_here())
}

/// Somebody else's mount is refused before anything is looked up.
async fn of_mount(call: Call, query: OneMount, (): ()) -> Answer<Nothing> {
    call.mount(&query.mount)?;
    Err(not_here())
}

/// Operations in a path behind the mount.
const OPERATIONS: &[&str] = &[
    "playlist/add",
    "playlist/remove",
    "playlist/clear",
    "playlist/reorder",
    "playlist/playnext",
    "playlist/save",
    "playlist/load",
    "playlist",
    "queue",
    "files",
    "play",
    "pause",
    "next",
    "prev",
    "previous",
    "shuffle",
    "loop",
    "metadata",
    "volume",
];

async fn of_path(call: Call, _: NoQuery, (): ()) -> Answer<Nothing> {
    let rest = call.names.first().map(String::as_str).unwrap_or_default();
    let mount = OPERATIONS
        .iter()
        .find_map(|operation| rest.strip_suffix(operation)?.strip_suffix('/'));
    let mount = mount.ok_or_else(|| Refusal::missing("Not found"))?;
    let mount = percent_decode_str(mount)
        .decode_utf8()
        .map_err(|_| Refusal::bad("mount: not UTF-8"))?;
    call.mount(&mount)?;
    Err(not_here())
}

/// Forms bring the token that shows that they are ours along.
async fn unavailable_form(_: Call, _: NoQuery, _: Form) -> Answer<Nothing> {
    Err(not_here())
}

/// The old forms.
pub(super) fn forms() -> Vec<Endpoint> {
    let mut forms = vec![
        post("/admin/autodj/add", Action::AutoDjCreate, unavailable_form).says("Add an AutoDJ"),
        post("/admin/autodj/update", Action::AutoDjUpdate, unavailable_form).says("Change an AutoDJ"),
        post("/admin/autodj/delete", Action::AutoDjDelete, unavailable_form).says("Remove an AutoDJ"),
        post("/admin/autodj/toggle", Action::AutoDjToggle, unavailable_form)
            .says("Switch an AutoDJ on or off"),
        get(
            "/admin/player/playlist-info",
            Action::AutoDjPlaylistRead,
            of_form_query,
        )
        .says("The playlist"),
        get("/admin/player/files", Action::AutoDjPlaylistRead, of_form_query).says("The music of an AutoDJ"),
    ];
    for path in [
        "/admin/player/toggle",
        "/admin/player/next",
        "/admin/player/shuffle",
        "/admin/player/restart",
        "/admin/player/scan",
        "/admin/player/clear-playlist",
        "/admin/player/clear-queue",
        "/admin/player/save-playlist",
        "/admin/player/loop",
        "/admin/player/metadata",
        "/admin/player/load-playlist",
        "/admin/player/reorder",
        "/admin/player/queue",
        "/admin/player/playlist-action",
    ] {
        forms.push(post(path, Action::AutoDjControl, of_form).says("Control an AutoDJ"));
    }
    let forms = forms
        .into_iter()
        .map(|form| form.fails(503, "This release has no AutoDJ").deprecated());
    forms.collect()
}

async fn of_form(call: Call, _: NoQuery, form: Form) -> Answer<Nothing> {
    let form = form.or(call.request.query().unwrap_or_default());
    call.mount(form.text("mount"))?;
    Err(not_here())
}

async fn of_form_query(call: Call, _: NoQuery, (): ()) -> Answer<Nothing> {
    let form = Form::of_query(call.request.query().unwrap_or_default());
    call.mount(form.text("mount"))?;
    Err(not_here())
}
