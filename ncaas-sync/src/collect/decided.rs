//! What was decided: which final path each find has.
//!
//! Only which of its possible names a find has got is kept; its path is made from that when it is needed.

use ncaas_core::layout::{LOGS, PROCESS_RESULTS};
use ncaas_core::record::fields::ResultFile;

use super::found::{Found, What};
use super::journal::{FolderMove, Move};
use super::places::{Place, Places};

/// What goes where.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(super) found: Vec<Found>,
    pub(super) naming: Naming,
    pub(super) partial: bool,
    /// Folders that are moved as they are, before all else.
    pub(crate) folders: Vec<FolderMove>,
    pub(crate) warnings: Vec<String>,
}

/// Which final path a find can have.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) places: Places,
    /// The job's folder, relative to the io-dir.
    pub(super) base: String,
    pub(super) label: String,
}

impl Decided {
    /// Each thing that gets a final name.
    pub(crate) fn moves(&self) -> impl Iterator<Item = Move> + '_ {
        self.found.iter().filter_map(|found| {
            let to = self.naming.path_of(found)?;
            let mut result = ResultFile {
                path: format!("{}/{to}", self.naming.base),
                source: found.source.to_string(),
                partial: self.partial,
                ..ResultFile::default()
            };
            let mut link = None;
            match &found.what {
                What::File(file) => {
                    result.size = file.size;
                    result.sha256 = Some(hex::encode(file.sha256));
                }
                What::Link { target, .. } => link = Some(target.to_string()),
                What::Folder => result.path.push('/'),
            }
            Some(Move { from: found.lies(&self.naming.places).map(|lies| lies.into_owned()), link, result })
        })
    }
}

impl Naming {
    /// A place's path relative to the job's folder, at that attempt to find one that is free.
    pub(super) fn path(&self, place: &Place, attempt: u16) -> String {
        let label = &self.label;
        match (place, attempt) {
            (Place::Result(path), 0) => format!("{PROCESS_RESULTS}/{path}"),
            (Place::Result(path), 1) => format!("{PROCESS_RESULTS}/{label}/{path}"),
            (Place::Result(path), n) => format!("{PROCESS_RESULTS}/{label}~{n}/{path}"),
            (Place::Log(path), 0) => format!("{LOGS}/{label}/{path}"),
            (Place::Log(path), n) => format!("{LOGS}/{label}~{n}/{path}"),
        }
    }

    /// The path that a find has got.
    pub(super) fn path_of(&self, found: &Found) -> Option<String> {
        Some(self.path(&self.places.of_path(&found.source)?, found.named?))
    }
}
