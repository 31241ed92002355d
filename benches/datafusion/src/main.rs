//! Merges sorted Parquet files by `ts_utc` with DataFusion and says how long that took.
//!
//! ```text
//! part-a.parquet ─┐
//! part-b.parquet ─┼─► DataSourceExec, a partition a file ─► SortPreservingMergeExec ─► batches, counted
//! …              ─┘
//! ```
//!
//! `datafusion-partner FILE…` prints `rows seconds`. Everything runs on one thread, as the caller pins it.

use std::error::Error;
use std::time::Instant;

use datafusion::physical_plan::{displayable, execute_stream};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext, col};
use futures::TryStreamExt;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, seconds) = runtime.block_on(merge(files))?;
    println!("{rows} {seconds}");
    Ok(())
}

/// All rows with all columns, in the order of their times; the clock starts once the footers are read and the plan is made.
async fn merge(files: Vec<String>) -> Result<(usize, f64)> {
    let config = SessionConfig::new().with_target_partitions(files.len()).with_repartition_file_scans(false);
    let context = SessionContext::new_with_config(config);
    let order = vec![col("ts_utc").sort(true, false)];
    let options = ParquetReadOptions::default().file_sort_order(vec![order.clone()]);
    let frame = context.read_parquet(files, options).await?.sort(order)?;
    let plan = frame.create_physical_plan().await?;
    let told = displayable(plan.as_ref()).indent(false).to_string();
    if !told.contains("SortPreservingMergeExec") || told.contains("SortExec") {
        return Err(format!("the plan is no merge of sorted files:\n{told}").into());
    }
    let started = Instant::now();
    let mut batches = execute_stream(plan, context.task_ctx())?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows();
    }
    Ok((rows, started.elapsed().as_secs_f64()))
}
