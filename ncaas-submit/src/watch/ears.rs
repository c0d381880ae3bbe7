//! Who tells a watch of new submissions: the kernel, of a directory; a queue, that a server was told to fill; or nobody.

use std::cell::RefCell;
use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::tool::Tool;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::found::{Found, Queue, is_submit_file};
use super::listing::Lister;
use super::notices::{Kernel, Notice, Notices};
use super::trouble::Trouble;
use crate::queue;

/// How often the bucket is listed beneath what tells of new submissions, which can get lost.
const BENEATH: Duration = Duration::from_secs(60);

/// A watch's ears. What they hear goes into the queue of what was found; where it takes a listing to know, they say so.
pub(super) struct Ears {
    tool: Tool,
    /// How often to list where nobody tells anything.
    poll: Duration,
    kernel: RefCell<Option<Kernel>>,
    queue: Option<queue::Queue>,
    look: Notify,
}

impl Ears {
    /// Ears for a bucket, and the kernel's notices where it gives any.
    pub(super) fn of(
        tool: Tool,
        bucket: &Bucket,
        poll: Duration,
        queue: Option<queue::Queue>,
    ) -> (Self, Option<Notices>) {
        let told = match bucket.as_s3() {
            Some(_) => Ok(None),
            None => Kernel::watch(bucket.address().as_ref()),
        };
        let told = told.unwrap_or_else(|failure| {
            tool.report_failure(&failure);
            None
        });
        let (kernel, notices) = told.unzip();
        (Ears { tool, poll, kernel: RefCell::new(kernel), queue, look: Notify::new() }, notices)
    }

    /// Sees to it that whatever comes from now on is told.
    pub(super) fn open(&self, lister: &Lister) {
        let mut kernel = self.kernel.borrow_mut();
        if let Some(Err(failure)) = kernel.as_mut().map(|kernel| kernel.arm(lister.groups())) {
            self.tool.report_failure(&failure);
            *kernel = None;
        }
    }

    /// Waits until it is time to list.
    pub(super) async fn time_to_list(&self) {
        let is_told = self.queue.is_some() || self.kernel.borrow().is_some();
        let pace = if is_told { BENEATH.max(self.poll) } else { self.poll };
        tokio::select! {
            () = sleep(pace) => {}
            () = self.look.notified() => {}
        }
    }

    /// Takes in what is told, as long as the watch goes on.
    pub(super) async fn listen(&self, notices: Option<Notices>, found: &Queue) {
        if let Some(queue) = &self.queue {
            self.listen_to_queue(queue, found).await;
        } else if let Some(notices) = notices {
            self.listen_to_kernel(notices, found).await;
        }
    }

    async fn listen_to_kernel(&self, mut notices: Notices, found: &Queue) {
        while let Some(told) = notices.next().await {
            for notice in told {
                match notice {
                    Notice::File(key) => found.push(Found::new(key, "told of by the kernel")),
                    Notice::Look => self.look.notify_one(),
                }
            }
        }
    }

    async fn listen_to_queue(&self, queue: &queue::Queue, found: &Queue) {
        let trouble = Trouble::new(self.tool, "the queue");
        loop {
            match queue.next().await {
                Ok(keys) => {
                    trouble.is_over();
                    for key in keys.into_iter().filter(|key| is_submit_file(key.as_str())) {
                        found.push(Found::new(key, "told of by the queue"));
                    }
                }
                Err(failure) => {
                    // Until it answers, the bucket is listed as if there were none.
                    trouble.tell(&failure);
                    self.look.notify_one();
                    sleep(self.poll.max(Duration::from_secs(1))).await;
                }
            }
        }
    }
}
