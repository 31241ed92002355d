//! The store of facts and evidence fails, or gives no answer, at a given call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wsp::clock::{Clock, SystemClock};
use wsp::stop::Stop;
use wsp_world::evidence::Status;
use wsp_world::model::Reason;
use wsp_world::profile::RequiredPacks;
use wsp_world::stopping;
use wsp_world::telemetry::Telemetry;

use super::scene::{Call, OTHER, RUN, Scene, answering, is_free};

#[tokio::test]
async fn an_end_that_the_store_did_not_take_is_reported_when_it_has_it() {
    let scene = Scene::new();
    let gate = answering();
    let refuse = Arc::new(AtomicU64::new(1));
    let left = refuse.clone();
    let telemetry = Telemetry::new(&SystemClock::new());
    let service = scene.service(&gate, move |call, key| match call {
        "put" if key.ends_with("wsp_summary.json") && left.load(Ordering::SeqCst) > 0 => Call::Fails,
        _ => Call::Passes,
    });
    let service = service.telemetry(telemetry.clone());
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!(taken.verdict.status, Status::Streamed);
    assert_eq!(taken.unwritten.unwrap().reason, Reason::StoreUnavailable);
    let verdicts = || telemetry.status(&SystemClock::new()).verdicts.iter().map(|v| v.count).sum::<u64>();
    assert_eq!((verdicts(), scene.record(RUN).len()), (0, 0), "no verdict stands yet");
    // While it is away, nothing else of the run is done.
    assert_eq!(service.take(&scene.incoming).await.unwrap_err().reason, Reason::StoreUnavailable);
    refuse.store(0, Ordering::SeqCst);
    let sent = gate.journal().attempts;
    let again = service.take(&scene.incoming).await.unwrap();
    assert_eq!((again.verdict.status, again.unwritten, again.standing), (Status::Streamed, None, None));
    assert_eq!(again.verdict.emitted, taken.verdict.emitted);
    assert_eq!((verdicts(), scene.record(RUN).len(), gate.journal().attempts), (1, 1, sent));
    assert_eq!(service.take(&scene.incoming).await.unwrap().standing, Some(Status::Streamed));
}

#[tokio::test]
async fn a_report_is_written_when_the_verdict_stands_or_not_at_all() {
    for fails in ["nothing", "the record", "the report"] {
        let scene = Scene::new();
        let reports = Arc::new(AtomicU64::new(0));
        let (record, counted) = (scene.record_of(RUN), reports.clone());
        let gate = answering();
        let service = scene.service(&gate, move |call, key| {
            let report = call == "put" && key.ends_with("/wsp_report.html");
            if report {
                counted.fetch_add(1, Ordering::SeqCst);
                let record = std::fs::read_to_string(&record).unwrap_or_default();
                assert!(record.contains("\"STREAMED\""), "no verdict stands yet: {record:?}");
            }
            let verdict = call == "append_unless" && key.contains("/ready_runs/");
            if (report && fails == "the report") || (verdict && fails == "the record") {
                return Call::Fails;
            }
            Call::Passes
        });
        let taken = service.take(&scene.incoming).await.unwrap();
        assert_eq!(
            (taken.verdict.status, taken.unwritten.is_some()),
            (Status::Streamed, fails != "nothing"),
            "{fails}"
        );
        assert_eq!(reports.load(Ordering::SeqCst), u64::from(fails != "the record"), "{fails}");
        assert_eq!(scene.record(RUN).len(), usize::from(fails != "the record"), "{fails}");
        let report = scene.evidence(RUN, "wsp/wsp_report.html");
        assert_eq!(report.exists(), fails == "nothing", "{fails}");
        // What the store did not take then is written before the next READY.
        scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
        assert_eq!((report.exists(), scene.record(RUN).len()), (true, 1), "{fails}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_so_long_for_evidence_and_then_it_is_kept_here() {
    let scene = Scene::new();
    let gate = answering();
    let (stop, seen) = (Stop::new(), Arc::new(AtomicU64::new(0)));
    let (requested, counted) = (stop.clone(), seen.clone());
    let service = scene.stoppable(&gate, stop, move |call, key| {
        if call == "put" && key.ends_with("wsp_summary.json") {
            requested.request();
            counted.fetch_add(1, Ordering::SeqCst);
            return Call::Hangs;
        }
        Call::Passes
    });
    let (clock, limit) = (SystemClock::new(), stopping::EVIDENCE + stopping::RELEASE);
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, seen.load(Ordering::SeqCst)), (Status::Streamed, 1));
    let unwritten = taken.unwritten.unwrap();
    assert!(unwritten.detail.contains("within 15 s of the stop"), "{unwritten}");
    assert!(clock.now() < limit + std::time::Duration::from_secs(5), "{:?}", clock.now());
    assert!(is_free(&scene.scope().unwrap()));
    // The next process finds what is kept, and writes it.
    assert_eq!(scene.record(RUN).len(), 0);
    let again = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!((again.standing, scene.record(RUN).len()), (Some(Status::Streamed), 1));
}

