//! What an attempt to push an event to IG means: an answer, another try, or the end (contract, section 6).
//!
//! ```text
//! Attempt ──judge──► Decided (ADMIT, DUPLICATE, QUARANTINE) · Retry · Rejected
//! ```

use serde::de::IgnoredAny;
use serde_json::Value;
use wsp::deliver::{Answer, Attempt, Cause, Decided, Delivery, Judge, Stray, Verdict};

use super::said::Said;
use crate::model::{Decision, Delivered, Event, Hex64, Names, Reason, Refusal};

/// The codes with which a 400 asks for another try: the service wrapper says 400 where the managed edge says 503.
const RETRYABLE_400: [&str; 3] = ["PUBLISH_IN_FLIGHT_RETRY", "PUBLISH_AMBIGUOUS_RETRY", "IG_UNHEALTHY"];

/// The reason code of a QUARANTINE for an id that the gate holds with another payload.
const PAYLOAD_MISMATCH: &str = "PAYLOAD_HASH_MISMATCH";

/// How much of a gate's own words is repeated in a message, in characters.
const QUOTE: usize = 200;

/// IG's judge.
#[derive(Debug, Clone, Default)]
pub struct IgJudge {
    names: Names,
}

impl IgJudge {
    /// Its refusals call outputs and files by `names`.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self { names }
    }
}

impl Judge<Event> for IgJudge {
    type Delivered = Delivered;
    type Error = Refusal;

    fn judge(&self, event: &Event, attempt: &Attempt) -> Result<Verdict, Stray> {
        let Attempt::Answered(answer) = attempt else { return Ok(judge(attempt)) };
        let said = Said::read(answer.body());
        if !said.is_about(&event.event_id) {
            return Err(Stray("the answer names another event"));
        }
        if answer.is_early() && said.decision.is_some() {
            return Err(Stray("the answer decides about an event that was not all sent"));
        }
        Ok(judge_answer(answer, said.decision))
    }

    fn delivered(&self, event: &Event, decided: &Decided, delivery: Delivery) -> Delivered {
        let Event { position, ts, event_id, .. } = *event;
        let Delivery { attempts, ambiguous, latency, lag } = delivery;
        Delivered { position, ts, event_id, decision: decided.into(), attempts, ambiguous, latency, lag }
    }

    fn failed(&self, event: &Event, cause: Cause, why: &str) -> Refusal {
        let reason = match cause {
            Cause::Rejected => Reason::IgPushRejected,
            Cause::Differs => Reason::IgPayloadMismatch,
            Cause::Exhausted => Reason::IgPushRetryExhausted,
            Cause::Unavailable => Reason::IgUnavailable,
        };
        let (output, id) = (self.names.output(event.position), Hex64::of_digest(event.event_id));
        self.names.at(event.position, Refusal::new(reason, format!("{why} ({output}, {}, event {id})", event.ts)))
    }
}

impl From<&Decided> for Decision {
    fn from(decided: &Decided) -> Self {
        match decided {
            Decided::Accepted => Self::Admit,
            Decided::Duplicate => Self::Duplicate,
            Decided::Quarantined { .. } => Self::Quarantine,
        }
    }
}

/// Judges an attempt, whatever event its answer names.
#[must_use]
pub fn judge(attempt: &Attempt) -> Verdict {
    match attempt {
        Attempt::Answered(answer) => judge_answer(answer, Said::read(answer.body()).decision),
        Attempt::ConnectFailed(cause) => retry(format!("no connection: {cause}")),
        Attempt::ConnectionLost(cause) => retry(format!("connection lost: {cause}")),
        Attempt::TimedOut => retry("no answer in time".to_owned()),
    }
}

