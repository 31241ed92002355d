//! The JSON of the gate's answers, in the shapes of the golden ones. Receipts hold only what a producer can use.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::class::EventClass;
use super::envelope::Envelope;
use super::ledger::Verdict;

/// A decision with its receipt.
pub(super) fn decision(class: EventClass, envelope: &Envelope<'_>, verdict: Verdict) -> Vec<u8> {
    let run: &str = &envelope.platform_run_id;
    let dedupe = dedupe_key(run, class, &envelope.event_id);
    let mut out = Vec::with_capacity(1024);
    let word = match verdict {
        Verdict::Admit { .. } => "ADMIT",
        Verdict::Duplicate { .. } => "DUPLICATE",
        Verdict::Quarantine { .. } => "QUARANTINE",
    };
    let receipt = receipt_id(&dedupe, word);
    put(&mut out, &[r#"{"decision":""#, word, r#"","receipt":{"decision":""#, word, r#"","dedupe_key":""#]);
    put(&mut out, &[&const_hex::encode(dedupe)]);
    if let Verdict::Admit { seq } | Verdict::Duplicate { seq } = verdict {
        put(&mut out, &[r#"","eb_ref":{"offset":""#, itoa::Buffer::new().format(seq)]);
        put(
            &mut out,
            &[r#"","offset_kind":"admission","partition":0,"topic":""#, class.topic(), r#""},"event_class":""#],
        );
    } else {
        put(&mut out, &[r#"","event_class":""#]);
    }
    put(&mut out, &[class.name(), r#"","event_id":""#, &const_hex::encode(envelope.event_id), r#"","event_type":"#]);
    text(&mut out, &envelope.event_type);
    match verdict {
        Verdict::Admit { .. } => hash(&mut out, envelope.payload_hash),
        Verdict::Duplicate { .. } => {
            let first = receipt_id(&dedupe, "ADMIT");
            put(&mut out, &[r#","evidence_refs":[{"kind":"receipt_ref","ref":""#, &receipt_ref(run, &first), r#""}]"#]);
            hash(&mut out, envelope.payload_hash);
            put(&mut out, &[r#","reason_codes":["DUPLICATE"]"#]);
        }
        Verdict::Quarantine { flaw } => {
            put(&mut out, &[r#","evidence_refs":[{"kind":"quarantine_record","ref":"runs/fraud-platform/"#, run]);
            put(&mut out, &["/ig/quarantine/", &receipt, r#".json"}],"reason_codes":[""#, flaw.code(), r#""]"#]);
        }
    }
    put(&mut out, &[r#","platform_run_id":""#, run, r#"","receipt_id":""#, &receipt, r#"","ts_utc":"#]);
    text(&mut out, &envelope.ts_utc);
    put(&mut out, &[r#"},"receipt_ref":""#, &receipt_ref(run, &receipt), r#""}"#]);
    out
}

/// The answer to a lookup of an admitted event.
pub(super) fn lookup(run: &str, class: EventClass, event_id: &[u8; 32]) -> Vec<u8> {
    let receipt = receipt_id(&dedupe_key(run, class, event_id), "ADMIT");
    let mut out = Vec::with_capacity(512);
    put(
        &mut out,
        &[
            r#"{"decision":"ADMIT","event_id":""#,
            &const_hex::encode(event_id),
            r#"","event_type":""#,
            class.event_type(),
        ],
    );
    put(&mut out, &[r#"","receipt_id":""#, &receipt, r#"","receipt_ref":""#, &receipt_ref(run, &receipt), r#""}"#]);
    out
}

/// `{"detail": …, "error": …}`.
pub(super) fn error(error: &str, detail: Option<&str>) -> Vec<u8> {
    let mut out = br#"{"detail":"#.to_vec();
    match detail {
        Some(detail) => text(&mut out, detail),
        None => put(&mut out, &["null"]),
    }
    put(&mut out, &[r#","error":""#, error, r#""}"#]);
    out
}

/// IG's dedupe key: sha256 of run, class and id (the golden receipts' formula).
fn dedupe_key(run: &str, class: EventClass, event_id: &[u8; 32]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(run);
    sha.update(":");
    sha.update(class.name());
    sha.update(":");
    sha.update(const_hex::encode(event_id));
    sha.finalize().into()
}

/// 32 hex digits, the same for the same event and decision.
fn receipt_id(dedupe: &[u8; 32], decision: &str) -> String {
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(dedupe.chunks_exact(2)) {
        *byte = pair[0] ^ pair[1].rotate_left(decision.len() as u32 % 8);
    }
    const_hex::encode(id)
}

fn receipt_ref(run: &str, receipt: &str) -> String {
    ["runs/fraud-platform/", run, "/ig/receipts/", receipt, ".json"].concat()
}

/// A hash of the gate's own, and named so: 64 bits, equal for equal values.
fn hash(out: &mut Vec<u8>, hash: u64) {
    let _ = write!(out, r#","payload_hash":{{"algo":"fold64","hex":"{hash:016x}"}}"#);
}

fn put(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    // A string always has a JSON form and a vector always takes it.
    let _ = serde_json::to_writer(out, text);
}
