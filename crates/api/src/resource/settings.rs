//! The settings that can be changed while the server runs.
//!
//! Contract: a change is taken as a whole or not at all, and a key that cannot be changed is refused by its name.

use std::borrow::Cow;

use auth::Action;
use config::{Config, SetError};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::AuditAction;

use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, Refusal, get, group, put};

/// Keys of the answer that ports, certificates and the first run decide, which no request may change.
const READ_ONLY: [&str; 9] = [
    "bind_host",
    "port",
    "admin_user",
    "use_https",
    "auto_https",
    "https_port",
    "acme_email",
    "domains",
    "directory_server",
];
/// Names and addresses are shown in lines.
const LONGEST: usize = 255;

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Settings",
        vec![
            get("/api/settings", Action::SettingsRead, read).says("The settings of the server"),
            put("/api/settings", Action::SettingsUpdate, update)
                .says("Change settings; what is not given stays")
                .details("A key that is unknown, cannot be changed or has another type is refused, and nothing is changed then.")
                .and_patch(),
        ],
    )
}

/// The settings.
#[derive(Debug, Serialize, JsonSchema)]
struct Settings {
    /// Address to listen on; cannot be changed here.
    bind_host: String,
    /// HTTP port; cannot be changed here.
    port: String,
    /// Public name.
    hostname: String,
    /// Public origin; empty is guessed from requests.
    base_url: String,
    /// Shown in the status documents.
    location: String,
    /// Contact in the status documents.
    admin_email: String,
    /// The first superadmin; cannot be changed here.
    admin_user: String,
    /// No burst and no coalescing.
    low_latency_mode: bool,
    /// Listeners that the server takes; 0 is no limit.
    max_listeners: u32,
    /// Cannot be changed here, nor the following about certificates.
    use_https: bool,
    auto_https: bool,
    https_port: String,
    acme_email: String,
    domains: Vec<String>,
    /// Whether public mounts are announced.
    directory_listing: bool,
    /// Where; cannot be changed here.
    directory_server: String,
    /// Whether changes are written to the audit trail.
    audit_enabled: bool,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            bind_host: config.bind_host.clone(),
            port: config.port.to_string(),
            hostname: config.hostname.clone(),
            base_url: config.base_url.clone(),
            location: config.location.clone(),
            admin_email: config.admin_email.clone(),
            admin_user: config.admin_user.clone(),
            low_latency_mode: config.low_latency_mode,
            max_listeners: config.max_listeners.unwrap_or(0),
            use_https: config.use_https,
            auto_https: config.auto_https,
            https_port: config.https_port.to_string(),
            acme_email: config.acme_email.clone(),
            domains: config.domains.clone(),
            directory_listing: config.directory_listing,
            directory_server: config.directory_server.clone(),
            audit_enabled: config.audit_enabled,
        }
    }
}

async fn read(call: Call, _: NoQuery, (): ()) -> Answer<Json<Settings>> {
    Ok(Json(Settings::from(&*call.config())))
}

/// Settings with the values that they are to have. They are looked at key by key, so that each can be named.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Changes(Map<String, Value>);

impl JsonSchema for Changes {
    fn schema_name() -> Cow<'static, str> {
        "SettingsChange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let line = |description: &str| {
            serde_json::json!({
                "type": "string", "maxLength": LONGEST, "description": description,
            })
        };
        let flag = |description: &str| serde_json::json!({ "type": "boolean", "description": description });
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "hostname": line("Public name."),
                "base_url": {
                    "type": "string",
                    "description": "Public origin, such as https://radio.example; empty is guessed from requests.",
                },
                "location": line("Shown in the status documents."),
                "admin_email": line("Contact in the status documents; empty is none."),
                "low_latency_mode": flag("No burst and no coalescing."),
                "max_listeners": {
                    "type": "integer", "minimum": -1, "maximum": u32::MAX,
                    "description": "Listeners that the server takes; 0 and -1 are no limit.",
                },
                "directory_listing": flag("Whether public mounts are announced."),
                "audit_enabled": flag("Whether changes are written to the audit trail."),
            },
        })
    }
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Updated {
    status: &'static str,
    /// The keys that are in force only after a restart; none are at present.
    restart_required: Vec<&'static str>,
}

