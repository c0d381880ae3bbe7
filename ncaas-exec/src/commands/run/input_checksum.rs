//! Size and checksum of an input, at the start of the job.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::inputs::InputPath;
use ncaas_core::record::fields::Input;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use walkdir::WalkDir;

/// Computes size and checksum of a dataset or config; of a folder as [`Input::sha256`] describes.
pub(super) async fn checksum_input(name: &str, input: &InputPath) -> Result<Input> {
    let (name, path) = (name.to_owned(), input.host.clone());
    let checksum = spawn_blocking(move || {
        let (size, sha256) = if path.is_dir() { checksum_folder(&path)? } else { checksum_file(&path)? };
        Ok(Input { name, size, sha256 })
    });
    checksum.await.unwrap_or_else(|_| Err(Failure::new(Kind::Interrupted, "interrupted while reading the inputs")))
}

fn checksum_file(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).doing("read", path)?;
    let mut sum = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece).doing("read", path)? {
            0 => return Ok((size, hex::encode(sum.finalize()))),
            length => {
                sum.update(&piece[..length]);
                size += length as u64;
            }
        }
    }
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
#[expect(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]
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
