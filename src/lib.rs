//! Stages of a producer that replays recorded events, in order and at a chosen pace, into a live HTTP intake.
//!
//! ```text
//! batches ──► merge ──► frame ──► pace ──► throttle ──► push ──► checkpoint ──► what is delivered
//! ```
//!
//! Each stage is a combinator of streams and knows nothing of what it carries: a batch tells its rows' times and keys
//! ([`merge::Batch`]), an item its id, order key and body ([`deliver::Item`]), and a judge what an answer means
//! ([`deliver::Judge`]). A producer's own error goes through all of them.
//!
//! # A producer
//!
//! ```no_run
//! use bytes::Bytes;
//! use futures::{StreamExt, TryStreamExt, stream};
//! use std::{num::NonZeroUsize, time::Duration};
//! use wsp::deliver::{
//!     Attempt, Cause, Decided, Delivery, DeliveryMode, Endpoint, HttpGate, Item, Judge, PushError, PushExt, PushOptions,
//!     Stray, Verdict,
//! };
//! use wsp::pace::{PaceExt, Pacing, Timed};
//! use wsp::{clock::SystemClock, merge, time::Micros};
//!
//! /// What is replayed: a batch of one row, and the body of one request.
//! #[derive(Clone)]
//! struct Order { ts: Micros, customer: u64, id: [u8; 32], body: Bytes }
//!
//! impl merge::Batch for Order {
//!     type Key = [u8; 32];
//!     fn times(&self) -> &[Micros] { std::slice::from_ref(&self.ts) }
//!     fn key(&self, _: usize) -> [u8; 32] { self.id } // decides between rows of one time
//! }
//!
//! impl Timed for Order {
//!     fn ts(&self) -> Micros { self.ts }
//!     fn set_due(&mut self, _: Duration) {}
//! }
//!
//! impl Item for Order {
//!     fn id(&self) -> &[u8; 32] { &self.id }
//!     fn line(&self) -> u64 { self.customer } // orders of one customer never overtake each other
//!     fn body(&self) -> &Bytes { &self.body }
//!     fn set_body(&mut self, body: Bytes) { self.body = body }
//! }
//!
//! /// 2xx is delivered, a busy server is tried again, anything else ends the run.
//! struct Status;
//!
//! impl Judge<Order> for Status {
//!     type Delivered = [u8; 32];
//!     type Error = PushError;
//!     fn judge(&self, _: &Order, attempt: &Attempt) -> Result<Verdict, Stray> {
//!         let why = format!("{attempt:?}");
//!         let Attempt::Answered(answer) = attempt else { return Ok(Verdict::Retry { why, retry_after: None }) };
//!         Ok(match answer.status() {
//!             200..300 => Verdict::Decided(Decided::Accepted),
//!             429 | 500..600 => Verdict::Retry { why, retry_after: answer.retry_after() },
//!             _ => Verdict::Rejected { why },
//!         })
//!     }
//!     fn delivered(&self, order: &Order, _: &Decided, _: Delivery) -> [u8; 32] { order.id }
//!     fn failed(&self, _: &Order, _: Cause, why: &str) -> PushError { PushError::Panicked(why.to_owned()) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (shops, warehouses): (Vec<Result<Order, PushError>>, Vec<Result<Order, PushError>>) = Default::default();
//! let clock = SystemClock::new();
//! let intake = Endpoint::post(&"http://intake.example/orders".parse()?, http::HeaderMap::new())?;
//! let delivered = merge::merge(vec![stream::iter(shops), stream::iter(warehouses)])
//!     .map_ok(|rows| stream::iter(rows.into_iter().map(|row| Ok((*row.batch).clone()))))
//!     .try_flatten()
//!     .pace(clock, Pacing::new(60.0)?) // an hour in a minute
//!     .push(
//!         HttpGate::new(intake, clock)?,
//!         Status,
//!         PushOptions::new(clock).mode(DeliveryMode::Keyed(NonZeroUsize::new(64).ok_or("64")?)),
//!     );
//! let orders = delivered.try_fold(0, |n, _id| async move { Ok(n + 1) }).await?;
//! println!("{orders} orders delivered");
//! # Ok(())
//! # }
//! ```
//!
//! What starts a run can be a message: [`feed`] reads folders, topics of Kafka and streams of Kinesis and commits what is settled.
//! `examples/small_producer.rs` reads files and keeps cursors as well; `pipelines/world/producer.rs` is the chain of a
//! whole platform.
//!
//! # Features
//!
//! None is on by default. `tls`: https addresses. `postgres`: checkpoints in Postgres. `s3`: objects on S3 and its likes, beside
//! local ones. `kafka`, `kinesis`: feeds of topics and streams, beside folders ([`feed`]). `parquet`: rows of Parquet objects with their
//! event times ([`parquet_read`]), the types that their columns are read as, and cells of Arrow columns as JSON; `brotli`: of files
//! packed with Brotli too.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

pub mod ahead;
#[cfg(feature = "aws")]
pub mod aws;
pub mod byte_budget;
pub mod caught;
#[cfg(feature = "parquet")]
pub mod cells;
pub mod checkpoint;
pub mod clock;
pub mod credit;
pub mod deliver;
pub mod disk;
pub mod feed;
pub mod frame;
pub mod http_url;
pub mod io_thread;
pub mod json;
pub mod merge;
pub mod minute;
pub mod pace;
#[cfg(feature = "parquet")]
pub mod parquet_read;
#[cfg(feature = "parquet")]
pub mod parquet_types;
#[cfg(any(feature = "postgres", feature = "tls"))]
pub mod pem;
pub mod percent;
pub mod random;
pub mod secret;
pub mod stop;
pub mod store;
pub mod strict;
pub mod telemetry;
pub mod time;
