//! Writing: a new object, over an existing one, and at an object's end.
//!
//! ```text
//! append: turn ──► read ──► is ours there? ──► PUT If-Match ──► done
//!                   ▲                           │ another writer was faster, or no answer
//!                   └────────── wait ◄──────────┘
//! ```
//!
//! An attempt without an answer may have written. The object shows it: nobody else begins
//! an object with exactly these bytes.

use bytes::{Bytes, BytesMut};

use super::super::patience::sleep;
use super::super::{Holds, Key, StoreError};
use super::bucket::{Bucket, Condition};
use super::call::{Call, Tries};
use super::failure::{Failure, Kind};

impl Bucket {
    pub(super) async fn put(&self, key: &Key, body: &Bytes) -> Result<(), StoreError> {
        let name = self.full_name(key);
        let put = |asked| self.put_once(asked, key, body.clone(), &Condition::Any);
        let written = self.repeat("PUT", &name, put).await;
        written.map_err(|failure| self.refused(key, "PUT", &failure))
    }

    pub(super) async fn put_new(&self, key: &Key, body: &Bytes) -> Result<bool, StoreError> {
        let mut call = Call::new(self, "PUT", &self.full_name(key));
        let mut unclear = false;
        loop {
            let put = |asked| self.put_once(asked, key, body.clone(), &Condition::Absent);
            let failure = match call.attempt(put).await {
                Ok(()) => return Ok(true),
                Err(failure) => failure,
            };
            match failure.kind {
                // Ours, if an attempt before this one went unanswered and these are its bytes.
                Kind::Precondition => return Ok(unclear && self.holds(key, body).await?),
                Kind::Passing => unclear = true,
                _ => {}
            }
            call.again(failure).await.map_err(|failure| self.refused(key, "PUT", &told(failure, unclear)))?;
        }
    }

    /// Whether the object's content is `body`.
    async fn holds(&self, key: &Key, body: &Bytes) -> Result<bool, StoreError> {
        match self.get(key, body.len() as u64).await {
            Ok(found) => Ok(found.is_some_and(|(bytes, _)| bytes == *body)),
            Err(StoreError::TooLarge { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds lines unless they are `held`; says whether it did.
    pub(super) async fn append(&self, key: &Key, lines: &Bytes, held: Option<Holds>) -> Result<bool, StoreError> {
        let _turn = self.turns.of(key).await;
        let mut call = Call::new(self, "PUT", &self.full_name(key));
        let mut conflicts = Tries::new(self.options.conflict);
        // What the last attempt without an answer would have left.
        let mut unclear: Option<Bytes> = None;
        let mut last: Option<Failure> = None;
        loop {
            let (old, condition) = match self.get(key, self.options.append_limit).await? {
                Some((bytes, version)) => (bytes, Condition::Is(version)),
                None => (Bytes::new(), Condition::Absent),
            };
            // Whoever appended after us kept our bytes in front of theirs.
            if unclear.as_ref().is_some_and(|ours| old.starts_with(ours)) {
                return Ok(true);
            }
            if held.as_ref().is_some_and(|held| held(&old)) {
                return Ok(false);
            }
            if let Some(failure) = last {
                return Err(self.refused(key, "PUT", &told(failure, true)));
            }
            let new = joined(&old, lines);
            let put = |asked| self.put_once(asked, key, new.clone(), &condition);
            let failure = match call.attempt(put).await {
                Ok(()) => return Ok(true),
                Err(failure) => failure,
            };
            match failure.kind {
                Kind::Precondition | Kind::Conflict => {
                    let faster = Failure::new(Kind::Conflict, failure.text);
                    let wait = conflicts.after(&faster).map_err(|failure| self.refused(key, "PUT", &failure))?;
                    sleep(wait).await;
                }
                Kind::Passing => {
                    unclear = Some(new);
                    // After the last attempt there is one more look at what it did.
                    last = call.again(failure).await.err();
                }
                _ => return Err(self.refused(key, "PUT", &failure)),
            }
        }
    }
}

/// The object with `lines` at its end, a half line before them closed.
fn joined(old: &Bytes, lines: &Bytes) -> Bytes {
    let torn = old.last().is_some_and(|last| *last != b'\n');
    let mut new = BytesMut::with_capacity(old.len() + 1 + lines.len());
    new.extend_from_slice(old);
    if torn {
        new.extend_from_slice(b"\n");
    }
    new.extend_from_slice(lines);
    new.freeze()
}

fn told(failure: Failure, unclear: bool) -> Failure {
    let Failure { kind, text } = failure;
    Failure { kind, text: if unclear { format!("{text}; it may have been written") } else { text } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_the_end_and_close_a_half_line() {
        let joined = |old: &'static str, lines: &'static str| joined(&Bytes::from(old), &Bytes::from(lines));
        assert_eq!(joined("", "a\n"), "a\n");
        assert_eq!(joined("a\n", "b\nc\n"), "a\nb\nc\n");
        assert_eq!(joined("a\nhal", "b\n"), "a\nhal\nb\n");
    }
}
