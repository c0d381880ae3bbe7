//! The certificates that the jobs of this process write.
//!
//! Rewriting a certificate takes time in proportion to the number of its datasets. Changes that arrive while one is
//! being written are written together next, so that a submission with thousands of refused datasets costs a few
//! rewrites and does not delay the jobs of others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ncaas_core::blocking::run_blocking;
use ncaas_core::certificate::{self, DatasetEntry};
use ncaas_core::failure::Result;
use ncaas_core::folder::Folder;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep_until};

use super::submission::{RecordedSubmission, SubmitFiles};

/// Rewriting a certificate takes at most 1/WRITING_SHARE of the time.
const WRITING_SHARE: u32 = 5;
/// The longest pause between two rewrites.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A change of a job's lines in its certificate.
#[derive(Debug)]
pub(super) struct CertificateChange {
    pub(super) submission: RecordedSubmission,
    /// The datasets that the job's record is about.
    pub(super) numbers: RangeInclusive<usize>,
    /// The dataset that a failure is reported for.
    pub(super) number: usize,
    pub(super) entry: DatasetEntry,
}

/// The certificates that are being written, by their job's folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    queues: Rc<RefCell<HashMap<PathBuf, Rc<ChangeQueue>>>>,
    pub(super) submit_files: Rc<SubmitFiles>,
}

/// The changes that wait for a certificate.
#[derive(Debug, Default)]
struct ChangeQueue {
    waiting: RefCell<Vec<(CertificateChange, oneshot::Sender<Result<()>>)>>,
    /// When the certificate may be written next.
    next_write: Mutex<Option<Instant>>,
}

impl Certificates {
    /// Changes the certificate in the job folder at `path`, which `open` opens, and waits until it is written.
    pub(super) async fn update(
        &self,
        path: &Path,
        open: impl Fn() -> Result<Folder>,
        change: CertificateChange,
    ) -> Result<()> {
        let queue = Rc::clone(self.queues.borrow_mut().entry(path.to_owned()).or_default());
        let (sender, mut receiver) = oneshot::channel();
        queue.waiting.borrow_mut().push((change, sender));
        let result = {
            let mut next_write = queue.next_write.lock().await;
            match receiver.try_recv() {
                Ok(result) => result,
                Err(_) => {
                    if let Some(time) = *next_write {
                        sleep_until(time).await;
                    }
                    let begun = Instant::now();
                    let result = write_waiting(&queue, open).await;
                    *next_write = Some(Instant::now() + (begun.elapsed() * (WRITING_SHARE - 1)).min(LONGEST_PAUSE));
                    result
                }
            }
        };
        // One count is ours and one the map's.
        if Rc::strong_count(&queue) == 2 {
            self.queues.borrow_mut().remove(path);
        }
        result
    }
}

/// Writes all changes that wait, on another thread.
async fn write_waiting(queue: &ChangeQueue, open: impl Fn() -> Result<Folder>) -> Result<()> {
    let (changes, senders): (Vec<CertificateChange>, Vec<_>) = queue.waiting.take().into_iter().unzip();
    let folder = open();
    let write = run_blocking(move || {
        certificate::update(&folder?, |certificate| {
            for CertificateChange { submission, numbers, number, entry } in &changes {
                certificate.add_datasets(&submission.datanames, submission.datasets);
                certificate.set_setup(&submission.setup);
                for at in numbers.clone() {
                    let name = submission.datanames.get(at - 1).filter(|_| numbers.end() > numbers.start());
                    let dataname = name.unwrap_or(&entry.dataname).clone();
                    let reason = entry.reason.clone().filter(|_| at == *number);
                    certificate.set(at, &DatasetEntry { dataname, reason, ..entry.clone() });
                }
            }
        })
    });
    let result = write.await;
    for sender in senders {
        // A caller that was interrupted no longer waits.
        sender.send(result.clone()).unwrap_or(());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_that_arrive_together_are_written_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        Folder::create(&path.join("logs")).unwrap();
        let certificates = Certificates::default();
        let opened = std::cell::Cell::new(0);
        let open = || {
            opened.set(opened.get() + 1);
            Folder::open(path)
        };
        let changes = (1..=500).map(|number| {
            let submission = RecordedSubmission { datasets: 500, ..RecordedSubmission::default() };
            let entry = DatasetEntry::initializing(Some(&format!("d{number}")));
            certificates.update(path, open, CertificateChange { submission, numbers: number..=number, number, entry })
        });
        let results = futures_util::future::join_all(changes).await;
        assert!(results.iter().all(Result::is_ok));
        // The first write may end before the second change arrives; then the queue begins again.
        assert!(opened.get() <= 3, "{} rewrites", opened.get());
        let text = std::fs::read_to_string(path.join("logs/certificate.txt")).unwrap();
        assert!((1..=500).all(|number| text.contains(&format!("DATANAME: d{number} |"))), "{text}");
        assert!(certificates.queues.borrow().is_empty());
    }
}
