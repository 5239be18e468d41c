//! Who is told what happens.
//!
//! Contract: what protects a hook (its secret, headers that hold credentials, a password in its address) goes in and
//! never comes out; the placeholder that stands for it in answers may be sent back and keeps it.

use std::collections::BTreeMap;

use auth::Action;
use config::{Config, Webhook};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;
use webhook::{HookState, Problem};

use super::{
    forms::{back, fields},
    settings::line,
};
use crate::endpoint::{
    Answer, Call, Endpoint, Form, Json, NoQuery, Other, Refusal, Status, delete, get, group, patch, post,
    put, status,
};

type Back = Other<303>;

/// What stands for a secret in answers of the API.
pub(super) const MASK: &str = "********";
/// Where the forms of the old interface lead back to.
const TAB: &str = "/admin#tab-webhooks";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = vec![
        get("/api/webhooks", Action::WebhooksRead, list).says("The webhooks and how they are doing"),
        post("/api/webhooks", Action::WebhookCreate, create).says("Add a webhook"),
        put("/api/webhooks", Action::WebhookUpdate, replace)
            .says("Replace a webhook")
            .details("A key that is not given has its default then, except `secret`, which stays.")
            .fails(404, "There is no such webhook"),
        patch("/api/webhooks", Action::WebhookUpdate, merge)
            .says("Change a webhook; what is not given stays")
            .fails(404, "There is no such webhook"),
        delete("/api/webhooks", Action::WebhookDelete, remove)
            .says("Remove a webhook")
            .fails(404, "There is no such webhook"),
    ];
    let forms = [
        post("/admin/add-webhook", Action::WebhookCreate, form_add).says("Add a webhook: `url`, `events`"),
        post("/admin/delete-webhook", Action::WebhookDelete, form_delete)
            .says("Remove the webhooks of an address: `url`")
            .fails(404, "There is none"),
    ];
    endpoints.extend(super::webhook_trials::endpoints());
    endpoints.extend(forms.map(Endpoint::deprecated));
    group("Webhooks", endpoints)
}

