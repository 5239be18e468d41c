//! Ready-made hooks for well-known services.
//!
//! Contract: whatever a title holds, the body is what its content type says: every text in JSON goes through `json`,
//! every value of a form through `urlencode`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Event;

/// A hook to start from. Words in angle brackets are for the operator to replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preset {
    /// Names it.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What the address looks like.
    pub url_hint: &'static str,
    /// What it is told about.
    pub events: &'static [Event],
    /// HTTP method.
    pub method: &'static str,
    /// Of the body.
    pub content_type: &'static str,
    /// Further headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<&'static str, &'static str>,
    /// Template.
    pub body: &'static str,
}

const CLASSIC: &[Event] = &[
    Event::NowPlaying,
    Event::SourceConnect,
    Event::SourceDisconnect,
    Event::MetadataUpdate,
    Event::SecurityLockout,
];
const TRACKS: &[Event] = &[Event::NowPlaying];
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

const DISCORD: &str = r#"{"username":"TinyIce","content":{{if .MountURL}}{{json (printf "Now on %s: %s – %s\n[Listen](%s)" .Mount .Artist .Title .MountURL)}}{{else}}{{json (printf "Now on %s: %s – %s" .Mount .Artist .Title)}}{{end}}}"#;

const SLACK: &str = r#"{{$link := ""}}{{if .MountURL}}{{$link = printf " <%s|Listen>" .MountURL}}{{end}}{{$what := printf "%s: %s" .Event .Mount}}{{if eq .Event "now_playing"}}{{$what = printf "Now on %s: %s – %s" .Mount .Artist .Title}}{{else if eq .Event "source_connect"}}{{$what = printf "%s is on air" .Mount}}{{else if eq .Event "source_disconnect"}}{{$what = printf "%s is off air" .Mount}}{{$link = ""}}{{end}}{{$what = replace "&" "&amp;" $what}}{{$what = replace "<" "&lt;" $what}}{{$what = replace ">" "&gt;" $what}}{"text":{{json (printf "%s%s" $what $link)}}}"#;

const MATTERMOST: &str = r#"{"username":"TinyIce","text":{{if .MountURL}}{{json (printf "Now on %s: %s – %s ([Listen](%s))" .Mount .Artist .Title .MountURL)}}{{else}}{{json (printf "Now on %s: %s – %s" .Mount .Artist .Title)}}{{end}}}"#;

const MSTEAMS: &str = r#"{"@type":"MessageCard","@context":"https://schema.org/extensions","summary":{{json (printf "Now on %s" .Mount)}},"themeColor":"0078D4","title":{{json (printf "Now on %s" .Mount)}},"text":{{json (printf "%s – %s" .Artist .Title)}}}"#;

const MSTEAMS_WORKFLOW: &str = r#"{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"TextBlock","size":"Medium","weight":"Bolder","wrap":true,"text":{{json (printf "Now on %s" .Mount)}}},{"type":"TextBlock","wrap":true,"text":{{json (printf "%s – %s" .Artist .Title)}}}]{{if .MountURL}},"actions":[{"type":"Action.OpenUrl","title":"Listen","url":{{json .MountURL}}}]{{end}}}}]}"#;

// Without a parse mode Telegram shows the text as it is; with Markdown a lone underscore makes it refuse the message.
const TELEGRAM: &str =
    r#"{"chat_id":"<CHAT_ID>","text":{{json (printf "Now on %s: %s – %s" .Mount .Artist .Title)}}}"#;

const PUSHOVER: &str = r#"token=<APP_TOKEN>&user=<USER_KEY>&title={{urlencode (printf "Now on %s" .Mount)}}&message={{urlencode (printf "%s – %s" .Artist .Title)}}"#;

const TUNEIN: &str = "partnerId=<PARTNER_ID>&partnerKey=<PARTNER_KEY>&id=<STATION_ID>&title={{urlencode .Title}}\
     &artist={{urlencode .Artist}}";

