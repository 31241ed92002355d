//! One request, retried until it succeeds: a permit among the concurrent requests, a limit for each attempt, a wait
//! before the next.
//!
//! ```text
//! Call::attempt: may it? ──► permit ───► Asked: answer ··· body ──► done
//!      ▲                                   │ 3 s without bytes: logged · 10 s: failed
//!      └── Call::again: backoff, patience, stop ◄┘
//! ```

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::super::patience::{Leave, sleep};
use super::bucket::{Asked, Bucket};
use super::failure::{Failure, Kind};
use crate::store::Backoff;

/// After this long without a byte of an answer the log says so.
const LATE: Duration = Duration::from_secs(3);

/// The same once a stop is requested; the attempt is given up then.
const LATE_WHEN_STOPPING: Duration = Duration::from_secs(1);

/// What an upload moves in a second at least, in bytes.
const SLOWEST_UPLOAD: u64 = 1 << 20;

/// A request and its attempts.
pub(super) struct Call<'a> {
    bucket: &'a Bucket,
    what: Arc<str>,
    tries: Tries,
    /// When the first attempt began that failed in a way that may pass.
    first: Option<Duration>,
}

impl<'a> Call<'a> {
    /// A request of `method` for the object (or prefix) of this full name.
    pub(super) fn new(bucket: &'a Bucket, method: &str, object: &str) -> Self {
        let what = format!("{method} {object}").into();
        Self { bucket, what, tries: Tries::new(bucket.options.retry), first: None }
    }

    /// Makes one attempt, its answer's body included, within the timeout and once a place is free.
    pub(super) async fn attempt<T, F>(&mut self, attempt: impl FnOnce(Asked) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let Bucket { options, places, .. } = self.bucket;
        // The semaphore is never closed, so there is always a place in the end.
        let _place = places.acquire().await.ok();
        let patience = &options.patience;
        let began = patience.now();
        // What is left of the patience bounds the silence, not the answer: a server that speaks is back.
        let silence = match patience.leave() {
            Leave::Open => options.answer_timeout,
            Leave::Within(limit) => limit.min(options.answer_timeout),
            Leave::No(cause) => {
                self.first.get_or_insert(began);
                return Err(Failure::new(Kind::Passing, cause));
            }
        };
        let asked = Asked { what: self.what.clone(), began, silence };
        let limit = options.attempt_timeout;
        let result = match timeout(limit, attempt(asked)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Kind::Passing, format!("no whole answer within {limit:?}"))),
        };
        if let Err(failure) = &result
            && failure.kind == Kind::Passing
        {
            self.first.get_or_insert(began);
            patience.failed(began, self.bucket.server(), &self.what, &failure.text);
        }
        result
    }

    /// Waits until the next attempt is due, or gives the failure back if there is to be none.
    pub(super) async fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        let wait = self.tries.after(&failure)?;
        let patience = &self.bucket.options.patience;
        // Another writer's conflict is a server's answer, and no reason for impatience.
        let left = self.first.map_or(wait, |first| patience.until_when(first).saturating_sub(patience.now()));
        let made = self.tries.made;
        if left.is_zero() {
            let seconds = patience.now().saturating_sub(self.first.unwrap_or_default()).as_secs_f64();
            return Err(failure.with(&format!("(attempt {made}, after {seconds:.0} s)")));
        }
        tracing::debug!(attempt = made, ?wait, failure = failure.text, "s3 request is tried again");
        tokio::select! {
            biased;
            () = patience.stopped(), if !patience.is_stopping() => {
                Err(failure.with(&format!("(attempt {made}; a stop is requested)")))
            }
            () = sleep(wait.min(left)) => Ok(()),
        }
    }
}

impl Bucket {
    /// Makes attempts until one succeeds, one fails for good, or there have been enough.
    pub(super) async fn repeat<T, F>(
        &self,
        method: &str,
        object: &str,
        mut attempt: impl FnMut(Asked) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut call = Call::new(self, method, object);
        loop {
            match call.attempt(&mut attempt).await {
                Ok(done) => return Ok(done),
                Err(failure) => call.again(failure).await?,
            }
        }
    }

