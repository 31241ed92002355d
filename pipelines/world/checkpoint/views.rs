//! What identifies the views that a scope's positions count in, and whether a run's views are those.
//!
//! ```text
//! the run's first start ──► Views, kept before the first position
//! each later start: its own views ──compare──► equal, or CHECKPOINT_FOREIGN: what was kept, what is there now, which file
//! ```
//!
//! A cursor is a file and a row number. In other files, or in another order of outputs, the same numbers mean other rows:
//! some would never be sent, or be sent again, without anybody noticing. All stores keep one JSON text a scope. The legacy
//! producer doesn't know it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::OutputFiles;
use super::beyond::{Unfit, check_version};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// The form that is written and read.
const VERSION: u32 = 1;

/// The views of a run's outputs, in the order of ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Views(pub Vec<OutputFiles>);

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    scope_key: &'a Hex64,
    outputs: &'a [OutputFiles],
}

/// Keys that a later producer may add are left alone; the ones we know have to be there.
#[derive(Deserialize)]
struct Read {
    scope_key: Hex64,
    outputs: Vec<OutputFiles>,
}

impl Views {
    /// The JSON text that keeps them.
    pub(super) fn write(&self, scope: &Hex64) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&Written { version: VERSION, scope_key: scope, outputs: &self.0 }).unwrap_or_default()
    }

    /// Reads such a text.
    pub(super) fn read(scope: &Hex64, text: &[u8]) -> Result<Self, Unfit> {
        check_version(text, VERSION)?;
        let Read { scope_key, outputs } =
            serde_json::from_slice(text).map_err(|error| Unfit::Damaged(error.to_string()))?;
        if scope_key != *scope {
            return Err(Unfit::Foreign(scope_key));
        }
        Ok(Self(outputs))
    }

    /// The outputs' ids, by rank.
    #[must_use]
    pub fn output_ids(&self) -> Vec<OutputId> {
        self.0.iter().map(|output| output.output_id.clone()).collect()
    }

    /// Positions that were taken in these views mean the same rows in `now`.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_FOREIGN` where the outputs, their order, or the files of one differ; it names both sides.
    pub fn are(&self, now: &Views) -> Result<(), Refusal> {
        let (kept, found) = (self.output_ids(), now.output_ids());
        if kept != found {
            let detail = format!(
                "the checkpoint was taken in a run of the outputs {}; this run's are {}",
                listed(&kept),
                listed(&found)
            );
            return Err(Refusal::new(Reason::CheckpointForeign, detail).field("outputs"));
        }
        self.0.iter().zip(&now.0).try_for_each(|(kept, now)| same_files(kept, now))
    }
}

impl OutputFiles {
    /// What identifies the content: the sha256 over a line a file, `<name> <rows> <bytes> <footer_sha256>`.
    #[must_use]
    pub fn content(&self) -> Hex64 {
        let mut lines = String::new();
        for file in &self.files {
            // Writing to a String can't fail.
            let _ = writeln!(lines, "{} {} {} {}", file.name, file.rows, file.bytes, file.footer_sha256);
        }
        Hex64::sha256(lines)
    }

    /// Rows over all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.rows))
    }
}

fn listed(outputs: &[OutputId]) -> String {
    outputs.iter().map(OutputId::as_str).collect::<Vec<_>>().join(", ")
}

fn same_files(kept: &OutputFiles, now: &OutputFiles) -> Result<(), Refusal> {
    let mut pairs = (0..kept.files.len().max(now.files.len())).map(|i| (kept.files.get(i), now.files.get(i)));
    let Some((before, after)) = pairs.find(|(before, after)| before != after) else { return Ok(()) };
    let told = |file: Option<&super::FileRows>| {
        file.map_or("no such file".to_owned(), |file| {
            let e_tag = file.e_tag.as_ref().map(|tag| format!(", ETag {tag}")).unwrap_or_default();
            format!("{} ({} rows, {} bytes, footer {}{e_tag})", file.name, file.rows, file.bytes, file.footer_sha256)
        })
    };
    let count = |output: &OutputFiles| format!("{} rows in {} files", output.rows(), output.files.len());
    let detail = format!(
        "the view of {} is not the one that the checkpoint was taken in: that had {}, this one has {}; they first differ where \
         the checkpoint has {} and the view has {}",
        kept.output_id,
        count(kept),
        count(now),
        told(before),
        told(after)
    );
    let named = after.or(before).map(|file| file.name.as_str()).unwrap_or_default();
    Err(Refusal::new(Reason::CheckpointForeign, detail).file(named))
}

