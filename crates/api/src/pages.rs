//! Pages for people.

use front::{Request, route::Route};

use crate::{Api, Reply, not_found};

impl Api {
    pub(crate) fn page(&self, _route: Route, _request: &Request) -> Reply {
        not_found()
    }
}
