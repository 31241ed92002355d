//! One attempt at each request that this store makes; only [`Call`](super::call::Call) retries.
//!
//! The SDK's futures are large, so each is boxed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{OnceCell, Semaphore};

use super::super::{Key, ObjectMeta, StoreError, Version};
use super::client;
use super::failure::{Failure, Kind};
use super::turns::Turns;
use crate::store::S3Options;
use crate::store::s3_root::Location;

/// A bucket, as far as a store's root reaches.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) location: Location,
    pub(super) options: S3Options,
    /// A place for each request at once.
    pub(super) places: Semaphore,
    pub(super) turns: Turns,
    client: OnceCell<Client>,
    server: String,
}

/// An attempt under way.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Method and object.
    pub(super) what: Arc<str>,
    pub(super) began: Duration,
    /// How long the server may stay silent.
    pub(super) silence: Duration,
}

/// What has to hold for a write to take place.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Nothing.
    Any,
    /// There is no such object.
    Absent,
    /// It has this version.
    Is(Version),
}

/// One page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Names in the bucket and sizes in bytes.
    pub(super) objects: Vec<(String, u64)>,
    /// Names in the bucket that others begin with, each with a slash at the end.
    pub(super) folders: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
}

impl Bucket {
    pub(super) fn new(location: Location, options: S3Options) -> Self {
        let places = Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let server = options.endpoint.as_ref().map_or_else(|| "AWS".to_owned(), ToString::to_string);
        Self { location, options, places, turns: Turns::default(), client: OnceCell::new(), server }
    }

