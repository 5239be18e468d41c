//! What an endpoint takes and gives: read from bytes, and described for the documentation, by the same type.
//!
//! Contract: no more than a content's limit is ever held; what cannot be read is a 400 that says where.

use bytes::Bytes;
use front::multipart::{self, Part};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::Full;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use url::form_urlencoded;

use super::refusal::Refusal;
use crate::{Reply, events::Opened};

/// JSON and forms are small.
const SMALL: usize = 1 << 20;

/// The body of a request.
pub(crate) trait Content: Sized + Send + 'static {
    /// What is taken at most; nothing is read where it is zero.
    const LIMIT: usize;
    /// The media type in the documentation.
    const MEDIA: &'static str;
    /// Whether it may hold the field `csrf`.
    const IS_FORM: bool = false;

    /// Reads it.
    fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Self, Refusal>;

    /// Its schema.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// No body; one that comes is not looked at.
impl Content for () {
    const LIMIT: usize = 0;
    const MEDIA: &'static str = "";

    fn read(_: &HeaderMap, _: Bytes) -> Result<Self, Refusal> {
        Ok(())
    }

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// JSON, in either direction.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Content for Json<T> {
    const LIMIT: usize = SMALL;
    const MEDIA: &'static str = "application/json";

    fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Self, Refusal> {
        // Scripts leave the type out, or let `curl -d` say that it is a form.
        let known = ["", "application/json", "application/x-www-form-urlencoded"];
        if !known.contains(&media_type(headers).as_str()) {
            let text = "Content-Type must be application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        read_json(&bytes).map(Json)
    }

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

/// Reads JSON. What is not JSON has a fixed text; a value of the wrong kind is named.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() || path == "." {
            return Refusal::bad("Invalid request body");
        }
        let text = inner.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        Refusal::bad(format!("{path}: {text}"))
    })?;
    deserializer
        .end()
        .map_err(|_| Refusal::bad("Invalid request body"))?;
    Ok(read)
}

/// The fields of a form, from the body and, where it has none of that name, from the query.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// The fields of a query.
    pub(crate) fn of_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// With those of a query behind its own.
    pub(crate) fn or(mut self, query: &str) -> Self {
        self.0
            .extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        self
    }

    /// The first field of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All fields of that name.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first field of that name, or an empty text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default().trim()
    }
}

impl Content for Form {
    const LIMIT: usize = SMALL;
    const MEDIA: &'static str = "application/x-www-form-urlencoded";
    const IS_FORM: bool = true;

    fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Self, Refusal> {
        if media_type(headers) == "multipart/form-data" {
            let parts = Multipart::read(headers, bytes)?;
            let text = |part: Part| (part.name, String::from_utf8_lossy(&part.bytes).into_owned());
            return Ok(Self(parts.0.into_iter().map(text).collect()));
        }
        Ok(Self(form_urlencoded::parse(&bytes).into_owned().collect()))
    }

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<std::collections::BTreeMap<String, String>>())
    }
}

/// `multipart/form-data` (RFC 7578).
#[derive(Debug)]
pub(crate) struct Multipart(pub(crate) Vec<Part>);

impl Content for Multipart {
    /// A logo of 2 MiB and what stands around it.
    const LIMIT: usize = (2 << 20) + (64 << 10);
    const MEDIA: &'static str = "multipart/form-data";
    const IS_FORM: bool = true;

    fn read(headers: &HeaderMap, bytes: Bytes) -> Result<Self, Refusal> {
        let content_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let boundary = content_type
            .filter(|_| media_type(headers) == Self::MEDIA)
            .and_then(multipart::boundary);
        let boundary = boundary.ok_or_else(|| {
            let text = "Content-Type must be multipart/form-data";
            Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
        })?;
        multipart::parts(&bytes, &boundary)
            .map(Self)
            .ok_or_else(|| Refusal::bad("Invalid request body"))
    }

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        Some(schemars::json_schema!({
            "type": "object",
            "properties": { "logo": { "type": "string", "format": "binary" } },
            "required": ["logo"],
        }))
    }
}

