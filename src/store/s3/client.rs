//! The SDK's client, configured for this store: our timeouts, no retries by the SDK, no checks that fail with
//! S3-compatible servers or slow readers.

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};

use crate::aws;
use crate::store::{S3Credentials, S3Options};

/// What a signature names where an S3-compatible server has no regions.
const NO_REGION: &str = "us-east-1";

/// The client; looks for credentials and region in the environment, and asks for nothing else.
pub(super) async fn connect(options: &S3Options) -> Client {
    let http = aws::http_client(options.concurrency);
    let mut environment = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    let region = options.region.as_deref().or_else(|| options.endpoint.as_ref().map(|_| NO_REGION));
    if let Some(region) = region {
        environment = environment.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = &options.endpoint {
        environment = environment.endpoint_url(endpoint.as_str());
    }
    if let S3Credentials::Keys { id, key, session_token } = &options.credentials {
        let token = session_token.as_ref().map(|token| token.expose().to_owned());
        environment =
            environment.credentials_provider(Credentials::new(id.expose(), key.expose(), token, None, "profile"));
    }
    let found = environment.load().await;
    let config = Builder::from(&found)
        .force_path_style(options.path_style)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(options.connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(config.build())
}
