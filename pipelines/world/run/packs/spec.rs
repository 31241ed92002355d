//! The file of a run/operate pack: the processes it consists of.
//!
//! ```text
//! version: 1
//! pack_id: ingest
//! processes: [{id: gate, …}]      other keys are the operator's
//! ```

use std::path::Path;

use serde::Deserialize;
use wsp::disk::files;

use crate::model::{Reason, Refusal};

/// A pack that can be looked at: version 1, an id that is a file name, and at least one process, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pack_id: String,
    processes: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    version: u64,
    pack_id: String,
    processes: Vec<Process>,
}

#[derive(Deserialize)]
struct Process {
    id: String,
}

impl Spec {
    /// Its id.
    #[must_use]
    pub fn pack_id(&self) -> &str {
        &self.pack_id
    }

    /// The ids of its processes, in the file's order.
    #[must_use]
    pub fn processes(&self) -> &[String] {
        &self.processes
    }

    /// Reads the pack file at `path`, at most 1 MiB.
    ///
    /// # Errors
    ///
    /// `PACK_FILE_MISSING` where it can't be read, `PACK_SPEC_INVALID` where it is no pack.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let name = path.display().to_string();
        let text = files::read_text(path, super::state::LIMIT)
            .map_err(|error| Refusal::new(Reason::PackFileMissing, format!("{name}: {error}")).file(&name))?;
        Self::parse(&text).map_err(|why| Refusal::new(Reason::PackSpecInvalid, format!("{name}: {why}")).file(&name))
    }

    /// Reads a pack file's text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if file.version != 1 {
            return Err(format!("version {} is not 1", file.version));
        }
        let may_be_in_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if file.pack_id.is_empty() || file.pack_id.starts_with('.') || !file.pack_id.chars().all(may_be_in_a_name) {
            return Err(format!("pack_id {:?} is no plain name (letters, digits, `_`, `-`, `.`)", file.pack_id));
        }
        let processes: Vec<String> = file.processes.into_iter().map(|process| process.id).collect();
        if processes.is_empty() {
            return Err("it has no process".to_owned());
        }
        if let Some((at, id)) = processes.iter().enumerate().find(|(at, id)| processes[..*at].contains(id)) {
            return Err(format!("process {at} has the id {id:?}, which stands before"));
        }
        Ok(Self { pack_id: file.pack_id, processes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pack_id: &str, processes: &str) -> Result<Spec, String> {
        Spec::parse(&format!("version: 1\npack_id: '{pack_id}'\nprocesses: {processes}\n"))
    }

    /// The id is part of a path: of the folder that the pack's state is read from.
    #[test]
    fn an_id_is_a_plain_name() {
        for id in ["pack", "A-z_0.9", "a.b", "-", "_"] {
            assert!(parsed(id, "[{id: a}]").is_ok(), "{id}");
        }
        for id in ["", ".", "..", ".a", "a/b", "../a", "a b", "ä", "a\\b", "a:b", "a\t"] {
            assert!(parsed(id, "[{id: a}]").is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_pack_has_processes_with_names_of_their_own() {
        assert_eq!(parsed("p", "[{id: a}, {id: b}]").unwrap().processes(), ["a", "b"]);
        for processes in ["[]", "[{id: a}, {id: a}]", "[{id: a}, {id: b}, {id: a}]"] {
            assert!(parsed("p", processes).is_err(), "{processes}");
        }
        assert!(Spec::parse("version: 2\npack_id: p\nprocesses: [{id: a}]\n").unwrap_err().contains("version 2"));
    }

    /// Ids are texts, whatever YAML would make of them.
    #[test]
    fn an_id_is_the_text_that_stands_in_the_file() {
        for id in ["00123456", "1.10", "1e10", "0x1F", "1_000", "yes", "2026-01-01"] {
            let spec = Spec::parse(&format!("version: 1\npack_id: {id}\nprocesses: [{{id: {id}}}]\n")).unwrap();
            assert_eq!((spec.pack_id(), spec.processes()), (id, &[id.to_owned()][..]));
        }
        for none in ["null", "~", "[a]", "{a: b}"] {
            let text = format!("version: 1\npack_id: {none}\nprocesses: [{{id: a}}]\n");
            assert!(Spec::parse(&text).is_err(), "{none}");
        }
    }
}
