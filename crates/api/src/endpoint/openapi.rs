//! The description of the API for tools (OpenAPI 3.1), made of the table that routes requests.
//!
//! Contract: whatever an endpoint can answer is in it; a test holds real answers against it.

use std::{collections::BTreeMap, fmt::Write as _};

use auth::Grant;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Endpoint, Table};

/// The document.
pub(crate) fn document(table: &Table) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut tags: Vec<&str> = Vec::new();
    for endpoint in table.iter() {
        let path = endpoint.template.documented();
        if !order.contains(&path) {
            order.push(path.clone());
        }
        if !tags.contains(&endpoint.tag) {
            tags.push(endpoint.tag);
        }
        let method = endpoint.method.as_str().to_ascii_lowercase();
        paths
            .entry(path)
            .or_default()
            .insert(method, operation(endpoint, &mut generator));
    }
    let paths: Map<String, Value> = order
        .into_iter()
        .map(|path| {
            let operations = paths.remove(&path).unwrap_or_default();
            (path, Value::Object(operations))
        })
        .collect();
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "TinyIce",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "The HTTP interface of a TinyIce server. Every refusal below /api/ has the shape {\"error\": \"text\"}.",
        },
        "servers": [{ "url": "/", "description": "This server" }],
        "tags": tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "A token made with POST /api/tokens." },
                "session": { "type": "apiKey", "in": "cookie", "name": "sid", "description": "Made by signing in." },
                "basic": { "type": "http", "scheme": "basic", "description": "Name and password of an account." },
            },
        },
    })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": { "type": "string", "description": "What is wrong, for people." },
            "retry_after": { "type": "integer", "description": "Seconds to wait." },
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let rule = endpoint.action.rule();
    let mut operation = Map::new();
    operation.insert("tags".into(), json!([endpoint.tag]));
    operation.insert("summary".into(), json!(endpoint.summary));
    operation.insert("operationId".into(), json!(identify(endpoint)));
    operation.insert("description".into(), json!(describe(endpoint)));
    if endpoint.deprecated {
        operation.insert("deprecated".into(), json!(true));
    }
    let parameters = parameters(endpoint, generator);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), Value::Array(parameters));
    }
    let (media, _, schema) = endpoint.takes;
    if let Some(schema) = schema(generator) {
        operation.insert(
            "requestBody".into(),
            json!({ "required": media == "application/json", "content": { media: { "schema": schema } } }),
        );
    }
    operation.insert("responses".into(), responses(endpoint, generator));
    let security = if rule.anonymous {
        json!([])
    } else {
        json!([{ "bearer": [] }, { "session": [] }, { "basic": [] }])
    };
    operation.insert("security".into(), security);
    Value::Object(operation)
}

