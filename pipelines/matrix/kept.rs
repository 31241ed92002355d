//! Objects below the run's prefix in the store: their names, what shows a row, and the report.

use std::path::Path;

use serde_json::Value;
use wsp::clock::Clock;
use wsp::disk::{RealDisk, files};
use wsp::store::Key;
use wsp_world::evidence::{document, key, run_prefix, unavailable};
use wsp_world::model::Refusal;
use wsp_world::prepare;

use super::matrix::Matrix;
use super::report::Report;

/// Stores what shows a row; returns where.
pub(super) async fn show<C: Clock>(m: &Matrix<C>, id: &str, shown: &Value) -> Result<String, Refusal> {
    let store = prepare::open_own(&m.profile)?;
    let key = object(m, &format!("{id}.json"))?;
    store.put(&key, document(shown)?).await.map_err(unavailable)?;
    Ok(store.full_name(&key))
}

/// Writes the report to the store, else to this machine's folder of the run; returns where.
pub(super) async fn keep<C: Clock>(m: &Matrix<C>, report: &Report) -> Result<String, Refusal> {
    let text = document(report)?;
    let written = async {
        let (store, key) = (prepare::open_own(&m.profile)?, below(m, "wsp/matrix.json")?);
        store.put(&key, text.clone()).await.map_err(unavailable)?;
        Ok::<_, Refusal>(store.full_name(&key))
    };
    let refusal = match written.await {
        Ok(name) => return Ok(name),
        Err(refusal) => refusal,
    };
    let folder = Path::new("runs/fraud-platform").join(m.run.as_str()).join("wsp");
    let path = folder.join("matrix.json");
    let kept = files::create_folders(&RealDisk, &folder).and_then(|()| files::replace(&RealDisk, &path, &text));
    kept.map_err(|error| Refusal::new(refusal.reason, format!("{refusal}; {}: {error}", path.display())))?;
    Ok(path.display().to_string())
}

/// The name of an object of the run's evidence.
pub(super) fn name<C>(m: &Matrix<C>, below_prefix: &str) -> Result<String, Refusal> {
    Ok(prepare::open_own(&m.profile)?.full_name(&below(m, below_prefix)?))
}

/// An object of the matrix's own.
pub(super) fn object<C>(m: &Matrix<C>, name: &str) -> Result<Key, Refusal> {
    below(m, &format!("wsp/matrix/{name}"))
}

/// An object, or a folder of them, below the run's prefix.
pub(super) fn below<C>(m: &Matrix<C>, name: &str) -> Result<Key, Refusal> {
    key(&format!("{}/{name}", run_prefix(&m.profile.store.root, &m.run)?))
}
