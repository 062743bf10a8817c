//! Routes: each does exactly one thing, and what it names exists.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::config::decode::At;
use crate::config::file::matrix::Homeserver;
use crate::config::file::route::{Discovery, Files, Keep, Redirect, Respond, Route};
use crate::config::file::site::Site;
use crate::config::model;
use crate::config::preset;
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::resolve::matrix::well_known;
use crate::config::resolve::site::access;
use crate::config::scalar::name::Name;
use crate::config::tree::Place;
use crate::config::words;

/// The keys of a route that say what is done, in the order in which they are told.
const ACTIONS: [&str; 6] = ["well_known", "forward", "redirect", "respond", "deny", "files"];

impl Resolver<'_> {
    /// One route, if it is right.
    pub(crate) fn route(&mut self, site: &Site, route: &At<Route>) -> Option<model::route::Route> {
        let headers = self.headers(&route.headers);
        self.strip_fits(route);
        self.park_fits(route);
        let action = self.action(site, route)?;
        Some(model::route::Route {
            path: route.path.value.0.clone(),
            action,
            access: route.access.as_ref().map(access),
            headers,
        })
    }

    fn action(&mut self, site: &Site, route: &At<Route>) -> Option<model::route::Action> {
        let written = written(route);
        match written.as_slice() {
            [] => {
                if !self.incomplete(route.place) {
                    self.findings.push(
                        Finding::error(
                            route.path.place,
                            format!("route `{}` does nothing", route.path.value),
                        )
                        .label("and then?")
                        .help(format!("one of {} says what is done", words::listed(&ACTIONS))),
                    );
                }
                None
            }
            [_] => self.only_action(site, route),
            [(first, at), (second, again), ..] => {
                let title = format!("route `{}` does two things", route.path.value);
                self.findings.push(
                    Finding::error(*again, title)
                        .label(format!("`{second}` beside `{first}`"))
                        .also(*at, format!("`{first}` here"))
                        .help("a route does one thing: write two routes with different paths"),
                );
                None
            }
        }
    }

    fn only_action(&mut self, site: &Site, route: &At<Route>) -> Option<model::route::Action> {
        if let Some(discovery) = &route.well_known {
            return self.discovery(site, route, discovery);
        }
        if let Some(upstream) = &route.forward {
            return self.forward(site, route, upstream);
        }
        if let Some(redirect) = &route.redirect {
            return Some(model::route::Action::Redirect(self::redirect(redirect)));
        }
        if let Some(respond) = &route.respond {
            return self.respond(respond);
        }
        if let Some(files) = &route.files {
            return Some(model::route::Action::Files(self::files(files)));
        }
        let deny = route.deny.as_ref()?;
        if !deny.value {
            self.findings.push(
                Finding::error(deny.place, format!("route `{}` does nothing", route.path.value))
                    .label("`deny: false` allows nothing by itself")
                    .help("leave the route out, or say what is done instead"),
            );
        }
        Some(model::route::Action::Deny)
    }

    fn discovery(
        &mut self,
        site: &Site,
        route: &Route,
        discovery: &At<Discovery>,
    ) -> Option<model::route::Action> {
        if !route.path.is_under("/.well-known/matrix") {
            let finding = Finding::error(route.path.place, "`well_known` belongs to `/.well-known/matrix/`")
                .label("nobody looks here");
            self.findings.push(finding.help("write `path: /.well-known/matrix/`"));
        }
        let all = self.file.matrix.as_ref().map_or(&[][..], |matrix| matrix.list());
        let found: Option<&Homeserver> = match &discovery.value {
            Discovery::Of(name) => all.iter().find(|homeserver| homeserver.server_name.value == *name),
            Discovery::Own(true) => self.homeserver_of(&site.hosts).or(match all {
                [only] => Some(only),
                _ => None,
            }),
            Discovery::Own(false) => None,
        };
        if let Some(homeserver) = found {
            return Some(model::route::Action::WellKnown(Arc::new(well_known(homeserver))));
        }
        if !self.incomplete_sections(&["matrix"]) {
            let names: Vec<String> =
                all.iter().map(|homeserver| homeserver.server_name.to_string()).collect();
            self.findings.push(no_documents(discovery, &names));
        }
        None
    }

    fn forward(&mut self, site: &Site, route: &Route, upstream: &At<Name>) -> Option<model::route::Action> {
        let name = self.upstream_named(upstream)?;
        let strip = route.strip.as_ref().map(|strip| Arc::from(strip.bare()));
        Some(model::route::Action::Forward(model::route::Forward {
            unavailable_status: self.unavailable_status(site, &name),
            park: route.park.map(|park| park.value),
            upstream: name,
            strip,
        }))
    }

    /// As the homeserver wants it, whose site this is or, failing that, whose Synapse is forwarded to.
    fn unavailable_status(&self, site: &Site, upstream: &str) -> StatusCode {
        let all = self.file.matrix.as_ref().map_or(&[][..], |matrix| matrix.list());
        let is_home =
            |homeserver: &&Homeserver| &*preset::upstream_name(homeserver, all.len() == 1).0 == upstream;
        let homeserver = self.homeserver_of(&site.hosts).filter(is_home).or_else(|| all.iter().find(is_home));
        homeserver.map_or(StatusCode::SERVICE_UNAVAILABLE, |homeserver| homeserver.unavailable_status.0)
    }

    fn respond(&mut self, respond: &At<Respond>) -> Option<model::route::Action> {
        let status = respond.status.0;
        let no_body =
            matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        if no_body && !respond.body.is_empty() {
            let title = format!("an answer with status {} has no body", status.as_u16());
            self.findings.push(Finding::error(respond.place, title).label("has one"));
        }
        Some(model::route::Action::Respond(model::route::Respond {
            status,
            body: Bytes::from(respond.body.clone()),
            content_type: respond.content_type.0.clone(),
        }))
    }

    fn park_fits(&mut self, route: &Route) {
        if let Some(park) = route.park.filter(|_| route.forward.is_none()) {
            self.findings.push(
                Finding::error(park.place, "`park` goes with `forward`")
                    .label("without it")
                    .help("requests wait for an upstream: leave it out"),
            );
        }
    }

    fn strip_fits(&mut self, route: &Route) {
        let Some(strip) = &route.strip else { return };
        let matrix = route.path.is_under("/_matrix") || strip.is_under("/_matrix");
        let finding = Finding::error(strip.place, String::new());
        let finding = if matrix {
            finding.titled("nothing may be cut off below `/_matrix`").label("refused").help(
                "servers sign the whole path of their requests (X-Matrix): a changed one fails their signatures",
            )
        } else if route.forward.is_none() {
            finding.titled("`strip` goes with `forward`").label("without it")
        } else if strip.bare().is_empty() {
            finding.titled("there is nothing to cut off").label("leave it out")
        } else if !route.path.is_under(strip.bare()) {
            finding
                .titled(format!("`{}` does not begin with `{}`", route.path.value, strip.value))
                .label("is not in front of this route's path")
                .also(route.path.place, "the path")
        } else {
            return;
        };
        self.findings.push(finding);
    }
}