const WEBHOOK_SITE: &str = r#"{"event":{{json .Event}},"timestamp":{{json .Timestamp}},"hostname":{{json .Hostname}},"payload":{{json .}}}"#;

/// All presets, in the order in which they are offered.
#[must_use]
pub fn presets() -> Vec<Preset> {
    let json = |id, name, description, url_hint, events, body| Preset {
        id,
        name,
        description,
        url_hint,
        events,
        method: "POST",
        content_type: JSON,
        headers: BTreeMap::new(),
        body,
    };
    vec![
        json(
            "generic_json",
            "Generic JSON",
            "The standard envelope with event, time, host and data",
            "https://example.com/webhook",
            CLASSIC,
            "",
        ),
        json(
            "discord",
            "Discord",
            "A message in a channel for each track",
            "https://discord.com/api/webhooks/<ID>/<TOKEN>",
            TRACKS,
            DISCORD,
        ),
        json(
            "slack",
            "Slack",
            "A message for each track and when sources come and go",
            "https://hooks.slack.com/services/<T>/<B>/<TOKEN>",
            &[Event::NowPlaying, Event::SourceConnect, Event::SourceDisconnect],
            SLACK,
        ),
        json(
            "mattermost",
            "Mattermost",
            "A message in a channel for each track",
            "https://mattermost.example.com/hooks/<TOKEN>",
            TRACKS,
            MATTERMOST,
        ),
        json(
            "msteams",
            "Microsoft Teams (connector)",
            "A card for each track; Microsoft is retiring connectors, use the workflow instead",
            "https://<TENANT>.webhook.office.com/webhookb2/<ID>",
            TRACKS,
            MSTEAMS,
        ),
        json(
            "msteams_workflow",
            "Microsoft Teams (workflow)",
            "An adaptive card for each track, for the workflow that posts to a channel when a webhook request comes",
            "https://<REGION>.logic.azure.com/workflows/<ID>/triggers/manual/paths/invoke",
            TRACKS,
            MSTEAMS_WORKFLOW,
        ),
        json(
            "telegram",
            "Telegram",
            "A message of a bot for each track",
            "https://api.telegram.org/bot<TOKEN>/sendMessage",
            TRACKS,
            TELEGRAM,
        ),
        Preset {
            content_type: "text/plain",
            headers: BTreeMap::from([
                ("Title", "Now on {{.Mount}}"),
                ("Tags", "musical_note"),
                ("Priority", "default"),
            ]),
            ..json(
                "ntfy",
                "ntfy",
                "A notification for each track",
                "https://ntfy.sh/<TOPIC>",
                TRACKS,
                "{{.Artist}} – {{.Title}}",
            )
        },
        Preset {
            content_type: FORM,
            ..json(
                "pushover",
                "Pushover",
                "A notification for each track",
                "https://api.pushover.net/1/messages.json",
                TRACKS,
                PUSHOVER,
            )
        },
        Preset {
            method: "GET",
            content_type: FORM,
            ..json(
                "tunein_air",
                "TuneIn AIR",
                "Tells TuneIn what is playing",
                "https://air.radiotime.com/Playing.ashx",
                TRACKS,
                TUNEIN,
            )
        },
        json(
            "webhook_site",
            "webhook.site",
            "All that is known about each event, for trying things out",
            "https://webhook.site/<ID>",
            CLASSIC,
            WEBHOOK_SITE,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use config::Webhook;
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::{Facts, Notice, context::Context, request};

    const NASTY: &str = "Say \"Hi\" \\ there\nline & <b> 'x' 🎵 – \u{2028}\t%s {{.X}} ü";

    /// Each preset with each of its events and a title that breaks what is put together without care.
    fn rendered(title: &str, base_url: &str) -> Vec<(&'static str, Event, outbound::Request)> {
        let facts = Facts {
            hostname: "radio".to_owned(),
            base_url: base_url.to_owned(),
            version: "1".to_owned(),
        };
        let mut all = Vec::new();
        for preset in presets() {
            for event in preset.events {
                let mut payload = Notice::sample(*event).payload();
                for name in ["title", "artist", "name", "song"] {
                    if let Some(value) = payload.get_mut(name) {
                        *value = title.into();
                    }
                }
                let mut hook = Webhook::new("wh_1".to_owned(), "https://hooks.example/x".to_owned());
                hook.method = preset.method.to_owned();
                hook.content_type = preset.content_type.to_owned();
                hook.body_template = preset.body.to_owned();
                hook.headers = preset
                    .headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect();
                let at = Timestamp::UNIX_EPOCH;
                let context = Context {
                    facts: &facts,
                    event: *event,
                    at,
                    payload: &payload,
                };
                let built = request::build(&hook, &context, "0", at).unwrap();
                assert_eq!(built.warnings, [""; 0], "{}", preset.id);
                all.push((preset.id, *event, built.request));
            }
        }
        all
    }

    fn find<'a>(value: &'a Value, path: &str) -> &'a str {
        value.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    #[test]
    fn all_are_offered_in_order() {
        let ids: Vec<_> = presets().iter().map(|preset| preset.id).collect();
        assert_eq!(
            ids.join(" "),
            "generic_json discord slack mattermost msteams msteams_workflow telegram ntfy pushover tunein_air webhook_site"
        );
    }

    #[test]
    fn bodies_are_what_their_type_says() {
        for base_url in ["", "https://radio.example"] {
            for (id, event, request) in rendered(NASTY, base_url) {
                let body = std::str::from_utf8(&request.body).unwrap();
                match id {
                    "ntfy" => assert_eq!(body, format!("{NASTY} – {NASTY}")),
                    "pushover" => {
                        let fields: Vec<_> = url::form_urlencoded::parse(body.as_bytes()).collect();
                        assert_eq!(fields.len(), 4);
                        assert_eq!(fields[3], ("message".into(), format!("{NASTY} – {NASTY}").into()));
                    }
                    "tunein_air" => {
                        assert_eq!(body, "");
                        let fields: Vec<_> = request.url.query_pairs().collect();
                        assert_eq!(fields.len(), 5);
                        assert_eq!(fields[3], ("title".into(), NASTY.into()));
                        assert_eq!(fields[4], ("artist".into(), NASTY.into()));
                    }
                    _ => {
                        let tree: Value =
                            serde_json::from_str(body).unwrap_or_else(|bad| panic!("{id} {bad}: {body}"));
                        assert!(tree.is_object(), "{id} {event}");
                    }
                }
            }
        }
    }

    #[test]
    fn titles_arrive_unchanged() {
        for (id, path) in [
            ("discord", "/content"),
            ("mattermost", "/text"),
            ("msteams", "/text"),
            ("msteams_workflow", "/attachments/0/content/body/1/text"),
            ("telegram", "/text"),
            ("webhook_site", "/payload/title"),
            ("generic_json", "/data/title"),
        ] {
            let (_, _, request) = rendered(NASTY, "https://radio.example")
                .into_iter()
                .find(|(found, ..)| *found == id)
                .unwrap();
            let tree: Value = serde_json::from_slice(&request.body).unwrap();
            assert!(find(&tree, path).contains(NASTY), "{id}: {tree}");
        }
    }

    #[test]
    fn slack_tells_who_comes_and_goes() {
        let texts = |title: &str, base: &str| -> Vec<String> {
            rendered(title, base)
                .iter()
                .filter(|(id, ..)| *id == "slack")
                .map(|(.., request)| {
                    let tree: Value = serde_json::from_slice(&request.body).unwrap();
                    find(&tree, "/text").to_owned()
                })
                .collect()
        };
        assert_eq!(
            texts("A & <B>", "https://radio.example"),
            [
                "Now on /live: A &amp; &lt;B&gt; – A &amp; &lt;B&gt; <https://radio.example/live|Listen>",
                "/live is on air <https://radio.example/live|Listen>",
                "/live is off air",
            ]
        );
        assert_eq!(texts("A", "")[1], "/live is on air");
    }
}
