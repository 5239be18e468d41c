//! Which endpoint a request is for.
//!
//! Contract: the answer depends on method and path alone, and fixed paths win over those with names.

use std::collections::HashMap;

use http::Method;

use super::{Endpoint, Template};

/// All endpoints.
#[derive(Debug)]
pub(crate) struct Table {
    endpoints: Vec<Endpoint>,
    fixed: HashMap<&'static str, Vec<usize>>,
    named: Vec<usize>,
}

/// What was found.
pub(crate) enum Found<'a> {
    /// An endpoint, and what the names in its path stand for.
    Endpoint(&'a Endpoint, Vec<String>),
    /// The path exists with other methods.
    OtherMethods(Vec<&'a Endpoint>),
    Nothing,
}

impl Table {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        let mut fixed: HashMap<_, Vec<_>> = HashMap::new();
        let mut named = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            if endpoint.template.is_fixed() {
                fixed.entry(endpoint.template.0).or_default().push(place);
            } else {
                named.push(place);
            }
        }
        Self {
            endpoints,
            fixed,
            named,
        }
    }

    /// All of them, in the order of the documentation.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// Whether there is anything at this path.
    pub(crate) fn has(&self, path: &str, raw: &str) -> bool {
        self.fixed.contains_key(path)
            || self
                .named
                .iter()
                .any(|place| self.endpoints[*place].template.matches(raw).is_some())
    }

    /// `path` is decoded, `raw` as it was sent.
    pub(crate) fn find(&self, method: &Method, path: &str, raw: &str) -> Found<'_> {
        // What can be read can be asked for without its body.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut others = Vec::new();
        for place in self.fixed.get(path).into_iter().flatten() {
            let endpoint = &self.endpoints[*place];
            if endpoint.method == *method {
                return Found::Endpoint(endpoint, Vec::new());
            }
            others.push(endpoint);
        }
        if others.is_empty() {
            // The more a path says itself, the better it fits.
            let mut best: Option<(usize, &Endpoint, Vec<String>)> = None;
            for place in &self.named {
                let endpoint = &self.endpoints[*place];
                let Some(names) = endpoint.template.matches(raw) else {
                    continue;
                };
                let said = specificity(endpoint.template);
                if endpoint.method != *method {
                    others.push(endpoint);
                } else if best.as_ref().is_none_or(|(most, ..)| said > *most) {
                    best = Some((said, endpoint, names));
                }
            }
            if let Some((_, endpoint, names)) = best {
                return Found::Endpoint(endpoint, names);
            }
        }
        if others.is_empty() {
            Found::Nothing
        } else {
            Found::OtherMethods(others)
        }
    }
}

fn specificity(template: Template) -> usize {
    template
        .0
        .split('/')
        .filter(|part| !part.starts_with('{'))
        .count()
}
