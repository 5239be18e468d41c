//! Paths of endpoints: fixed ones, and ones with `{names}` in them.
//!
//! Contract: a name stands for one whole segment of the path as it was sent, still percent-encoded, so that an encoded
//! slash belongs to its segment; `{name...}`, at the end only, stands for all the rest.

/// A path with names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) &'static str);

impl Template {
    /// What the names stand for in this path, percent-decoded; nothing if it is another path.
    pub(crate) fn matches(self, raw: &str) -> Option<Vec<String>> {
        let mut found = Vec::new();
        let mut rest = raw;
        for part in self.0.split('/').skip(1) {
            rest = rest.strip_prefix('/')?;
            if is_rest(part) {
                if rest.is_empty() {
                    return None;
                }
                found.push(rest.to_owned());
                return Some(found);
            }
            let (segment, after) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            if part.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                found.push(decode(segment)?);
            } else if decode(segment)? != part {
                return None;
            }
            rest = after;
        }
        rest.is_empty().then_some(found)
    }

    /// The names, in their order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let named = |part: &'static str| {
            Some(
                part.strip_prefix('{')?
                    .trim_end_matches('}')
                    .trim_end_matches("..."),
            )
        };
        self.0.split('/').filter_map(named)
    }

    /// As OpenAPI writes it.
    pub(crate) fn documented(self) -> String {
        self.0.replace("...}", "}")
    }

    /// Fixed paths are looked at before those with names.
    pub(crate) fn is_fixed(self) -> bool {
        !self.0.contains('{')
    }
}

fn is_rest(part: &str) -> bool {
    part.ends_with("...}")
}

fn decode(segment: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_segments() {
        for (template, path, expected) in [
            ("/api/users", "/api/users", Some(vec![])),
            ("/api/users", "/api/%75sers", Some(vec![])),
            ("/api/users", "/api/users/", None),
            ("/api/users", "/api/user", None),
            ("/auth/{id}", "/auth/google", Some(vec!["google"])),
            ("/auth/{id}", "/auth/", None),
            ("/auth/{id}", "/auth/a/b", None),
            ("/auth/{id}/callback", "/auth/a%2Fb/callback", Some(vec!["a/b"])),
            ("/auth/{id}", "/auth/%ff", None),
            (
                "/api/autodj/{rest...}",
                "/api/autodj/%2Fx/playlist/add",
                Some(vec!["%2Fx/playlist/add"]),
            ),
            ("/api/autodj/{rest...}", "/api/autodj/", None),
        ] {
            let found = Template(template).matches(path);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|found| found.iter().map(String::as_str).collect());
            assert_eq!(found, expected, "{template} {path}");
        }
        assert_eq!(Template("/a/{b}/{c...}").names().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(Template("/a/{b}/{c...}").documented(), "/a/{b}/{c}");
    }
}
