//! Four outputs of one large object each, read from S3 as a run reads them: how much memory that takes, and how fast it is
//! beside a plain ranged download of the same bytes.
//!
//! `cargo test --release --test live -- --ignored --nocapture the_memory_and_speed` prints it. `WSP_READING_MIB` is the
//! size of an object (1,024), `WSP_READING_ROUNDS` how often each is measured (3).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use wsp::clock::{Clock, SystemClock};
use wsp::merge::merge;
use wsp::store::{Key, ObjectStore, S3Options, S3Store};
use wsp_world::model::Micros;
use wsp_world::oracle::{Resume, Scan, View, ViewFile, ViewFiles, shares};

use crate::kit::process::peak_mib;
use crate::servers::s3::{Kind, S3Server};

const OUTPUTS: u16 = 4;
const MIB: u64 = 1 << 20;
const MEMORY: u64 = 256 * MIB;
const PIECE: u64 = 8 * MIB;
/// Names the objects to a process of ours that measures.
const ROOT: &str = "WSP_READING_ROOT";

/// How an object is written.
#[derive(Clone, Copy)]
struct Written {
    name: &'static str,
    group_rows: usize,
    index: bool,
}

const WRITTEN: [Written; 3] = [
    Written { name: "row groups of 122,880 rows", group_rows: 122_880, index: false },
    Written { name: "row groups of 1,000,000 rows", group_rows: 1_000_000, index: true },
    Written { name: "one row group", group_rows: usize::MAX, index: true },
];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn key(rank: u16) -> Key {
    format!("output_id={rank}/part-000000.parquet").parse().unwrap()
}

/// Parquet of about `size` bytes: times, ids and texts that hardly compress, and a text that is always the same.
fn object(size: u64, written: Written) -> (Bytes, u64) {
    const BATCH: i64 = 8_192;
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed ^ (seed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let mut batch = |first: i64| {
        let rows = first..first + BATCH;
        let times = rows.clone().map(|row| Micros(1_767_225_600_000_000 + row * 20_000).to_string());
        let texts =
            rows.clone().map(|_| format!("{:016x}{:016x}{:016x}{:016x}", random(), random(), random(), random()));
        let texts = StringArray::from_iter_values(texts);
        let mut ids = || UInt64Array::from_iter_values(rows.clone().map(|_| random()));
        let (merchant, device) = (ids(), ids());
        let columns: [(&str, ArrayRef); 7] = [
            ("ts_utc", Arc::new(StringArray::from_iter_values(times))),
            ("flow_id", Arc::new(Int64Array::from_iter_values(rows.clone()))),
            ("merchant_id", Arc::new(merchant)),
            ("device_id", Arc::new(device)),
            ("amount", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| row as f64 * 0.37)))),
            ("scenario_id", Arc::new(StringArray::from_iter_values(rows.clone().map(|_| "baseline_v1")))),
            ("note", Arc::new(texts)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count((written.group_rows < usize::MAX).then_some(written.group_rows))
        .set_offset_index_disabled(!written.index);
    let mut first = 0;
    let rows = batch(first);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build())).unwrap();
    while ((writer.bytes_written() + writer.in_progress_size()) as u64) < size {
        writer.write(&batch(first)).unwrap();
        first += BATCH;
    }
    (writer.into_inner().unwrap().into(), first as u64)
}

/// One question to a store in a process of its own, so that its memory is that of the answer alone.
#[tokio::test]
#[ignore = "is run by the measurement"]
async fn measured_apart() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let options = S3Options { path_style: true, ..S3Options::default() };
    let store = Arc::new(S3Store::open(&root, options).unwrap());
    let clock = SystemClock::new();
    let start = clock.now();
    let bytes = match number("WSP_READING_ROWS", 0) {
        0 => download(&store).await,
        rows => read(&store, rows).await,
    };
    let seconds = clock.now().saturating_sub(start).as_secs_f64();
    let peak = peak_mib(std::process::id());
    println!("measured {bytes} {seconds} {peak}");
}

