use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 64 << 10,
    lines: 100,
};

fn head(bytes: &[u8]) -> Head {
    match parse(bytes, LIMITS) {
        Ok(Parsed::Complete { head, length }) => {
            assert_eq!(length, bytes.len(), "{}", bytes.escape_ascii());
            *head
        }
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn field<'a>(head: &'a Head, name: &str) -> &'a [u8] {
    head.headers.get(name).map_or(b"<none>", HeaderValue::as_bytes)
}

#[test]
fn heads_seen_in_the_wild_are_read() {
    use Version::{Http10, Http11, Ice10};
    let cases: &[(&[u8], &str, &str, Version)] = &[
        (b"SOURCE /m HTTP/1.0\r\n\r\n", "SOURCE", "/m", Http10),
        (b"SOURCE /m HTTP/1.1\r\n\r\n", "SOURCE", "/m", Http11),
        (b"SOURCE /m ICE/1.0\r\nice-name: x\r\n\r\n", "SOURCE", "/m", Ice10),
        (b"GET /m ICY/1.0\r\n\r\n", "GET", "/m", Ice10),
        (b"GET /m HTTP/1.1\r\n\r\n", "GET", "/m", Http11),
        (b"PUT /m HTTP/1.1\nHost: h\n\n", "PUT", "/m", Http11),
        (b"GET /m HTTP/1.1\nHost: h\r\n\n", "GET", "/m", Http11),
        (b"GET /m HTTP/1.0\r\nHost: h\n\r\n", "GET", "/m", Http10),
        ("GET /Ünï HTTP/1.1\r\n\r\n".as_bytes(), "GET", "/Ünï", Http11),
        (b"GET /a%20b?x=%20 HTTP/1.1\r\n\r\n", "GET", "/a b", Http11),
        (
            b"GET http://host:8000/m HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET",
            "/m",
            Http11,
        ),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", Http11),
        (b"\r\n\r\n\nGET /m HTTP/1.1\r\n\r\n", "GET", "/m", Http11),
        (b"GET /m HTTP/1.2\r\n\r\n", "GET", "/m", Http11),
        (b"BREW /m HTTP/1.1\r\n\r\n", "BREW", "/m", Http11),
    ];
    for (bytes, method, path, version) in cases {
        let head = head(bytes);
        assert_eq!(
            (head.method.as_str(), head.target.path(), head.version),
            (*method, *path, *version)
        );
    }
}

