//! The rooms whose rules are inverted, and the tests that hold them beside the libraries' unit tests.

/// A part of the producer.
pub struct Room {
    pub name: &'static str,
    /// The folder of its files; empty for the rules that have names.
    pub path: &'static str,
    /// Integration tests that are run where no unit test notices: beginnings of `program test`.
    pub tests: &'static [&'static str],
    /// Beginnings of the names of live tests.
    pub live: &'static [&'static str],
}

/// The rooms by name.
pub const ROOMS: &[Room] = &[
    Room { name: "merge", path: "src/merge", tests: &["program order::", "program golden_run::"], live: &[] },
    Room {
        name: "envelope",
        path: "pipelines/world/envelope",
        tests: &["data golden_bodies::", "hostile rows::", "program golden_run::"],
        live: &[],
    },
    Room { name: "pace", path: "src/pace", tests: &["program golden_run::"], live: &[] },
    Room { name: "ig", path: "pipelines/world/ig", tests: &["contracts gate::", "program golden_run::"], live: &[] },
    Room { name: "deliver", path: "src/deliver", tests: &["contracts gate::", "program golden_run::"], live: &[] },
    Room {
        name: "checkpoint",
        path: "src/checkpoint",
        tests: &["contracts checkpoint::", "contracts another_trade::"],
        live: &["postgres_checkpoints::"],
    },
    Room {
        name: "cursors",
        path: "pipelines/world/checkpoint",
        tests: &["contracts checkpoint::", "program golden_run::"],
        live: &["postgres_checkpoints::"],
    },
    Room { name: "feed", path: "src/feed", tests: &["hostile ready::"], live: &["kafka::", "kinesis::"] },
    Room {
        name: "ready",
        path: "pipelines/world/ready",
        tests: &["hostile ready::", "program golden_run::"],
        live: &["kafka::", "kinesis::"],
    },
    Room { name: "run", path: "pipelines/world/run", tests: &["program required_packs::", "program golden_run::"], live: &[] },
    Room {
        name: "pages",
        path: "src/parquet_read",
        tests: &["data reading::", "data reading_ahead::", "hostile rows::"],
        live: &[],
    },
    Room {
        name: "oracle",
        path: "pipelines/world/oracle",
        tests: &["data reading::", "data reading_ahead::", "hostile rows::"],
        live: &[],
    },
    Room { name: "disk", path: "src/disk", tests: &["contracts store::", "contracts checkpoint::"], live: &[] },
    Room { name: "store", path: "src/store", tests: &["contracts store::"], live: &[] },
    Room { name: "simulated", path: "", tests: &[], live: &[] },
    Room {
        name: "rules",
        path: "",
        tests: &["data reading::", "hostile instants::", "program telemetry::"],
        live: &["postgres_checkpoints::tls"],
    },
];
