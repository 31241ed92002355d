//! `wsp world`: writes a sealed world.

use wsp_reference::world::{WorldError, WorldSpec, WorldSummary, generate};

use super::args::World;
use super::table::{grouped, table};
use super::{Exit, Failure, Outcome, say};

pub(crate) fn run(args: World) -> Outcome {
    let World { out, made, days, parts, row_group_rows } = args;
    let spec = WorldSpec { days, parts, row_group_rows, ..made.spec() };
    let root = out.to_str().ok_or_else(|| Failure::usage("--out: the folder's name is not UTF-8"))?;
    let world = generate(&out, root, &spec).map_err(|error| match error {
        WorldError::Spec(_) | WorldError::Identity(_) | WorldError::Exists(_) => Failure::usage(error.to_string()),
        WorldError::Io(_) | WorldError::Parquet(_) => Failure::failed(format!("{}: {error}", out.display())),
    })?;
    say(told(&world))?;
    Ok(Exit::Done)
}

fn told(world: &WorldSummary) -> String {
    let mut rows = vec![["output", "rows", "first", "last"].map(str::to_owned).to_vec()];
    for output in &world.outputs {
        let time = |time: Option<wsp_world::model::Micros>| time.map(|time| time.to_string()).unwrap_or_default();
        rows.push(vec![output.output_id.to_owned(), grouped(output.rows), time(output.first), time(output.last)]);
    }
    format!("{}engine run root  {}\noracle_pack_id   {}\n", table(&rows), world.engine_run_root, world.oracle_pack_id)
}
