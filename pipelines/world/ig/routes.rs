//! IG's three paths below a base URL (contract, section 6).

use http::uri::PathAndQuery;
use wsp::http_url::HttpUrl;

/// The path that events are pushed to, below the base.
const PUSH: &str = "/v1/ingest/push";
const HEALTH: &str = "/v1/ops/health";
const LOOKUP: &str = "/v1/ops/lookup";

/// IG's paths below a base.
pub(super) struct Routes<'a> {
    root: &'a str,
}

impl<'a> Routes<'a> {
    /// Those of `base`, with or without the path of pushes at its end.
    pub(super) fn of(base: &'a HttpUrl) -> Self {
        Self { root: base.path().strip_suffix(PUSH).unwrap_or(base.path()) }
    }

    fn below(&self, path: &str) -> Option<PathAndQuery> {
        format!("{}{path}", self.root).parse().ok()
    }

    /// Where events are pushed to.
    pub(super) fn push(&self) -> Option<PathAndQuery> {
        self.below(PUSH)
    }

    /// Where IG is asked how it is.
    pub(super) fn health(&self) -> Option<PathAndQuery> {
        self.below(HEALTH)
    }

    /// Where IG says what became of an event; `None` for an id that no path can carry.
    pub(super) fn lookup(&self, event_id: &str) -> Option<PathAndQuery> {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("event_id", event_id).finish();
        self.below(&format!("{LOOKUP}?{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_path_is_added_once() {
        for (base, root) in [
            ("http://ig:8081", ""),
            ("http://ig:8081/", ""),
            ("https://edge/stage", "/stage"),
            ("https://edge/stage/v1/ingest/push", "/stage"),
            ("http://ig/v1/ingest/push/", ""),
        ] {
            let base: HttpUrl = base.parse().unwrap();
            let routes = Routes::of(&base);
            let path = |path: Option<PathAndQuery>| path.unwrap().to_string();
            assert_eq!(path(routes.push()), format!("{root}/v1/ingest/push"), "{base}");
            assert_eq!(path(routes.health()), format!("{root}/v1/ops/health"), "{base}");
            assert_eq!(path(routes.lookup("a&b")), format!("{root}/v1/ops/lookup?event_id=a%26b"), "{base}");
        }
    }
}
