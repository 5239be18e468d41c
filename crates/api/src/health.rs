//! `/healthz` and `/readyz`, for load balancers and service managers.

use http::StatusCode;

use crate::Reply;

/// The process can answer.
pub(crate) fn alive() -> Reply {
    front::text(StatusCode::OK, "ok\n")
}

/// The process can serve; if not, the first failing check is named.
pub(crate) fn ready(checks: Result<(), String>) -> Reply {
    match checks {
        Ok(()) => front::text(StatusCode::OK, "ready\n"),
        Err(failing) => front::text(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("not ready: {failing}\n"),
        ),
    }
}
