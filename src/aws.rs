//! What every AWS client here shares: one HTTP stack, and how the SDK's errors are put into words.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// An idle connection is kept no longer: servers close theirs after some 20 s, and a request that goes out on a closing
/// connection is lost.
const IDLE: Duration = Duration::from_secs(10);

/// The HTTP client, with this many idle connections to a host at most.
pub fn http_client(idle_per_host: usize) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle_per_host.max(1))
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// Whether a request failed for want of credentials.
pub fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(error).filter_map(|cause| cause.downcast_ref::<CredentialsError>()).any(|cause| {
        matches!(cause, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
    })
}

/// An error of the SDK in one line, without its first part: that is the SDK's name for the kind of failure, which the caller
/// has said already.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    told(chain(error).skip(1))
}

/// An error and its causes in one line.
pub fn causes_of(error: &(dyn Error + 'static)) -> String {
    told(chain(error))
}

fn told<'a>(chain: impl Iterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in chain {
        let text = cause.to_string();
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
    }
    shortened(&said.join(": "))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A text of somebody else's for our logs.
pub fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
