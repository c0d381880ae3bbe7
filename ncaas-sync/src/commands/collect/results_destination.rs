//! The content of a job's folder where new results are to be placed.

use std::io::{self, ErrorKind};
use std::path::Path;

use ncaas_core::failure::{Failure, Result};
use ncaas_core::files::hash_rest;

use super::earlier_results::EarlierResults;
use super::findings::FoundFile;
use super::job_directory::JobDirectory;
use super::result_names::{Destination, Existing};
use super::staging::BUFFER_SIZE;

/// A job's folder as the destination of new results.
#[derive(Debug)]
pub(crate) struct ResultsDestination<'d> {
    pub(crate) directory: &'d JobDirectory,
    pub(crate) replaceable: &'d EarlierResults,
}

impl ResultsDestination<'_> {
    /// The meaning of an error of a lookup.
    fn missing(&self, path: &str, error: &io::Error) -> Result<Existing> {
        match error.kind() {
            ErrorKind::NotFound => Ok(Existing::Nothing),
            ErrorKind::NotADirectory => Ok(Existing::Other),
            _ => Err(self.failure("read", path, error)),
        }
    }

    fn failure(&self, operation: &str, path: &str, error: &io::Error) -> Failure {
        self.directory.failure(operation, Path::new(path), error)
    }
}

impl Destination for ResultsDestination<'_> {
    fn find_file(&self, path: &str, file: &FoundFile) -> Result<Existing> {
        let metadata = match self.directory.dir().symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.missing(path, &error),
        };
        if metadata.is_file() && self.replaceable.is_replaceable(&format!("{}/{path}", self.directory.base())) {
            return Ok(Existing::Nothing);
        }
        if metadata.is_file() && metadata.len() == file.size {
            let mut content = self.directory.dir().open(path).map_err(|error| self.failure("read", path, &error))?;
            let (_, sha256) = hash_rest(&mut content, &mut vec![0; BUFFER_SIZE])
                .map_err(|error| self.failure("read", path, &error))?;
            if sha256 == file.sha256 {
                return Ok(Existing::Same);
            }
        }
        Ok(Existing::Other)
    }

    fn find_folder(&self, path: &str) -> Result<Existing> {
        match self.directory.dir().symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Existing::Same),
            Ok(_) => Ok(Existing::Other),
            Err(error) => self.missing(path, &error),
        }
    }

    fn find_link(&self, path: &str, target: &str) -> Result<Existing> {
        match self.directory.dir().read_link_contents(path) {
            Ok(existing) if existing == Path::new(target) => Ok(Existing::Same),
            Ok(_) => Ok(Existing::Other),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(Existing::Other),
            Err(error) => self.missing(path, &error),
        }
    }

    fn lacks(&self, folder: &str) -> bool {
        let found = self.directory.dir().symlink_metadata(folder);
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }
}
