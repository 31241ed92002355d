//! The page of statuses that are made up for it.

use std::collections::BTreeSet;
use std::time::Duration;

use wsp::deliver::Bottleneck;
use wsp_world::evidence::{End, LaneState, LaneStatus, LanesStatus, Status as Verdict, Takeover};
use wsp_world::model::{Decision, Delivered, Hex64, LaneKey, Micros, Position, Reason};
use wsp_world::telemetry::status::{Answers, Saves, Wait};

use super::*;
use crate::page::{ICON, POLICY, SCRIPT, style};
use crate::readiness::PartReport;

const ATTACK: &str = "\"'><img src=x onerror=alert(1)>&";

fn told() -> StatusPage {
    let parts = vec![
        PartReport { part: "store".to_owned(), ready: true, detail: "reachable".to_owned() },
        PartReport { part: "gate".to_owned(), ready: false, detail: ATTACK.to_owned() },
    ];
    let status = Status {
        version: "0.1.0".to_owned(),
        started_utc: "2026-01-01T00:00:00.000000Z".to_owned(),
        now_utc: "2026-01-01T01:00:00.000000Z".to_owned(),
        run: None,
        taken_up: None,
        last: None,
        waits_for: Some(format!("READYs of {ATTACK}")),
        lanes: None,
        deferred: Vec::new(),
        verdicts: Vec::new(),
    };
    StatusPage { status, readiness: Report { ready: false, parts } }
}

fn run() -> RunStatus {
    let progress = Progress { answered: 999_999, due: Some(1_000_000), rate: 1234.4, eta_seconds: Some(61.2) };
    let output = |id: &str, time: &str| OutputStatus {
        output_id: id.parse().unwrap(),
        event_time_utc: Some(time.to_owned()),
        end_utc: Some("2026-01-02T23:59:59.000000Z".to_owned()),
        progress,
    };
    RunStatus {
        message_id: Some(Hex64::sha256("m")),
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        started_utc: "2026-01-01T00:30:00.000000Z".to_owned(),
        outputs: vec![
            output("arrival_events_5B", "2026-01-01T05:12:33.250000Z"),
            output("s3_event_stream_with_fraud_6B", "2026-01-01T04:00:00.000000Z"),
        ],
        total: progress,
        lag_seconds: 0.25,
        unanswered: 70,
        in_flight: 64,
        attempts: 1_000_003,
        retries: 4,
        answers: Answers { admitted: 999_000, duplicates: 999, quarantined: 0, failed: 0 },
        saves: Saves { cursors: 88, age_seconds: Some(0.4), unsaved_seconds: 0.3 },
        waits_for: None,
        bottleneck: None,
    }
}

fn last(status: Verdict, end: End, refusal: Option<&str>) -> LastRun {
    LastRun {
        message_id: None,
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        started_utc: "2026-01-01T00:30:00.000000Z".to_owned(),
        ended_utc: "2026-01-01T00:40:00.000000Z".to_owned(),
        status,
        end,
        reason: refusal.map(|_| Reason::IgPushRejected),
        refusal: refusal.map(str::to_owned),
        answered: 7,
    }
}

fn charted(answers: u64) -> Charted {
    let mut tally = wsp_world::evidence::Tally::new(2).unwrap();
    for seq in 0..answers {
        let delivered = Delivered {
            position: Position { rank: (seq % 2) as u16, file: 0, row: seq / 2, seq: seq / 2 },
            ts: Micros(seq.cast_signed() * 60_000_000),
            event_id: [7; 32],
            decision: Decision::Admit,
            attempts: 1 + u32::from(seq % 10 == 0),
            ambiguous: false,
            latency: Duration::from_micros(200 + seq),
            lag: Duration::from_micros(seq),
        };
        tally.count(&delivered, Duration::from_millis(seq * 3));
    }
    let outputs = ["arrival_events_5B", "s3_event_stream_with_fraud_6B"].map(|id| id.parse().unwrap());
    Charted::of_tally(&tally, outputs.into(), Duration::from_millis(answers * 3))
}

fn text(told: &StatusPage, shown: &Shown) -> String {
    page(told, shown).into_string()
}

fn of_status(change: impl FnOnce(&mut Status)) -> String {
    let mut told = told();
    change(&mut told.status);
    text(&told, &Shown::Nothing)
}

