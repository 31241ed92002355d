//! The options of an S3 store.

use std::time::Duration;

use super::patience::Patience;
use crate::http_url::HttpUrl;
use crate::secret::Secret;

/// Settings of an S3 store. The default suits AWS with everything else from the environment.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Address of an S3-compatible server. `None` is AWS itself, or what
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` say.
    pub endpoint: Option<HttpUrl>,
    /// `None` asks the environment (`AWS_REGION`, the profile, the instance); with an `endpoint` it is
    /// `us-east-1` without asking, for there a region is but a part of the signature.
    pub region: Option<String>,
    /// `endpoint/bucket/key` in place of `bucket.endpoint/key`, as most S3-compatible servers want it.
    pub path_style: bool,
    /// Credentials.
    pub credentials: S3Credentials,
    /// For a connection to stand.
    pub connect_timeout: Duration,
    /// How long the server may stay silent, before its answer and within it.
    pub answer_timeout: Duration,
    /// For one attempt, from the request's first byte to the answer's last.
    pub attempt_timeout: Duration,
    /// How often a request is made that fails for a reason that may pass. The one layer that retries.
    pub retry: Backoff,
    /// How long all requests together wait for a server that is away.
    pub patience: Patience,
    /// How often an append is made that another writer was faster than.
    pub conflict: Backoff,
    /// Requests at once; at least 1.
    pub concurrency: usize,
    /// The largest object that lines are appended to, in bytes: each append reads and writes all of it.
    pub append_limit: u64,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: false,
            credentials: S3Credentials::Environment,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(30),
            // Time is the bound; the attempts only have to last as long.
            retry: Backoff { attempts: 1000, base: Duration::from_millis(200), max: Duration::from_secs(5) },
            patience: Patience::default(),
            conflict: Backoff { attempts: 60, base: Duration::from_millis(20), max: Duration::from_secs(1) },
            concurrency: 16,
            append_limit: 64 << 20,
        }
    }
}

/// Credentials.
#[derive(Debug, Clone, Default)]
pub enum S3Credentials {
    /// The first of these that there is: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`; the profile `AWS_PROFILE` of the shared files (keys and assumed roles); a web
    /// identity token; a container's credentials (ECS, EKS); the instance's. Renewed before they expire.
    #[default]
    Environment,
    /// These, for good.
    Keys {
        /// The access key's id.
        id: Secret,
        /// The key.
        key: Secret,
        /// A session token that goes with them.
        session_token: Option<Secret>,
    },
}

/// How often something is tried and how long is waited in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts in all; 0 counts as 1.
    pub attempts: u32,
    /// The first wait at its longest; each further one is twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after attempt `made` (1, 2, …), or `None` after the last. `random` is below 1 and at least 0:
    /// half of a wait is fixed, the other half drawn, so that writers who met once don't meet again.
    #[must_use]
    pub fn wait(&self, made: u32, random: f64) -> Option<Duration> {
        if made >= self.attempts {
            return None;
        }
        let doubled = 1_u32.checked_shl(made.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.base.saturating_mul(doubled).min(self.max);
        Some(longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { attempts: 5, base: Duration::from_millis(100), max: Duration::from_millis(300) };
        let waits: Vec<_> = (1..=5).map(|made| backoff.wait(made, 1.0).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(100), Some(200), Some(300), Some(300), None]);
        assert_eq!(backoff.wait(1, 0.0), Some(Duration::from_millis(50)));
        assert_eq!(Backoff { attempts: 0, ..backoff }.wait(1, 0.0), None);
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_all_of_its_bound(
            attempts in 0_u32..100, base in 0_u64..10_000, max in 0_u64..100_000, made in 1_u32..200, random in 0.0..1.0
        ) {
            let backoff = Backoff { attempts, base: Duration::from_millis(base), max: Duration::from_millis(max) };
            match backoff.wait(made, random) {
                None => prop_assert!(made >= attempts),
                Some(wait) => {
                    prop_assert!(made < attempts);
                    prop_assert!(wait <= backoff.max);
                    prop_assert!(wait >= backoff.base.min(backoff.max) / 2);
                }
            }
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = S3Credentials::Keys {
            id: Secret::new("AKIA1"),
            key: Secret::new("hunter2"),
            session_token: Some(Secret::new("token3")),
        };
        let text = format!("{:?}", S3Options { credentials: keys, ..S3Options::default() });
        assert!(!text.contains("AKIA1") && !text.contains("hunter2") && !text.contains("token3"), "{text}");
    }
}