async fn update(call: Call, _: NoQuery, Json(Changes(changes)): Json<Changes>) -> Answer<Json<Updated>> {
    let keys = changes.keys().cloned().collect::<Vec<_>>().join(", ");
    call.change(move |config| {
        let mut changed = config.clone();
        apply(&mut changed, &changes)?;
        *config = changed;
        Ok(())
    })
    .await?;
    call.audit(AuditAction::SettingsUpdated, "settings", "", &keys);
    Ok(Json(Updated {
        status: "updated",
        restart_required: Vec::new(),
    }))
}

/// Puts the changes into a configuration, which is of no use after an error.
fn apply(config: &mut Config, changes: &Map<String, Value>) -> Answer<()> {
    for (key, value) in changes {
        let wrong = |expected: &str| Refusal::bad(format!("{key}: must be {expected}"));
        let text = || value.as_str().ok_or_else(|| wrong("a text"));
        let flag = || value.as_bool().ok_or_else(|| wrong("true or false"));
        match key.as_str() {
            "hostname" => config.hostname = line(key, text()?)?,
            "location" => config.location = line(key, text()?)?,
            "admin_email" => config.admin_email = address(key, text()?)?,
            "base_url" => set(config, key, text()?)?,
            "low_latency_mode" => config.low_latency_mode = flag()?,
            "directory_listing" => config.directory_listing = flag()?,
            "audit_enabled" => config.audit_enabled = flag()?,
            "max_listeners" => {
                let wanted = whole(value).ok_or_else(|| wrong("a whole number"))?;
                config.max_listeners = match wanted {
                    // In a file 0 has always meant the default; here it is what it says.
                    -1 | 0 => None,
                    wanted => Some(u32::try_from(wanted).map_err(|_| wrong("between -1 and 4294967295"))?),
                };
            }
            key if READ_ONLY.contains(&key) => {
                return Err(Refusal::bad(format!(
                    "{key}: cannot be changed here; change the configuration file"
                )));
            }
            _ => return Err(Refusal::bad(format!("{}: unknown key", shown(key)))),
        }
    }
    Ok(())
}

/// A whole number, however it is written.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    let whole = number.as_i64();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "it has no fraction, and greater ones saturate"
    )]
    let float = || {
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0)
            .map(|float| float as i64)
    };
    whole.or_else(float)
}

/// A key of the caller's in an answer to the caller.
fn shown(key: &str) -> String {
    key.chars()
        .filter(|letter| !letter.is_control())
        .take(64)
        .collect()
}

/// A value as the configuration file takes it.
pub(super) fn set(config: &mut Config, key: &str, text: &str) -> Answer<()> {
    config.set(key, text).map_err(|error| match error {
        SetError::BadValue { key, reason } => {
            // What was written is known to who wrote it; what to write comes last.
            let hint = reason.rsplit("; ").next().unwrap_or_default();
            Refusal::bad(format!("{key}: {hint}"))
        }
        error => Refusal::bad(error.to_string()),
    })
}

/// Text that stands in one line.
pub(super) fn line(key: &str, text: &str) -> Answer<String> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err(Refusal::bad(format!(
            "{key}: must be one line without control characters"
        )));
    }
    if text.chars().count() > LONGEST {
        return Err(Refusal::bad(format!("{key}: at most {LONGEST} characters")));
    }
    Ok(text.to_owned())
}

