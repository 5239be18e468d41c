//! `POST /admin/hotswap`: another program takes this one's place.

use std::time::Duration;

use auth::Verdict;
use front::Request;
use http::{HeaderValue, Method, StatusCode};
use icecast::Answer;

use crate::{Api, Reply, plain, status::parameter};

/// The longest that sources and listeners may stay with the old process.
const LONGEST_DRAIN: u64 = 3_600;

impl Api {
    pub(crate) async fn hot_swap(&self, request: &Request) -> Reply {
        if request.method != Method::POST {
            return front::route::method_not_allowed("POST");
        }
        let credentials = Self::credentials(request);
        match self
            .parts
            .auth
            .admin_or_source(request.client, None, credentials.as_ref())
            .await
        {
            Verdict::Account(account) if account.is_superadmin() => {}
            Verdict::Account(_) | Verdict::SourceOf(_) => {
                return json(StatusCode::FORBIDDEN, r#"{"error":"Forbidden"}"#.to_owned());
            }
            Verdict::Busy => return plain(Answer::too_many_logins()),
            Verdict::NoCredentials | Verdict::Wrong | Verdict::LockedOut => {
                return plain(Answer::unauthorized_admin());
            }
        }
        let drain =
            match parameter(request.query().unwrap_or_default(), "drain").map(|text| text.parse::<u64>()) {
                None => None,
                Some(Ok(seconds)) if seconds <= LONGEST_DRAIN => Some(Duration::from_secs(seconds)),
                Some(_) => {
                    let error = format!(r#"{{"error":"drain: a number of seconds up to {LONGEST_DRAIN}"}}"#);
                    return json(StatusCode::BAD_REQUEST, error);
                }
            };
        match self.parts.administer.hot_swap(drain) {
            Ok(()) => json(StatusCode::ACCEPTED, r#"{"status":"started"}"#.to_owned()),
            Err(error) => {
                let error = format!(r#"{{"error":"hot swap is not available here: {error}"}}"#);
                json(StatusCode::CONFLICT, error)
            }
        }
    }
}

fn json(status: StatusCode, body: String) -> Reply {
    plain(Answer::new(
        status,
        HeaderValue::from_static("application/json"),
        body,
    ))
}
