//! `ncaas-submit watch`: every submission that is not done is handed on once, and by one watcher.
//!
//! Submit files are found by [`listing`]; what is found goes into a [`found::Queue`]; each is read, claimed, checked and
//! handed on ([`examine`]); and what is in hand, here and elsewhere, is looked after until it is done ([`tend`]).

mod claiming;
mod ears;
mod examine;
mod found;
mod listing;
mod notices;
mod process;
mod tend;
mod trouble;
mod watchers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::{Instant, sleep};

use crate::args::WatchArgs;
use crate::job::Folder;
use crate::queue;
use ears::Ears;
use examine::Outcome;
pub(crate) use examine::id_of_refused;
use found::{BEGAN, Found, Queue, backoff};
pub(crate) use listing::Lister;
pub(crate) use process::owner;
use trouble::Trouble;
use watchers::Watchers;

/// How many submissions are looked into at once.
const AT_ONCE: usize = 32;

/// How many may wait for another look; while there are more, the bucket is in trouble, and nothing new is begun.
const LATER: usize = 1000;

/// How soon a file is looked at again that is still being written.
const STILL_WRITTEN: Duration = Duration::from_millis(500);

/// How long `--once` waits for it.
const WRITTEN_SOON: Duration = Duration::from_secs(5);

/// How long a watcher that ends may take to tell the others.
const FAREWELL: Duration = Duration::from_millis(500);

/// A submission that this watcher has claimed.
#[derive(Debug, Clone)]
struct InHand {
    /// The submit file.
    submission: Key,
    /// Where its end will be.
    results: Folder,
    /// Whether its records have gone out, all of them.
    handed_on: bool,
}

/// A running watch.
struct Watch {
    tool: Tool,
    bucket: Bucket,
    bypass: Vec<String>,
    once: bool,
    poll: Duration,
    queue: Queue,
    watchers: Watchers,
    trouble: Trouble,
    /// What this watcher has claimed and is not known to be done, by group and job id.
    in_hand: RefCell<HashMap<(String, String), InHand>>,
    /// What others have claimed, by the watcher's id.
    elsewhere: RefCell<HashMap<String, Vec<Found>>>,
}

pub(crate) async fn watch(tool: Tool, args: WatchArgs) -> Result<ExitStatus> {
    if args.schema {
        return print_schema::<Known>().await;
    }
    for group in &args.group {
        check_group(group)?;
    }
    let bucket = Bucket::open(&args.bucket).await?;
    let queue = open_queue(&args, &bucket, tool).await?;
    let mut lister = Lister::new(tool, &bucket, &args.group);
    let watch = Watch {
        tool,
        bypass: args.allow_bypass,
        once: args.once,
        poll: args.poll.max(Duration::from_millis(10)),
        queue: Queue::new(),
        watchers: Watchers::new(&bucket),
        trouble: Trouble::new(tool, "the bucket"),
        in_hand: RefCell::default(),
        elsewhere: RefCell::default(),
        bucket,
    };
    watch.check_conditional_writes().await?;
    let mut hands_over = false;
    let status = Pipe::new(tool, 1)
        .source(async |output: &Output| {
            if watch.once {
                watch.hand_on_what_is_there(&mut lister, output).await?;
                watch.watchers.hold(args.hold).await?;
                hands_over = true;
                return Ok(());
            }
            watch.run(&mut lister, queue, output).await
        })
        .await;
    if !hands_over {
        // Where it cannot be said, the others find out by themselves.
        let farewell = tokio::time::timeout(FAREWELL, watch.watchers.leave()).await;
        drop(farewell);
    }
    status
}

impl Watch {
    /// Says at the start where claims cannot be relied on.
    async fn check_conditional_writes(&self) -> Result<()> {
        if self.bucket.honours_conditional_writes(&Key::new(layout::STATE_FOLDER)?).await? {
            return Ok(());
        }
        self.tool.report_failure(
            &Failure::new(
                Kind::BucketError,
                format!("`{}` takes conditional writes and ignores their conditions", self.bucket.address()),
            )
            .hint("run one watcher on it at a time: two could hand on the same submission"),
        );
        Ok(())
    }

    /// `--once`: all that is there now; any failure of the bucket ends it.
    async fn hand_on_what_is_there(&self, lister: &mut Lister, output: &Output) -> Result<()> {
        lister.find_groups().await?;
        let mut listed = false;
        let mut elsewhere = 0;
        let listing = lister.all(&self.queue, BEGAN);
        tokio::pin!(listing);
        let mut at_work = FuturesUnordered::new();
        loop {
            while at_work.len() < AT_ONCE
                && let Some(found) = self.queue.pop()
            {
                at_work.push(self.look_into_until_written(found, output));
            }
            if listed && at_work.is_empty() && self.queue.is_empty() {
                break;
            }
            tokio::select! {
                Some(outcome) = at_work.next(), if !at_work.is_empty() => {
                    elsewhere += usize::from(matches!(outcome?, Outcome::Elsewhere(_)));
                }
                all = &mut listing, if !listed => { all?; listed = true; }
                () = self.queue.arrived() => {}
            }
        }
        if elsewhere > 0 {
            self.tool.note(&format!(
                "left {elsewhere} submission(s) to the watchers that have claimed them\n\
                 hint: `ncaas-submit ls BUCKET` shows whose they are; `retry --force` takes one away, to be handed on again"
            ));
        }
        Ok(())
    }

