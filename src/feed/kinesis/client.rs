//! The calls, made with the SDK: our timeouts, no retries by the SDK.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::OnceCell;

use super::super::{SequenceNumber, ShardError, ShardId};
use super::api::{Api, Batch, Fault, Listed, Record, Start};
use super::options::KinesisOptions;
use crate::aws;

/// For a connection to stand.
const CONNECT: Duration = Duration::from_secs(5);

/// Records of one read at most; a control message has a few kilobytes.
const LIMIT: i32 = 1000;

/// What a signature names where a Kinesis-compatible server has no regions.
const NO_REGION: &str = "us-east-1";

/// The service. Its first call looks for credentials and region in the environment.
#[derive(Clone)]
pub(super) struct Service {
    options: Arc<KinesisOptions>,
    client: Arc<OnceCell<Client>>,
}

impl Service {
    pub(super) fn new(options: Arc<KinesisOptions>) -> Self {
        Self { options, client: Arc::new(OnceCell::new()) }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| Box::pin(connect(&self.options))).await
    }

    async fn shards(self) -> Result<Vec<Listed>, Fault> {
        let (client, mut shards, mut token) = (self.client().await, Vec::new(), None);
        loop {
            let request = client.list_shards();
            // The name stands in the token.
            let request = match token.take() {
                Some(token) => request.next_token(token),
                None => request.stream_name(&self.options.stream),
            };
            let page = Box::pin(request.send()).await.map_err(|error| fault(&error))?;
            for shard in page.shards() {
                shards.push(listed(shard).map_err(|error| Fault::Passing(format!("the list of shards: {error}")))?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn shard_iterator(self, shard: ShardId, start: Start) -> Result<String, Fault> {
        let request = self.client().await.get_shard_iterator().stream_name(&self.options.stream);
        let request = match &start {
            Start::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Start::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
        };
        let answer = Box::pin(request.shard_id(shard.as_str()).send()).await.map_err(|error| fault(&error))?;
        answer.shard_iterator.ok_or_else(|| Fault::Passing("the service gave no iterator".to_owned()))
    }

    /// Puts a record on the stream; says its shard and sequence number.
    pub(super) async fn put(self, partition_key: &str, data: Bytes) -> Result<(String, String), Fault> {
        let request = self.client().await.put_record().stream_name(&self.options.stream);
        let request = request.partition_key(partition_key).data(Blob::new(data));
        let answer = Box::pin(request.send()).await.map_err(|error| fault(&error))?;
        Ok((answer.shard_id, answer.sequence_number))
    }

    async fn records(self, iterator: String) -> Result<Batch, Fault> {
        let request = self.client().await.get_records().shard_iterator(iterator).limit(LIMIT);
        let answer = Box::pin(request.send()).await.map_err(|error| fault(&error))?;
        batch(answer).map_err(|error| Fault::Passing(format!("a record: {error}")))
    }
}

impl Api for Service {
    fn list(&self) -> BoxFuture<'static, Result<Vec<Listed>, Fault>> {
        self.clone().shards().boxed()
    }

    fn iterator(&self, shard: ShardId, start: Start) -> BoxFuture<'static, Result<String, Fault>> {
        self.clone().shard_iterator(shard, start).boxed()
    }

    fn read(&self, iterator: String) -> BoxFuture<'static, Result<Batch, Fault>> {
        self.clone().records(iterator).boxed()
    }
}

async fn connect(options: &KinesisOptions) -> Client {
    let mut environment = aws_config::defaults(BehaviorVersion::latest()).http_client(aws::http_client(4));
    let region = options.region.as_deref().or_else(|| options.endpoint.as_ref().map(|_| NO_REGION));
    if let Some(region) = region {
        environment = environment.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = &options.endpoint {
        environment = environment.endpoint_url(endpoint);
    }
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(options.request_timeout);
    let config = Builder::from(&environment.load().await)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(config.build())
}

fn listed(shard: &Shard) -> Result<Listed, ShardError> {
    let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
    let range = shard.sequence_number_range();
    Ok(Listed {
        id: shard.shard_id().parse()?,
        parents: parents.into_iter().flatten().map(str::parse).collect::<Result<_, _>>()?,
        start: range.map_or("0", |range| range.starting_sequence_number()).parse()?,
        end: range.and_then(|range| range.ending_sequence_number()).map(str::parse).transpose()?,
    })
}

fn batch(answer: GetRecordsOutput) -> Result<Batch, ShardError> {
    let whole = answer.records.len() < LIMIT as usize;
    // Servers that do not say how far behind the reader is have nothing more where they send nothing.
    let at_tip = answer.millis_behind_latest.map_or(answer.records.is_empty(), |behind| behind == 0);
    let record = |record: aws_sdk_kinesis::types::Record| {
        let sequence: SequenceNumber = record.sequence_number.parse()?;
        Ok(Record { sequence, key: record.partition_key, data: Bytes::from(record.data.into_inner()) })
    };
    let records = answer.records.into_iter().map(record).collect::<Result<_, _>>()?;
    Ok(Batch { records, next: answer.next_shard_iterator, caught_up: whole && at_tip })
}

/// What the SDK says, told by status and code. The service's own message is left out: some servers repeat keys in it.
fn fault<E>(error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(_) => {
            let status = error.raw_response().map_or(500, |response| response.status().as_u16());
            of_code(status, error.code().unwrap_or("without a code"))
        }
        SdkError::ResponseError(_) => Fault::Passing(format!("the answer can't be read: {}", aws::causes(error))),
        SdkError::TimeoutError(_) => Fault::Passing("the request timed out".to_owned()),
        SdkError::DispatchFailure(dispatch) => {
            let reason = format!("the request failed: {}", aws::causes(error));
            if dispatch.is_user() || aws::lacks_credentials(error) {
                Fault::Refused(reason)
            } else {
                Fault::Passing(reason)
            }
        }
        _ => Fault::Refused(format!("the request can't be made: {}", aws::causes(error))),
    }
}

