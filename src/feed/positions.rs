//! Where a feed saves how far each shard is settled.

use std::convert::Infallible;

use futures::future::BoxFuture;

use super::ShardPosition;

/// A store of positions, one a shard, of one consumer of one stream.
pub trait ShardPositions: Send + Sync + 'static {
    /// Why it fails.
    type Error: std::fmt::Display + Send + 'static;

    /// All that is kept.
    ///
    /// # Errors
    ///
    /// Where it can't be read.
    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Self::Error>>;

    /// Keeps these; those of other shards stay as they are. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Where they can't be kept.
    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Self::Error>>;
}

/// Keeps nothing: reading begins at the oldest record, each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unkept;

impl ShardPositions for Unkept {
    type Error = Infallible;

    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Self::Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn save<'a>(&'a self, _: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Self::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