/// A webhook.
#[derive(Debug, Serialize, JsonSchema)]
struct Hook {
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    name: String,
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    method: String,
    events: Vec<String>,
    /// Values that hold credentials are `********`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    body_template: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    content_type: String,
    enabled: bool,
    /// `********` where what is sent is signed.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    secret: String,
    /// How it is doing; only in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

/// How a webhook is doing.
#[derive(Debug, Serialize, JsonSchema)]
struct State {
    /// Whether it failed 50 times in a row over a day.
    failing: bool,
    /// Attempts since the last success.
    failures_in_a_row: u64,
    /// RFC 3339, of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Deliveries that wait.
    queued: u64,
    /// Deliveries lost unsent since the server began.
    dropped: u64,
}

impl From<HookState> for State {
    fn from(state: HookState) -> Self {
        Self {
            failing: state.failing,
            failures_in_a_row: state.failures_in_a_row,
            failing_since: state.failing_since,
            last_success: state.last_success,
            last_error: state.last_error,
            queued: state.queued as u64,
            dropped: state.dropped,
        }
    }
}

impl Hook {
    fn of(hook: &Webhook, state: Option<State>) -> Self {
        let shown = mask(hook);
        Self {
            id: shown.id,
            name: shown.name,
            url: shown.url,
            method: shown.method,
            events: shown.events,
            headers: shown.headers,
            body_template: shown.body_template,
            content_type: shown.content_type,
            enabled: shown.enabled,
            secret: shown.secret,
            state,
        }
    }
}

/// The hook without its secrets.
fn mask(hook: &Webhook) -> Webhook {
    let mut shown = webhook::mask(hook);
    let values = shown.headers.values_mut().chain([&mut shown.secret]);
    for value in values.filter(|value| *value == webhook::MASK) {
        MASK.clone_into(value);
    }
    shown
}

/// Puts the secrets of the stored hook where a client sends their placeholders back.
fn unmask(sent: &mut Webhook, stored: &Webhook) {
    let values = sent.headers.values_mut().chain([&mut sent.secret]);
    for value in values.filter(|value| *value == MASK) {
        webhook::MASK.clone_into(value);
    }
    webhook::unmask(sent, stored);
    // What hides nothing is no secret of anybody's.
    if sent.secret == webhook::MASK {
        sent.secret.clear();
    }
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Hook>>> {
    let mut states: BTreeMap<String, HookState> = call
        .parts
        .webhooks
        .states()
        .into_iter()
        .map(|state| (state.id.clone(), state))
        .collect();
    let config = call.config();
    let hooks = config
        .webhooks
        .iter()
        .map(|hook| Hook::of(hook, states.remove(&hook.id).map(State::from)));
    Ok(Json(hooks.collect()))
}

/// A webhook as it is to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wanted {
    /// Shown in lists.
    name: Option<String>,
    /// Where requests go; required for a new one.
    url: Option<String>,
    /// GET, POST (the default), PUT, PATCH, DELETE or HEAD.
    method: Option<String>,
    /// Names of events, at least one.
    events: Option<Vec<String>>,
    /// Further request headers; values may be templates.
    headers: Option<BTreeMap<String, String>>,
    /// Template; empty is the standard envelope.
    body_template: Option<String>,
    /// Of the body; `application/json` where nothing is said.
    content_type: Option<String>,
    /// True where nothing is said.
    enabled: Option<bool>,
    /// Signs what is sent; empty is no signature.
    secret: Option<String>,
}

impl Wanted {
    /// Puts what is given into a hook.
    fn apply(self, hook: &mut Webhook) -> Answer<()> {
        let put = |slot: &mut String, given: Option<String>| {
            if let Some(given) = given {
                *slot = given;
            }
        };
        put(
            &mut hook.name,
            self.name.map(|name| line("name", &name)).transpose()?,
        );
        put(&mut hook.url, self.url.map(|url| url.trim().to_owned()));
        put(
            &mut hook.method,
            self.method.map(|method| method.trim().to_ascii_uppercase()),
        );
        put(&mut hook.body_template, self.body_template);
        put(
            &mut hook.content_type,
            self.content_type.map(|media| media.trim().to_owned()),
        );
        put(&mut hook.secret, self.secret);
        if let Some(mut events) = self.events {
            let mut known = std::collections::BTreeSet::new();
            events.retain(|event| known.insert(event.clone()));
            hook.events = events;
        }
        hook.headers = self.headers.unwrap_or(std::mem::take(&mut hook.headers));
        hook.enabled = self.enabled.unwrap_or(hook.enabled);
        Ok(())
    }
}

/// A hook with everything at its default, but for what a request that replaces it keeps.
fn blank(stored: &Webhook) -> Webhook {
    let mut hook = Webhook::new(stored.id.clone(), String::new());
    hook.secret.clone_from(&stored.secret);
    hook
}

fn check(hook: &Webhook, config: &Config) -> Result<(), Problem> {
    webhook::check(hook, &outbound::Policy::of_webhooks(config))
}

pub(super) fn bad(problem: Problem) -> Refusal {
    Refusal::bad(problem.to_string())
}

/// A name that no other hook has.
fn new_id(config: &Config) -> String {
    loop {
        let id = format!("wh_{:012x}", fastrand::u64(..1 << 48));
        if !config.webhooks.iter().any(|hook| hook.id == id) {
            return id;
        }
    }
}

async fn create(call: Call, _: NoQuery, Json(wanted): Json<Wanted>) -> Answer<Json<Hook>> {
    let hook = call
        .change(move |config| {
            let mut hook = Webhook::new(new_id(config), String::new());
            wanted.apply(&mut hook)?;
            unmask(&mut hook, &Webhook::new(String::new(), String::new()));
            check(&hook, config).map_err(bad)?;
            config.webhooks.push(hook.clone());
            Ok(hook)
        })
        .await?;
    let hook = Hook::of(&hook, None);
    call.audit(AuditAction::WebhookCreated, "webhook", &hook.id, &hook.url);
    Ok(Json(hook))
}

/// Which webhook.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Which {
    /// Required.
    pub(super) id: String,
}

impl Which {
    pub(super) fn id(self) -> Answer<String> {
        match self.id.trim() {
            "" => Err(Refusal::bad("id query param is required")),
            id => Ok(id.to_owned()),
        }
    }
}

pub(super) fn missing() -> Refusal {
    Refusal::missing("Webhook not found")
}

async fn replace(call: Call, query: Which, Json(wanted): Json<Wanted>) -> Answer<Json<Hook>> {
    update(&call, query.id()?, wanted, blank).await
}

async fn merge(call: Call, query: Which, Json(wanted): Json<Wanted>) -> Answer<Json<Hook>> {
    update(&call, query.id()?, wanted, Webhook::clone).await
}

/// Changes a hook, beginning with what is made of the stored one.
async fn update(
    call: &Call,
    id: String,
    wanted: Wanted,
    begin: fn(&Webhook) -> Webhook,
) -> Answer<Json<Hook>> {
    let hook = call
        .change(move |config| {
            let place = config
                .webhooks
                .iter()
                .position(|hook| hook.id == id)
                .ok_or_else(missing)?;
            let stored = &config.webhooks[place];
            let mut hook = begin(stored);
            wanted.apply(&mut hook)?;
            unmask(&mut hook, stored);
            check(&hook, config).map_err(bad)?;
            config.webhooks[place] = hook.clone();
            Ok(hook)
        })
        .await?;
    let hook = Hook::of(&hook, None);
    call.audit(AuditAction::WebhookUpdated, "webhook", &hook.id, &hook.url);
    Ok(Json(hook))
}

