//! Real servers on loopback, started by the tests themselves: `sh tests/live/install.sh && cargo test --test live -- --ignored`.

mod checkpoint_contract;
mod postgres_checkpoints;
mod servers;
