//! Creating a queue, and the bucket's notification to it.

use std::time::Duration;

use aws_sdk_s3::types::{
    Event, FilterRule, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration,
    S3KeyFilter,
};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;
use ncaas_core::bucket::{Bucket, aws_settings};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::SUBMIT_SUFFIX;
use serde_json::json;
use tokio::time::sleep;

use super::failure::failure;
use crate::aws_failure::aws_failure;

/// The id of the notification among those of the bucket.
const ID: &str = "ncaas-submissions";

/// AWS refuses the bucket's notification until the policy of a new queue is active, which takes a moment.
const TRIES: u32 = 6;

/// Creates the queue `ncaas-<bucket>` unless it exists, and lets the bucket notify it of every new submit file. Other
/// notifications of the bucket are kept. Returns the queue's URL.
pub(crate) async fn create_queue(bucket: &Bucket) -> Result<String> {
    let Some((s3, name)) = bucket.as_s3() else {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{}` is a directory, and only `s3://` buckets have queues", bucket.address()),
        )
        .hint("a directory needs none: new submissions are detected with inotify"));
    };
    let sqs = Client::new(&aws_settings().await?);
    // Unlike a bucket's name, a queue's name must not have dots.
    let queue_name = format!("ncaas-{}", name.replace('.', "_"));
    let (url, arn) = create(&sqs, &queue_name, name).await?;
    notify(s3, name, &arn).await?;
    Ok(url)
}

/// The queue's URL and ARN.
async fn create(sqs: &Client, queue: &str, bucket: &str) -> Result<(String, String)> {
    let made = sqs.create_queue().queue_name(queue).send().await;
    let url = made.map_err(|error| failure("create", queue, &error))?.queue_url.unwrap_or_default();
    let asked = sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn).send().await;
    let attributes = asked.map_err(|error| failure("read", queue, &error))?.attributes.unwrap_or_default();
    let arn = attributes.get(&QueueAttributeName::QueueArn).cloned().unwrap_or_default();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": ID,
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnLike": {"aws:SourceArn": format!("arn:aws:s3:::{bucket}")}},
        }],
    });
    let allowed = sqs.set_queue_attributes().queue_url(&url).attributes(QueueAttributeName::Policy, policy.to_string());
    allowed.send().await.map_err(|error| failure("set the policy of", queue, &error))?;
    Ok((url, arn))
}

/// Adds the notification to the bucket. S3 replaces the whole configuration, so the present one is read first.
async fn notify(s3: &aws_sdk_s3::Client, bucket: &str, queue_arn: &str) -> Result<()> {
    let now = s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    let now = now.map_err(|error| refused(bucket, "read", &error))?;
    let mut queues = now.queue_configurations.unwrap_or_default();
    queues.retain(|queue| queue.id() != Some(ID));
    let ending = FilterRule::builder().name(FilterRuleName::Suffix).value(SUBMIT_SUFFIX).build();
    let filter = NotificationConfigurationFilter::builder().key(S3KeyFilter::builder().filter_rules(ending).build());
    let ours = QueueConfiguration::builder()
        .id(ID)
        .queue_arn(queue_arn)
        .events(Event::from("s3:ObjectCreated:*"))
        .filter(filter.build())
        .build()
        .map_err(|error| {
            Failure::new(Kind::BucketError, format!("cannot set the notifications of `s3://{bucket}`: {error}"))
        })?;
    queues.push(ours);
    let wanted = NotificationConfiguration::builder()
        .set_queue_configurations(Some(queues))
        .set_topic_configurations(now.topic_configurations)
        .set_lambda_function_configurations(now.lambda_function_configurations)
        .set_event_bridge_configuration(now.event_bridge_configuration)
        .build();
    for attempt in 1.. {
        let request = s3.put_bucket_notification_configuration().bucket(bucket);
        match request.notification_configuration(wanted.clone()).send().await {
            Ok(_) => break,
            Err(_) if attempt < TRIES => sleep(Duration::from_secs(1)).await,
            Err(error) => return Err(refused(bucket, "set", &error)),
        }
    }
    Ok(())
}

fn refused<E>(bucket: &str, what: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cannot = format!("cannot {what} the notifications of `s3://{bucket}`");
    aws_failure(&cannot, error, Kind::BucketUnreachable, |code| match code {
        "AccessDenied" => Kind::AccessDenied,
        _ => Kind::BucketError,
    })
}