#[cfg(test)]
mod tests {
    use super::super::FileRows;
    use super::*;

    fn scope() -> Hex64 {
        Hex64::sha256("scope")
    }

    fn output(name: &str, files: &[(&str, u64)]) -> OutputFiles {
        let files = files.iter().map(|(name, rows)| FileRows::of_rows(name, *rows)).collect();
        OutputFiles { output_id: name.parse().unwrap(), files }
    }

    fn views() -> Views {
        Views(vec![output("context", &[("c/0", 5)]), output("traffic", &[("t/é 0", 3), ("t/1", 7)])])
    }

    #[test]
    fn the_text_comes_back() {
        let mut views = views();
        views.0[0].files[0].e_tag = Some("\"abc-2\"".to_owned());
        let text = views.write(&scope());
        assert_eq!(Views::read(&scope(), text.as_bytes()), Ok(views));
        let later = text.replace("\"rows\":5", "\"rows\":5,\"more\":1");
        assert!(Views::read(&scope(), later.as_bytes()).is_ok(), "a key of a later producer");
    }

    #[test]
    fn what_is_not_ours_is_not_taken() {
        let good = views().write(&scope());
        assert_eq!(Views::read(&Hex64::sha256("other"), good.as_bytes()), Err(Unfit::Foreign(scope())));
        for bad in [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("\"rows\":5", "\"rows\":-5"),
            good.replace("footer_sha256", "footer"),
        ] {
            assert!(matches!(Views::read(&scope(), bad.as_bytes()), Err(Unfit::Damaged(_))), "{bad}");
        }
    }

    #[test]
    fn any_other_content_is_refused_and_both_sides_are_named() {
        type Edit = fn(&mut Views);
        let cases: &[(&str, Edit, &[&str])] = &[
            (
                "an output added",
                |v| v.0.insert(1, output("flows", &[])),
                &["context, traffic;", "context, flows, traffic"],
            ),
            ("an output removed", |v| drop(v.0.remove(0)), &["context, traffic;", "are traffic"]),
            ("outputs in another order", |v| v.0.reverse(), &["context, traffic;", "traffic, context"]),
            (
                "cut into other files",
                |v| v.0[1] = output("traffic", &[("t/é 0", 5), ("t/1", 5)]),
                &["t/é 0 (3 rows", "t/é 0 (5 rows", "10 rows in 2 files, this"],
            ),
            ("grown at its end", |v| v.0[1].files.push(FileRows::of_rows("t/2", 1)), &["no such file", "t/2 (1 rows"]),
            ("a file gone", |v| drop(v.0[1].files.pop()), &["t/1 (7 rows", "no such file"]),
            ("files in another order", |v| v.0[1].files.reverse(), &["t/é 0 (3", "t/1 (7"]),
            ("another name", |v| v.0[0].files[0].name = "d/0".to_owned(), &["c/0 (5", "d/0 (5"]),
            ("another size", |v| v.0[0].files[0].bytes = 1, &["50 bytes", "1 bytes"]),
            (
                "another footer",
                |v| v.0[0].files[0].footer_sha256 = Hex64::sha256("x"),
                &["c/0 (5 rows, 50 bytes, footer "],
            ),
            ("written anew", |v| v.0[0].files[0].e_tag = Some("\"e\"".to_owned()), &["ETag \"e\""]),
        ];
        assert_eq!(views().are(&views()), Ok(()));
        for (case, edit, names) in cases {
            let mut now = views();
            edit(&mut now);
            let refusal = views().are(&now).unwrap_err();
            assert_eq!(refusal.reason, Reason::CheckpointForeign, "{case}");
            let text = refusal.to_string();
            assert!(names.iter().all(|name| text.contains(name)), "{case}: {text}");
        }
    }

    #[test]
    fn the_content_is_of_names_rows_sizes_and_footers() {
        let content = |edit: fn(&mut FileRows)| {
            let mut output = output("traffic", &[("t/0", 3), ("t/1", 7)]);
            edit(&mut output.files[1]);
            output.content()
        };
        let same = content(|_| ());
        assert_eq!(content(|file| file.e_tag = Some("x".to_owned())), same, "a copy in another store has the same");
        let others = [
            content(|file| file.name.push('x')),
            content(|file| file.rows += 1),
            content(|file| file.bytes += 1),
            content(|file| file.footer_sha256 = Hex64::sha256("x")),
        ];
        assert!(!others.contains(&same));
    }
}
