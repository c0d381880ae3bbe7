//! An SQS queue that receives the events of a bucket about new submit files.
//!
//! Messages are deleted as soon as they are read. If a watcher is killed right then, listing finds the submissions; so
//! a queue that loses, repeats or reorders messages does no harm.

mod event;
mod failure;
mod setup;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use ncaas_core::bucket::{Key, aws_settings};
use ncaas_core::failure::Result;

use failure::failure;
pub(crate) use setup::create_queue;

/// How long a request waits for a message, in seconds: the maximum of SQS.
const WAIT: i32 = 20;

/// How many messages a request returns: the maximum of SQS.
const AT_ONCE: i32 = 10;

/// A queue of events of one bucket.
pub(crate) struct SqsQueue {
    client: Client,
    url: String,
    /// The bucket's name.
    bucket: String,
    /// The groups that are watched; all if it is empty.
    groups: Vec<String>,
}

impl SqsQueue {
    pub(crate) async fn open(url: &str, bucket: &str, groups: &[String]) -> Result<Self> {
        let client = Client::new(&aws_settings().await?);
        let asked = client.get_queue_attributes().queue_url(url).send().await;
        asked.map_err(|error| failure("read", url, &error))?;
        Ok(SqsQueue { client, url: url.to_owned(), bucket: bucket.to_owned(), groups: groups.to_vec() })
    }

    /// Waits up to [`WAIT`] seconds for the keys of objects that have been created.
    pub(crate) async fn receive(&self) -> Result<Vec<Key>> {
        let request = self.client.receive_message().queue_url(&self.url);
        let answer = request.wait_time_seconds(WAIT).max_number_of_messages(AT_ONCE).send().await;
        let messages = answer.map_err(|error| failure("read", &self.url, &error))?.messages.unwrap_or_default();
        let mut keys = Vec::new();
        let mut read = Vec::new();
        for message in messages {
            // A message about another bucket or group stays for its watcher.
            if let Some(created) = event::created_keys(message.body().unwrap_or_default(), &self.bucket)
                && created
                    .iter()
                    .all(|key| self.groups.is_empty() || self.groups.iter().any(|group| group == key.group()))
            {
                keys.extend(created);
                read.push(message);
            }
        }
        self.delete(read).await?;
        Ok(keys)
    }

    async fn delete(&self, messages: Vec<Message>) -> Result<()> {
        let mut request = self.client.delete_message_batch().queue_url(&self.url);
        let mut any = false;
        for (at, message) in messages.into_iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(message.receipt_handle.unwrap_or_default());
            if let Ok(entry) = entry.build() {
                request = request.entries(entry);
                any = true;
            }
        }
        if any {
            request.send().await.map_err(|error| failure("delete messages of", &self.url, &error))?;
        }
        Ok(())
    }
}
