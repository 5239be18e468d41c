//! Which bytes an accepted source gets, and when.

use crate::{body::Framing, source::SourceMethod};

/// The three moments of an accepted source's connection. After them nothing is written and nothing that the
/// source sends is ever taken for a new request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyPlan {
    /// To be written as soon as all checks have passed, before any audio is read. May be empty.
    pub before_body: &'static [u8],
    /// To be written when the body has ended as its framing says; `None` when the end of the connection is
    /// the end. Over HTTP/2 an empty value stands for an ordinary 200 without a body.
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
    /// `SOURCE` clients and unframed `PUT`s wait for the 200 before they send. A framed `PUT` may come through a
    /// reverse proxy, which stops forwarding the body once it has seen a complete answer: it gets its 200 last.
    #[must_use]
    pub fn of(method: SourceMethod, framing: Framing, expects_continue: bool) -> Self {
        match (method, framing, expects_continue) {
            (_, Framing::Frames, _) => Self {
                before_body: b"",
                after_body: Some(b""),
            },
            (SourceMethod::Put, Framing::Chunked | Framing::Length(_), true) => Self {
                before_body: CONTINUE,
                after_body: Some(FINAL),
            },
            (SourceMethod::Put, Framing::Chunked | Framing::Length(_), false) => Self {
                before_body: b"",
                after_body: Some(FINAL),
            },
            (_, _, true) => Self {
                before_body: CONTINUE_OK,
                after_body: None,
            },
            (_, _, false) => Self {
                before_body: OK,
                after_body: None,
            },
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
        for (method, framing, expects, before, has_after) in [
            (Source, Framing::Unframed, false, HEAD_200, false),
            (Source, Framing::Unframed, true, &both, false),
            (Source, Framing::Chunked, false, HEAD_200, false),
            (Source, Framing::Chunked, true, &both, false),
            (Source, Framing::Length(9), false, HEAD_200, false),
            (Put, Framing::Unframed, false, HEAD_200, false),
            (Put, Framing::Unframed, true, &both, false),
            (Put, Framing::Chunked, false, "", true),
            (Put, Framing::Chunked, true, HEAD_100, true),
            (Put, Framing::Length(9), true, HEAD_100, true),
            (Put, Framing::Frames, false, "", true),
        ] {
            let plan = ReplyPlan::of(method, framing, expects);
            let at = format!("{method:?} {framing:?} {expects}");
            assert_eq!(std::str::from_utf8(plan.before_body), Ok(before), "{at}");
            assert_eq!(plan.after_body.is_some(), has_after, "{at}");
        }
        let last = ReplyPlan::of(Put, Framing::Chunked, false).after_body.unwrap();
        assert!(last.starts_with(b"HTTP/1.1 200 OK\r\n") && last.ends_with(b"\r\n\r\n"));
        assert!(
            std::str::from_utf8(last)
                .unwrap()
                .contains("\r\nContent-Length: 0\r\n")
        );
    }
}