async fn remove(call: Call, query: Which, (): ()) -> Answer<Json<Status>> {
    let id = query.id()?;
    let removed = call
        .change(move |config| {
            let place = config
                .webhooks
                .iter()
                .position(|hook| hook.id == id)
                .ok_or_else(missing)?;
            Ok(config.webhooks.remove(place))
        })
        .await?;
    call.audit(
        AuditAction::WebhookDeleted,
        "webhook",
        &removed.id,
        &mask(&removed).url,
    );
    Ok(status("deleted"))
}

async fn form_add(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = fields(&call, form);
    if form.text("url").is_empty() || form.all("events").next().is_none() {
        return Err(Refusal::bad("URL and at least one event required"));
    }
    let wanted = Wanted {
        url: Some(form.text("url").to_owned()),
        events: Some(form.all("events").map(str::to_owned).collect()),
        ..Wanted::default()
    };
    let hook = call
        .change(move |config| {
            let mut hook = Webhook::new(new_id(config), String::new());
            wanted.apply(&mut hook)?;
            check(&hook, config).map_err(|problem| match problem {
                Problem::Url(reason) => Refusal::bad(format!("Webhook URL rejected: {reason}")),
                problem => bad(problem),
            })?;
            config.webhooks.push(hook.clone());
            Ok(hook)
        })
        .await?;
    call.audit(AuditAction::WebhookCreated, "webhook", &hook.id, &mask(&hook).url);
    Ok(back(TAB))
}

async fn form_delete(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let url = fields(&call, form).text("url").to_owned();
    let removed = call
        .change(move |config| {
            let (removed, kept) = config.webhooks.drain(..).partition(|hook| hook.url == url);
            config.webhooks = kept;
            let removed: Vec<Webhook> = removed;
            if removed.is_empty() {
                Err(missing())
            } else {
                Ok(removed)
            }
        })
        .await?;
    for hook in removed {
        call.audit(AuditAction::WebhookDeleted, "webhook", &hook.id, &mask(&hook).url);
    }
    Ok(back(TAB))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Webhook {
        let mut hook = Webhook::new("wh_1".to_owned(), "https://user:pass@hooks.example/x".to_owned());
        hook.secret = "geheim".to_owned();
        hook.events = vec!["now_playing".to_owned()];
        hook.headers = [("Authorization", "Bearer abc"), ("Title", "{{.Title}}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        hook
    }

    #[test]
    fn secrets_stay_inside_and_survive_the_way_back() {
        let text = serde_json::to_string(&Hook::of(&stored(), None)).unwrap();
        for secret in ["geheim", "abc", "pass"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(
            text.contains(r#""secret":"********""#) && text.contains(r#""Authorization":"********""#),
            "{text}"
        );
        let wanted: Wanted = serde_json::from_str(&text).unwrap();
        let mut hook = blank(&stored());
        wanted.apply(&mut hook).unwrap();
        unmask(&mut hook, &stored());
        assert!(hook == stored(), "{hook:?}");
    }

    #[test]
    fn what_is_not_given_stays_or_is_the_default() {
        let change = |text: &str, begin: fn(&Webhook) -> Webhook| {
            let mut hook = begin(&stored());
            serde_json::from_str::<Wanted>(text)
                .unwrap()
                .apply(&mut hook)
                .unwrap();
            unmask(&mut hook, &stored());
            hook
        };
        let merged = change(r#"{"name":"n","enabled":false}"#, Webhook::clone);
        assert_eq!(
            (merged.name.as_str(), merged.enabled, merged.headers.len()),
            ("n", false, 2)
        );
        assert_eq!(merged.url, stored().url);
        let replaced = change(
            r#"{"url":"https://b.example/","events":["now_playing","now_playing"]}"#,
            blank,
        );
        assert_eq!(
            (replaced.headers.len(), replaced.enabled, replaced.secret.as_str()),
            (0, true, "geheim")
        );
        assert_eq!(replaced.events, ["now_playing"]);
        assert_eq!(change(r#"{"secret":""}"#, Webhook::clone).secret, "");
        // A placeholder of something that is not there hides nothing.
        let mut fresh = Webhook::new("wh_2".to_owned(), String::new());
        fresh.secret = MASK.to_owned();
        unmask(&mut fresh, &Webhook::new(String::new(), String::new()));
        assert_eq!(fresh.secret, "");
    }
}
