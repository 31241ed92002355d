//! What the fuzz targets do with their bytes, and `cargo test --test data corpora::` with the ones that are committed.
//!
//! ```text
//! bytes ──► run(target) ──► a reader of WSP's public API ──► value or refusal; a panic or a broken promise is a find
//! ```

mod answers;
mod documents;
mod kept;
mod rows;
mod settings;

/// A target: what it is called, and what it does with its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has a file in `targets/` and a folder in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("ready", documents::ready),
    ("facts", documents::facts),
    ("run_receipt", documents::run_receipt),
    ("pack_manifest", documents::pack_manifest),
    ("seal", documents::seal),
    ("gate_flag", documents::gate_flag),
    ("view_manifest", documents::view_manifest),
    ("sort_receipt", documents::sort_receipt),
    ("record", documents::record),
    ("catalogue", settings::catalogue),
    ("gate_map", settings::gate_map),
    ("profile", settings::profile),
    ("allowlist", settings::allowlist),
    ("pack", settings::pack),
    ("rate_plan", settings::rate_plan),
    ("dsn", settings::dsn),
    ("cursor", kept::cursor),
    ("answered", kept::answered),
    ("journal", kept::journal),
    ("shard_position", kept::shard_position),
    ("parquet", rows::parquet),
    ("payload", rows::payload),
    ("time", rows::time),
    ("decision", answers::decision),
    ("answer_reader", answers::answer_reader),
    ("http_answer", answers::http_answer),
];

/// Runs one target once.
///
/// # Panics
///
/// If there is no such target, or the bytes make it break a promise.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(bytes);
}

/// What hostile bytes make WSP say ends up in logs and records: bounded, and without control characters.
fn assert_sayable(text: &str) {
    assert!(text.len() <= 4096, "{} bytes of message", text.len());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "control characters in {text:?}");
}
