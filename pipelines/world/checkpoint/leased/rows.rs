//! What of a scope is in the tables: cursors, and texts about what is beside them and which views they count in.

use std::collections::BTreeMap;

use wsp::checkpoint::leased::TableForm;

use crate::checkpoint::beyond::Unfit;
use crate::checkpoint::{Beyond, Cursor, Kept, RowCursors, Views};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// What a save puts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Cursors that moved, one an output at most.
    pub cursors: Vec<Cursor>,
    /// What is beside the cursors, in place of the text that was kept before.
    pub beside: String,
}

/// What is kept of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Cursors of the outputs asked for, where there are any.
    pub cursors: Vec<Cursor>,
    /// The text about what is beside them, where one was saved.
    pub beside: Option<String>,
}

impl TableForm for RowCursors {
    type Row = Row;
    type Loaded = Loaded;
    /// The scope's cursors as far as they are known: a save replaces what is beside all of them.
    type Known = BTreeMap<OutputId, Cursor>;

    fn row(scope: &Hex64, kept: &Kept, known: &Self::Known) -> (Row, Self::Known) {
        let latest: BTreeMap<_, _> = kept.cursors.iter().map(|cursor| (&cursor.output_id, cursor)).collect();
        let cursors: Vec<Cursor> = latest.into_values().cloned().collect();
        let mut known = known.clone();
        known.extend(cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
        let beside = Beyond::write(scope, &kept.beyond, known.values());
        (Row { cursors, beside }, known)
    }

    fn note(known: &mut Self::Known, kept: &Kept) {
        known.extend(kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
    }

    fn kept(scope: &Hex64, loaded: Loaded) -> Result<Kept, Refusal> {
        let Loaded { cursors, beside } = loaded;
        let Some(text) = beside else { return Ok(Kept::at(cursors)) };
        let without = "without the scope's row the run goes on, and sends what it lists again";
        let beside = Beyond::read(scope, text.as_bytes());
        Ok(beside.map_err(|unfit| unfit_row("wsp_checkpoint_answered", without, scope, unfit))?.kept(cursors))
    }

    fn write_content(scope: &Hex64, views: &Views) -> String {
        views.write(scope)
    }

    fn read_content(scope: &Hex64, text: &str) -> Result<Views, Refusal> {
        let without = "it says which views the cursors count in. Without the scope's row the run goes on, and only the \
                       cursors' own rows are compared with the view";
        let views = Views::read(scope, text.as_bytes());
        views.map_err(|unfit| unfit_row("wsp_checkpoint_views", without, scope, unfit))
    }
}

/// The refusal of a row whose text is not what we write.
fn unfit_row(table: &str, without: &str, scope: &Hex64, unfit: Unfit) -> Refusal {
    match unfit {
        Unfit::Damaged(detail) => {
            Refusal::new(Reason::CheckpointUnreadable, format!("{table}, scope {scope}: {detail}; {without}"))
        }
        Unfit::Foreign(other) => {
            let detail = format!("{table}: the row of {scope} holds what is {other}'s");
            Refusal::new(Reason::CheckpointForeign, detail).field("scope_key")
        }
    }
}
