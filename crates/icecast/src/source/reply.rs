//! Which bytes an accepted source gets, and when.

use crate::source::SourceMethod;

/// The three moments of an accepted source's connection. After them nothing is written and nothing that the
/// source sends is ever taken for a new request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyPlan {
    /// To be written as soon as all checks have passed, before any audio is read. May be empty.
    pub before_body: &'static [u8],
    /// To be written when the body has ended as its framing says; `None` when the source has its answer already.
    pub after_body: Option<&'static [u8]>,
}

/// The interim answer that ffmpeg and liquidsoap wait for.
macro_rules! continue_head {
    () => {
        "HTTP/1.1 100 Continue\r\n\r\n"
    };
}

/// The answer that encoders of the Icecast era compare byte by byte.
macro_rules! source_head {
    () => {
        "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nConnection: Keep-Alive\r\n\r\n"
    };
}

const CONTINUE: &[u8] = continue_head!().as_bytes();
const OK: &[u8] = source_head!().as_bytes();
const CONTINUE_OK: &[u8] = concat!(continue_head!(), source_head!()).as_bytes();
const FINAL: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: Icecast 2.4.4\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl ReplyPlan {
    /// The plan for a source whose body has an end of its own (`framed`) or not, and that waits for an interim answer
    /// or not. `SOURCE` clients and unframed `PUT`s wait for the 200 before they send. A framed `PUT` may come through a
    /// reverse proxy, which stops forwarding the body once it has seen a complete answer: it gets its 200 last.
    #[must_use]
    pub fn of(method: SourceMethod, framed: bool, expects_continue: bool) -> Self {
        let (before_body, after_body) = match (method, framed, expects_continue) {
            (SourceMethod::Put, true, true) => (CONTINUE, Some(FINAL)),
            (SourceMethod::Put, true, false) => (&b""[..], Some(FINAL)),
            (_, _, true) => (CONTINUE_OK, None),
            (_, _, false) => (OK, None),
        };
        Self {
            before_body,
            after_body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_200: &str = "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nConnection: Keep-Alive\r\n\r\n";
    const HEAD_100: &str = "HTTP/1.1 100 Continue\r\n\r\n";

    #[test]
    fn the_order_of_answers_is_what_encoders_wait_for() {
        use SourceMethod::{Put, Source};
        let both = format!("{HEAD_100}{HEAD_200}");
        for (method, framed, expects, before, has_after) in [
            (Source, false, false, HEAD_200, false),
            (Source, false, true, &both, false),
            (Source, true, false, HEAD_200, false),
            (Source, true, true, &both, false),
            (Put, false, false, HEAD_200, false),
            (Put, false, true, &both, false),
            (Put, true, false, "", true),
            (Put, true, true, HEAD_100, true),
        ] {
            let plan = ReplyPlan::of(method, framed, expects);
            let at = format!("{method:?} {framed} {expects}");
            assert_eq!(std::str::from_utf8(plan.before_body), Ok(before), "{at}");
            assert_eq!(plan.after_body.is_some(), has_after, "{at}");
        }
        let last = ReplyPlan::of(Put, true, false).after_body.unwrap();
        assert!(last.starts_with(b"HTTP/1.1 200 OK\r\n") && last.ends_with(b"\r\n\r\n"));
        assert!(
            std::str::from_utf8(last)
                .unwrap()
                .contains("\r\nContent-Length: 0\r\n")
        );
    }
}
