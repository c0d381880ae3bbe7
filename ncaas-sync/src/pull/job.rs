//! What one job needs: its dataset, its config and its submit file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs::locate;
use ncaas_core::layout::{CONFIGS, INPUTS, SUBMISSIONS};
use ncaas_core::record::Record;

use crate::buckets::Buckets;
use crate::{cancelled, jobs};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// Brings jobs' inputs into their io-dirs.
pub(crate) struct Bringing<'b> {
    pub(crate) buckets: Buckets,
    /// For records that have none.
    pub(crate) io_dir: &'b Path,
    pub(crate) reread: bool,
    /// By io-dir and bucket: the jobs of a group share an index.
    pub(crate) transfers: RefCell<HashMap<(String, String), Transfer>>,
}

impl Bringing<'_> {
    /// Brings a job's, and says in its record where the io-dir is.
    pub(crate) async fn bring(&self, record: &mut Record) -> Result<()> {
        jobs::fill_io_dir(record, self.io_dir)?;
        // A job from arguments names paths of this machine.
        let Some(job) = record.job() else { return Ok(()) };
        let Some(own) = &job.bucket else { return Ok(()) };
        if cancelled::is_cancelled(&self.buckets, &job).await? {
            return Err(cancelled::failure(&job));
        }
        let io_dir = record.require("io_dir")?;
        let datasets = record.dataname().ok_or_else(|| Failure::missing_field("dataname"))?;
        let mut wanted: Vec<(&str, &str)> = datasets.names().into_iter().map(|name| (name, INPUTS)).collect();
        wanted.extend(record.text("configname").map(|name| (name, CONFIGS)));
        wanted.extend(job.submission.as_deref().map(|name| (name, SUBMISSIONS)));
        for (name, kind) in wanted {
            let place = locate(record, name, kind)?;
            let to = place.host.strip_prefix(io_dir).unwrap_or(&place.host);
            let (bucket, key) = self.buckets.find(own, name).await?;
            bring_input(&self.transfer(io_dir, bucket)?, &key, to).await?;
        }
        Ok(())
    }

    fn transfer(&self, io_dir: &str, bucket: Bucket) -> Result<Transfer> {
        let mut transfers = self.transfers.borrow_mut();
        let identity = (io_dir.to_owned(), bucket.address().to_owned());
        if let Some(transfer) = transfers.get(&identity) {
            return Ok(transfer.clone());
        }
        let transfer = Transfer::new(bucket, Folder::make(Path::new(io_dir))?, "", self.reread);
        transfers.insert(identity, transfer.clone());
        Ok(transfer)
    }
}

/// Brings an object, or all that is in a folder, to a path of the transfer's folder.
pub(crate) async fn bring_input(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    if key.is_folder() { bring_folder(transfer, key, to).await } else { bring_object(transfer, key, to).await }
}

async fn bring_object(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    match transfer.bucket().head(key).await? {
        Some(entry) => transfer.download_if_changed(&entry, to, None).await.map(drop),
        None => Err(nothing(transfer.bucket(), key, "the object does not exist")),
    }
}

async fn bring_folder(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    let mut listing = transfer.bucket().list(key.as_str(), None);
    let mut found = false;
    while let Some(page) = listing.next_page().await? {
        // A part of a dataset must not be taken for the whole of it.
        if let Some(unusable) = page.unusable.into_iter().next() {
            return Err(unusable.why);
        }
        found |= !page.entries.is_empty();
        let each = page.entries.into_iter().map(|entry| async move {
            let rest = entry.key.as_str().strip_prefix(key.as_str()).unwrap_or_default();
            let to = if rest.is_empty() { to.to_owned() } else { to.join(rest) };
            match entry.key.is_folder() {
                true => transfer.folder().make_below(&to),
                false => transfer.download_if_changed(&entry, &to, None).await.map(drop),
            }
        });
        jobs::all(each, super::FILES_AT_ONCE).await?;
    }
    if found { Ok(()) } else { Err(nothing(transfer.bucket(), key, "nothing is below it")) }
}

fn nothing(bucket: &Bucket, key: &Key, why: &str) -> Failure {
    Failure::new(Kind::ObjectNotFound, format!("cannot bring `{}/{key}`: {why}", bucket.address()))
        .hint(format!("`ncaas-submit ls {}` shows what the bucket holds", bucket.address()))
}