/// All bytes, in pieces as the reader asks for them and as many at once.
async fn download(store: &Arc<S3Store>) -> u64 {
    let mut pieces = Vec::new();
    for rank in 0..OUTPUTS {
        let meta = store.head(&key(rank)).await.unwrap().unwrap();
        let starts = (0..meta.size).step_by(PIECE as usize);
        pieces.extend(starts.map(|start| (rank, meta.version.clone(), start..(start + PIECE).min(meta.size))));
    }
    let download = |(rank, version, piece)| async move {
        let read = store.get_ranges(&key(rank), &version, std::slice::from_ref(&piece)).await.unwrap();
        read.iter().map(|bytes| bytes.len() as u64).sum::<u64>()
    };
    let done = futures::stream::iter(pieces).map(download).buffer_unordered(S3Options::default().concurrency);
    done.fold(0, |sum, bytes| async move { sum + bytes }).await
}

/// All rows, merged.
async fn read(store: &Arc<S3Store>, expected_rows: u64) -> u64 {
    let view = |rank| async move {
        let meta = store.head(&key(rank)).await.unwrap().unwrap();
        let files = vec![ViewFile { key: key(rank), meta }];
        let output_id = format!("output_{rank}").parse().unwrap();
        ViewFiles { rank, output_id, store: store.clone(), files, expected_rows }.inspect().await.unwrap()
    };
    let views: Vec<View> = futures::future::join_all((0..OUTPUTS).map(view)).await;
    let wishes: Vec<u64> = views.iter().map(|view| view.memory_wish(Resume::default())).collect();
    let scans = shares(MEMORY, &wishes).into_iter().map(|share| Scan::new().memory(share));
    let sources = views.iter().zip(scans).map(|(view, scan)| Box::pin(view.batches(scan))).collect();
    let count = |sum: u64, runs: Vec<wsp_world::model::RowSlice>| async move {
        Ok(sum + runs.iter().map(|run| (run.to - run.from) as u64).sum::<u64>())
    };
    assert_eq!(merge(sources).try_fold(0, count).await.unwrap(), expected_rows * u64::from(OUTPUTS));
    views.iter().flat_map(|view| &view.parts).map(|part| part.file.meta.size).sum()
}

struct Measured {
    speed: f64,
    peak: u64,
}

fn measure(server: &S3Server, root: &str, rows: u64) -> Measured {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "reading::measured_apart"]);
    command.env(ROOT, root).env("WSP_READING_ROWS", rows.to_string()).envs(server.environment());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("measured ")).unwrap_or_else(|| panic!("{output:?}")).1;
    let mut numbers = line.split(' ').map(|number| number.parse::<f64>().unwrap());
    let mut next = || numbers.next().unwrap();
    let (bytes, seconds) = (next(), next());
    Measured { speed: bytes / MIB as f64 / seconds, peak: next() as u64 }
}

#[tokio::test]
#[ignore = "measures; needs an S3 server and 6 GiB of disk"]
async fn the_memory_and_speed_of_reading_large_objects() {
    let server = S3Server::own(Kind::SeaweedFs).await;
    let size = number("WSP_READING_MIB", 1024) * MIB;
    for written in WRITTEN {
        let (body, rows) = object(size, written);
        let root = server.root("reading");
        let options = S3Options { attempt_timeout: Duration::from_mins(5), ..server.options() };
        let store = S3Store::open(&root, options).unwrap();
        for rank in 0..OUTPUTS {
            store.put(&key(rank), body.clone()).await.unwrap();
        }
        println!("{}: {OUTPUTS} objects of {} MiB, {rows} rows each", written.name, body.len() as u64 / MIB);
        drop(body);
        for _ in 0..number("WSP_READING_ROUNDS", 3) {
            let plain = measure(&server, &root, 0);
            let read = measure(&server, &root, rows);
            println!(
                "  read {:.0} MiB/s, peak {} MiB; plain download {:.0} MiB/s, peak {} MiB; share {:.2}",
                read.speed,
                read.peak,
                plain.speed,
                plain.peak,
                read.speed / plain.speed
            );
            // The program itself takes some 20 MiB; the rest is what allocator and server connections keep.
            assert!(read.peak < MEMORY / MIB + 64, "{} MiB", read.peak);
        }
    }
}
