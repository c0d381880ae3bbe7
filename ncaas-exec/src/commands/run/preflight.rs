//! Checks before a job's container is created, when there is nothing to clean up.

use std::path::Path;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::{MIN_FREE, check_free_space};
use ncaas_core::inputs::{InputPath, is_folder};
use ncaas_core::record::Record;

use super::job_inputs::JobInputs;

/// Both results, or one failure that names all that is wrong, so that people can correct it at once.
pub(super) fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
        // The work is tried again.
        (Err(_), Err(second)) if second.kind.is_transient() => Err(second),
        (Err(first), Err(second)) => {
            let hint = first.hint.or(second.hint);
            Err(Failure { message: format!("{}; {}", first.message, second.message), hint, ..first })
        }
    }
}

/// Checks that dataset and config exist, and that a name which ends in `/` is a folder's.
pub(super) fn check_inputs(record: &Record, inputs: &JobInputs) -> Result<()> {
    let check = |what: &str, input: &InputPath| {
        if !is_folder(record, input, what)? && input.is_folder {
            let path = input.host.display();
            return Err(Failure::new(Kind::FileNotFound, format!("the {what} `{path}` is not a folder"))
                .hint("remove the `/` at the end of the name"));
        }
        Ok(())
    };
    let dataset = inputs.data.iter().try_for_each(|path| check("dataset", path));
    both(dataset, inputs.config.iter().try_for_each(|path| check("config", path))).map(|_| ())
}

/// Checks that the disk of the io-dir has the free space that the config asks for.
pub(super) fn check_disk_space(io_dir: &Path, needed: Option<u64>) -> Result<()> {
    check_free_space(io_dir, needed.unwrap_or_default().max(MIN_FREE), "the job")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_needs_more_disk_space_than_free_is_refused() {
        assert!(check_disk_space(Path::new("/"), None).is_ok());
        assert_eq!(
            check_disk_space(Path::new("/"), Some(u64::MAX)).map_err(|failure| failure.kind),
            Err(Kind::DiskFull)
        );
    }
}
