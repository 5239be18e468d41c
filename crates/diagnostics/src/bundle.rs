//! `/debug/bundle`: everything that a report of a fault needs, in one `.tar.gz`.
//!
//! Contract: a part that fails or hangs leaves a file that says so and costs a bounded time; the rest is there.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::answer::{HTML, JSON, JSON_LINES, TEXT};
use crate::body::Body;
use crate::client::{Client, Served};
use crate::context::Context;
use crate::pages::{self, Call, OWN, PROFILES, Place};
use crate::{Answer, Cancelled, Query, serve};

/// How long a part may take.
const PART: Duration = Duration::from_secs(10);

/// A profile in it: name, parameters, name of the file.
type Shot = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// The profiles in it.
const SHOTS: [Shot; 16] = [
    ("goroutine", &[("debug", "2")], "goroutine-stacks"),
    ("goroutine", &[("debug", "1")], "goroutine-groups"),
    ("goroutine", &[], "goroutine"),
    ("mutex", &[("debug", "1")], "mutex"),
    ("mutex", &[], "mutex"),
    ("block", &[("debug", "1")], "block"),
    ("block", &[], "block"),
    ("heap", &[("debug", "1")], "heap"),
    ("heap", &[], "heap"),
    ("allocs", &[("debug", "1")], "allocs"),
    ("allocs", &[], "allocs"),
    ("threadcreate", &[("debug", "1")], "threadcreate"),
    ("threadcreate", &[], "threadcreate"),
    ("cmdline", &[], "cmdline"),
    ("profile", &[("seconds", "2")], "profile"),
    ("trace", &[("seconds", "1")], "trace"),
];

/// A part to be: where it comes from and what its file is called, but for what its content adds.
struct Part {
    path: String,
    query: Query,
    accept: &'static str,
    file: String,
}

/// Streams the bundle.
pub(crate) fn respond(context: &Arc<Context>, client: &Arc<Client>, served: Served) -> Response<Body> {
    // For the whole of it: a second one has to wait for the end of the first.
    let Ok(place) = Arc::clone(&context.bundles).try_acquire_owned() else {
        let reason = "another bundle is being made: try again later";
        let answer = Answer::refused(StatusCode::SERVICE_UNAVAILABLE, reason);
        return serve::response(answer, false, served);
    };
    let (sender, body) = Body::parts(served);
    let name = format!(
        "{}-{}-{}",
        plain(&context.pages.product),
        pages::system::host(),
        Timestamp::now().strftime("%Y%m%dT%H%M%SZ"),
    );
    let (context, client, folder) = (Arc::clone(context), Arc::clone(client), name.clone());
    let make = async move {
        let _place = place;
        let mut closing = context.closing.subscribe();
        tokio::select! {
            () = make(&context, &folder, &sender) => {}
            () = client.gone() => {}
            () = sender.closed() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    };
    observe::task::spawn("diagnostics-bundle", (), make).detach();
    let mut response = serve::stream("application/gzip", body);
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.tar.gz\"")) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// What goes into it, the quick and the most telling first: a client may give up half-way.
fn parts(context: &Context) -> Vec<Part> {
    let part = |path: &str, query: Query, accept, file: String| Part {
        path: path.to_owned(),
        query,
        accept,
        file,
    };
    let file = |path: &str| {
        let name = path.trim_start_matches("/debug/").trim_matches('/');
        name.replace('/', "-")
    };
    let mut parts = Vec::new();
    let own = OWN.iter().map(|own| own.path).filter(|path| *path != "/");
    let pages = context.pages.pages.iter().map(|page| page.path.as_ref());
    for path in own.chain(["/readyz"]).chain(pages) {
        for form in ["text", "json"] {
            // The metrics have forms of their own, and the variables are JSON anyway.
            if !(form == "json" && path == "/metrics" || form == "text" && path == "/debug/vars") {
                parts.push(part(path, Query::default().with("format", form), "", file(path)));
            }
        }
    }
    let openmetrics = "application/openmetrics-text; version=1.0.0";
    parts.push(part(
        "/metrics",
        Query::default(),
        openmetrics,
        "metrics.openmetrics".to_owned(),
    ));
    for (profile, parameters, name) in SHOTS {
        let query = parameters
            .iter()
            .fold(Query::default(), |query, (key, value)| query.with(key, value));
        let path = format!("{PROFILES}{profile}");
        parts.push(part(&path, query, "", format!("pprof/{name}")));
    }
    parts
}

