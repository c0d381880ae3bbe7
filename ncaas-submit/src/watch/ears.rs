//! Who tells a watch of new submissions, and how often it lists what is there all the same.

use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Result;
use ncaas_core::tool::Tool;
use tokio::time::sleep;

use super::found::{Found, Queue};
use super::listing::Lister;
use super::notices::{Notice, Notices};

/// How often the bucket is listed beneath notices, which can get lost.
const BENEATH: Duration = Duration::from_secs(30);

/// Where notices come from, if from anywhere.
pub(super) struct Ears {
    tool: Tool,
    /// How often to list where nobody tells anything.
    poll: Duration,
    notices: Option<Notices>,
}

impl Ears {
    /// A directory's kernel tells; of a server, only listing does.
    pub(super) fn of(tool: Tool, bucket: &Bucket, poll: Duration) -> Self {
        let mut ears = Ears { tool, poll, notices: None };
        if bucket.as_s3().is_none() {
            ears.notices = ears.or_say(Notices::of(bucket.address().as_ref())).flatten();
        }
        ears
    }

    /// Sees to it that whatever comes from now on is told.
    pub(super) fn open(&mut self, lister: &Lister) {
        if let Some(mut notices) = self.notices.take() {
            let armed = notices.arm(lister.groups());
            self.notices = self.or_say(armed).map(|()| notices);
        }
    }

    /// Takes in what is told, until it is time to list.
    pub(super) async fn listen(&mut self, queue: &Queue) {
        let Some(notices) = &mut self.notices else { return sleep(self.poll).await };
        let time_to_list = sleep(BENEATH.max(self.poll));
        tokio::pin!(time_to_list);
        loop {
            tokio::select! {
                () = &mut time_to_list => return,
                told = notices.next() => {
                    let look = told.contains(&Notice::Look);
                    for notice in told {
                        if let Notice::File(key) = notice {
                            queue.told(Found::new(key, "told of by the kernel"));
                        }
                    }
                    if look {
                        return;
                    }
                }
            }
        }
    }

    fn or_say<T>(&self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|failure| self.tool.complain(&failure)).ok()
    }
}