/// The table.
fn of_code(status: u16, code: &str) -> Fault {
    let hint = hint(code).map(|hint| format!(" ({hint})")).unwrap_or_default();
    let reason = format!("the service answered {status} {}{hint}", aws::shortened(code));
    match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException" => Fault::Throttled(reason),
        "ExpiredIteratorException" => Fault::Expired(reason),
        "ResourceNotFoundException" => Fault::Missing(reason),
        "InvalidArgumentException" => Fault::Position(reason),
        // Being created or resharded; a list that took too long; a service in trouble.
        "ResourceInUseException"
        | "ExpiredNextTokenException"
        | "InternalFailure"
        | "InternalFailureException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Fault::Passing(reason),
        _ if status >= 500 || status == 429 || status == 408 => Fault::Passing(reason),
        _ => Fault::Refused(reason),
    }
}

/// What an operator does about some answers.
fn hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDeniedException" => Some("may these credentials do this here?"),
        "UnrecognizedClientException" | "InvalidSignatureException" | "InvalidClientTokenId" => {
            Some("are the credentials right, and this machine's clock?")
        }
        "ExpiredTokenException" => Some("the credentials have expired"),
        "ResourceNotFoundException" => Some("are the stream's name and the region right?"),
        code if code.starts_with("KMS") => Some("the stream's key: is it enabled, and may these credentials use it?"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_table_says() {
        for (status, code, expected) in [
            (400, "ProvisionedThroughputExceededException", "Throttled"),
            (400, "LimitExceededException", "Throttled"),
            (400, "KMSThrottlingException", "Throttled"),
            (400, "ExpiredIteratorException", "Expired"),
            (400, "ResourceNotFoundException", "Missing"),
            (400, "InvalidArgumentException", "Position"),
            (400, "ResourceInUseException", "Passing"),
            (500, "InternalFailure", "Passing"),
            (503, "without a code", "Passing"),
            (500, "without a code", "Passing"),
            (429, "without a code", "Passing"),
            (408, "without a code", "Passing"),
            (409, "without a code", "Refused"),
            (499, "without a code", "Refused"),
            (400, "AccessDeniedException", "Refused"),
            (400, "UnrecognizedClientException", "Refused"),
            (400, "KMSAccessDeniedException", "Refused"),
            (400, "KMSDisabledException", "Refused"),
            (400, "KMSInvalidStateException", "Refused"),
            (400, "KMSNotFoundException", "Refused"),
            (400, "KMSOptInRequired", "Refused"),
            (400, "ValidationException", "Refused"),
            (404, "UnknownOperationException", "Refused"),
        ] {
            let fault = of_code(status, code);
            assert!(format!("{fault:?}").starts_with(expected), "{code}: {fault:?}");
            assert!(fault.reason().contains(code), "{fault:?}");
        }
    }

    #[test]
    fn a_shard_is_read_from_the_list() {
        use aws_sdk_kinesis::types::SequenceNumberRange;
        let range = SequenceNumberRange::builder().starting_sequence_number("7").ending_sequence_number("9");
        let shard = Shard::builder().shard_id("s-2").parent_shard_id("s-0").adjacent_parent_shard_id("s-1");
        let shard = shard.sequence_number_range(range.build().unwrap()).build().unwrap();
        let expected = Listed {
            id: "s-2".parse().unwrap(),
            parents: vec!["s-0".parse().unwrap(), "s-1".parse().unwrap()],
            start: "7".parse().unwrap(),
            end: Some("9".parse().unwrap()),
        };
        assert_eq!(listed(&shard), Ok(expected));
    }

    #[test]
    fn a_full_batch_is_not_the_end_whatever_the_server_says() {
        let record = || {
            let record = aws_sdk_kinesis::types::Record::builder().sequence_number("1").partition_key("k");
            record.data(aws_sdk_kinesis::primitives::Blob::new("x")).build().unwrap()
        };
        let answer = |count, behind| {
            let answer = GetRecordsOutput::builder().set_records(Some(vec![record(); count]));
            batch(answer.set_millis_behind_latest(behind).build().unwrap()).unwrap().caught_up
        };
        assert!(answer(1, Some(0)) && answer(0, None));
        assert!(!answer(LIMIT as usize, Some(0)) && !answer(1, Some(5)) && !answer(0, Some(5)) && !answer(1, None));
    }
}