    /// A file that somebody goes on writing is not there yet: it is left to the next watch.
    async fn look_into_until_written(&self, found: Found, output: &Output) -> Result<Outcome> {
        let began = Instant::now();
        loop {
            match self.examine(&found, output).await? {
                Outcome::NotYet if began.elapsed() < WRITTEN_SOON => sleep(STILL_WRITTEN).await,
                Outcome::Again => {}
                outcome => return Ok(outcome),
            }
        }
    }

    /// The watch that goes on until it is ended.
    async fn run(&self, lister: &mut Lister, queue: Option<queue::Queue>, output: &Output) -> Result<()> {
        let (ears, notices) = Ears::of(self.tool, &self.bucket, self.poll, queue);
        tokio::join!(
            self.find(lister, &ears),
            ears.listen(notices, &self.queue),
            self.hand_on_what_arrives(output),
            self.tend(),
        );
        Ok(())
    }

    /// Lists what is there, again and again. A bucket that fails is asked less often, until it answers.
    async fn find(&self, lister: &mut Lister, ears: &Ears) {
        let mut failed = 0;
        let mut all = true;
        loop {
            match self.list(lister, ears, all).await {
                Ok(()) => {
                    self.trouble.is_over();
                    failed = 0;
                    all = false;
                    ears.time_to_list().await;
                }
                Err(failure) => {
                    self.trouble.tell(&failure);
                    failed += 1;
                    sleep(backoff(failed)).await;
                }
            }
        }
    }

    /// Lists all, or one round; what comes meanwhile is heard of.
    async fn list(&self, lister: &mut Lister, ears: &Ears, all: bool) -> Result<()> {
        lister.find_groups().await?;
        ears.open(lister);
        match all {
            true => lister.all(&self.queue, BEGAN).await,
            false => lister.round(&self.queue, "found by listing").await,
        }
    }

    /// Looks into what was found, several at once, each until something came of it. One that has to wait, because it is
    /// still being written or cannot be read just now, holds up no other.
    async fn hand_on_what_arrives(&self, output: &Output) {
        let mut at_work = FuturesUnordered::new();
        let mut later = FuturesUnordered::new();
        loop {
            while at_work.len() < AT_ONCE
                && later.len() < LATER
                && let Some(found) = self.queue.pop()
            {
                at_work.push(self.look_into(found, output));
            }
            tokio::select! {
                Some(put_off) = at_work.next(), if !at_work.is_empty() => if let Some((found, pause)) = put_off {
                    later.push(async move { sleep(pause).await; found });
                },
                Some(found) = later.next(), if !later.is_empty() => self.queue.push(found),
                () = self.queue.arrived(), if at_work.len() < AT_ONCE => {}
            }
        }
    }

    /// Looks into a submit file. If nothing came of it yet, it is given back with the time to wait.
    async fn look_into(&self, mut found: Found, output: &Output) -> Option<(Found, Duration)> {
        match self.examine(&found, output).await {
            Ok(Outcome::NotYet) => Some((found, STILL_WRITTEN)),
            Ok(Outcome::Again) => Some((found, Duration::ZERO)),
            Ok(Outcome::Elsewhere(watcher)) => {
                self.elsewhere.borrow_mut().entry(watcher).or_default().push(found);
                None
            }
            Ok(Outcome::HandedOn | Outcome::Settled) => None,
            Err(failure) => {
                self.trouble.tell(&failure);
                found.failed += 1;
                let pause = backoff(found.failed);
                Some((found, pause))
            }
        }
    }
}

/// The queue that tells of new submissions, where there is to be one.
async fn open_queue(args: &WatchArgs, bucket: &Bucket, tool: Tool) -> Result<Option<queue::Queue>> {
    let url = match &args.queue {
        Some(url) => url.clone(),
        None if args.notify => queue::set_up(bucket).await?,
        None => return Ok(None),
    };
    if args.notify {
        tool.note(&format!("`{}` tells the queue `{url}` of new submissions", bucket.address()));
    }
    queue::Queue::open(&url, bucket.name(), &args.group).await.map(Some)
}

/// A group is one folder's name.
pub(crate) fn check_group(group: &str) -> Result<()> {
    Key::new(group)?;
    if group.contains('/') || group.starts_with('.') {
        return Err(Failure::new(Kind::Usage, format!("`{group}` is no group: a group is one folder in the bucket")));
    }
    Ok(())
}