/// A mail address; whether it can be reached only the mail can tell.
fn address(key: &str, text: &str) -> Answer<String> {
    let text = line(key, text)?;
    let is_address = text
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if text.is_empty() || is_address && !text.contains(char::is_whitespace) {
        Ok(text)
    } else {
        Err(Refusal::bad(format!("{key}: must be a mail address, or empty")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a change makes of the default configuration: the changed keys, or the refusal.
    fn changed(changes: Value) -> Result<String, String> {
        let Value::Object(changes) = changes else {
            panic!("an object")
        };
        let mut config = Config::default();
        apply(&mut config, &changes).map_err(|refusal| refusal.text().to_owned())?;
        let keys = Config::default().changes(&config);
        let values = keys
            .iter()
            .map(|key| format!("{key}={}", config.get(key).unwrap()));
        Ok(values.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_key_takes_what_it_can_use_and_names_what_it_cannot() {
        for (changes, expected) in [
            (serde_json::json!({}), Ok("")),
            (
                serde_json::json!({"hostname": " radio.example "}),
                Ok("hostname=\"radio.example\""),
            ),
            (
                serde_json::json!({"hostname": 5}),
                Err("hostname: must be a text"),
            ),
            (
                serde_json::json!({"hostname": null}),
                Err("hostname: must be a text"),
            ),
            (
                serde_json::json!({"location": "a\nb"}),
                Err("location: must be one line without control characters"),
            ),
            (
                serde_json::json!({"location": "é".repeat(256)}),
                Err("location: at most 255 characters"),
            ),
            (
                serde_json::json!({"base_url": "https://radio.example/"}),
                Ok("base_url=\"https://radio.example\""),
            ),
            (
                serde_json::json!({"admin_email": "ops@radio.example"}),
                Ok("admin_email=\"ops@radio.example\""),
            ),
            (
                serde_json::json!({"admin_email": "ops"}),
                Err("admin_email: must be a mail address, or empty"),
            ),
            (
                serde_json::json!({"admin_email": "a b@c"}),
                Err("admin_email: must be a mail address, or empty"),
            ),
            (serde_json::json!({"max_listeners": 0}), Ok("max_listeners=-1")),
            (serde_json::json!({"max_listeners": -1}), Ok("max_listeners=-1")),
            (
                serde_json::json!({"max_listeners": 500.0}),
                Ok("max_listeners=500"),
            ),
            (
                serde_json::json!({"max_listeners": 1.5}),
                Err("max_listeners: must be a whole number"),
            ),
            (
                serde_json::json!({"max_listeners": "5"}),
                Err("max_listeners: must be a whole number"),
            ),
            (
                serde_json::json!({"max_listeners": -2}),
                Err("max_listeners: must be between -1 and 4294967295"),
            ),
            (
                serde_json::json!({"max_listeners": 1e30}),
                Err("max_listeners: must be between -1 and 4294967295"),
            ),
            (
                serde_json::json!({"audit_enabled": 1}),
                Err("audit_enabled: must be true or false"),
            ),
            (
                serde_json::json!({"low_latency_mode": true, "audit_enabled": true}),
                Ok("low_latency_mode=true audit_enabled=true"),
            ),
            (
                serde_json::json!({"hostname": "x", "port": "80"}),
                Err("port: cannot be changed here; change the configuration file"),
            ),
            (serde_json::json!({"users": {}}), Err("users: unknown key")),
            (serde_json::json!({"a\nb": 1}), Err("ab: unknown key")),
        ] {
            let seen = changed(changes.clone());
            assert_eq!(seen.as_deref().map_err(String::as_str), expected, "{changes}");
        }
        for bad in ["ftp://x.example", "https://x.example/path", "x"] {
            let seen = changed(serde_json::json!({ "base_url": bad })).unwrap_err();
            assert!(
                seen.starts_with("base_url: write an http or https address"),
                "{seen}"
            );
        }
    }

    #[test]
    fn every_key_of_the_answer_is_changed_or_said_to_be_read_only() {
        let Ok(Value::Object(all)) = serde_json::to_value(Settings::from(&Config::default())) else {
            panic!("an object")
        };
        for (key, value) in all {
            let seen = changed(Value::Object([(key.clone(), value)].into_iter().collect()));
            let is_refused = seen.is_err_and(|text| text.ends_with("change the configuration file"));
            assert_eq!(is_refused, READ_ONLY.contains(&key.as_str()), "{key}");
        }
    }
}
