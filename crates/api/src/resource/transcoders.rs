//! Outputs made from other mounts. This release makes none and says so.

use auth::Action;

use crate::endpoint::{
    Answer, AnyJson, Call, Endpoint, Form, NoQuery, Other, Refusal, delete, get, group, post, put,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoints = vec![
        get("/api/transcoders", Action::TranscodersRead, unavailable).says("Transcoders"),
        post("/api/transcoders", Action::TranscoderCreate, unavailable).says("Add a transcoder"),
        put("/api/transcoders", Action::TranscoderUpdate, unavailable)
            .says("Change a transcoder")
            .and_patch(),
        delete("/api/transcoders", Action::TranscoderDelete, unavailable).says("Remove a transcoder"),
        get("/admin/transcoder-stats", Action::StatisticsRead, unavailable)
            .says("Figures of transcoders")
            .refuses_in_json(),
    ];
    let endpoints = endpoints
        .into_iter()
        .map(|endpoint| endpoint.fails(503, "This release has no transcoders"));
    group("Transcoders", endpoints.collect())
}

async fn unavailable(_: Call, _: NoQuery, (): ()) -> Answer<Other<200, AnyJson>> {
    Err(Refusal::unavailable(
        "Transcoders are not available in this release",
    ))
}

/// Forms bring the token that shows that they are ours along.
async fn unavailable_form(_: Call, _: NoQuery, _: Form) -> Answer<Other<200, AnyJson>> {
    Err(Refusal::unavailable(
        "Transcoders are not available in this release",
    ))
}

/// The old forms.
pub(super) fn forms() -> Vec<Endpoint> {
    let forms = vec![
        post(
            "/admin/add-transcoder",
            Action::TranscoderCreate,
            unavailable_form,
        )
        .says("Add a transcoder"),
        post(
            "/admin/toggle-transcoder",
            Action::TranscoderUpdate,
            unavailable_form,
        )
        .says("Switch a transcoder on or off"),
        post(
            "/admin/delete-transcoder",
            Action::TranscoderDelete,
            unavailable_form,
        )
        .says("Remove a transcoder"),
    ];
    let forms = forms
        .into_iter()
        .map(|form| form.fails(503, "This release has no transcoders").deprecated());
    forms.collect()
}