/// Fails the store's `call`-th call, and every later one until the switch is put off.
fn fails_from(call: u64) -> (Arc<AtomicU64>, impl Fn(&str, &str) -> Call + Send + Sync + 'static) {
    let (calls, on) = (AtomicU64::new(0), Arc::new(AtomicU64::new(1)));
    let switch = on.clone();
    (switch, move |_: &str, _: &str| {
        let failed = calls.fetch_add(1, Ordering::SeqCst) >= call && on.load(Ordering::SeqCst) == 1;
        if failed { Call::Fails } else { Call::Passes }
    })
}

#[tokio::test]
async fn a_store_that_fails_at_any_call_is_no_verdict_on_the_run() {
    let scene = Scene::new();
    let mut whole = 0;
    for call in 0.. {
        // Each case begins from nothing.
        for left in [
            "checkpoints",
            "runs",
            &format!("store/fraud-platform/{RUN}/wsp"),
            &format!("store/fraud-platform/{RUN}/obs"),
        ] {
            let _ = std::fs::remove_dir_all(scene.folder.path().join(left));
        }
        let gate = answering();
        let (on, hook) = fails_from(call);
        let service = scene.service(&gate, hook);
        let first = service.take(&scene.incoming).await;
        let failed = match &first {
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::StoreUnavailable, "call {call}");
                assert_eq!(gate.journal().attempts, 0, "call {call}: what can't be written down is not begun");
                true
            }
            Ok(taken) => {
                assert_eq!(taken.verdict.status, Status::Streamed, "call {call}: {:?}", taken.refusal);
                taken.unwritten.is_some()
            }
        };
        on.store(0, Ordering::SeqCst);
        let again = service.take(&scene.incoming).await.unwrap();
        let stands = matches!(again.verdict.status, Status::Streamed | Status::SkippedDuplicate);
        assert!(stands, "call {call}: {:?}", again.refusal);
        let statuses: Vec<_> = scene.record(RUN).iter().map(|line| line["status"].clone()).collect();
        assert_eq!(statuses, ["STREAMED"], "call {call}: once, and no failure");
        assert_eq!(gate.journal().attempts, gate.journal().admitted.len() as u64, "call {call}: nothing is sent again");
        if !failed {
            break;
        }
        whole = call;
    }
    assert!(whole > 20, "every call of a run was tried: {whole}");
}

#[tokio::test]
async fn a_foreign_ready_is_told_once_and_where_it_belongs_whatever_the_store_does() {
    let mut scene = Scene::new();
    scene.profile.platform_run_id = Some(OTHER.parse().unwrap());
    for call in 0.. {
        for left in [format!("{RUN}/obs"), OTHER.to_owned()] {
            let _ = std::fs::remove_dir_all(scene.folder.path().join("store/fraud-platform").join(left));
        }
        let (on, hook) = fails_from(call);
        let service = scene.service(&answering(), hook);
        let first = service.take(&scene.incoming).await;
        on.store(0, Ordering::SeqCst);
        let again = service.take(&scene.incoming).await.unwrap();
        let skipped = (again.verdict.status, again.standing);
        let whole = first.is_ok();
        let expected = if whole { (Status::SkippedDuplicate, Some(Status::SkippedOutOfScope)) } else { skipped };
        assert_eq!(skipped, expected, "call {call}");
        assert_eq!(scene.facts(RUN), BTreeMap::from([("RUN_CANCELLED".to_owned(), 1)]), "call {call}");
        assert_eq!((scene.record(OTHER).len(), scene.record(RUN).len()), (1, 0), "call {call}");
        assert!(!scene.evidence(OTHER, "obs").exists(), "call {call}: none of its pins in ours");
        if whole {
            assert!(call > 5, "each call was tried");
            break;
        }
    }
}

#[tokio::test]
async fn a_wait_for_packs_reads_the_facts_once() {
    let mut scene = Scene::new();
    scene.profile.required_packs = RequiredPacks { files: Some(vec!["nowhere.yaml".into()]), same_run: true };
    let facts = Arc::new(AtomicU64::new(0));
    let counted = facts.clone();
    let service = scene.service(&answering(), move |call, key| {
        if call == "get" && key.contains("run_facts_view") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Call::Passes
    });
    for _look in 0..5 {
        let taken = service.take(&scene.incoming).await.unwrap();
        assert_eq!(taken.verdict.status, Status::DeferredDownstreamNotReady);
        assert_eq!(taken.verdict.waits_for, ["PACK_FILE_MISSING:nowhere.yaml"]);
    }
    assert_eq!(facts.load(Ordering::SeqCst), 1, "what was looked at stays as it is");
}
