//! The table of what the page serves. The router is made of it, and tests walk over it: what each route answers to
//! whom, and whether it is documented.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

use super::Page;

/// One method of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method; `GET` also takes `HEAD`.
    pub method: Method,
    /// The path after the prefix, with `{names}` where it has parts that vary.
    pub path: &'static str,
}

/// Routes, and the router made of them.
pub(super) struct Routes {
    router: Router<Arc<Page>>,
    table: Vec<Route>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), table: Vec::new() }
    }

    pub(super) fn get<H: Handler<T, Arc<Page>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::GET, MethodFilter::GET, path, handler)
    }

    pub(super) fn post<H: Handler<T, Arc<Page>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::POST, MethodFilter::POST, path, handler)
    }

    pub(super) fn put<H: Handler<T, Arc<Page>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PUT, MethodFilter::PUT, path, handler)
    }

    pub(super) fn delete<H: Handler<T, Arc<Page>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        Self { router: self.router.merge(other.router), table: self.table }
    }

    /// What axum serves.
    pub(super) fn router(self) -> Router<Arc<Page>> {
        self.router
    }

    /// What there is, in the order in which it was written down.
    pub(super) fn table(self) -> Vec<Route> {
        self.table
    }

    fn on<H: Handler<T, Arc<Page>>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self {
        self.table.push(Route { method, path });
        Self { router: self.router.route(path, on(filter, handler)), table: self.table }
    }
}
