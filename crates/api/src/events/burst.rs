//! The text of an event stream (HTML Standard, section 9.2).
//!
//! Contract: whatever the data, an event is one line of each field and an empty line.

use bytes::Bytes;

use super::view::Event;

/// Goes first on every feed: how long a client waits before it connects again.
pub(crate) const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// Shows proxies and clients that the connection lives.
pub(crate) const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// Events that are sent together.
pub(crate) struct Burst {
    id: String,
    text: Vec<u8>,
}

impl Burst {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id: format!("id: {id}\n"),
            text: Vec::new(),
        }
    }

    /// Adds an event whose data is these pieces of JSON, one behind the other.
    pub(crate) fn add<'a>(&mut self, event: Event, data: impl IntoIterator<Item = &'a [u8]>) {
        self.text.extend_from_slice(self.id.as_bytes());
        if event != Event::Message {
            self.text.extend_from_slice(b"event: ");
            self.text.extend_from_slice(event.name().as_bytes());
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(b"data: ");
        for piece in data {
            // JSON has no bare line ends, within strings they are escaped.
            debug_assert!(!piece.contains(&b'\n'));
            self.text.extend_from_slice(piece);
        }
        self.text.extend_from_slice(b"\n\n");
    }

    /// The same for an event that is a list.
    pub(crate) fn add_list<'a>(&mut self, event: Event, items: impl IntoIterator<Item = &'a [u8]>) {
        self.add(event, list(items));
    }

    pub(crate) fn finish(self) -> Bytes {
        self.text.into()
    }
}

/// The pieces of a JSON list of these items.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let comma = std::iter::once(&b""[..]).chain(std::iter::repeat(&b","[..]));
    let items = items
        .into_iter()
        .zip(comma)
        .flat_map(|(item, comma)| [comma, item]);
    std::iter::once(&b"["[..])
        .chain(items)
        .chain(std::iter::once(&b"]"[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_and_an_empty_line() {
        let mut burst = Burst::new(7);
        burst.add_list(Event::Message, []);
        burst.add_list(Event::Message, [&b"{}"[..], b"1"]);
        burst.add(Event::Stream, [&b"{\"a\":"[..], b"1}"]);
        assert_eq!(
            burst.finish(),
            "id: 7\ndata: []\n\nid: 7\ndata: [{},1]\n\nid: 7\nevent: stream\ndata: {\"a\":1}\n\n"
        );
        assert!(Burst::new(1).finish().is_empty());
    }
}