    /// The next bytes of an answer, within the time that the server may stay silent; longer by what it takes to send
    /// `upload` bytes before. An answer of whatever kind, but for one that asks for another attempt, ends the server's
    /// absence.
    pub(super) async fn heard<T>(
        &self,
        asked: &Asked,
        upload: u64,
        next: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let heard = self.heard_in_time(asked, Duration::from_secs(upload / SLOWEST_UPLOAD), next).await;
        if !heard.as_ref().is_err_and(|failure| failure.kind == Kind::Passing) {
            self.options.patience.answered(self.server());
        }
        heard
    }

    async fn heard_in_time<T>(
        &self,
        asked: &Asked,
        more: Duration,
        next: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let patience = &self.options.patience;
        let limit = asked.silence + more;
        let late = async {
            tokio::select! {
                () = sleep(limit.min(LATE + more)) => {}
                () = async { patience.stopped().await; sleep(LATE_WHEN_STOPPING + more).await } => {}
            }
        };
        let mut next = pin!(next);
        tokio::select! {
            biased;
            heard = &mut next => return heard,
            () = late => {}
        }
        let silent = |end: &str| Failure::new(Kind::Passing, format!("the server says nothing{end}"));
        patience.failed(asked.began, self.server(), &asked.what, &silent("").text);
        tokio::select! {
            biased;
            heard = next => heard,
            () = patience.stopped() => Err(silent(", and a stop is requested")),
            () = sleep(limit.saturating_sub(LATE + more)) => Err(silent(&format!(" within {limit:?}"))),
        }
    }
}

/// The attempts at one thing, counted.
#[derive(Debug)]
pub(super) struct Tries {
    backoff: Backoff,
    made: u32,
}

impl Tries {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, made: 0 }
    }

    /// How long to wait before the next attempt; the failure if there is to be none.
    pub(super) fn after(&mut self, failure: &Failure) -> Result<Duration, Failure> {
        self.made += 1;
        if !failure.is_worth_another() {
            return Err(failure.clone());
        }
        let wait = self.backoff.wait(self.made, random(self.made));
        wait.ok_or_else(|| failure.clone().with(&format!("(attempt {} of {0})", self.made)))
    }
}

