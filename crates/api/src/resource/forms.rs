//! The forms of the old interface, which scripts still send.
//!
//! Contract: each does what its successor below `/api/` does, by the same function, and then sends the browser back.

use auth::Action;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use store::AuditAction;

use super::{autodj, listeners, relays, streams, transcoders, users};
use crate::{
    Reply,
    endpoint::{Answer, Call, Endpoint, Form, NoQuery, Other, Refusal, group, post},
};

pub(super) type Back = Other<303>;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut forms: Vec<Endpoint> = vec![
        post("/admin/add-mount", Action::MountClaim, add_mount)
            .says("Make a mount: `mount`, `password`")
            .fails(409, "The mount is somebody's already"),
        post("/admin/remove-mount", Action::MountDelete, remove_mount)
            .says("Remove a mount: `mount`")
            .fails(404, "There is no such mount"),
        post("/admin/toggle-mount", Action::MountEnable, toggle_mount)
            .says("Enable or disable a mount: `mount`"),
        post("/admin/toggle-visible", Action::MountShow, toggle_visible)
            .says("Show or hide a mount: `mount`"),
        post("/admin/kick", Action::SourceKick, kick)
            .says("Disconnect a source: `mount`")
            .fails(404, "The mount is not live"),
        post("/admin/kick-all-listeners", Action::ListenersKickAll, kick_all)
            .says("Disconnect all listeners"),
        post("/admin/toggle-latency", Action::LowLatencyToggle, toggle_latency)
            .says("Switch low latency on or off"),
        post("/admin/update-fallback", Action::FallbackUpdate, update_fallback)
            .says("Change a fallback: `mount`, `fallback`"),
        post("/admin/add-relay", Action::RelayCreate, add_relay)
            .says("Add or replace a relay: `url`, `mount`, `password`, `burst_size`")
            .fails(409, "The mount is somebody's already"),
        post("/admin/toggle-relay", Action::RelayUpdate, toggle_relay)
            .says("Switch a relay on or off: `mount`")
            .fails(404, "There is no such relay"),
        post("/admin/restart-relay", Action::RelayUpdate, restart_relay)
            .says("Connect a relay anew: `mount`")
            .fails(404, "There is no such relay"),
        post("/admin/delete-relay", Action::RelayDelete, delete_relay)
            .says("Remove a relay: `mount`")
            .fails(404, "There is no such relay"),
    ];
    forms = forms.into_iter().map(Endpoint::deprecated).collect();
    forms.extend(transcoders::forms());
    forms.extend(autodj::forms());
    forms.extend(users::forms());
    group("Forms of the old interface", forms)
}

/// Sends the browser back.
pub(super) fn back(fragment: &'static str) -> Back {
    let mut reply: Reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    reply
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(fragment));
    Other::new(reply)
}

/// The fields, from the body or the query.
pub(super) fn fields(call: &Call, form: Form) -> Form {
    form.or(call.request.query().unwrap_or_default())
}

async fn add_mount(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = fields(&call, form);
    let (mount, password) = (form.text("mount"), form.get("password").unwrap_or_default());
    if mount.is_empty() || password.is_empty() {
        return Err(Refusal::bad("Missing fields"));
    }
    streams::claim(&call, mount, password, None).await?;
    Ok(back("/admin"))
}

async fn remove_mount(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = fields(&call, form);
    streams::drop_mount(&call, form.text("mount")).await?;
    Ok(back("/admin"))
}

async fn toggle_mount(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let mount = call.mount(fields(&call, form).text("mount"))?;
    let name = mount.clone();
    let enabled = call
        .change(move |config| {
            let enabled = config.disabled_mounts.get(&name).copied().unwrap_or(false);
            streams::set_enabled(config, &name, enabled);
            Ok(enabled)
        })
        .await?;
    streams::tell_enabled(&call, &mount, Some(enabled));
    Ok(back("/admin"))
}

async fn toggle_visible(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let mount = call.mount(fields(&call, form).text("mount"))?;
    let name = mount.clone();
    let visible = call
        .change(move |config| {
            let visible = config.visible_mounts.entry(name).or_insert(false);
            *visible = !*visible;
            Ok(*visible)
        })
        .await?;
    streams::tell_visible(&call, &mount, Some(visible));
    Ok(back("/admin"))
}

async fn kick(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let mount = call.mount(fields(&call, form).text("mount"))?;
    streams::kick_source_for_a_while(&call, &mount)?;
    Ok(back("/admin"))
}

async fn kick_all(call: Call, _: NoQuery, _: Form) -> Answer<Back> {
    listeners::kick_all(&call);
    Ok(back("/admin"))
}

async fn toggle_latency(call: Call, _: NoQuery, _: Form) -> Answer<Back> {
    let low = call
        .change(|config| {
            config.low_latency_mode = !config.low_latency_mode;
            Ok(config.low_latency_mode)
        })
        .await?;
    call.audit(
        AuditAction::LowLatencyToggled,
        "settings",
        "",
        &format!("low_latency_mode={low}"),
    );
    Ok(back("/admin"))
}

async fn update_fallback(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = fields(&call, form);
    streams::change_fallback(&call, form.text("mount"), form.text("fallback")).await?;
    Ok(back("/admin"))
}

async fn add_relay(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = fields(&call, form);
    let wanted = relays::Wanted {
        url: Some(form.text("url").to_owned()),
        mount: form.text("mount").to_owned(),
        password: form.get("password").map(str::to_owned),
        burst_size: form.get("burst_size").and_then(|text| text.parse().ok()),
        ..relays::Wanted::default()
    };
    relays::put_relay(&call, wanted).await?;
    Ok(back("/admin"))
}

async fn toggle_relay(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    relays::switch(&call, fields(&call, form).text("mount")).await?;
    Ok(back("/admin"))
}

async fn restart_relay(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    relays::restart_relay(&call, fields(&call, form).text("mount"))?;
    Ok(back("/admin"))
}

async fn delete_relay(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    relays::drop_relay(&call, fields(&call, form).text("mount")).await?;
    Ok(back("/admin"))
}
