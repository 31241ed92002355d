//! Some hundred seeds, each twice, as a part of the ordinary tests; `wsp simulate` runs as many as wanted.

use super::*;

#[test]
fn every_promise_is_kept_and_a_seed_gives_one_trace() {
    let mut totals = Totals::default();
    for seed in 0..200 {
        let outcome = twice(simulate, seed);
        assert_eq!(outcome.violation, None, "wsp simulate --seed {seed} --trace");
        totals += outcome.totals;
    }
    println!("{totals}");
    for (count, what) in [
        (totals.crashes, "crashes"),
        (totals.repeats, "repeats"),
        (totals.leases_lost, "leases lost"),
        (totals.late_arrivals, "late arrivals"),
        (totals.positions_lost, "positions lost"),
        (totals.refused, "refused lines"),
        (totals.foreign, "starts over a changed world"),
    ] {
        assert!(count > 0, "the seeds see {what}");
    }
}

#[test]
fn every_promise_of_a_replay_is_kept_and_a_seed_gives_one_trace() {
    let mut totals = Totals::default();
    for seed in 0..200 {
        let outcome = twice(simulate_replay, seed);
        if outcome.violation.is_some() {
            println!("{}", outcome.trace);
        }
        assert_eq!(outcome.violation, None, "wsp simulate --replay --seed {seed} --trace");
        totals += outcome.totals;
    }
    println!("{totals}");
    for (count, what) in [
        (totals.crashes, "crashes"),
        (totals.power_losses, "power losses"),
        (totals.repeats, "repeats"),
        (totals.busy, "states that another process holds"),
        (totals.late_arrivals, "late arrivals"),
        (totals.quarantined, "refused events"),
        (totals.store_faults, "faults of the disk"),
        (totals.refused, "refused replays"),
    ] {
        assert!(count > 0, "the seeds see {what}");
    }
}
