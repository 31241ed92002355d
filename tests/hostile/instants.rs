//! From READY to verdict, what no folder brings about from outside: what the store, or another producer, does at a given
//! instant.

mod hold;
mod order;
mod scene;
mod shared_lanes;
mod store;