/// Bytes that are taken as they come and not looked at: what takes media from a browser refuses it in this release.
#[derive(Debug)]
pub(crate) struct Raw<const LIMIT: usize>;

impl<const LIMIT: usize> Content for Raw<LIMIT> {
    const LIMIT: usize = LIMIT;
    const MEDIA: &'static str = "application/octet-stream";

    fn read(_: &HeaderMap, _: Bytes) -> Result<Self, Refusal> {
        Ok(Self)
    }

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        Some(schemars::json_schema!({ "type": "string", "format": "binary" }))
    }
}

/// What goes to the caller.
pub(crate) enum Done {
    /// An answer that is there.
    Reply(Reply),
    /// A feed that goes on.
    Feed(Box<Opened>),
}

/// What an endpoint says when it did what it was asked for.
pub(crate) trait Answers {
    /// The status in the documentation.
    const STATUS: u16 = 200;
    /// The media type in the documentation.
    const MEDIA: &'static str;

    /// The answer itself.
    fn done(self) -> Done;

    /// Its schema, where it has one.
    fn describe(generator: &mut SchemaGenerator) -> Option<Schema>;
}

impl<T: Serialize + JsonSchema> Answers for Json<T> {
    const MEDIA: &'static str = "application/json";

    fn done(self) -> Done {
        Done::Reply(reply_json(&self.0))
    }

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

fn reply_json(value: &impl Serialize) -> Reply {
    let text = match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            text
        }
        // Our own types have names for keys and nothing that JSON cannot say.
        Err(error) => return Refusal::failed(error.to_string()).json(),
    };
    let mut reply = Reply::new(Full::new(Bytes::from(text)));
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    reply
}

/// JSON that an endpoint wrote itself because its header fields matter, described by a type.
#[derive(Debug)]
pub(crate) struct Written<T>(Reply, std::marker::PhantomData<fn() -> T>);

impl<T> Written<T> {
    pub(crate) fn new(reply: Reply) -> Self {
        Self(reply, std::marker::PhantomData)
    }
}

impl<T: Serialize + JsonSchema> Written<T> {
    /// The usual JSON, where an endpoint may answer with something else too.
    pub(crate) fn json(value: &T) -> Self {
        Self::new(reply_json(value))
    }
}

impl<T: JsonSchema> Answers for Written<T> {
    const MEDIA: &'static str = "application/json";

    fn done(self) -> Done {
        Done::Reply(self.0)
    }

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

/// An answer that is no JSON, with what the documentation says of it.
#[derive(Debug)]
pub(crate) struct Other<const STATUS: u16, M: Media = AnyText>(pub(crate) Reply, std::marker::PhantomData<M>);

impl<const STATUS: u16, M: Media> Other<STATUS, M> {
    pub(crate) fn new(reply: Reply) -> Self {
        Self(reply, std::marker::PhantomData)
    }
}

impl<const STATUS: u16> Other<STATUS, AnyJson> {
    /// JSON with another status than 200.
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).unwrap_or_default();
        let mut reply = Reply::new(Full::new(Bytes::from(text)));
        *reply.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        reply.headers_mut().insert(header::CONTENT_TYPE, json);
        Self::new(reply)
    }
}

/// A media type as a type.
pub(crate) trait Media: Send {
    const NAME: &'static str;
}