#[test]
fn header_lines_seen_in_the_wild_are_read() {
    let lines: &[(&[u8], &str, &[u8])] = &[
        (b"icy-name:x", "icy-name", b"x"),
        (b"Icy-MetaData:1", "icy-metadata", b"1"),
        (b"ICE-NAME: \t x \t", "ice-name", b"x"),
        (b"ice-name : x", "ice-name", b"x"),
        ("ice-name: Ünï".as_bytes(), "ice-name", "Ünï".as_bytes()),
        (b"ice-name: \xDCn\xEF", "ice-name", b"\xDCn\xEF"),
        (b"ice-name: a\x01b\x7f", "ice-name", b"a b"),
        (b"ice-name: a\r\n  b\r\n\tc", "ice-name", b"a b c"),
        (b"ice-name:", "ice-name", b""),
        (b"ice-url: http://h:80/", "ice-url", b"http://h:80/"),
        (b"Ice Name: x\r\nice-genre: y", "ice-genre", b"y"),
        (b": x\r\nice-genre: y", "ice-genre", b"y"),
        ("Ünï: x\r\nice-genre: y".as_bytes(), "ice-genre", b"y"),
    ];
    for (line, name, value) in lines {
        let bytes = [b"SOURCE /m HTTP/1.0\r\n", *line, b"\r\n\r\n"].concat();
        assert_eq!(field(&head(&bytes), name), *value, "{}", line.escape_ascii());
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for line in [
        &b"Content-Length : 5"[..],
        b"Content-Length\t: 5",
        b" Content-Length: 5",
        b"\x01Content-Length: 5",
        b"Content-Length\xA0: 5",
        b"Content Length: 5\r\nContent-(Length): 5",
        b"Content-Length: 5\r\n 6",
        b"Content-Length: 5\x0b",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Connection : close",
        b"Host: a\r\nHost: b",
        b"ice-name: a\rb",
        b"ice-name: a\0b",
        b"ice\rname: a",
        b"no colon",
        b" folded",
    ] {
        for method in ["SOURCE", "PUT", "GET", "POST"] {
            let bytes = [method.as_bytes(), b" /m HTTP/1.1\r\n", line, b"\r\n\r\n"].concat();
            assert!(
                matches!(parse(&bytes, LIMITS), Err(HeadError::Malformed(_))),
                "{}: {:?}",
                bytes.escape_ascii(),
                parse(&bytes, LIMITS)
            );
        }
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let malformed = |bytes: &[u8]| {
        assert!(
            matches!(parse(bytes, LIMITS), Err(HeadError::Malformed(_))),
            "{}",
            bytes.escape_ascii()
        )
    };
    for line in [
        &b"GET"[..],
        b"GET /m",
        b"GET  /m HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /m HTTP/1.1 x",
        b"GET /m HTTP/1.1 ",
        b"GET /m http/1.1",
        b"GET /m HTTP/11",
        b"GET /m ICE/2",
        b"GET m HTTP/1.1",
        b"GET /m\tx HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"G(T /m HTTP/1.1",
        b"CONNECT h:80 HTTP/1.1",
        b"GET \rHTTP/1.1",
    ] {
        malformed(&[line, b"\r\n\r\n"].concat());
    }
    // It is clear from the first byte, before the head is complete.
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\0", b"\xFF", b" GET", b"\r\n\x16"] {
        malformed(bytes);
    }
    for line in [&b"GET /m HTTP/0.9"[..], b"GET /m HTTP/2.0", b"PRI * HTTP/2.0"] {
        assert_eq!(
            parse(&[line, b"\r\n\r\n"].concat(), LIMITS),
            Err(HeadError::Version)
        );
    }
}

#[test]
fn limits_are_exact() {
    let with_lines =
        |lines: usize| format!("GET /m HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(lines)).into_bytes();
    assert_eq!(head(&with_lines(100)).headers.get_all("x").iter().count(), 100);
    assert_eq!(parse(&with_lines(101), LIMITS), Err(HeadError::TooLarge));

    let of_length = |length: usize| {
        let mut bytes = b"GET /m HTTP/1.1\r\nX: ".to_vec();
        bytes.resize(length - 4, b'y');
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes
    };
    assert_eq!(field(&head(&of_length(64 << 10)), "x").len(), (64 << 10) - 24);
    assert_eq!(
        parse(&of_length((64 << 10) + 1), LIMITS),
        Err(HeadError::TooLarge)
    );
    assert_eq!(parse(&vec![b'x'; (64 << 10) - 1], LIMITS), Ok(Parsed::Partial));
    assert_eq!(parse(&vec![b'x'; 64 << 10], LIMITS), Err(HeadError::TooLarge));
}

#[test]
fn keep_alive_follows_the_version() {
    for (rest, expected) in [
        ("HTTP/1.1\r\n", true),
        ("HTTP/1.1\r\nConnection: Close\r\n", false),
        ("HTTP/1.1\r\nConnection: x, close\r\n", false),
        ("HTTP/1.0\r\n", false),
        ("HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
        (
            "HTTP/1.0\r\nConnection: Keep-Alive\r\nTransfer-Encoding: chunked\r\n",
            false,
        ),
        ("ICE/1.0\r\nConnection: keep-alive\r\n", true),
    ] {
        assert_eq!(
            head(format!("SOURCE /m {rest}\r\n").as_bytes()).wants_keep_alive(),
            expected,
            "{rest}"
        );
    }
}

#[test]
fn only_http_1_1_may_wait_for_100() {
    for (version, expected) in [("HTTP/1.1", true), ("HTTP/1.0", false)] {
        let bytes = format!("PUT /m {version}\r\nExpect: 100-Continue\r\n\r\n");
        assert_eq!(head(bytes.as_bytes()).expects_continue(), expected);
    }
}

/// Pieces of heads, good and bad, so that random ones get past the first line often.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET /m HTTP/1.1\r\n",
        b"SOURCE /m ICE/1.0\n",
        b"PUT",
        b" ",
        b"/",
        b"HTTP/1.0",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Host: h",
        b": ",
        b"ice-name:\xFF",
        b"\0",
        b"http://",
        b"?",
        b"%",
        b"\t",
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_panics_and_no_prefix_disagrees(bytes in fragments()) {
        let whole = parse(&bytes, LIMITS);
        for end in 0..bytes.len() {
            match parse(&bytes[..end], LIMITS) {
                // Once there is a verdict, more bytes do not change it.
                Ok(Parsed::Partial) => {}
                verdict => prop_assert_eq!(verdict, whole.clone(), "at {}", end),
            }
        }
    }

    #[test]
    fn the_end_is_found_wherever_reads_are_cut(bytes in fragments(), cuts in proptest::collection::vec(1usize..9, 1..60)) {
        let whole = end_of_head(&bytes, 0);
        let (mut seen, mut found) = (0usize, None);
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let upto = seen.saturating_add(cut).min(bytes.len());
            found = end_of_head(&bytes[..upto], seen);
            if found.is_some() {
                break;
            }
            seen = upto;
        }
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn a_strict_parser_agrees_where_it_accepts(bytes in fragments()) {
        let mut fields = [httparse::EMPTY_HEADER; 120];
        let mut strict = httparse::Request::new(&mut fields);
        let (Ok(httparse::Status::Complete(length)), Ok(Parsed::Complete { head, length: ours })) =
            (strict.parse(&bytes), parse(&bytes, LIMITS))
        else {
            return Ok(());
        };
        prop_assert_eq!(length, ours);
        prop_assert_eq!(strict.method, Some(head.method.as_str()));
        prop_assert_eq!(strict.path.map(str::as_bytes), Some(head.target.raw()));
        prop_assert_eq!(strict.headers.len(), head.headers.len());
        for field in strict.headers {
            prop_assert!(head.headers.get_all(field.name).iter().any(|value| value.as_bytes() == field.value));
        }
    }
}
