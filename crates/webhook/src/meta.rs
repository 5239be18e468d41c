//! What there is to know for somebody who writes a hook, for `GET /api/webhooks/meta`.

use serde::Serialize;

use crate::{Event, Notice, Payload, Preset, context, preset::presets, template::FUNCTIONS};

/// Everything that can stand in a hook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Meta {
    /// What hooks can be told about.
    pub events: Vec<EventMeta>,
    /// Names in templates that every event has.
    pub global_placeholders: &'static [&'static str],
    /// Ready-made hooks.
    pub presets: Vec<Preset>,
    /// Functions in templates, besides those of the language.
    pub funcs: Vec<FunctionMeta>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventMeta {
    /// As in `events` of a hook.
    pub name: &'static str,
    /// When it is sent.
    pub description: &'static str,
    /// A payload.
    pub sample: Payload,
    /// Names in templates.
    pub placeholders: Vec<String>,
}

/// One function of templates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FunctionMeta {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// In a template.
    pub example: &'static str,
}

/// Everything that can stand in a hook.
#[must_use]
pub fn meta() -> Meta {
    let events = Event::ALL.iter().map(|event| {
        let sample = Notice::sample(*event).payload();
        let mut placeholders: Vec<_> = sample.keys().map(|name| context::camel(name)).collect();
        if sample.contains_key("mount") {
            placeholders.extend(["MountURL", "PlayerURL"].map(str::to_owned));
        }
        EventMeta {
            name: event.as_str(),
            description: event.description(),
            sample,
            placeholders,
        }
    });
    let funcs = FUNCTIONS.iter().map(|(name, description, example)| FunctionMeta {
        name,
        description,
        example,
    });
    Meta {
        events: events.collect(),
        global_placeholders: context::GLOBALS,
        presets: presets(),
        funcs: funcs.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::{Limits, Template};

    #[test]
    fn shape() {
        let tree = serde_json::to_value(meta()).unwrap();
        assert_eq!(tree["events"].as_array().unwrap().len(), 15);
        assert_eq!(
            tree["events"][1],
            json!({
                "name": "source_connect", "description": "A source goes on air",
                "sample": {"mount": "/live", "ip": "203.0.113.9", "ua": "butt 1.40.0", "name": "Example Radio",
                    "protocol": "icecast"},
                "placeholders": ["Mount", "Ip", "Ua", "Name", "Protocol", "MountURL", "PlayerURL"],
            })
        );
        assert_eq!(
            tree["events"][4]["placeholders"],
            json!(["Ip", "Reason", "Until", "Details", "Duration"])
        );
        assert_eq!(
            tree["global_placeholders"],
            json!([
                "Event",
                "Timestamp",
                "UnixTimestamp",
                "Date",
                "Time",
                "Hostname",
                "BaseURL",
                "Version"
            ])
        );
        assert_eq!(tree["presets"][7]["headers"]["Tags"], "musical_note");
        assert!(tree["presets"][0].get("headers").is_none());
        assert_eq!(tree["funcs"][0]["name"], "urlencode");
    }

    #[test]
    fn examples_of_functions_render() {
        let values =
            json!({"Title": "a_b", "Mount": "/Live", "Event": "x", "Timestamp": "2026-01-01T00:15:00Z"});
        let told: Vec<_> = meta()
            .funcs
            .iter()
            .map(|function| {
                let template = Template::parse(function.example).unwrap();
                template.render_json(&values, Limits::default()).unwrap()
            })
            .collect();
        assert_eq!(
            told,
            [
                "a_b",
                "{\"text\":\"a_b\"}",
                "/live",
                "X",
                "Unknown",
                "a_b",
                "a b",
                "01.01.2026 00:15"
            ]
        );
    }
}
