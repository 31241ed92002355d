//! Target 17: TLS 1.3 on loopback beside a bare client on hyper and rustls.

use super::Bench;
use super::end_to_end::rate;
use super::table::{Row, Spread};
use crate::Result;
use crate::parts::{Streaming, certificate};

const CONNECTIONS: u32 = 64;

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let (stage, events) = (bench.world()?, bench.options.events);
    let path = |name: &str| certificate(name).display().to_string();
    let (cert, key) = (path("localhost.pem"), path("localhost.key.pem"));
    let env = [("WSP_DELIVERY_CA_FILE", path("root.pem"))];
    let gate = ["--tls-cert", &*cert, "--tls-key", &*key];
    let run = Streaming { env: &env, gate: &gate, ..Streaming::new(bench.program(), stage) };
    let [mut own, mut bare, mut own_cpu, mut bare_cpu] = <[Spread; 4]>::default();
    for round in 0..bench.options.rounds {
        bench.round("TLS", round);
        for side in 0..2 {
            let is_own = (side + round) % 2 == 0;
            let (sample, _) = if is_own { run.run(|_| ())? } else { run.bare(events, CONNECTIONS)? };
            let (rates, cpu) = if is_own { (&mut own, &mut own_cpu) } else { (&mut bare, &mut bare_cpu) };
            rates.0.push(rate(&sample)?);
            cpu.0.push(sample.cpu);
        }
    }
    let (rates, cpu) = (own.over(&bare), own_cpu.over(&bare_cpu));
    let how = format!(
        "wsp {} at {} of CPU an event, from start to end, Parquet to verdict; bare {} at {} from its first connection on, \
         bodies from memory; 64 connections, one `wsp gate --tls-cert`",
        own.told(0, "/s"),
        own_cpu.told(1, " µs"),
        bare.told(0, "/s"),
        bare_cpu.told(1, " µs"),
    );
    let row = |what: &str, figure: String, met: bool| Row {
        target: 17,
        what: what.to_owned(),
        figure,
        met: met.into(),
        how: how.clone(),
    };
    Ok(vec![
        row("TLS 1.3: rate of bare hyper on rustls, at least 0.95", rates.told(2, ""), rates.median() >= 0.95),
        row("TLS 1.3: its CPU an event, at most 1.05", cpu.told(2, ""), cpu.median() <= 1.05),
    ])
}
