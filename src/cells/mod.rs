//! Cells of Arrow columns as JSON, exactly: 64-bit integers, doubles by their shortest text, decimals, texts escaped; and members
//! of JSON objects as they stand in their text.
//!
//! ```text
//! array ──bind once a batch──► Column ──write a row──► JSON · bytes of a JSON object ──object──► Found
//! ```

mod column;
pub mod text;
mod values;
pub mod verbatim;

pub use column::Column;
pub use values::{Unfit, check_type, repeated_name};
pub use verbatim::Found;
