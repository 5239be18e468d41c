//! One attempt: the request and what the receiver says to it.
//!
//! Contract: no text that comes out holds a secret of the hook, not even when the receiver repeats it.

use std::time::Duration;

use http::header;
use jiff::Timestamp;
use outbound::{Client, Failure, Request, Response};
use tokio::time::{Instant, timeout};

use crate::{retry, secret::Secrets};

/// How much of an answer is shown.
pub(crate) const SHOWN: usize = 4 * 1024;
/// How much of an answer's text follows the status in a complaint.
const QUOTED: usize = 200;
/// How long a delivery waits for the text of an answer: its status has come already.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of an attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) status: Option<u16>,
    /// Why it is no success.
    pub(crate) error: Option<String>,
    /// Whether the same request may succeed later.
    pub(crate) worth_repeating: bool,
    /// Whether the address rules refused it.
    pub(crate) refused: bool,
    /// How long the receiver asked us to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) duration: Duration,
    /// The beginning of the answer's text.
    pub(crate) answer: String,
}

/// Sends `request` and reads the beginning of the answer, for as long as the request's limits allow, or with
/// `hasty` for a second.
pub(crate) async fn attempt(client: &Client, request: Request, secrets: &Secrets, hasty: bool) -> Attempt {
    let began = Instant::now();
    let sent = Box::pin(client.send(request)).await;
    let duration = began.elapsed();
    match sent {
        Ok(response) => answered(response, duration, secrets, hasty).await,
        Err(failure) => Attempt {
            status: None,
            error: Some(secrets.hide(&failure.to_string())),
            worth_repeating: !failure.is_lasting(),
            refused: matches!(failure, Failure::Refused(_)),
            retry_after: None,
            duration,
            answer: String::new(),
        },
    }
}

async fn answered(mut response: Response, duration: Duration, secrets: &Secrets, hasty: bool) -> Attempt {
    let status = response.status.as_u16();
    let mut buf = vec![0; SHOWN];
    let mut read = 0;
    let reading = async {
        while read < SHOWN {
            match response.body.next(&mut buf[read..]).await {
                Ok(n @ 1..) => read += n,
                // What has come is worth showing, however it ended.
                Ok(0) | Err(_) => break,
            }
        }
    };
    // The body has the deadline of the whole exchange in any case.
    let patience = if hasty {
        PATIENCE
    } else {
        Duration::from_secs(3600)
    };
    let _ = timeout(patience, reading).await;
    let answer = secrets.hide(&text(&buf[..read]));
    let error = (!response.status.is_success()).then(|| {
        let quoted: String = answer.trim().chars().take(QUOTED).collect();
        let status = secrets.hide(&response.status_text());
        match quoted.is_empty() {
            true => status,
            false => format!("{status}: {}", quoted.replace(char::is_control, " ")),
        }
    });
    let retry_after = response.headers.get(header::RETRY_AFTER);
    Attempt {
        status: Some(status),
        error,
        worth_repeating: retry::is_worthwhile(status),
        refused: false,
        retry_after: retry_after
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::after(value, Timestamp::now())),
        duration,
        answer,
    }
}

/// The bytes as text; a character that is cut at the end is left out.
fn text(bytes: &[u8]) -> String {
    let end = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
