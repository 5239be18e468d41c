//! XML that is well-formed whatever a title contains.
//!
//! Contract: text is escaped, and characters that XML 1.0 (section 2.2) forbids are dropped.

use std::fmt::Write;

/// A document in the making.
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new(declaration: &str) -> Self {
        let mut text = String::with_capacity(1024);
        text.push_str(declaration);
        text.push('\n');
        Self(text)
    }

    /// Opens an element; the names are ours, the values anybody's.
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            escape_into(&mut self.0, value);
            self.0.push('"');
        }
        self.0.push('>');
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with text in it, empty text included.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.open(name, &[]);
        escape_into(&mut self.0, value);
        self.close(name);
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.open(name, &[]);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}");
        self.close(name);
    }

    pub(crate) fn empty(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push_str("/>");
    }

    pub(crate) fn line_end(&mut self) {
        self.0.push('\n');
    }

    pub(crate) fn finish(mut self) -> String {
        self.line_end();
        self.0
    }
}

fn escape_into(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let mut xml = Xml::new("<?xml version=\"1.0\"?>");
        xml.open("a", &[("b", "\"<x>'")]);
        xml.text("c", "R&B <\u{1}\u{b}\u{fffe}\u{ffff}\u{1f3b5}>\t");
        xml.number("d", 7);
        xml.empty("e");
        xml.close("a");
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\"?>\n<a b=\"&quot;&lt;x&gt;&apos;\"><c>R&amp;B &lt;\u{1f3b5}&gt;\t</c><d>7</d><e/></a>\n"
        );
    }
}
