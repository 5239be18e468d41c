//! Outgoing mail.

use auth::Action;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use signin::mail::MailError;

use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, group, post, status};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Settings",
        vec![
            post("/api/settings/smtp-test", Action::MailTest, test)
                .says("Send a trial mail and wait for it")
                .fails(
                    502,
                    "The mail server refused it or did not answer; the text says what it said",
                ),
        ],
    )
}

/// To whom.
#[derive(Debug, Deserialize, JsonSchema)]
struct Receiver {
    /// A mail address.
    #[serde(default)]
    to: String,
}

async fn test(call: Call, _: NoQuery, Json(body): Json<Receiver>) -> Answer<Json<Status>> {
    let to = body.to.trim();
    if to.is_empty() {
        return Err(Refusal::bad("to is required"));
    }
    call.parts
        .signin
        .mailer
        .send_test(&call.config(), to)
        .await
        .map_err(refused)?;
    Ok(status("sent"))
}

fn refused(error: MailError) -> Refusal {
    let text = error.to_string();
    match error {
        MailError::TooMany { retry_after } => Refusal::too_many(text, retry_after),
        error => Refusal::new(
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY),
            text,
        ),
    }
}