macro_rules! media {
    ($($(#[$doc:meta])* $name:ident = $text:literal)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;
        impl Media for $name {
            const NAME: &'static str = $text;
        }
    )+};
}

media! {
    /// Text, or nothing.
    AnyText = "text/plain"
    /// A page.
    Html = "text/html"
    /// JSON without a schema of ours.
    AnyJson = "application/json"
    /// A picture.
    Image = "image/*"
    /// The description of the API for tools.
    Yaml = "application/x-yaml"
}

impl<const STATUS: u16, M: Media> Answers for Other<STATUS, M> {
    const STATUS: u16 = STATUS;
    const MEDIA: &'static str = M::NAME;

    fn done(self) -> Done {
        Done::Reply(self.0)
    }

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// An answer with header fields of its own.
pub(crate) struct WithHeaders<T>(pub(crate) HeaderMap, pub(crate) T);

impl<T: Answers> Answers for WithHeaders<T> {
    const STATUS: u16 = T::STATUS;
    const MEDIA: &'static str = T::MEDIA;

    fn done(self) -> Done {
        match self.1.done() {
            Done::Reply(mut reply) => {
                reply.headers_mut().extend(self.0);
                Done::Reply(reply)
            }
            feed => feed,
        }
    }

    fn describe(generator: &mut SchemaGenerator) -> Option<Schema> {
        T::describe(generator)
    }
}

/// A feed of events.
pub(crate) struct Feed(pub(crate) Opened);

impl Answers for Feed {
    const MEDIA: &'static str = "text/event-stream";

    fn done(self) -> Done {
        Done::Feed(Box::new(self.0))
    }

    fn describe(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// The media type of a body in lower case without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| {
            value
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        })
        .unwrap_or_default()
}

/// Whether a client would rather have JSON than a page (RFC 9110 section 12.5.1). One that names neither, such as
/// `*/*`, is taken for a browser.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    let (mut json, mut page) = (0.0_f32, 0.0_f32);
    let lines = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight: f32 = weight.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
        match media.as_str() {
            "application/json" | "application/*" => json = weight.max(json),
            "text/html" | "text/*" | "application/xhtml+xml" => page = weight.max(page),
            _ => {}
        }
    }
    json > page
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        name: String,
        #[serde(default)]
        list: Vec<u8>,
    }

    #[test]
    fn json_that_cannot_be_used_says_why() {
        let deep = format!(r#"{{"name":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for (text, expected) in [
            (r#"{"name":"a"}"#, None),
            (r#"{"name":"a","other":[{}]}"#, None),
            ("", Some("Invalid request body")),
            ("{", Some("Invalid request body")),
            (r#"{"name":"a"} x"#, Some("Invalid request body")),
            ("\u{feff}{}", Some("Invalid request body")),
            (
                r#"{"name":5}"#,
                Some("name: invalid type: integer `5`, expected a string"),
            ),
            (
                r#"{"name":"a","list":[1,900]}"#,
                Some("list[1]: invalid value: integer `900`, expected u8"),
            ),
            (&deep, Some("name: invalid type: sequence, expected a string")),
        ] {
            let read = read_json::<Sample>(text.as_bytes());
            let error = read.as_ref().err().map(Refusal::text);
            assert_eq!(error, expected, "{text:.40}");
        }
    }

    #[test]
    fn forms_may_be_in_the_query() {
        let form =
            Form::read(&HeaderMap::new(), Bytes::from("mount=%2Fa&events=x&events=y+z")).expect("a form");
        let form = form.or("mount=/b&ip=1");
        assert_eq!(
            (form.get("mount"), form.get("ip"), form.get("none")),
            (Some("/a"), Some("1"), None)
        );
        assert_eq!(form.all("events").collect::<Vec<_>>(), ["x", "y z"]);
    }

    #[test]
    fn whoever_names_json_gets_json() {
        for (accept, expected) in [
            ("application/json", true),
            ("Application/JSON;charset=utf-8", true),
            ("application/json, text/plain, */*", true),
            ("application/json;q=0.9, text/html;q=0.5", true),
            ("application/*", true),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                false,
            ),
            ("text/html, application/json;q=0.9", false),
            ("text/html, application/json", false),
            ("application/json;q=0", false),
            ("application/json;q=x", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a value"));
            assert_eq!(wants_json(&headers), expected, "{accept}");
        }
    }
}
