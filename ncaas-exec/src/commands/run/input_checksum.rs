//! Size and checksum of an input, at the start of the job.

use std::fs::File;
use std::path::Path;

use ncaas_core::blocking::run_blocking;
use ncaas_core::failure::{IoContext, Result};
use ncaas_core::files::{check_plausible_size, hash_rest};
use ncaas_core::inputs::InputPath;
use ncaas_core::record::fields::InputFile;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// How much of a file is read at once, in bytes.
const BUFFER_SIZE: usize = 256 << 10;

/// Computes size and checksum of a dataset or config; of a folder as [`InputFile::sha256`] describes.
pub(super) async fn checksum_input(name: &str, input: &InputPath) -> Result<InputFile> {
    let (name, path) = (name.to_owned(), input.host.clone());
    let checksum = run_blocking(move || {
        let (size, sha256) = if path.is_dir() { checksum_folder(&path)? } else { checksum_file(&path)? };
        Ok(InputFile { name, size, sha256 })
    });
    checksum.await
}

fn checksum_file(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).doing("read", path)?;
    check_plausible_size(&file).doing("read", path)?;
    let (size, sha256) = hash_rest(&mut file, &mut vec![0; BUFFER_SIZE]).doing("read", path)?;
    Ok((size, hex::encode(sha256)))
}

fn checksum_folder(path: &Path) -> Result<(u64, String)> {
    let mut files = Vec::new();
    for entry in WalkDir::new(path).follow_links(true) {
        let entry = entry.map_err(std::io::Error::from).doing("read", path)?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    files.sort_by_cached_key(|file| file.strip_prefix(path).unwrap_or(file).as_os_str().to_owned());
    let mut sum = Sha256::new();
    let mut size = 0;
    for file in files {
        let (bytes, sha256) = checksum_file(&file)?;
        size += bytes;
        sum.update(format!("{sha256}  "));
        sum.update(file.strip_prefix(path).unwrap_or(&file).as_os_str().as_encoded_bytes());
        sum.update("\n");
    }
    Ok((size, hex::encode(sum.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_folder_equals_that_of_sha256sum() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("b")).unwrap();
        std::fs::write(root.path().join("b/x"), "1").unwrap();
        std::fs::write(root.path().join("a"), "22").unwrap();
        let script = "find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum";
        let expected = std::process::Command::new("sh").args(["-c", script]).current_dir(&root).output().unwrap();
        let (size, sum) = checksum_folder(root.path()).unwrap();
        assert_eq!(size, 3);
        assert_eq!(format!("{sum}  -\n").as_bytes(), expected.stdout);
    }
}
