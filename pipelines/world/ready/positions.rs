//! Where a feed saves how far each shard is settled.

use futures::future::BoxFuture;

use crate::model::{Refusal, ShardPosition};

/// A store of positions, one a shard, of one consumer of one stream.
pub trait ShardPositions: Send + Sync + 'static {
    /// All that is kept.
    ///
    /// # Errors
    ///
    /// Where it can't be read.
    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>>;

    /// Keeps these; those of other shards stay as they are. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Where they can't be kept.
    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>>;
}

/// Keeps nothing: reading begins at the oldest record, each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unkept;

impl ShardPositions for Unkept {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn save<'a>(&'a self, _: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
