//! The documentation of the API for people, one page without a script and without another host.

use std::collections::BTreeMap;

use super::{Endpoint, Table, openapi};

/// One group of endpoints.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) entries: Vec<Entry>,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
    pub(crate) who: String,
    pub(crate) deprecated: bool,
    pub(crate) parameters: Vec<Field>,
    pub(crate) body: Vec<Field>,
    pub(crate) statuses: Vec<(u16, &'static str)>,
}

/// A parameter or a key.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) about: String,
}

/// The whole page's content.
pub(crate) fn chapters(table: &Table, document: &serde_json::Value) -> Vec<Chapter> {
    let mut chapters: Vec<Chapter> = Vec::new();
    for endpoint in table.iter() {
        let entry = entry(endpoint, document);
        match chapters.iter_mut().find(|chapter| chapter.title == endpoint.tag) {
            Some(chapter) => chapter.entries.push(entry),
            None => chapters.push(Chapter {
                title: endpoint.tag,
                entries: vec![entry],
            }),
        }
    }
    chapters
}

fn entry(endpoint: &Endpoint, document: &serde_json::Value) -> Entry {
    let path = endpoint.template.documented();
    let method = endpoint.method.as_str();
    let operation = &document["paths"][&path][method.to_ascii_lowercase()];
    let parameters = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| Field {
            name: parameter["name"].as_str().unwrap_or_default().to_owned(),
            kind: kind(&parameter["schema"]),
            about: parameter["description"].as_str().unwrap_or_default().to_owned(),
        });
    let content = &operation["requestBody"]["content"][endpoint.takes.0]["schema"];
    Entry {
        method: method.to_owned(),
        summary: endpoint.summary,
        details: endpoint.details,
        who: openapi::who(endpoint),
        deprecated: endpoint.deprecated,
        parameters: parameters.collect(),
        body: fields(resolve(content, document)),
        statuses: openapi::statuses(endpoint),
        path,
    }
}

fn resolve<'a>(schema: &'a serde_json::Value, document: &'a serde_json::Value) -> &'a serde_json::Value {
    let pointer = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
    pointer
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(schema)
}

fn fields(schema: &serde_json::Value) -> Vec<Field> {
    let properties: BTreeMap<_, _> = schema["properties"].as_object().into_iter().flatten().collect();
    properties
        .into_iter()
        .map(|(name, property)| Field {
            name: name.clone(),
            kind: kind(property),
            about: property["description"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

fn kind(schema: &serde_json::Value) -> String {
    match &schema["type"] {
        serde_json::Value::String(kind) => kind.clone(),
        serde_json::Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(serde_json::Value::as_str);
            kinds
                .filter(|kind| *kind != "null")
                .collect::<Vec<_>>()
                .join(" or ")
        }
        _ => "object".to_owned(),
    }
}