/// Status and what the gate says about it (`error`, `detail`, the receipt's `reason_codes`), as far as
/// that can be read, in a bounded length.
#[must_use]
pub fn describe(answer: &Answer) -> String {
    let mut text = format!("status {}", answer.status());
    let Ok(body) = serde_json::from_slice::<Value>(answer.body()) else {
        text.push_str(if answer.body().is_empty() { ", empty body" } else { ", body is not JSON" });
        return text;
    };
    for key in ["decision", "error", "detail"] {
        if let Some(word) = body.get(key).and_then(Value::as_str) {
            quote(&mut text, word);
        }
    }
    let in_receipt = body.pointer("/receipt/decision").filter(|inner| body.get("decision") != Some(inner));
    if let Some(word) = in_receipt.and_then(Value::as_str) {
        quote(&mut text, word);
        text.push_str(" in the receipt");
    }
    for list in [body.get("reason_codes"), body.pointer("/receipt/reason_codes")] {
        for code in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).take(8) {
            quote(&mut text, code);
        }
    }
    text
}

/// Whether a QUARANTINE says that the gate holds another payload under the event's id.
fn payload_differs(answer: &Answer) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(answer.body()) else { return false };
    let mut codes = [body.get("reason_codes"), body.pointer("/receipt/reason_codes")]
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten();
    codes.any(|code| code == PAYLOAD_MISMATCH)
}

fn judge_answer(answer: &Answer, decision: Option<Decision>) -> Verdict {
    match (answer.status(), decision) {
        (200 | 202, Some(Decision::Admit)) => Verdict::Decided(Decided::Accepted),
        (200 | 202, Some(Decision::Duplicate)) => Verdict::Decided(Decided::Duplicate),
        (200 | 202 | 400, Some(Decision::Quarantine)) => {
            Verdict::Decided(Decided::Quarantined { why: describe(answer), differs: payload_differs(answer) })
        }
        (200 | 202, _) if !answer.is_whole() => again(answer, ", no decision in it, perhaps cut short"),
        (200 | 202, _) => Verdict::Rejected { why: describe(answer) + ", no decision in it" },
        (400, _) if asks_for_retry(answer.body()) => again(answer, ""),
        (400, None) if !answer.is_whole() && !is_json(answer.body()) => again(answer, ", perhaps cut short"),
        (408 | 429 | 500..=599, _) => again(answer, ""),
        _ => Verdict::Rejected { why: describe(answer) },
    }
}

fn again(answer: &Answer, more: &str) -> Verdict {
    Verdict::Retry { why: describe(answer) + more, retry_after: answer.retry_after() }
}

/// Whether the body is a JSON object, list or text: then nothing of it is missing.
fn is_json(body: &[u8]) -> bool {
    let ends_itself = matches!(body.trim_ascii_start().first(), Some(b'{' | b'[' | b'"'));
    ends_itself && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn asks_for_retry(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| Some(RETRYABLE_400.contains(&body.get("error")?.as_str()?)))
        .unwrap_or(false)
}

fn retry(why: String) -> Verdict {
    Verdict::Retry { why, retry_after: None }
}