/// Holds for every state: nothing that others wrote is markup, nothing inline, each id once, and what is referred to is there.
fn is_sound(page: &str) {
    for inline in ["<img", " style=", "<style", " onerror=\"", "javascript:", "http://", "https://"] {
        assert!(!page.contains(inline), "{inline} in {page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "its own alone");
    let values = |name: &str| {
        let marks: Vec<_> = page.match_indices(&format!(" {name}=\"")).map(|(at, mark)| at + mark.len()).collect();
        marks.into_iter().map(|at| page[at..].split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ids = values("id");
    let known: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(known.len(), ids.len(), "{ids:?}");
    for reference in values("aria-labelledby").iter().flat_map(|names| names.split(' ')) {
        assert!(known.contains(reference), "{reference}");
    }
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("<desc id=").count(), "each chart is described");
}

#[test]
fn a_run_is_shown_with_its_figures() {
    let mut told = told();
    told.status.run = Some(run());
    let page = text(&told, &Shown::Live(Box::new(charted(3000))));
    is_sound(&page);
    for words in [
        "<title>streaming · platform_20260101T000000Z</title>",
        "<span class=\"pill good\">streaming</span> since 2026-01-01 00:30:00 UTC",
        "99.9 % of 1\u{202f}000\u{202f}000",
        "1.23k/s",
        "61.2\u{a0}s",
        "<dd>05:12:33<small>2026-01-01, ends 2026-01-02 23:59:59</small>",
        "250\u{a0}ms",
        "<dd>64<small>70 events unanswered</small>",
        "999 duplicates",
        "<dd>4<small>of 1\u{202f}000\u{202f}003 attempts</small>",
        "<dt>Since the last save</dt><dd>400\u{a0}ms<small>88 cursors saved",
        "<progress aria-label=\"share of the run that is answered\" value=\"999999\" max=\"1000000\">",
        "As of <time>2026-01-01 01:00:00</time> UTC",
        Hex64::sha256("m").as_str(),
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    for chart in ["rate", "latency", "lag", "retries", "event-time"] {
        assert!(page.contains(&format!("<figure class=\"chart\" id=\"{chart}\">")), "{chart}");
    }
    assert!(!page.contains("Waits for") && !page.contains("bounds the run"));
    assert!(page.len() < 600_000, "{} bytes", page.len());
}

#[test]
fn a_run_says_what_it_waits_for_and_what_bounds_it() {
    let page = of_status(|status| {
        let wait = Wait {
            what: "the gate, which takes no event".to_owned(),
            since_utc: Some("2026-01-01T00:59:00.000000Z".to_owned()),
            until_utc: Some("2026-01-01T01:04:00.000000Z".to_owned()),
        };
        let bottleneck = Bottleneck {
            order_key: "merchant_id".to_owned(),
            key_hash: "ab".to_owned(),
            share: 0.1,
            busy: 0.97,
            allows_per_second: 870.4,
        };
        let total = Progress { due: None, eta_seconds: None, ..run().total };
        status.run = Some(RunStatus { waits_for: Some(wait), bottleneck: Some(bottleneck), total, ..run() });
    });
    is_sound(&page);
    let wait = "<p class=\"wait\">Waits for the gate, which takes no event, since 2026-01-01 00:59:00 UTC, until \
                2026-01-01 01:04:00 UTC at most.</p>";
    assert!(page.contains(wait) && page.contains("<span class=\"pill warn\">waiting</span>"), "{page}");
    assert!(page.contains("one merchant_id (hash ab) bounds the run"), "{page}");
    assert!(!page.contains("<progress"), "how much is due is not known");
    let paced = of_status(|status| {
        let wait =
            Wait { what: "the time at which the next event is due".to_owned(), since_utc: None, until_utc: None };
        status.run = Some(RunStatus { waits_for: Some(wait), ..run() });
    });
    assert!(paced.contains("<p class=\"note\">Waits for the time at which the next event is due.</p>"), "{paced}");
    assert!(paced.contains("pill good"), "a run at its pace is in order");
}

#[test]
fn without_a_run_it_says_what_the_service_does() {
    let idle = of_status(|_| {});
    is_sound(&idle);
    assert!(idle.contains("<span class=\"pill plain\">waiting</span> no run yet"), "{idle}");
    assert!(
        idle.contains("The service waits for READYs of &quot;'&gt;&lt;img src=x onerror=alert(1)&gt;&amp;."),
        "{idle}"
    );
    assert!(idle.contains("<td class=\"bad\">not ready</td>") && idle.contains("<td class=\"good\">ready</td>"));

    let waiting = of_status(|status| {
        let ready = |id: &str| DeferredReady {
            message_id: Hex64::sha256(id),
            reason: "PACK_STATE_MISSING".to_owned(),
            since_utc: "2026-01-01T00:10:00.000000Z".to_owned(),
        };
        status.deferred = vec![ready("a"), ready("b")];
    });
    is_sound(&waiting);
    assert!(waiting.contains("waits since 2026-01-01 00:10:00 UTC, because of PACK_STATE_MISSING."), "{waiting}");
    assert!(waiting.contains(Hex64::sha256("b").as_str()));

    for (stage, word) in [(Stage::Checking, "checking"), (Stage::Ending, "ending")] {
        let page = of_status(|status| {
            let since_utc = "2026-01-01T00:10:00.000000Z".to_owned();
            status.taken_up = Some(TakenUpStatus { message_id: Some(Hex64::sha256("m")), since_utc, stage });
            status.last = Some(last(Verdict::Failed, End::Failed, Some("of the run before")));
        });
        is_sound(&page);
        assert!(page.contains(&format!("<span class=\"pill plain\">{word}</span>")), "{page}");
        assert!(!page.contains("The service waits for") && !page.contains("of the run before"), "{page}");
    }
}

#[test]
fn a_run_that_ended_stays_until_the_next() {
    for (status, end, class, word) in [
        (Verdict::Streamed, End::Complete, "good", "streamed"),
        (Verdict::Streamed, End::Capped, "good", "streamed to its cap"),
        (Verdict::Failed, End::Stopped, "warn", "stopped"),
        (Verdict::Failed, End::Failed, "bad", "failed"),
    ] {
        let refusal = (status == Verdict::Failed).then_some(ATTACK);
        let page = of_status(|told| told.last = Some(last(status, end, refusal)));
        is_sound(&page);
        assert!(page.contains(&format!("<span class=\"pill {class}\">{word}</span> started")), "{page}");
        assert_eq!(page.contains("<p class=\"refusal\">&quot;"), refusal.is_some(), "{page}");
        assert!(page.contains("The service waits for"), "{page}");
    }
}

#[test]
fn a_run_that_another_producer_has_taken_did_not_fail() {
    let page = of_status(|told| {
        let lost = last(Verdict::DeferredDownstreamNotReady, End::Failed, Some("the scope is held by pod-2"));
        told.last = Some(LastRun { reason: Some(Reason::CheckpointLeaseLost), ..lost });
    });
    is_sound(&page);
    assert!(page.contains("<span class=\"pill warn\">taken over</span> started"), "{page}");
    assert!(page.contains("<p class=\"refusal\">the scope is held by pod-2") && !page.contains("failed"), "{page}");
}

#[test]
fn lanes_that_workers_share_are_shown_one_by_one() {
    let lane = |index, state, worker: Option<&str>| LaneStatus {
        index,
        state,
        worker: worker.map(str::to_owned),
        epoch: Some(3),
        since_utc: Some("2026-01-01T00:10:00.000000Z".to_owned()),
        noted_utc: None,
        answered: 1_234,
        rate: 20.0,
        event_time_utc: None,
        reason: (state == LaneState::Failed).then_some(Reason::IgPushRejected),
        ended_utc: None,
        takeovers: Vec::new(),
    };
    let takeover = Takeover {
        from_worker: ATTACK.to_owned(),
        left: false,
        last_saved: Some(Micros(1_000_000)),
        to_worker: "b".to_owned(),
        held: Micros(16_000_000),
        first_event: Some(Micros(18_000_000)),
    };
    let page = of_status(|told| {
        let since_utc = "2026-01-01T00:10:00.000000Z".to_owned();
        told.taken_up = Some(TakenUpStatus { message_id: Some(Hex64::sha256("m")), since_utc, stage: Stage::Sharing });
        told.lanes = Some(LanesStatus {
            message_id: None,
            platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
            started_utc: "2026-01-01T00:10:00.000000Z".to_owned(),
            count: 3,
            by: LaneKey::OrderKey,
            round: 0,
            answered: 3_702,
            due: 10_000,
            rate: 20.0,
            eta_seconds: Some(314.9),
            lanes: vec![
                LaneStatus { takeovers: vec![takeover], ..lane(0, LaneState::Running, Some(ATTACK)) },
                lane(1, LaneState::Waiting, None),
                lane(2, LaneState::Failed, Some("b")),
            ],
        });
    });
    is_sound(&page);
    for words in [
        "<span class=\"pill good\">sharing</span>",
        "3 lanes by order_key: 1 running, 1 waiting, 1 failed. 3\u{202f}702 of 10\u{202f}000 events answered, 20/s, 5.25\u{a0}min left.",
        "<td class=\"bad\">failed IG_PUSH_REJECTED</td>",
        "lost it",
        "<td class=\"n\">17\u{a0}s</td>",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
}

#[test]
fn the_first_moments_of_a_run_have_a_page_too() {
    let mut told = told();
    let nothing = Progress { answered: 0, due: Some(0), rate: 0.0, eta_seconds: None };
    let mut run = RunStatus { total: nothing, saves: Saves::default(), ..run() };
    for output in &mut run.outputs {
        (output.event_time_utc, output.end_utc, output.progress) = (None, None, nothing);
    }
    told.status.run = Some(run);
    let page = text(&told, &Shown::Live(Box::new(charted(0))));
    is_sound(&page);
    assert!(page.contains("no answer yet") && page.contains("No event was answered."), "{page}");
    assert!(page.contains("<dd>–<small>0 cursors saved"), "{page}");
}

#[test]
fn nothing_but_its_own_files_is_asked_for() {
    assert!(!POLICY.contains("unsafe") && POLICY.starts_with("default-src 'none'"));
    let page = of_status(|_| {});
    for file in ["href=\"icon.svg\"", "href=\"page.css\"", "src=\"page.js\""] {
        assert!(page.contains(file), "{file}");
    }
    assert_eq!(page.matches("href=").count() + page.matches("src=\"").count(), 3, "{page}");
    for (name, text) in [("style", style()), ("script", SCRIPT.to_owned()), ("icon", ICON.to_owned())] {
        let outside = text.replace("http://www.w3.org/2000/svg", "");
        for word in ["http://", "https://", "@import", "url(", "eval", "innerHTML", "document.write"] {
            assert!(!outside.contains(word), "{word} in the {name}");
        }
    }
}