fn written(route: &Route) -> Vec<(&'static str, Place)> {
    let places = [
        route.well_known.as_ref().map(|at| at.place),
        route.forward.as_ref().map(|at| at.place),
        route.redirect.as_ref().map(|at| at.place),
        route.respond.as_ref().map(|at| at.place),
        route.deny.as_ref().map(|at| at.place),
        route.files.as_ref().map(|at| at.place),
    ];
    ACTIONS.into_iter().zip(places).filter_map(|(name, place)| Some((name, place?))).collect()
}

fn no_documents(discovery: &At<Discovery>, names: &[String]) -> Finding {
    let finding = match &discovery.value {
        Discovery::Of(name) => {
            let finding = Finding::error(discovery.place, format!("there is no homeserver `{name}`"));
            match words::nearest(&name.to_string(), names.iter().map(String::as_str)) {
                Some(near) => finding.label(format!("did you mean `{near}`?")),
                None => finding.label("not in `matrix`"),
            }
        }
        Discovery::Own(true) => {
            Finding::error(discovery.place, "it is not clear whose documents these are").label("whose?")
        }
        Discovery::Own(false) => {
            Finding::error(discovery.place, "`well_known: false` does nothing").label("leave it out")
        }
    };
    match names {
        [] => finding.help("`matrix` says what is in them, and there is no `matrix`"),
        names => finding.help(format!("write the `server_name`, one of {}", words::listed(names))),
    }
}

fn redirect(redirect: &Redirect) -> model::route::Redirect {
    model::route::Redirect {
        to: redirect.to.0.clone(),
        keep_path: redirect.keep == Some(Keep::Path),
        status: redirect.status.0,
    }
}

fn files(files: &Files) -> model::route::Files {
    model::route::Files {
        root: files.root.0.clone(),
        index: files.index.iter().map(|name| name.0.clone()).collect(),
        listing: files.listing,
        element: files.element,
    }
}
