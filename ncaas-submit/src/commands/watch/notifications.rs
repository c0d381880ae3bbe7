//! Notifications of new submit files: from inotify for a directory, from an SQS queue for S3, or none.

use std::cell::RefCell;
use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::tool::Tool;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::inotify::{InotifyWatch, Notice, Notices};
use super::outage::OutageReporter;
use super::submit_queue::{QueuedFile, SubmitQueue};
use crate::sqs::SqsQueue;
use crate::submit_files::{SubmitFileLister, is_submit_file};

/// How often the bucket is listed beside notifications, which can get lost.
const LISTING_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Notifications {
    tool: Tool,
    /// How often to list the bucket without notifications.
    poll: Duration,
    inotify: RefCell<Option<InotifyWatch>>,
    notices: RefCell<Option<Notices>>,
    sqs: Option<SqsQueue>,
    /// Wakes up the listing.
    list: Notify,
}

impl Notifications {
    /// Opens the notifications of a bucket, if it has any.
    pub(crate) fn open(tool: Tool, bucket: &Bucket, poll: Duration, sqs: Option<SqsQueue>) -> Self {
        let opened = match bucket.as_s3() {
            Some(_) => Ok(None),
            None => InotifyWatch::open(bucket.address().as_ref()),
        };
        let opened = opened.unwrap_or_else(|failure| {
            tool.report_failure(&failure);
            None
        });
        let (inotify, notices) = opened.unzip();
        let (inotify, notices) = (RefCell::new(inotify), RefCell::new(notices));
        Notifications { tool, poll, inotify, notices, sqs, list: Notify::new() }
    }

    pub(crate) fn watch_groups(&self, lister: &SubmitFileLister) {
        let mut inotify = self.inotify.borrow_mut();
        if let Some(Err(failure)) = inotify.as_mut().map(|inotify| inotify.watch_groups(lister.groups())) {
            self.tool.report_failure(&failure);
            *inotify = None;
        }
    }

    /// Waits until it is time to list the bucket.
    pub(crate) async fn wait_for_listing(&self) {
        let has_notifications = self.sqs.is_some() || self.inotify.borrow().is_some();
        let interval = if has_notifications { LISTING_INTERVAL.max(self.poll) } else { self.poll };
        tokio::select! {
            () = sleep(interval) => {}
            () = self.list.notified() => {}
        }
    }

    /// Queues the submit files of notifications, as long as the watch runs.
    pub(crate) async fn listen(&self, queue: &SubmitQueue) {
        let notices = self.notices.take();
        if let Some(sqs) = &self.sqs {
            self.listen_to_sqs(sqs, queue).await;
        } else if let Some(notices) = notices {
            self.listen_to_inotify(notices, queue).await;
        }
    }

    async fn listen_to_inotify(&self, mut notices: Notices, queue: &SubmitQueue) {
        while let Some(notices) = notices.next().await {
            for notice in notices {
                match notice {
                    Notice::File(key) => queue.push(QueuedFile::new(key, "notified by inotify")),
                    Notice::List => self.list.notify_one(),
                }
            }
        }
    }

    async fn listen_to_sqs(&self, sqs: &SqsQueue, queue: &SubmitQueue) {
        let outage = OutageReporter::new(self.tool, "the queue");
        loop {
            match sqs.receive().await {
                Ok(keys) => {
                    outage.end();
                    for key in keys.into_iter().filter(|key| is_submit_file(key.as_str())) {
                        queue.push(QueuedFile::new(key, "notified by the queue"));
                    }
                }
                Err(failure) => {
                    // Until it answers, the bucket is listed as if there were no queue.
                    outage.report(&failure);
                    self.list.notify_one();
                    sleep(self.poll.max(Duration::from_secs(1))).await;
                }
            }
        }
    }
}
