//! The rooms whose rules are inverted, and the tests that hold them beside the library's unit tests.

/// A part of the producer.
pub struct Room {
    pub name: &'static str,
    /// The folder of its files; empty for the rules that have names.
    pub path: &'static str,
    /// Programs of `tests/` that are run where no unit test notices.
    pub tests: &'static [&'static str],
    /// Beginnings of the names of live tests.
    pub live: &'static [&'static str],
}

/// The rooms by name.
pub const ROOMS: &[Room] = &[
    Room { name: "merge", path: "src/merge", tests: &["order", "golden_run"], live: &[] },
    Room { name: "envelope", path: "src/envelope", tests: &["golden_bodies", "hostile_rows", "golden_run"], live: &[] },
    Room { name: "pace", path: "src/pace", tests: &["golden_run"], live: &[] },
    Room { name: "deliver", path: "src/deliver", tests: &["gate_contract", "golden_run"], live: &[] },
    Room {
        name: "checkpoint",
        path: "src/checkpoint",
        tests: &["checkpoint", "golden_run"],
        live: &["postgres_checkpoints::"],
    },
    Room { name: "ready", path: "src/ready", tests: &["hostile_ready", "golden_run"], live: &["kafka::", "kinesis::"] },
    Room { name: "run", path: "src/run", tests: &["required_packs", "golden_run"], live: &[] },
    Room { name: "oracle", path: "src/oracle", tests: &["reading", "hostile_rows"], live: &[] },
    Room { name: "disk", path: "src/disk", tests: &["store", "checkpoint"], live: &[] },
    Room { name: "store", path: "src/store", tests: &["store"], live: &[] },
    Room { name: "rules", path: "", tests: &["reading", "telemetry"], live: &["postgres_checkpoints::tls"] },
];