/// A number below 1 and at least 0, another one in each process: what jitter needs, and no more.
fn random(salt: u32) -> f64 {
    (RandomState::new().hash_one(salt) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::super::patience::Patience;
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::stop::Stop;
    use crate::store::S3Options;
    use crate::store::s3_root::Location;

    fn passing() -> Failure {
        Failure::new(Kind::Passing, "the server answered 500")
    }

    fn bucket(options: S3Options) -> Bucket {
        Bucket::new(Location::parse("s3://world").unwrap(), options)
    }

    async fn refused(bucket: &Bucket) -> Failure {
        let result = bucket.repeat("GET", "s3://world/a", |_| async { Err::<(), _>(passing()) }).await;
        result.unwrap_err()
    }

    /// Whole seconds on paused time.
    async fn seconds<T>(work: impl Future<Output = T>) -> (T, u64) {
        let clock = SystemClock::new();
        let done = work.await;
        (done, clock.now().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end() {
        let backoff = Backoff { attempts: 3, base: Duration::from_secs(1), max: Duration::from_secs(9) };
        let bucket = bucket(S3Options { retry: backoff, ..S3Options::default() });
        let (last, took) = seconds(refused(&bucket)).await;
        assert_eq!(last.text, "the server answered 500 (attempt 3 of 3)");
        assert!((1..4).contains(&took), "{took}");

        let lasting = |_| async { Err::<(), _>(Failure::new(Kind::Lasting, "no")) };
        assert_eq!(bucket.repeat("GET", "a", lasting).await.unwrap_err().text, "no");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_waited_for_once_and_not_by_each_request() {
        let bucket = bucket(S3Options::default());
        let (failure, took) = seconds(refused(&bucket)).await;
        assert_eq!(took, 40);
        assert!(failure.text.ends_with(", after 40 s)"), "{}", failure.text);
        // Nine more, one behind the other: a probe each at most.
        let ((), took) = seconds(async {
            for _ in 0..9 {
                refused(&bucket).await;
            }
        })
        .await;
        assert_eq!(took, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_requests_and_says_nothing_is_bounded_too() {
        let bucket = &bucket(S3Options::default());
        let silent = |asked| async move { bucket.heard(&asked, 0, std::future::pending::<Result<(), _>>()).await };
        let (failure, took) = seconds(bucket.repeat("GET", "a", silent)).await;
        assert!((40..=42).contains(&took), "{took}");
        assert!(failure.unwrap_err().text.contains("says nothing"));
        let ((), took) = seconds(async {
            for _ in 0..9 {
                let _ = bucket.repeat("GET", "a", silent).await;
            }
        })
        .await;
        assert!(took <= 2, "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_begins_late_is_heard() {
        let bucket = bucket(S3Options::default());
        for (upload, after, is_heard) in [(0, 9, true), (0, 11, false), (64 << 20, 70, true), (64 << 20, 75, false)] {
            let silence = bucket.options.answer_timeout;
            let asked = Asked { what: "PUT a".into(), began: Duration::ZERO, silence };
            let answer = async {
                sleep(Duration::from_secs(after)).await;
                Ok(())
            };
            assert_eq!(bucket.heard(&asked, upload, answer).await.is_ok(), is_heard, "{upload} {after}");
        }
    }

    /// A server that is back just before it would be given up, and takes its time over the body.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_speaks_again_is_waited_for_no_more_and_heard_to_its_end() {
        let bucket = &bucket(S3Options::default());
        let clock = SystemClock::new();
        let attempt = |asked: Asked| async move {
            if clock.now() < Duration::from_secs(36) {
                return bucket.heard(&asked, 0, async { Err::<u32, _>(passing()) }).await;
            }
            for _ in 0..9 {
                let piece = async {
                    sleep(Duration::from_secs(1)).await;
                    Ok(())
                };
                bucket.heard(&asked, 0, piece).await?;
            }
            Ok(9)
        };
        assert_eq!(bucket.repeat("GET", "a", attempt).await.ok(), Some(9));
        assert!(clock.now() > Duration::from_secs(44));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_waiting() {
        let second = Duration::from_secs(1);
        // Before the first attempt, in its silence, and in the wait before another.
        for (at, silent) in
            [(0, true), (0, false), (2, true), (2, false), (7, true), (7, false), (30, true), (30, false)]
        {
            let stop = Stop::new();
            let patience = Patience::until(stop.clone());
            let bucket = bucket(S3Options { patience, ..S3Options::default() });
            let attempt = |asked| {
                let bucket = &bucket;
                async move {
                    if silent {
                        bucket.heard(&asked, 0, std::future::pending::<Result<(), _>>()).await
                    } else {
                        Err(passing())
                    }
                }
            };
            let stopping = async {
                sleep(at * second).await;
                stop.request();
            };
            let (((), failed), took) =
                seconds(async { tokio::join!(stopping, bucket.repeat("GET", "a", attempt)) }).await;
            assert!(failed.is_err() && took <= u64::from(at) + 1, "{at} {silent}: {took}");
            // What is written at the end is tried, and not waited for.
            let (_, took) = seconds(bucket.repeat("PUT", "b", attempt)).await;
            assert!(took <= 1, "{at} {silent}: {took}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_cut_off_and_gives_its_place_back() {
        let options = S3Options { concurrency: 1, attempt_timeout: Duration::from_secs(2), ..S3Options::default() };
        let bucket = bucket(options);
        let (mut stuck, mut next) = (Call::new(&bucket, "GET", "a"), Call::new(&bucket, "GET", "b"));
        let stuck = stuck.attempt(|_| std::future::pending::<Result<(), Failure>>());
        let next = next.attempt(|_| async { Ok(7) });
        let (stuck, next) = tokio::join!(stuck, next);
        assert_eq!(stuck.unwrap_err().kind, Kind::Passing);
        assert_eq!(next.unwrap(), 7);
    }

    #[test]
    fn jitter_is_a_fraction_and_differs() {
        let drawn: Vec<f64> = (0..100).map(random).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.iter().any(|number| (number - drawn[0]).abs() > 0.01));
    }
}