/// A name that is unique because method and path are.
fn identify(endpoint: &Endpoint) -> String {
    let mut name = endpoint.method.as_str().to_ascii_lowercase();
    for part in endpoint
        .template
        .0
        .split(['/', '-', '.', '{', '}', '_'])
        .filter(|part| !part.is_empty())
    {
        let mut letters = part.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// What people want to know: what it does, and who may.
pub(super) fn describe(endpoint: &Endpoint) -> String {
    let mut text = String::new();
    if !endpoint.details.is_empty() {
        let _ = write!(text, "{}\n\n", endpoint.details);
    }
    let _ = write!(text, "Who: {}.", who(endpoint));
    text
}

/// Who may, in words.
pub(super) fn who(endpoint: &Endpoint) -> String {
    let rule = endpoint.action.rule();
    if rule.anonymous {
        return "anybody".to_owned();
    }
    let roles = [
        ("superadmin", rule.superadmin),
        ("admin", rule.admin),
        ("dj", rule.dj),
    ];
    let allowed = roles.iter().filter_map(|(role, grant)| match grant {
        Grant::All => Some((*role).to_owned()),
        Grant::Own => Some(format!("{role} (own mounts)")),
        Grant::No => None,
    });
    allowed.collect::<Vec<_>>().join(", ")
}

fn parameters(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters: Vec<Value> = endpoint
        .template
        .names()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    // A query's schema is taken apart: each property is a parameter.
    let Some(schema) = endpoint.query.and_then(|describe| describe(generator)) else {
        return parameters;
    };
    let schema = resolve(schema.to_value(), generator);
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut property = property.clone();
        let description = property
            .as_object_mut()
            .and_then(|object| object.remove("description"));
        let mut parameter = json!({
            "name": name, "in": "query", "required": required.contains(&name.as_str()), "schema": property,
        });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameters.push(parameter);
    }
    parameters
}

/// The schema behind a reference to one of the generator's.
fn resolve(schema: Value, generator: &SchemaGenerator) -> Value {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    match name.and_then(|name| generator.definitions().get(name)) {
        Some(definition) => definition.clone(),
        None => schema,
    }
}

fn responses(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let (status, media, schema) = endpoint.gives;
    let done = match schema(generator) {
        Some(schema) => json!({ "description": "Done", "content": { media: { "schema": schema } } }),
        None if matches!(status, 204 | 303 | 307) => json!({ "description": "Done" }),
        None => json!({ "description": "Done", "content": { media: {} } }),
    };
    responses.insert(status.to_string(), done);
    for (status, meaning) in statuses(endpoint) {
        let text = json!({ "schema": { "type": "string" } });
        let content = if endpoint.pages {
            json!({ "text/html": {}, "text/plain": text, "application/json": {} })
        } else if endpoint.plain {
            json!({ "text/plain": text })
        } else {
            json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } })
        };
        responses
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": meaning, "content": content }));
    }
    Value::Object(responses)
}

/// What it may answer beside its success.
pub(super) fn statuses(endpoint: &Endpoint) -> Vec<(u16, &'static str)> {
    let is_public = endpoint.action.rule().anonymous;
    let mut statuses = vec![(400, "The request cannot be used"), (429, "Too many requests")];
    if !is_public {
        statuses.extend([
            (401, "Nobody is signed in"),
            (
                403,
                "The account may not do this, or the request could be a foreign page's",
            ),
            (503, "Too busy with other sign-ins"),
        ]);
    } else if endpoint.changes {
        statuses.push((403, "The request could be a foreign page's"));
    }
    if endpoint.limit > 0 {
        statuses.extend([
            (408, "The body did not come in time"),
            (413, "The body is too large"),
            (415, "The body has another type"),
        ]);
    }
    if endpoint.changes {
        statuses.push((500, "The configuration could not be saved; nothing has changed"));
    }
    statuses.extend(endpoint.fails.iter().copied());
    // What an endpoint says of a status itself is better than what its kind says.
    statuses.sort_by_key(|(status, _)| *status);
    let mut unique: Vec<(u16, &'static str)> = Vec::new();
    for (status, meaning) in statuses {
        match unique.last_mut() {
            Some(last) if last.0 == status => last.1 = meaning,
            _ => unique.push((status, meaning)),
        }
    }
    unique
}

/// The document as YAML: scalars are written as JSON, which YAML 1.2 contains.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(value, 0, &mut out);
    out
}

fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "\n{indent}{}:", Value::from(key.as_str()));
                write_yaml(value, depth + 1, out);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for value in values {
                let _ = write!(out, "\n{indent}-");
                write_yaml(value, depth + 1, out);
            }
        }
        scalar => {
            let _ = write!(out, " {scalar}");
        }
    }
    if depth == 0 {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_json_in_blocks() {
        let value = json!({ "a": { "b": ["x: y", 1, {}], "c": "" }, "200": null, "d": [] });
        let expected = "\n\"a\":\n  \"b\":\n    - \"x: y\"\n    - 1\n    - {}\n  \"c\": \"\"\n\"200\": null\n\"d\": []\n";
        assert_eq!(yaml(&value), expected);
    }
}
