//! The frame of pages for a browser.
//!
//! Contract: no script and nothing from elsewhere, so that the content security policy can forbid both.

use std::borrow::Cow;

/// The style of all pages. [`POLICY`] holds its SHA-256; a test compares them.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0 0 .2rem}\
h2{font-size:1.05rem;margin:1.6rem 0 .3rem}\
p{margin:.3rem 0}\
table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #8884}\
td:first-child{white-space:nowrap}td:first-child:not(.n){width:16rem}\
.n{text-align:right;font-variant-numeric:tabular-nums}\
code,pre{font:13px/1.4 ui-monospace,monospace}\
pre{overflow-x:auto;background:#8881;padding:.6rem}\
.ok{color:#18794e}.bad{color:#c62a2f}.dim{opacity:.7}\
a{color:#0b68cb}\
@media(prefers-color-scheme:dark){a{color:#70b8ff}.ok{color:#3dd68c}.bad{color:#ff9592}}";

/// The content security policy of all responses.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'sha256-rHJrM/C8107ZDDZ0uF+jWZvUD/D3yl4F1jMMO2L70vg='; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A whole page around `content`, which is HTML; the title is not.
pub(crate) fn document(title: &str, content: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{content}</body>\n</html>\n"
    )
}

/// Text that is safe between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::Digest as _;

    #[test]
    fn the_policy_allows_this_style_alone() {
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE));
        assert!(
            POLICY.contains(&format!("'sha256-{hash}'")),
            "the style has the hash {hash}"
        );
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("plain"), "plain");
        assert_eq!(
            escape("<a href=\"x\">&'"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"
        );
        assert!(document("<b>", "<p>x</p>").contains("<title>&lt;b&gt;</title>"));
    }
}
