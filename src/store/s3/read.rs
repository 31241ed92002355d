//! Reading: whole objects, ranges of one version, listings.
//!
//! ```text
//! ranges ──join, cut──► pieces ──If-Match, several at once──► one buffer a span ──slice──► parts
//! ```
//!
//! Every body is read whole before anything is returned: a response left open during a paced wait is
//! lost.

use std::ops::Range;

use bytes::Bytes;
use futures::future::try_join_all;

use super::super::room::Room;
use super::super::{Key, ObjectMeta, StoreError, Version};
use super::bucket::{Bucket, Page};
use super::call::Call;
use super::failure::{Failure, Kind};
use super::spans;

/// More bytes are never asked for at once; a plan that wants more is a mistake, and no reason to run out of memory.
const MOST: u64 = 4 << 30;

/// Objects on a page of a listing.
const PAGE: i32 = 1000;

impl Bucket {
    pub(super) async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let found = self.repeat("HEAD", &self.full_name(key), |asked| self.head_once(asked, key)).await;
        absent_is_none(found).map_err(|failure| self.refused(key, "HEAD", &failure))
    }

    /// The object and its version, or `None` where there is none.
    pub(super) async fn get(&self, key: &Key, limit: u64) -> Result<Option<(Bytes, Version)>, StoreError> {
        let found = self.repeat("GET", &self.full_name(key), |asked| self.get_once(asked, key, limit)).await;
        absent_is_none(found).map_err(|failure| match failure.kind {
            Kind::TooLarge(size) => StoreError::TooLarge { object: self.full_name(key), size, limit },
            _ => self.refused(key, "GET", &failure),
        })
    }

    pub(super) async fn get_ranges(
        &self,
        key: &Key,
        version: &Version,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StoreError> {
        // What no request would tell: whether an empty range lies within the object, and whether it changed.
        if ranges.is_empty() || ranges.iter().any(Range::is_empty) {
            self.check_ranges(key, version, ranges).await?;
        }
        let spans = spans::spans(ranges, spans::GAP, spans::PIECE);
        let needed = spans.iter().map(|span| span.end - span.start).fold(0, u64::saturating_add);
        if needed > MOST {
            let failure = Failure::new(Kind::Lasting, format!("{needed} bytes at once, more than {MOST}"));
            return Err(self.refused(key, "GET", &failure));
        }
        match try_join_all(spans.iter().map(|span| self.span(key, version, span))).await {
            Ok(read) => Ok(ranges
                .iter()
                .map(|range| spans::place(range, &spans))
                .map(|place| place.map_or_else(Bytes::new, |(index, within)| read[index].slice(within)))
                .collect()),
            Err(Failure { kind: Kind::Precondition | Kind::Missing, .. }) => Err(self.changed(key)),
            Err(failure) if failure.kind == Kind::Range => {
                // Beyond the end of this version, or of another that took its place?
                self.check_ranges(key, version, ranges).await?;
                Err(self.refused(key, "GET", &failure))
            }
            Err(failure) => Err(self.refused(key, "GET", &failure)),
        }
    }

    /// Holds ranges against the object as it is now.
    async fn check_ranges(&self, key: &Key, version: &Version, ranges: &[Range<u64>]) -> Result<(), StoreError> {
        let meta = self.head(key).await?.filter(|meta| meta.version == *version).ok_or_else(|| self.changed(key))?;
        match ranges.iter().find(|range| range.start > range.end || range.end > meta.size) {
            None => Ok(()),
            Some(range) => {
                let text = format!("bytes {}..{} of {}", range.start, range.end, meta.size);
                Err(self.refused(key, "GET", &Failure::new(Kind::Lasting, text)))
            }
        }
    }

    /// A span in one room. Its pieces are cut from the room and filled at once, each by requests of its own.
    async fn span(&self, key: &Key, version: &Version, span: &Range<u64>) -> Result<Bytes, Failure> {
        let length = (span.end - span.start) as usize;
        let no_room = |error| Failure::new(Kind::Passing, format!("no memory for {length} bytes: {error}"));
        let mut room = Room::new(length).map_err(no_room)?;
        let mut rest = &mut room[..];
        let mut pieces = Vec::new();
        for piece in spans::pieces(span, spans::PIECE) {
            let (here, behind) = rest.split_at_mut((piece.end - piece.start) as usize);
            rest = behind;
            pieces.push(self.piece(key, version, piece, here));
        }
        try_join_all(pieces).await?;
        Ok(room.freeze())
    }

    /// A piece into its room; an attempt goes on where the one before it broke off.
    async fn piece(&self, key: &Key, version: &Version, piece: Range<u64>, mut room: &mut [u8]) -> Result<(), Failure> {
        let mut call = Call::new(self, "GET", &self.full_name(key));
        loop {
            match call.attempt(|asked| self.range_once(asked, key, version, &piece, &mut room)).await {
                Ok(()) => return Ok(()),
                Err(failure) => call.again(failure).await?,
            }
        }
    }

    pub(super) async fn list(&self, prefix: &Key) -> Result<Vec<(Key, u64)>, StoreError> {
        let under = format!("{}/", self.location.name(prefix));
        let page = self.pages(&under, &self.full_name(prefix)).await?;
        // What consoles write to show a folder ends with a slash or is the prefix itself; no key does.
        let objects = page.objects.into_iter().filter_map(|(name, size)| {
            let name = name.strip_prefix(&under).filter(|name| !name.contains('/'))?;
            Some((prefix.join(name).ok()?, size))
        });
        let mut found: Vec<(Key, u64)> = objects.collect();
        // Some servers list in another order.
        found.sort();
        Ok(found)
    }

    pub(super) async fn folders(&self, prefix: Option<&Key>) -> Result<Vec<String>, StoreError> {
        let (under, name) = match prefix {
            Some(prefix) => (format!("{}/", self.location.name(prefix)), self.full_name(prefix)),
            None => (self.location.names_begin_with(), self.location.root.clone()),
        };
        let page = self.pages(&under, &name).await?;
        let name = |folder: &String| Some(folder.strip_prefix(&under)?.trim_end_matches('/').to_owned());
        let mut found: Vec<String> = page.folders.iter().filter_map(name).filter(|name| !name.is_empty()).collect();
        found.sort_unstable();
        // A folder may stand on two pages.
        found.dedup();
        Ok(found)
    }

    /// All pages of a listing as one; `name` is what is listed, for a person.
    async fn pages(&self, under: &str, name: &str) -> Result<Page, StoreError> {
        let mut all = Page::default();
        loop {
            let from = all.next.take();
            let page = self.repeat("LIST", name, |asked| self.list_once(asked, under, from.clone(), PAGE)).await;
            let page = page.map_err(|failure| failure.refused(name.to_owned(), "LIST"))?;
            all.objects.extend(page.objects);
            all.folders.extend(page.folders);
            if page.next.is_none() {
                return Ok(all);
            }
            all.next = page.next;
        }
    }

    /// Whether the bucket answers us.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let prefix = self.location.names_begin_with();
        let root = &self.location.root;
        let listed = self.repeat("LIST", root, |asked| self.list_once(asked, &prefix, None, 1)).await;
        listed.map(drop).map_err(|failure| failure.refused(self.location.root.clone(), "LIST"))
    }

    fn changed(&self, key: &Key) -> StoreError {
        StoreError::Changed { object: self.full_name(key) }
    }
}

fn absent_is_none<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.kind == Kind::Missing => Ok(None),
        Err(failure) => Err(failure),
    }
}
