//! The live page: the present run, or the one that ended last, as the listener serves it to a browser.
//!
//! ```text
//! Telemetry ──status, charts──┐
//! Readiness ──report──────────┴─► view (maud) ──► page, kept for a second ──► every browser that asks
//! ```
//!
//! Its script fetches the page again and replaces its middle, so the same HTML serves browsers with and without script.

mod view;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use wsp::clock::Clock;
use wsp_world::evidence::report::STYLE;
use wsp_world::telemetry::Telemetry;

use crate::readiness::Readiness;
use crate::status::StatusPage;

/// How long a page is valid; requests within it get the same one.
const KEPT: Duration = Duration::from_secs(1);

/// The page may load its own style, script and picture, and nothing else; no other page may frame it.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's script.
pub(super) const SCRIPT: &str = include_str!("page.js");
/// The page's icon.
pub(super) const ICON: &str = include_str!("icon.svg");
const OWN_STYLE: &str = include_str!("page.css");

/// The page's style: the report's, and a few lines of its own.
pub(super) fn style() -> String {
    [STYLE, OWN_STYLE].concat()
}

/// The page as it was rendered last.
#[derive(Debug, Default)]
pub(super) struct Page(Mutex<Option<(Duration, Bytes)>>);

impl Page {
    /// The page as HTML, at most a second old.
    ///
    /// # Errors
    ///
    /// Where rendering panicked: a bug.
    pub(super) async fn html<C: Clock>(
        &self,
        telemetry: &Telemetry,
        readiness: &Readiness<C>,
        clock: &C,
    ) -> Result<Bytes, JoinError> {
        let mut made = self.0.lock().await;
        if let Some((at, page)) = &*made
            && clock.now().saturating_sub(*at) < KEPT
        {
            return Ok(page.clone());
        }
        let readiness = readiness.report().await;
        let told = StatusPage { status: telemetry.status_with_lanes(clock).await, readiness };
        let shown = telemetry.shown(clock);
        // Delivery runs on this thread; it must not wait for markup.
        let page = spawn_blocking(move || Bytes::from(view::page(&told, &shown).into_string())).await?;
        *made = Some((clock.now(), page.clone()));
        Ok(page)
    }
}
