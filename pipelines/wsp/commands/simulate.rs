//! `wsp simulate`: the producer's promises, searched for a case that breaks them.

use wsp_simulate::{Outcome, Totals, simulate, simulate_replay, twice};

use super::args::Simulate;
use super::{Exit, Failure, say};

pub(crate) fn run(args: &Simulate) -> Result<Exit, Failure> {
    // The producer's log is about faults that are simulated.
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), || search(args))
}

fn search(args: &Simulate) -> Result<Exit, Failure> {
    let (from, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let (case, of_replay) =
        if args.replay { (simulate_replay as fn(u64) -> Outcome, " --replay") } else { (simulate as _, "") };
    let mut totals = Totals::default();
    let mut broken = 0_u64;
    for seed in from..from.saturating_add(count) {
        let Outcome { violation, totals: more, trace } = if args.twice { twice(case, seed) } else { case(seed) };
        totals += more;
        if args.trace {
            say(trace)?;
        }
        if let Some(violation) = violation {
            broken += 1;
            say(format_args!(
                "seed {seed} breaks {violation}\n  replay it: wsp simulate{of_replay} --seed {seed} --trace\n"
            ))?;
        }
    }
    say(totals)?;
    say(format_args!("{:<20} {broken:>14}\n", "broken promises"))?;
    Ok(if broken == 0 { Exit::Done } else { Exit::Failed })
}