async fn make(context: &Arc<Context>, folder: &str, sender: &mpsc::Sender<Bytes>) {
    let mut archive = Archive::new(folder);
    let mut contents = String::new();
    for part in parts(context) {
        let begun = Instant::now();
        let (file, body, status) = content(context, &part).await;
        let _ = writeln!(
            contents,
            "{file:<36}{:>10} bytes {:>7} ms  {status}  {}",
            body.len(),
            begun.elapsed().as_millis(),
            part.path,
        );
        // A page of the program without JSON answers text twice.
        if archive.holds(&file) {
            continue;
        }
        let Some(chunk) = archive.put(context, file, body).await else {
            return;
        };
        if !chunk.is_empty() && sender.send(chunk.into()).await.is_err() {
            return;
        }
    }
    let Some(chunk) = archive
        .put(context, "CONTENTS.txt".to_owned(), contents.into_bytes())
        .await
    else {
        return;
    };
    if sender.send(chunk.into()).await.is_ok()
        && let Ok(end) = archive.end()
    {
        let _ = sender.send(end.into()).await;
    }
}

/// The file of a part: its name, its content and how it went.
async fn content(context: &Arc<Context>, part: &Part) -> (String, Vec<u8>, u16) {
    let place = match pages::find(context, &part.path) {
        Ok(place) => place,
        Err(answer) => return (format!("{}.error.txt", part.file), answer.body, 404),
    };
    let mut call = Call::get(&part.path, part.query.clone());
    part.accept.clone_into(&mut call.accept);
    let answer = match timeout(PART, serve::answer(context, None, place, call)).await {
        Ok(answer) => answer,
        Err(_) => Answer::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no answer within {PART:?}"),
        ),
    };
    // A server that is not ready says why, and that is what the reader wants to know.
    let status = answer.status.as_u16();
    if answer.status == StatusCode::OK || matches!(place, Place::Ready) {
        (format!("{}{}", part.file, ending(&answer)), answer.body, status)
    } else {
        (format!("{}.error.txt", part.file), answer.body, status)
    }
}

/// How a file's name ends, by its content.
fn ending(answer: &Answer) -> &'static str {
    let gzip = answer.body.starts_with(&[0x1f, 0x8b]);
    match answer.content_type.as_ref() {
        TEXT => ".txt",
        JSON => ".json",
        JSON_LINES => ".jsonl",
        HTML => ".html",
        other if other.starts_with("application/json") => ".json",
        other if other.starts_with("text/") || other.starts_with("application/openmetrics-text") => ".txt",
        _ if gzip => ".pb.gz",
        _ => ".bin",
    }
}

fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
    kept.collect::<String>().to_ascii_lowercase()
}

/// A growing archive, of which the finished bytes are taken off.
struct Archive {
    folder: String,
    names: Vec<String>,
    /// Absent while a thread adds to it.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Archive {
    fn new(folder: &str) -> Archive {
        Archive {
            folder: folder.to_owned(),
            names: Vec::new(),
            encoder: Some(GzEncoder::new(Vec::new(), Compression::default())),
        }
    }

    fn holds(&self, file: &str) -> bool {
        self.names.iter().any(|name| name == file)
    }

    /// Adds a file and returns what can be sent; `None` when that failed. Compressing is work for a lane.
    async fn put(&mut self, context: &Context, file: String, content: Vec<u8>) -> Option<Vec<u8>> {
        let path = format!("{}/{file}", self.folder);
        self.names.push(file);
        let mut encoder = self.encoder.take()?;
        let work = move |_: &Cancelled| {
            append(&mut encoder, &path, &content).map(|()| {
                let chunk = std::mem::take(encoder.get_mut());
                (encoder, chunk)
            })
        };
        let lane = &context.lanes.bundle;
        let (encoder, chunk) = lane
            .run("/debug/bundle", &Cancelled::new(), work)
            .await
            .ok()?
            .ok()?;
        self.encoder = Some(encoder);
        Some(chunk)
    }

    fn end(self) -> io::Result<Vec<u8>> {
        let mut encoder = self.encoder.ok_or(io::ErrorKind::BrokenPipe)?;
        // Two empty blocks end an archive.
        encoder.write_all(&[0; 1024])?;
        encoder.finish()
    }
}

fn append(encoder: &mut GzEncoder<Vec<u8>>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut head = tar::Header::new_ustar();
    head.set_path(path)?;
    head.set_size(content.len() as u64);
    head.set_mode(0o600);
    head.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
    head.set_cksum();
    encoder.write_all(head.as_bytes())?;
    encoder.write_all(content)?;
    // A file takes whole blocks of 512 bytes.
    let rest = content.len().next_multiple_of(512) - content.len();
    encoder.write_all(&[0; 512][..rest])?;
    encoder.flush()
}
