//! Who tells a watch of new submissions, and how often it lists what is there all the same.

use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Result;
use ncaas_core::tool::Tool;
use tokio::time::{Instant, sleep};

use super::found::{Found, Queue};
use super::listing::Lister;
use super::notices::{Notice, Notices};
use super::trouble::Trouble;
use crate::queue;

/// How often the bucket is listed beneath what tells of new submissions, which can get lost.
const BENEATH: Duration = Duration::from_secs(30);

/// Where news comes from, if from anywhere.
enum Source {
    /// The kernel, of a directory.
    Kernel(Notices),
    /// A queue that the bucket's server tells.
    Queue(queue::Queue),
    /// Nobody tells anything.
    Nobody,
}

/// A watch's ears.
pub(super) struct Ears {
    tool: Tool,
    /// How often to list where nobody tells anything.
    poll: Duration,
    source: Source,
    queue_trouble: Trouble,
}

impl Ears {
    /// A directory's kernel tells, and a server that was given a queue; else only listing does.
    pub(super) fn of(tool: Tool, bucket: &Bucket, poll: Duration, queue: Option<queue::Queue>) -> Self {
        let source = match queue {
            Some(queue) => Source::Queue(queue),
            None if bucket.as_s3().is_some() => Source::Nobody,
            None => match Notices::of(bucket.address().as_ref()) {
                Ok(notices) => notices.map_or(Source::Nobody, Source::Kernel),
                Err(failure) => {
                    tool.complain(&failure);
                    Source::Nobody
                }
            },
        };
        Ears { tool, poll, source, queue_trouble: Trouble::new(tool, "the queue") }
    }

    /// Sees to it that whatever comes from now on is told.
    pub(super) fn open(&mut self, lister: &Lister) {
        if let Source::Kernel(notices) = &mut self.source
            && let Err(failure) = notices.arm(lister.groups())
        {
            self.tool.complain(&failure);
            self.source = Source::Nobody;
        }
    }

    /// Takes in what is told, until it is time to list.
    pub(super) async fn listen(&mut self, found: &Queue) {
        match &mut self.source {
            Source::Nobody => sleep(self.poll).await,
            Source::Kernel(notices) => listen_to_kernel(notices, BENEATH.max(self.poll), found).await,
            Source::Queue(queue) => match listen_to_queue(queue, BENEATH.max(self.poll), found).await {
                Ok(()) => self.queue_trouble.is_over(),
                Err(failure) => {
                    // Until it answers, the bucket is listed as if there were none.
                    self.queue_trouble.tell(&failure);
                    sleep(self.poll).await;
                }
            },
        }
    }
}

async fn listen_to_kernel(notices: &mut Notices, until: Duration, found: &Queue) {
    let time_to_list = sleep(until);
    tokio::pin!(time_to_list);
    loop {
        tokio::select! {
            () = &mut time_to_list => return,
            told = notices.next() => {
                let look = told.contains(&Notice::Look);
                for notice in told {
                    if let Notice::File(key) = notice {
                        found.told(Found::new(key, "told of by the kernel"));
                    }
                }
                if look {
                    return;
                }
            }
        }
    }
}

/// Each read of the queue is waited for: one that is broken off may have had a message already.
async fn listen_to_queue(queue: &queue::Queue, until: Duration, found: &Queue) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() + queue::Queue::longest_wait() / 2 < until {
        for key in queue.next().await? {
            if super::found::is_submit_file(key.as_str()) {
                found.told(Found::new(key, "told of by the queue"));
            }
        }
    }
    Ok(())
}