    /// Who is asked, for a person.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| Box::pin(client::connect(&self.options))).await
    }

    /// The port's error for a failure with `key`; `doing` says what was tried.
    pub(super) fn refused(&self, key: &Key, doing: &str, failure: &Failure) -> StoreError {
        failure.refused(self.full_name(key), doing)
    }

    pub(super) fn full_name(&self, key: &Key) -> String {
        format!("{}/{key}", self.location.root)
    }

    pub(super) async fn head_once(&self, asked: Asked, key: &Key) -> Result<ObjectMeta, Failure> {
        let send = async {
            let client = self.client().await;
            let request = client.head_object().bucket(&self.location.bucket).key(self.location.name(key));
            Box::pin(request.send()).await.map_err(|error| Failure::of(&error))
        };
        let answer = self.heard(&asked, 0, send).await?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        Ok(ObjectMeta {
            size: size.ok_or_else(|| Failure::new(Kind::Lasting, "the server tells no size"))?,
            version: version(answer.e_tag())?,
        })
    }

    /// The whole object, if it has no more than `limit` bytes.
    pub(super) async fn get_once(&self, asked: Asked, key: &Key, limit: u64) -> Result<(Bytes, Version), Failure> {
        let send = async {
            let client = self.client().await;
            let request = client.get_object().bucket(&self.location.bucket).key(self.location.name(key));
            Box::pin(request.send()).await.map_err(|error| Failure::of(&error))
        };
        let answer = self.heard(&asked, 0, send).await?;
        let told = answer.content_length().and_then(|size| u64::try_from(size).ok());
        if let Some(size) = told.filter(|size| *size > limit) {
            return Err(Failure::new(Kind::TooLarge(size), "too large"));
        }
        let version = version(answer.e_tag())?;
        let mut bytes = BytesMut::with_capacity(told.unwrap_or_default() as usize);
        // A server that tells no size, or a wrong one, gets no further than this either.
        self.fill(&asked, answer.body, &mut bytes, 0..limit).await?;
        match told {
            Some(size) if size != bytes.len() as u64 => Err(short(bytes.len() as u64, size)),
            _ => Ok((bytes.freeze(), version)),
        }
    }

    /// Reads as much of the end of `range` as there is room for: what stands before it came already. A failure leaves room
    /// for what is still missing.
    pub(super) async fn range_once(
        &self,
        asked: Asked,
        key: &Key,
        wanted: &Version,
        range: &Range<u64>,
        room: &mut impl BufMut,
    ) -> Result<(), Failure> {
        let missing = range.end.saturating_sub(room.remaining_mut() as u64)..range.end;
        if missing.is_empty() {
            return Ok(());
        }
        let send = async {
            let request = self.client().await.get_object();
            let request = request
                .bucket(&self.location.bucket)
                .key(self.location.name(key))
                .if_match(&wanted.0)
                .range(format!("bytes={}-{}", missing.start, missing.end - 1));
            Box::pin(request.send()).await.map_err(|error| Failure::of(&error))
        };
        let answer = self.heard(&asked, 0, send).await?;
        // A server that knows no If-Match is caught by what it sends.
        if version(answer.e_tag())? != *wanted {
            return Err(Failure::new(Kind::Precondition, "the server sent another version"));
        }
        match answer.content_range().map(content_range) {
            Some(Some((start, end))) if start == missing.start && end == missing.end => {}
            Some(Some((start, end))) if start == missing.start && end < missing.end => {
                return Err(Failure::new(Kind::Range, format!("the object ends at byte {end}")));
            }
            _ => return Err(Failure::new(Kind::Lasting, "the server does not send the bytes that were asked for")),
        }
        let whole = range.end - range.start;
        self.fill(&asked, answer.body, room, missing.start - range.start..whole).await?;
        if room.has_remaining_mut() { Err(short(whole - room.remaining_mut() as u64, whole)) } else { Ok(()) }
    }

    /// A page of the objects and folders right below `prefix`, which ends with a slash or is empty.
    pub(super) async fn list_once(
        &self,
        asked: Asked,
        prefix: &str,
        from: Option<String>,
        most: i32,
    ) -> Result<Page, Failure> {
        let send = async {
            let request = self.client().await.list_objects_v2();
            let request = request
                .bucket(&self.location.bucket)
                .prefix(prefix)
                .delimiter("/")
                .max_keys(most)
                .set_continuation_token(from.clone());
            Box::pin(request.send()).await.map_err(|error| Failure::of(&error))
        };
        let answer = self.heard(&asked, 0, send).await?;
        let objects = answer.contents().iter().filter_map(|object| {
            let size = u64::try_from(object.size()?).ok()?;
            Some((object.key()?.to_owned(), size))
        });
        let objects = objects.collect();
        let folders = answer.common_prefixes().iter().filter_map(|folder| folder.prefix().map(str::to_owned)).collect();
        if answer.is_truncated() != Some(true) {
            return Ok(Page { objects, folders, next: None });
        }
        match answer.next_continuation_token {
            Some(next) if from.as_ref() != Some(&next) => Ok(Page { objects, folders, next: Some(next) }),
            _ => Err(Failure::new(Kind::Lasting, "the server says there is more but not where")),
        }
    }

    pub(super) async fn put_once(
        &self,
        asked: Asked,
        key: &Key,
        body: Bytes,
        condition: &Condition,
    ) -> Result<(), Failure> {
        let upload = body.len() as u64;
        let send = async {
            let request = self.client().await.put_object();
            let request = request.bucket(&self.location.bucket).key(self.location.name(key));
            let request = match condition {
                Condition::Any => request,
                Condition::Absent => request.if_none_match("*"),
                Condition::Is(version) => request.if_match(&version.0),
            };
            match Box::pin(request.body(ByteStream::from(body)).send()).await {
                Ok(_) => Ok(()),
                Err(error) if error.code() == Some("NoSuchKey") => {
                    Err(Failure::new(Kind::Precondition, "the object is gone"))
                }
                Err(error) => Err(Failure::of(&error)),
            }
        };
        self.heard(&asked, upload, send).await
    }

    /// Reads a body to its end into `room`, unless it reaches beyond the bytes that are `missing`.
    async fn fill(
        &self,
        asked: &Asked,
        mut body: ByteStream,
        room: &mut impl BufMut,
        missing: Range<u64>,
    ) -> Result<(), Failure> {
        let mut came = missing.start;
        loop {
            let next = async { body.next().await.transpose().map_err(|error| Failure::broken_body(&error)) };
            let Some(chunk) = self.heard(asked, 0, next).await? else { return Ok(()) };
            came += chunk.len() as u64;
            if came > missing.end {
                return Err(Failure::new(Kind::TooLarge(came), "the server sends more bytes than it said"));
            }
            room.put_slice(&chunk);
        }
    }
}

fn short(came: u64, of: u64) -> Failure {
    Failure::new(Kind::Passing, format!("the answer ended after {came} of {of} bytes"))
}

fn version(e_tag: Option<&str>) -> Result<Version, Failure> {
    match e_tag {
        Some(tag) if !tag.is_empty() => Ok(Version(tag.to_owned())),
        _ => Err(Failure::new(Kind::Lasting, "the server tells no ETag")),
    }
}

/// The bytes that a `Content-Range: bytes first-last/size` speaks of.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 10)));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 10)));
        for bad in ["", "bytes */10", "items 0-9/10", "bytes 0-/10", "bytes 0-18446744073709551615/1"] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }
}
