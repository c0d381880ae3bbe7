//! What one job needs: its dataset, its config and its submit file.

use std::path::Path;

use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs::place;
use ncaas_core::layout::{CONFIGS, INPUTS, SUBMISSIONS};
use ncaas_core::record::Record;

use crate::buckets::Buckets;
use crate::jobs;
use crate::transfer::{Folder, get};

/// Brings it, and says in the record where the io-dir is.
pub(crate) async fn bring(record: &mut Record, buckets: &Buckets, io_dir: &Path) -> Result<()> {
    jobs::fill_io_dir(record, io_dir)?;
    // A job from arguments names paths of this machine.
    let Some(own) = record.job().and_then(|job| job.bucket) else { return Ok(()) };
    let io_dir = Path::new(record.need("io_dir")?);
    let folder = Folder::make(io_dir)?;
    let datasets = record.dataname().ok_or_else(|| Failure::lacks("dataname"))?;
    let mut wanted: Vec<(&str, &str)> = datasets.names().into_iter().map(|name| (name, INPUTS)).collect();
    wanted.extend(record.text("configname").map(|name| (name, CONFIGS)));
    let submission = record.job().and_then(|job| job.submission);
    wanted.extend(submission.as_deref().map(|name| (name, SUBMISSIONS)));
    for (name, kind) in wanted {
        let place = place(record, name, kind)?;
        let to = place.host.strip_prefix(io_dir).unwrap_or(&place.host).to_owned();
        let (bucket, key) = buckets.find(&own, name).await?;
        if place.is_folder {
            bring_folder(&bucket, &key, &folder, &to).await?;
        } else {
            bring_object(&bucket, &key, &folder, &to).await?;
        }
    }
    Ok(())
}

async fn bring_object(bucket: &Bucket, key: &Key, folder: &Folder, to: &Path) -> Result<()> {
    match bucket.head(key).await? {
        Some(entry) => get(bucket, &entry, folder, to).await,
        None => Err(nothing(bucket, key, "there is no such object")),
    }
}

async fn bring_folder(bucket: &Bucket, key: &Key, folder: &Folder, to: &Path) -> Result<()> {
    let mut listing = bucket.list(key.as_str(), None);
    let mut found = false;
    while let Some(page) = listing.next_page().await? {
        // A part of a dataset must not be taken for the whole of it.
        if let Some(unusable) = page.unusable.into_iter().next() {
            return Err(unusable.why);
        }
        for entry in page.entries {
            found = true;
            bring_below(bucket, key, &entry, folder, to).await?;
        }
    }
    if found { Ok(()) } else { Err(nothing(bucket, key, "nothing is below it")) }
}

async fn bring_below(bucket: &Bucket, key: &Key, entry: &Entry, folder: &Folder, to: &Path) -> Result<()> {
    let rest = entry.key.as_str().strip_prefix(key.as_str()).unwrap_or_default();
    let to = if rest.is_empty() { to.to_owned() } else { to.join(rest) };
    if entry.key.is_folder() { folder.make_below(&to) } else { get(bucket, entry, folder, &to).await }
}

fn nothing(bucket: &Bucket, key: &Key, why: &str) -> Failure {
    Failure::new(Kind::ObjectNotFound, format!("cannot bring `{}/{key}`: {why}", bucket.address()))
        .hint(format!("`ncaas-submit ls {}` shows what the bucket holds", bucket.address()))
}
