//! What the program adds to the port: checks, pages and what there is to know about it.
//!
//! Contract: a page or a check may hang without doing harm to the others; it must not change anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::{Answer, Cancelled, Query};

/// Makes a page's answer. It runs on a thread of its own and ends early when nobody waits for it any more.
pub type Render = Arc<dyn Fn(&Query, &Cancelled) -> Answer + Send + Sync>;

/// A page of the program.
#[derive(Clone)]
pub struct Page {
    /// Where it is, such as `/debug/streams`.
    pub path: Cow<'static, str>,
    /// A few words.
    pub title: Cow<'static, str>,
    /// What it shows, in one line.
    pub description: Cow<'static, str>,
    /// What it answers.
    pub render: Render,
}

impl fmt::Debug for Page {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Page({})", self.path)
    }
}

/// A check of whether the server is ready to serve: quick, and with a reason when it fails.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl fmt::Debug for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Check({})", self.name)
    }
}

/// What the program adds to the port.
#[derive(Clone, Debug)]
pub struct Pages {
    pub(crate) product: String,
    pub(crate) about: Vec<(&'static str, String)>,
    pub(crate) checks: Vec<Check>,
    pub(crate) pages: Vec<Page>,
}

impl Pages {
    /// Nothing but the program's name, which is in titles and in the name of the bundle.
    #[must_use]
    pub fn new(product: impl Into<String>) -> Pages {
        Pages {
            product: product.into(),
            about: Vec::new(),
            checks: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// Adds a line about the program, such as its version.
    #[must_use]
    pub fn about(mut self, key: &'static str, value: impl Into<String>) -> Pages {
        self.about.push((key, value.into()));
        self
    }

    /// Adds a check that `/readyz` makes. It should answer within a second; after three it counts as failed.
    #[must_use]
    pub fn check(
        mut self,
        name: &'static str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Pages {
        let run = Arc::new(run);
        self.checks.push(Check { name, run });
        self
    }

    /// Adds a page; one with the path of an earlier page or of the port's own is never reached.
    #[must_use]
    pub fn page(mut self, page: Page) -> Pages {
        self.pages.push(page);
        self
    }

    /// Adds `/debug/config`: the configuration in force as JSON. The caller has removed all secrets.
    #[must_use]
    pub fn config(self, render: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> Pages {
        self.page(Page {
            path: "/debug/config".into(),
            title: "Configuration".into(),
            description: "The configuration in force, without its secrets (JSON)".into(),
            render: Arc::new(move |_, _| Answer::json(&render())),
        })
    }
}