fn quote(text: &mut String, word: &str) {
    text.push_str(", ");
    // The gate's words end up in logs and records: printable and bounded.
    text.extend(word.chars().take(QUOTE).map(|c| if c.is_control() { ' ' } else { c }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Micros, Position};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn answer(status: u16, body: &str) -> Attempt {
        Attempt::Answered(Answer::new(status, Bytes::copy_from_slice(body.as_bytes())))
    }

    /// The same, with a body that ended with its connection.
    fn closed(status: u16, body: &str) -> Attempt {
        Attempt::Answered(Answer::new(status, Bytes::copy_from_slice(body.as_bytes())).perhaps_cut())
    }

    fn is_retry(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Retry { .. })
    }

    fn decision(verdict: &Verdict) -> Option<Decision> {
        let Verdict::Decided(decided) = verdict else { return None };
        Some(decided.into())
    }

    fn is_rejected(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Rejected { .. })
    }

    #[test]
    fn the_golden_answers_are_read_as_the_gate_meant_them() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ig_responses.json"))
                .unwrap();
        let samples: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut decided = 0;
        for sample in &samples {
            let case = sample["case"].as_str().unwrap();
            let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
            let body = sample.get("json").filter(|json| !json.is_null()).map(Value::to_string).unwrap_or_default();
            let verdict = judge(&answer(status, &body));
            let expected = sample.pointer("/json/decision").and_then(Value::as_str);
            match (status, expected) {
                (200, Some(word)) => {
                    assert_eq!(decision(&verdict).unwrap().as_str(), word, "{case}: {verdict:?}");
                    decided += 1;
                }
                (429 | 500..=599, _) => assert!(is_retry(&verdict), "{case}: {verdict:?}"),
                _ => assert!(is_rejected(&verdict), "{case}: {verdict:?}"),
            }
        }
        assert!(decided >= 15, "{decided} of {} samples hold a decision", samples.len());
    }

    #[test]
    fn retryable_and_terminal_are_told_apart() {
        for attempt in
            [Attempt::ConnectFailed("refused".into()), Attempt::ConnectionLost("reset".into()), Attempt::TimedOut]
        {
            assert!(is_retry(&judge(&attempt)), "{attempt:?}");
        }
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(is_retry(&judge(&answer(status, ""))), "{status}");
        }
        for status in [201, 204, 301, 302, 307, 308, 401, 403, 404, 405, 409, 413, 422, 600] {
            assert!(is_rejected(&judge(&answer(status, r#"{"decision":"ADMIT"}"#))), "{status}");
        }
        for code in RETRYABLE_400 {
            assert!(is_retry(&judge(&answer(400, &format!(r#"{{"error":"{code}","detail":null}}"#)))), "{code}");
        }
        for body in ["", "[]", r#"{"error":"OTHER"}"#, r#"{"error":7}"#, r#"{"decision":"ADMIT"}"#] {
            assert!(is_rejected(&judge(&answer(400, body))), "{body}");
        }
        let decided = |attempt| decision(&judge(&attempt));
        assert_eq!(decided(answer(400, r#"{"decision":"QUARANTINE"}"#)), Some(Decision::Quarantine));
        assert_eq!(decided(answer(202, r#"{"receipt":{},"decision":"DUPLICATE"}"#)), Some(Decision::Duplicate));
    }

    #[test]
    fn overload_is_told_from_other_failures() {
        for status in [408, 429, 503] {
            assert!(answer(status, "").is_overload(), "{status}");
        }
        assert!(Attempt::TimedOut.is_overload());
        for other in [answer(500, ""), answer(200, ""), Attempt::ConnectionLost("reset".into())] {
            assert!(!other.is_overload(), "{other:?}");
        }
    }

    #[test]
    fn another_payload_is_told_from_other_quarantines() {
        let differs = |status, body: &str| payload_differs(&Answer::new(status, body.as_bytes().to_vec()));
        for body in [
            r#"{"decision":"QUARANTINE","receipt":{"reason_codes":["X","PAYLOAD_HASH_MISMATCH"]}}"#,
            r#"{"decision":"QUARANTINE","reason_codes":["PAYLOAD_HASH_MISMATCH"]}"#,
        ] {
            assert!(differs(200, body), "{body}");
        }
        for body in
            ["", r#"{"receipt":{"reason_codes":["SCHEMA_FAIL"]}}"#, r#"{"reason_codes":"PAYLOAD_HASH_MISMATCH"}"#]
        {
            assert!(!differs(400, body), "{body}");
        }
    }

    #[test]
    fn an_answer_without_a_readable_decision_is_no_delivery() {
        for body in [
            "",
            "ok",
            "[]",
            "{}",
            r#"{"decision":"admit"}"#,
            r#"{"decision":1}"#,
            r#"{"decision":"ADMIT""#,
            r#"{"decision":"ADMIT"} x"#,
            r#"["ADMIT"]"#,
            r#"{"receipt":{"decision":"ADMIT"}}"#,
            r#"{"decision":"ADMIT","decision":"ADMIT"}"#,
            r#"{"decision":"ADMIT","receipt":{"decision":"QUARANTINE"}}"#,
        ] {
            for status in [200, 202] {
                assert!(is_rejected(&judge(&answer(status, body))), "{body}");
            }
            assert!(!matches!(judge(&answer(400, body)), Verdict::Decided(_)), "{body}");
        }
        let Verdict::Rejected { why } =
            judge(&answer(200, r#"{"decision":"ADMIT","receipt":{"decision":"QUARANTINE"}}"#))
        else {
            unreachable!()
        };
        assert_eq!(why, "status 200, ADMIT, QUARANTINE in the receipt, no decision in it");
    }

    #[test]
    fn an_answer_that_may_be_cut_short_is_tried_again_where_its_rest_could_decide() {
        for body in ["", "{", r#"{"decision":"ADM"#, "<html>", "{}", r#"{"decision":"MAYBE"}"#] {
            for status in [200, 202] {
                assert!(is_retry(&judge(&closed(status, body))), "{status} {body}");
                assert!(is_rejected(&judge(&answer(status, body))), "{status} {body}");
            }
        }
        // Whole JSON has no rest.
        for (body, again) in [("", true), (r#"{"error":"PUBL"#, true), (r#"{"error":"INVALID_JSON"}"#, false)] {
            assert_eq!(is_retry(&judge(&closed(400, body))), again, "{body}");
            assert!(is_rejected(&judge(&answer(400, body))), "{body}");
        }
        // What decides came, cut or not; and a status that needs no body.
        let admit = r#"{"decision":"ADMIT"}"#;
        let decided = |attempt| decision(&judge(&attempt));
        assert_eq!(decided(closed(202, admit)), Some(Decision::Admit));
        assert_eq!(decided(closed(400, r#"{"decision":"QUARANTINE"}"#)), Some(Decision::Quarantine));
        for status in [201, 301, 401, 413] {
            assert!(is_rejected(&judge(&closed(status, ""))), "{status}");
        }
    }

    #[test]
    fn an_event_that_the_gate_may_hold_is_ambiguous() {
        for attempt in [Attempt::TimedOut, answer(502, "x"), answer(504, ""), closed(200, r#"{"decision":"ADM"#)] {
            assert!(attempt.is_ambiguous(), "{attempt:?}");
        }
        for attempt in [answer(503, ""), answer(500, "{}"), answer(429, ""), Attempt::ConnectFailed("refused".into())] {
            assert!(!attempt.is_ambiguous(), "{attempt:?}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_to_this_event_is_a_stray() {
        let event = Event {
            position: Position { rank: 0, file: 0, row: 0, seq: 0 },
            ts: Micros(0),
            order_key: 0,
            event_id: [7; 32],
            body: Bytes::new(),
            due: None,
        };
        let verdict = |attempt| IgJudge::default().judge(&event, &attempt);
        let named = |byte: &str| answer(200, &format!(r#"{{"decision":"ADMIT","event_id":"{}"}}"#, byte.repeat(32)));
        assert_eq!(verdict(named("07")), Ok(Verdict::Decided(Decided::Accepted)));
        assert!(verdict(named("08")).is_err());
        let early = |status, body: &str| Attempt::Answered(Answer::new(status, body.as_bytes().to_vec()).early());
        assert!(verdict(early(200, r#"{"decision":"ADMIT"}"#)).is_err(), "it was not all sent");
        assert!(is_retry(&verdict(early(503, "")).unwrap()) && is_rejected(&verdict(early(413, "")).unwrap()));
    }

    #[test]
    fn a_description_is_bounded_and_printable() {
        let body = format!(r#"{{"error":"{}\n","receipt":{{"reason_codes":["SCHEMA_FAIL"]}}}}"#, "x".repeat(5000));
        let Attempt::Answered(answer) = answer(422, &body) else { unreachable!() };
        let text = describe(&answer);
        assert!(text.starts_with("status 422, xxx") && text.ends_with("SCHEMA_FAIL"), "{text}");
        assert!(text.len() < 300 && !text.contains('\n'));
    }

    proptest! {
        #[test]
        fn any_answer_gets_a_verdict(status in 0_u16..1000, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let verdict = judge(&Attempt::Answered(Answer::new(status, body)));
            if is_retry(&verdict) {
                prop_assert!(matches!(status, 400 | 408 | 429 | 500..=599));
            }
        }
    }
}
