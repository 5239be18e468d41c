//! The operator's text, from Markdown to HTML.
//!
//! Contract: the result is safe to put into a page. HTML in the text is left out, links lead to the web, to
//! mail or into this server, and nothing in it makes a visitor's browser ask another server.

use std::fmt::Write as _;

use pulldown_cmark::{Alignment, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

/// HTML of a text.
pub(super) fn render(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut image: Option<Image> = None;
    let events = Parser::new_ext(text, options).filter_map(|event| match (&mut image, event) {
        (None, Event::Start(Tag::Image { dest_url, .. })) => {
            image = Some(Image {
                address: dest_url.into_string(),
                text: String::new(),
                depth: 0,
            });
            None
        }
        (None, event) => harmless(event),
        (Some(open), Event::End(_)) if open.depth == 0 => {
            image.take().map(|image| Event::InlineHtml(image.html().into()))
        }
        (Some(open), event) => {
            open.take(&event);
            None
        }
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// A picture whose description is being read.
struct Image {
    address: String,
    text: String,
    /// Elements open within the description.
    depth: usize,
}

impl Image {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth -= 1,
            Event::Text(text) | Event::Code(text) => self.text.push_str(text),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            _ => {}
        }
    }

    fn html(&self) -> String {
        let text = escape(&self.text);
        if is_local(&self.address) {
            return format!("<img src=\"{}\" alt=\"{text}\">", escape(&self.address));
        }
        // Pictures elsewhere would tell others who visits; the link says where they are.
        format!("{}{text}</a>", open_link(&self.address))
    }
}

/// The same event without what a page must not have.
fn harmless(event: Event<'_>) -> Option<Event<'_>> {
    Some(match event {
        Event::Html(_) | Event::InlineHtml(_) => return None,
        // Line breaks count, as people who never heard of Markdown expect.
        Event::SoftBreak => Event::HardBreak,
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        // An alignment would be an inline style, which the content security policy forbids.
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        Event::Start(Tag::Link {
            link_type: LinkType::Email,
            dest_url,
            ..
        }) => Event::InlineHtml(open_link(&format!("mailto:{dest_url}")).into()),
        Event::Start(Tag::Link { dest_url, .. }) => Event::InlineHtml(open_link(&dest_url).into()),
        Event::End(TagEnd::Link) => Event::InlineHtml("</a>".into()),
        event => event,
    })
}

/// The page's own heading is the first level.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

fn open_link(address: &str) -> String {
    if is_local(address) {
        return format!("<a href=\"{}\">", escape(address));
    }
    let has_scheme = |scheme: &str| {
        address
            .get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
    };
    if ["http://", "https://", "mailto:"].into_iter().any(has_scheme) {
        return format!("<a href=\"{}\" rel=\"noopener nofollow\">", escape(address));
    }
    "<a>".to_owned()
}

/// Whether an address can only be on this server: a path, not a scheme and not another host.
fn is_local(address: &str) -> bool {
    // Browsers read backslashes as slashes and drop tabs and line ends (WHATWG URL, section 4.4).
    let odd = |c: char| c == '\\' || c.is_control();
    address.starts_with('/') && !address.starts_with("//") && !address.contains(odd)
}

/// Text within HTML, also within an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '<' | '>' | '&' => _ = write!(out, "&#{};", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn text_becomes_html() {
        for (text, expected) in [
            ("# Hello\n\nOne\ntwo", "<h2>Hello</h2>\n<p>One<br />\ntwo</p>\n"),
            (
                "*a* **b** ~~c~~",
                "<p><em>a</em> <strong>b</strong> <del>c</del></p>\n",
            ),
            (
                "[x](https://e.example/?a=1&b)",
                "<p><a href=\"https://e.example/?a=1&#38;b\" rel=\"noopener nofollow\">x</a></p>\n",
            ),
            (
                "<a@b.example>",
                "<p><a href=\"mailto:a@b.example\" rel=\"noopener nofollow\">a@b.example</a></p>\n",
            ),
            ("[x](/player/live)", "<p><a href=\"/player/live\">x</a></p>\n"),
            (
                "![x](/branding/logo)",
                "<p><img src=\"/branding/logo\" alt=\"x\"></p>\n",
            ),
            ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_dangerous_gets_through() {
        for (text, expected) in [
            ("<script>alert(1)</script>", ""),
            ("a <img src=x onerror=y> b", "<p>a  b</p>\n"),
            ("[x](javascript:alert(1))", "<p><a>x</a></p>\n"),
            ("[x](data:text/html,y)", "<p><a>x</a></p>\n"),
            ("[x](//e.example)", "<p><a>x</a></p>\n"),
            ("[x](/\\e.example)", "<p><a>x</a></p>\n"),
            (
                "[x](<https://e.example/\"onclick=>)",
                "<p><a href=\"https://e.example/&#34;onclick=\" rel=\"noopener nofollow\">x</a></p>\n",
            ),
            (
                "![x](https://e.example/i.png)",
                "<p><a href=\"https://e.example/i.png\" rel=\"noopener nofollow\">x</a></p>\n",
            ),
            (
                "![a\n*b* [c](https://e.example)\"](/i.png)",
                "<p><img src=\"/i.png\" alt=\"a b c&#34;\"></p>\n",
            ),
            ("[x](/&#9;/e.example)", "<p><a>x</a></p>\n"),
            ("![x](javascript:y)", "<p><a>x</a></p>\n"),
            (
                "|a|\n|-:|\n|b|",
                "<table><thead><tr><th>a</th></tr></thead><tbody>\n<tr><td>b</td></tr>\n</tbody></table>\n",
            ),
            ("# x {onclick=y}", "<h2>x {onclick=y}</h2>\n"),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
    }
}
