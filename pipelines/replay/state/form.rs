//! A state as two texts: what the replay is of, and how far it is.
//!
//! ```text
//! Pinned ──► inputs.json    Kept ──► cursors.json    (in a database: two columns of a row)
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wsp::checkpoint::{CheckpointError, CheckpointFault, Form, TextForm};
use wsp::time::Micros;

use super::super::answered::{AnsweredRows, Standing};
use super::super::chain::Start;
use super::super::error::Error;
use super::FRESH;
use super::pinned::Pinned;

/// The form of the text.
const VERSION: u32 = 1;

/// What a replay keeps, for the stores of `wsp::checkpoint`.
pub(super) enum Replays {}

/// The name of a state: a folder, or a name in a database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StateName(pub(super) PathBuf);

impl AsRef<Path> for StateName {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// How far a replay is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Saved {
    /// All of it was answered.
    pub(in super::super) finished: bool,
    /// By input.
    pub(in super::super) inputs: Vec<Standing>,
    /// How long the output is, where it is a file of lines.
    pub(in super::super) written: Option<u64>,
}

/// How far which replay is; the default is that of a replay of which nothing was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The digest of the [`Pinned`] that it belongs to.
    pub(super) of: String,
    /// The names of the inputs.
    pub(super) names: Arc<[String]>,
    pub(super) saved: Saved,
}

#[derive(Serialize, Deserialize)]
struct KeptText {
    version: u32,
    of: String,
    finished: bool,
    inputs: Vec<KeptInput>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeptInput {
    name: String,
    file: usize,
    row: u64,
    time: Option<String>,
    answered: u64,
    beyond: AnsweredRows,
}

impl Form for Replays {
    type Key = StateName;
    /// All inputs are read and saved together.
    type Source = ();
    type Kept = Kept;
    type Content = Pinned;
    type Error = Error;
}

impl TextForm for Replays {
    const FILES: [&'static str; 2] = ["inputs.json", "cursors.json"];
    const TABLE: &'static str = "wsp_replay_state";
    const RIGHTS: &'static str =
        "the role needs SELECT, INSERT and UPDATE on wsp_replay_state, and CREATE on its schema where it is missing";

    fn kept_text(kept: &Kept) -> String {
        let Kept { of, names, saved: Saved { finished, inputs, written } } = kept;
        let inputs = names.iter().zip(inputs).map(|(name, standing)| KeptInput {
            name: name.clone(),
            file: standing.start.file,
            row: standing.start.row,
            time: standing.start.after.map(|time| time.to_string()),
            answered: standing.answered,
            beyond: standing.beyond.clone(),
        });
        let inputs = inputs.collect();
        let text = KeptText { version: VERSION, of: of.clone(), finished: *finished, inputs, written: *written };
        // Texts, numbers and lists always have a form in JSON.
        serde_json::to_string(&text).unwrap_or_default()
    }

    fn read_kept(text: &str) -> Result<Kept, String> {
        let text: KeptText = serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}; {FRESH}"))?;
        if text.version != VERSION {
            return Err(format!("it is of another version of wsp; {FRESH}"));
        }
        let names = text.inputs.iter().map(|input| input.name.clone()).collect();
        let standing = |input: KeptInput| {
            let after = input.time.map(|time| Micros::parse(time.as_bytes()).ok_or("a time in it can't be read"));
            if !input.beyond.is_sound() {
                return Err("its ranges of rows are out of order");
            }
            let start = Start { file: input.file, row: input.row, after: after.transpose()? };
            Ok(Standing { start, answered: input.answered, beyond: input.beyond })
        };
        let inputs = text.inputs.into_iter().map(standing).collect::<Result<_, &str>>();
        let inputs = inputs.map_err(|what| format!("it is damaged: {what}; {FRESH}"))?;
        Ok(Kept { of: text.of, names, saved: Saved { finished: text.finished, inputs, written: text.written } })
    }

    fn content_text(pinned: &Pinned) -> String {
        pinned.text()
    }

    fn read_content_text(text: &str) -> Result<Pinned, String> {
        Pinned::read(text)
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        let CheckpointError { fault, detail, file, .. } = error;
        // A state in a database has no file: the flag names it.
        let path = file.unwrap_or_else(|| "--state".to_owned());
        let what = match fault {
            CheckpointFault::Busy => {
                let what = format!(
                    "another process replays with this state ({detail}); wait until it ends, or name another --state"
                );
                return Self::Held { path, what };
            }
            CheckpointFault::Internal => return Self::Internal(detail),
            CheckpointFault::Lost => format!("another process has taken over this state: {detail}"),
            CheckpointFault::Unreadable
            | CheckpointFault::Foreign
            | CheckpointFault::Unavailable
            | CheckpointFault::NotSaved => detail,
        };
        Self::State { path, what }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standings() -> impl Strategy<Value = Vec<Standing>> {
        let time = prop::option::of(0_i64..4_102_444_800_000_000);
        let standing = (0_usize..9, any::<u64>(), time, any::<u64>());
        let standing = standing.prop_map(|(file, row, after, answered)| {
            let start = Start { file, row, after: after.map(Micros) };
            Standing { start, answered, beyond: AnsweredRows::default() }
        });
        prop::collection::vec(standing, 0..4)
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_was_written(
            of in any::<String>(), finished in any::<bool>(), inputs in standings(), written in any::<Option<u64>>(),
        ) {
            let names = (0..inputs.len()).map(|input| format!("in {input}\0\"")).collect();
            let kept = Kept { of, names, saved: Saved { finished, inputs, written } };
            let text = Replays::kept_text(&kept);
            prop_assert!(!text.contains('\0'), "a database holds no NUL");
            prop_assert_eq!(Replays::read_kept(&text), Ok(kept));
        }
    }

    #[test]
    fn faults_are_told_apart_and_name_their_place() {
        let told = |fault, file: Option<&str>| {
            let error = CheckpointError { file: file.map(str::to_owned), ..CheckpointError::new(fault, "detail") };
            Error::from(error)
        };
        let held = told(CheckpointFault::Busy, Some("state"));
        assert!(matches!(&held, Error::Held { path, .. } if path == "state"), "{held}");
        let away = told(CheckpointFault::Unavailable, None);
        assert_eq!(away.to_string(), "--state: detail");
        assert!(told(CheckpointFault::Lost, None).to_string().contains("another process has taken over"));
        assert!(matches!(told(CheckpointFault::Internal, None), Error::Internal(_)));
    }
}
