//! Objects from a bucket.
//!
//! A small one is written and renamed in one go. A large one goes into a part file whose name is made from the object and
//! its version: a process that is killed leaves it, and the next one asks the server for what is missing. A file gets its
//! name when it is whole and its SHA-256 is what was stored with the object.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use cap_std::fs::OpenOptions;
use ncaas_core::bucket::Entry;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::OURS;
use ncaas_core::layout::short_hash;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::folder::{beside, part_of_ours};
use super::{Folder, Sha, Stamp, Transfer, hex, memory, sums, version, with_folder};
use crate::index::Seen;

/// The largest object that is held in memory as a whole, in bytes.
const SMALL: u64 = 1 << 20;
/// How often an object is asked for, and how long to wait before the second time.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How many pieces of a large one wait to be written.
const PIECES: usize = 16;

impl Transfer {
    /// Brings an object into a file, over what may be there.
    pub(super) async fn download(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        if self.bucket.as_s3().is_none() {
            return self.copy_out(entry, path).await;
        }
        // The client tries a request again, but not what breaks off after its answer has begun.
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(entry, path).await {
                Err(failure) if failure.kind == Kind::BucketUnreachable => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
        self.once(entry, path).await
    }

    async fn once(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        if entry.size <= SMALL { self.small(entry, path).await } else { self.large(entry, path).await }
    }

    /// From a directory.
    async fn copy_out(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let part = part_of_ours(path);
        let to_make = part.clone();
        let file = with_folder(&self.folder, move |folder| create(folder, &to_make, true)).await?;
        let content = self.bucket.download_into(&entry.key, file, &self.folder.path().join(path)).await;
        let path = path.to_owned();
        let whole = content.and_then(|content| {
            let sha256 = sums::unhex(&content.sha256).unwrap_or_default();
            if content.size == entry.size { Ok(sha256) } else { Err(self.changed(entry)) }
        });
        let stamped = with_folder(&self.folder, move |folder| match whole {
            Ok(sha256) => finish(folder, &part, &path).map(|stamp| (stamp, sha256)),
            Err(failure) => {
                let _ = folder.dir().remove_file(&part);
                Err(failure)
            }
        });
        let (stamp, sha256) = stamped.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    async fn small(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let _memory = memory(entry.size).await;
        let answer = self.ask(entry, 0).await?;
        let mut content = Vec::with_capacity(usize::try_from(entry.size).unwrap_or_default());
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            content.extend_from_slice(&piece.map_err(|error| self.broke_off(entry, &error))?);
            if content.len() as u64 > entry.size {
                return Err(self.changed(entry));
            }
        }
        if content.len() as u64 != entry.size {
            return Err(self.cut_short(entry, content.len() as u64));
        }
        let (stored, mismatch) = (answer.sha256, self.mismatch(entry));
        let (part, path) = (part_of_ours(path), path.to_owned());
        let written = with_folder(&self.folder, move |folder| {
            let sha256 = Sha::from(Sha256::digest(&content));
            if stored.is_some_and(|stored| stored != hex(&sha256)) {
                return Err(mismatch);
            }
            let mut file = create(folder, &part, true)?;
            file.write_all(&content).map_err(|error| folder.failure("write", &path, &error))?;
            finish(folder, &part, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = written.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    async fn large(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let part = resumable_part(path, entry);
        let to_open = part.clone();
        let (mut file, digest, from) = with_folder(&self.folder, move |folder| open_part(folder, &to_open)).await?;
        let from = from.min(entry.size);
        if from == entry.size && from > 0 {
            // All of it is there, or the file has grown into something else.
            return self.finish_large(entry, path, part, file, digest, None).await;
        }
        let answer = self.ask(entry, from).await?;
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
        let shown = self.folder.path().join(path);
        let writer = tokio::task::spawn_blocking(move || {
            let mut digest = digest;
            while let Some(piece) = receiver.blocking_recv() {
                digest.update(&piece);
                file.write_all(&piece).map_err(|error| Failure::io("write", &shown, &error))?;
            }
            Ok((file, digest))
        });
        let mut body = answer.body;
        let mut broken = None;
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => {
                    if sender.send(piece).await.is_err() {
                        // The writer says why it has ended.
                        break;
                    }
                }
                Err(error) => {
                    broken = Some(self.broke_off(entry, &error));
                    break;
                }
            }
        }
        drop(sender);
        let written: Result<(File, Sha256)> = match writer.await {
            Ok(written) => written,
            Err(_) => Err(Failure::new(Kind::Interrupted, "interrupted while a file was written")),
        };
        let (file, digest) = written?;
        // What has come stays: the next run asks for the rest.
        if let Some(failure) = broken {
            return Err(failure);
        }
        self.finish_large(entry, path, part, file, digest, answer.sha256).await
    }

    async fn finish_large(
        &self,
        entry: &Entry,
        path: &Path,
        part: PathBuf,
        file: File,
        digest: Sha256,
        stored: Option<String>,
    ) -> Result<Seen> {
        let stored = match stored {
            Some(stored) => Some(stored),
            None => self.bucket.head(&entry.key).await?.and_then(|entry| entry.sha256),
        };
        let (size, mismatch, path) = (entry.size, self.mismatch(entry), path.to_owned());
        let short = self.cut_short(entry, 0);
        let finished = with_folder(&self.folder, move |folder| {
            let sha256 = Sha::from(digest.finalize());
            let there = file.metadata().map_err(|error| folder.failure("read", &path, &error))?.len();
            if there < size {
                return Err(short);
            }
            if there > size || stored.is_some_and(|stored| stored != hex(&sha256)) {
                // Nothing of it can be gone on with.
                let _ = folder.dir().remove_file(&part);
                return Err(mismatch);
            }
            finish(folder, &part, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = finished.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    /// Asks for an object from a byte on, as it was when it was listed.
    async fn ask(&self, entry: &Entry, from: u64) -> Result<Answer> {
        let Some((client, bucket)) = self.bucket.as_s3() else {
            return Err(Failure::new(Kind::BucketError, "a directory answers no requests"));
        };
        let request = client.get_object().bucket(bucket).key(entry.key.as_str());
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let same = entry.etag.as_ref().filter(|_| from > 0).map(|etag| format!("\"{etag}\""));
        let answer = request.set_range(range).set_if_match(same).send().await;
        let answer = answer.map_err(|error| self.bucket.s3_failure("read", Some(&entry.key), &error))?;
        if from > 0 && answer.content_range().is_none() {
            return Err(Failure::new(
                Kind::BucketError,
                format!("cannot go on reading `{}/{}`: the server sends all of it", self.bucket.address(), entry.key),
            ));
        }
        let sha256 = answer.metadata().and_then(|metadata| metadata.get("sha256")).cloned();
        Ok(Answer { body: answer.body, sha256 })
    }

    fn broke_off(&self, entry: &Entry, error: &(dyn std::error::Error + 'static)) -> Failure {
        let cause = std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string);
        let words = format!(
            "cannot read `{}/{}`: the server broke off: {}",
            self.bucket.address(),
            entry.key,
            cause.unwrap_or_default()
        );
        Failure::new(Kind::BucketUnreachable, words).hint("run the same command again: it goes on where it stopped")
    }

    fn cut_short(&self, entry: &Entry, read: u64) -> Failure {
        let (bucket, key, size) = (self.bucket.address(), &entry.key, entry.size);
        let words = format!("cannot read `{bucket}/{key}`: it has {size} bytes, but {read} came");
        Failure::new(Kind::ChecksumMismatch, words)
    }

    fn changed(&self, entry: &Entry) -> Failure {
        let words = format!("`{}/{}` changed while it was read", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("run it again")
    }

    fn mismatch(&self, entry: &Entry) -> Failure {
        let words = format!("`{}/{}` is not what was stored: its SHA-256 is another", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("it was damaged on its way or on the server: upload it again")
    }
}

struct Answer {
    body: ByteStream,
    /// What was stored with the object, in hex.
    sha256: Option<String>,
}

/// The part file of an object's version, which any process can go on with.
fn resumable_part(path: &Path, entry: &Entry) -> PathBuf {
    let what = format!("{}\n{}\n{}", path.display(), entry.key, version(entry));
    beside(path, &format!("{OURS}part-{}{}", short_hash(&what), short_hash(&format!("{what}\n"))))
}

fn create(folder: &Folder, part: &Path, truncate: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate);
    let open = || folder.dir().open_with(part, &options);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            folder.make_below(part.parent().unwrap_or(Path::new("")))?;
            open()
        }
        file => file,
    };
    file.map(cap_std::fs::File::into_std)
        .map_err(|error| folder.failure("write", part.parent().unwrap_or(part), &error))
}

/// Opens a part file, for this process alone: what is in it is summed up, and it stands at its end.
fn open_part(folder: &Folder, part: &Path) -> Result<(File, Sha256, u64)> {
    loop {
        let mut file = create(folder, part, false)?;
        let failed = |error: &std::io::Error| folder.failure("write", part, error);
        file.lock().map_err(|error| failed(&error))?;
        // Who held the lock may have finished, and the name be gone or another's.
        let is_still_it = folder.dir().metadata(part).is_ok_and(|there| {
            use cap_std::fs::MetadataExt;
            file.metadata().is_ok_and(|ours| std::os::unix::fs::MetadataExt::ino(&ours) == there.ino())
        });
        if !is_still_it {
            continue;
        }
        let mut digest = Sha256::new();
        let size = std::io::copy(&mut file, &mut digest_writer(&mut digest)).map_err(|error| failed(&error))?;
        file.seek(SeekFrom::End(0)).map_err(|error| failed(&error))?;
        return Ok((file, digest, size));
    }
}

fn digest_writer(digest: &mut Sha256) -> impl Write + '_ {
    struct Into<'d>(&'d mut Sha256);
    impl Write for Into<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Into(digest)
}

/// Gives a part file its name.
fn finish(folder: &Folder, part: &Path, path: &Path) -> Result<Stamp> {
    let renamed = folder.dir().rename(part, folder.dir(), path);
    renamed.map_err(|error| {
        let _ = folder.dir().remove_file(part);
        folder.failure("write", path, &error)
    })?;
    let metadata = folder.dir().symlink_metadata(path).map_err(|error| folder.failure("read", path, &error))?;
    Ok(Stamp::of_contained(&metadata))
}
