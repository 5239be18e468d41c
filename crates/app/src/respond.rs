//! Complete answers, from the protocol's words to the connection.

use bytes::Bytes;
use front::{Exchange, Outcome};
use http::Response;
use http_body_util::Full;
use icecast::Answer;

/// Writes a complete answer.
pub(crate) async fn answer(exchange: Exchange, answer: Answer) -> Outcome {
    exchange.respond(response(answer)).await
}

/// The same as a value.
pub(crate) fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}
