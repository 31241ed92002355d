//! The journal on disk: one line for each decision, in order. A restarted gate restores its admissions from it.
//!
//! ```text
//! Verdict ──► JournalFile::write ──► journal.jsonl ──► JournalFile::open (restart) ──► Ledger
//! ```
//!
//! ```json
//! {"seq":0,"decision":"ADMIT","event_id":"…","event_type":"…","ts_utc":"…","platform_run_id":"…","order_column":"flow_id","order_value":7,"payload_hash":"…"}
//! {"seq":0,"decision":"DUPLICATE",…}
//! {"decision":"QUARANTINE","reason":"ENVELOPE_INVALID",…}
//! ```
//!
//! `seq` counts admissions from 0; a duplicate has the number of the admission it repeats.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use serde::Deserialize;

use super::class::EventClass;
use super::envelope::{Envelope, hex32};
use super::ledger::{Ledger, Verdict};

/// The file, open for more lines.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: BufWriter<File>,
    line: Vec<u8>,
}

#[derive(Deserialize)]
struct Line<'a> {
    seq: Option<u32>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    event_id: Cow<'a, str>,
    event_type: Cow<'a, str>,
    ts_utc: Cow<'a, str>,
    platform_run_id: Cow<'a, str>,
    order_value: Option<serde_json::Number>,
    payload_hash: Cow<'a, str>,
}

impl JournalFile {
    /// Opens the file, creating it where there is none, and replays its decisions into `ledger`. A half line at the end
    /// (the gate was killed) is cut off.
    ///
    /// # Errors
    ///
    /// If it can't be read or written, or a complete line is not a journal's.
    pub(super) fn open(path: &Path, ledger: &mut Ledger) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let (mut line, mut end, mut number) = (Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            number += 1;
            replay(&line, ledger).map_err(|problem| {
                let text = format!("{}: line {number}: {problem}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            end += read as u64;
        }
        file.set_len(end)?;
        file.seek(io::SeekFrom::Start(end))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 18, file), line: Vec::with_capacity(512) })
    }

    /// Adds the line of one decision; it is on disk after the next [`JournalFile::flush`].
    pub(super) fn write(&mut self, class: EventClass, envelope: &Envelope<'_>, verdict: Verdict) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        match verdict {
            Verdict::Admit { seq } => write!(line, r#"{{"seq":{seq},"decision":"ADMIT""#)?,
            Verdict::Duplicate { seq } => write!(line, r#"{{"seq":{seq},"decision":"DUPLICATE""#)?,
            Verdict::Quarantine { flaw } => {
                write!(line, r#"{{"decision":"QUARANTINE","reason":"{}""#, flaw.code())?;
            }
        }
        write!(line, r#","event_id":"{}","event_type":"#, const_hex::encode(envelope.event_id))?;
        serde_json::to_writer(&mut *line, &envelope.event_type)?;
        line.extend_from_slice(br#","ts_utc":"#);
        serde_json::to_writer(&mut *line, &envelope.ts_utc)?;
        line.extend_from_slice(br#","platform_run_id":"#);
        serde_json::to_writer(&mut *line, &envelope.platform_run_id)?;
        let column = class.order_column();
        let value = envelope.order_value(column);
        write!(line, r#","order_column":"{column}","order_value":"#)?;
        if column == "flow_id" {
            write!(line, "{}", value.cast_signed())?;
        } else {
            write!(line, "{value}")?;
        }
        writeln!(line, r#","payload_hash":"{:016x}"}}"#, envelope.payload_hash)?;
        self.file.write_all(line)
    }

    /// Hands what was written to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn replay(line: &[u8], ledger: &mut Ledger) -> Result<(), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let order_value = line.order_value.and_then(|n| n.as_u64().or_else(|| n.as_i64().map(i64::cast_unsigned)));
    let class = EventClass::of(&line.event_type);
    let envelope = Envelope {
        event_id: hex32(&line.event_id).ok_or("event_id")?,
        event_type: line.event_type,
        ts_utc: line.ts_utc,
        platform_run_id: line.platform_run_id,
        payload_hash: u64::from_str_radix(&line.payload_hash, 16).map_err(|_| "payload_hash")?,
        flow_id: order_value,
        merchant_id: order_value,
        flaw: None,
    };
    if line.decision == "QUARANTINE" {
        return Ok(());
    }
    let seq = match ledger.judge(class, &envelope) {
        Verdict::Admit { seq } | Verdict::Duplicate { seq } => Some(seq),
        Verdict::Quarantine { .. } => None,
    };
    if seq == line.seq { Ok(()) } else { Err(format!("seq {:?} where {seq:?} is due", line.seq)) }
}
