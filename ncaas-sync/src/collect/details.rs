//! What is at changed paths: kind, size and time, read from the same archives that a collection would ask for.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use ncaas_core::engine::Engine;
use ncaas_core::engine::archive::archive_interrupted;
use ncaas_core::engine::path::PathKind;
use ncaas_core::failure::{Kind, Result};
use tar::EntryType;

use super::inside::{Change, Inside};
use super::plan::{Fetch, Wanted, fetches, single};
use super::unpack::{full_path, too_much};

/// What is at a path.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    pub(crate) kind: PathKind,
    pub(crate) size: u64,
    /// To the second: an archive holds no more.
    pub(crate) mtime: Timestamp,
}

/// What is at each of the wanted paths.
pub(crate) async fn details(
    engine: &Engine,
    inside: &Inside,
    changes: &[Change],
    wanted: &Arc<Wanted>,
) -> Result<HashMap<String, Detail>> {
    let mut known = HashMap::new();
    for fetch in fetches(changes, wanted) {
        known.extend(of_one(engine, inside, fetch).await?);
    }
    let missing: Vec<String> = wanted.keys().filter(|path| !known.contains_key(*path)).cloned().collect();
    for path in missing {
        known.extend(of_one(engine, inside, single(&path, wanted)).await?);
    }
    Ok(known)
}

async fn of_one(engine: &Engine, inside: &Inside, fetch: Fetch) -> Result<HashMap<String, Detail>> {
    let root = fetch.root.clone();
    let read = engine.download(&inside.id, &root, move |archive| {
        let mut known = HashMap::new();
        let above = fetch.root.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
        let mut wasted = 0;
        for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
            let entry = entry.map_err(|error| archive_interrupted(&error))?;
            let path = full_path(above, &entry.path_bytes());
            if fetch.wanted.as_ref().is_none_or(|wanted| wanted.contains_key(&path)) {
                let kind = match entry.header().entry_type() {
                    EntryType::Directory => PathKind::Directory,
                    EntryType::Symlink => PathKind::Symlink(String::new()),
                    EntryType::Regular | EntryType::Link | EntryType::GNUSparse | EntryType::Continuous => {
                        PathKind::File
                    }
                    _ => PathKind::Special,
                };
                let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
                let mtime = Timestamp::from_second(seconds).unwrap_or_default();
                known.insert(path, Detail { kind, size: entry.size(), mtime });
            } else {
                wasted += entry.size();
            }
            if too_much(&fetch, known.len(), wasted) {
                break;
            }
        }
        Ok(known)
    });
    match read.await {
        Ok(known) => Ok(known),
        // Gone since it was listed.
        Err(failure) if failure.kind == Kind::FileNotFound => Ok(HashMap::new()),
        Err(failure) => Err(failure),
    }
}
