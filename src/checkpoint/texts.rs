//! Forms of two texts: one says how far a scope is, the other which content that counts in. Any store takes them.
//!
//! ```text
//! kept ────TextForm──► text ─┐
//! content ─TextForm──► text ─┴─► file::TextFolders (two files) · Postgres (a row) · MemoryCheckpoints
//! ```
//!
//! Each save replaces the whole text. That an older one never replaces a newer one is up to the hold on the scope.

use super::error::{CheckpointError, CheckpointFault};
use super::leased::TableForm;
use super::memory::InMemory;
use super::store::Form;

/// A producer's positions and what they count in, as texts. The texts are of one line or many and hold no NUL.
pub trait TextForm: Form<Kept: Default> {
    /// The files of a folder: that with the content, and that with what is kept.
    const FILES: [&'static str; 2];
    /// The table of a database. It is a name of SQL.
    const TABLE: &'static str;
    /// What the role of a database that has too few rights needs.
    const RIGHTS: &'static str;

    /// What is kept, as a text.
    fn kept_text(kept: &Self::Kept) -> String;

    /// Reads such a text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    fn read_kept(text: &str) -> Result<Self::Kept, String>;

    /// What identifies the content, as a text.
    fn content_text(content: &Self::Content) -> String;

    /// Reads such a text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    fn read_content_text(text: &str) -> Result<Self::Content, String>;
}

impl<F: TextForm> TableForm for F {
    type Row = String;
    type Loaded = Option<String>;
    type Known = ();

    fn row(_: &Self::Key, kept: &Self::Kept, (): &()) -> (String, ()) {
        (Self::kept_text(kept), ())
    }

    fn note((): &mut (), _: &Self::Kept) {}

    fn kept(scope: &Self::Key, loaded: Option<String>) -> Result<Self::Kept, Self::Error> {
        let Some(text) = loaded else { return Ok(Self::Kept::default()) };
        Self::read_kept(&text).map_err(|what| unreadable::<Self>(scope, &what).into())
    }

    fn write_content(_: &Self::Key, content: &Self::Content) -> String {
        Self::content_text(content)
    }

    fn read_content(scope: &Self::Key, text: &str) -> Result<Self::Content, Self::Error> {
        Self::read_content_text(text).map_err(|what| unreadable::<Self>(scope, &what).into())
    }
}

impl<F: TextForm> InMemory for F {
    fn of(kept: &Self::Kept, _: &[Self::Source]) -> Self::Kept {
        kept.clone()
    }

    fn put(kept: &mut Self::Kept, saved: &Self::Kept) -> bool {
        kept.clone_from(saved);
        true
    }

    fn forget(kept: &mut Self::Kept, _: &[Self::Source]) {
        *kept = Self::Kept::default();
    }
}

fn unreadable<F: TextForm>(scope: &F::Key, what: &str) -> CheckpointError {
    let detail = format!("table {}, scope {scope}: {what}", F::TABLE);
    CheckpointError::new(CheckpointFault::Unreadable, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::file::TextFolders;
    use super::super::{CheckpointStore, MemoryCheckpoints};
    use super::*;
    use crate::disk::RealDisk;

    enum Words {}

    impl Form for Words {
        type Key = String;
        type Source = ();
        type Kept = String;
        type Content = String;
        type Error = CheckpointError;
    }

    impl TextForm for Words {
        const FILES: [&'static str; 2] = ["content", "kept"];
        const TABLE: &'static str = "words";
        const RIGHTS: &'static str = "";

        fn kept_text(kept: &String) -> String {
            format!("kept {kept}")
        }

        fn read_kept(text: &str) -> Result<String, String> {
            text.strip_prefix("kept ").map(str::to_owned).ok_or_else(|| "no words".to_owned())
        }

        fn content_text(content: &String) -> String {
            format!("of {content}")
        }

        fn read_content_text(text: &str) -> Result<String, String> {
            text.strip_prefix("of ").map(str::to_owned).ok_or_else(|| "no content".to_owned())
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_by_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = TextFolders::<Words>::new(Arc::new(RealDisk), folder.path());
        let scope = "a".to_owned();
        let mut held = store.open(&scope).await.unwrap();
        held.keep_views(&"x".to_owned()).await.unwrap();
        held.save(&"y".to_owned()).await.unwrap();
        for (name, bytes, words) in
            [("kept", &b"other"[..], "no words"), ("kept", b"kept \xff", "no UTF-8"), ("content", b"", "no content")]
        {
            let path = folder.path().join("a").join(name);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let error =
                if name == "kept" { held.load(&[]).await.unwrap_err() } else { held.views().await.unwrap_err() };
            assert_eq!((error.fault, error.file.as_deref()), (CheckpointFault::Unreadable, path.to_str()));
            assert!(error.detail.contains(words), "{error}");
            std::fs::write(&path, good).unwrap();
        }
        assert_eq!(held.load(&[]).await.unwrap(), "y");
        let error = Words::kept(&scope, Some("other".to_owned())).unwrap_err();
        assert_eq!((error.fault, &*error.detail), (CheckpointFault::Unreadable, "table words, scope a: no words"));
        assert_eq!(Words::kept(&scope, None), Ok(String::new()));
    }

    #[tokio::test]
    async fn memory_takes_any_texts() {
        let store = MemoryCheckpoints::<Words>::new();
        let scope = "a".to_owned();
        store.open(&scope).await.unwrap().save(&"y".to_owned()).await.unwrap();
        assert_eq!(store.peek(&scope, &[]).await.unwrap(), "y");
        store.reset(&scope, &[]).await.unwrap();
        assert_eq!(store.peek(&scope, &[]).await.unwrap(), "");
    }
}
