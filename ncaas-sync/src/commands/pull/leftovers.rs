//! Folders that killed stages left in an io-dir, of jobs that have ended.
//!
//! A stage that is killed while it prepares a job leaves the job's work folder, and another pipe may finish the job. A
//! work folder is removed when the bucket has the submission's end and nothing but staged inputs is in it: results that
//! were not collected stay. `ncaas-exec rm` does not see the bucket: it learns of the end from `end.txt` in the job's
//! folder, and then removes the job's container if that is left too. If another machine has ended the job, after this
//! one lost its power for example, a note in the work folder tells `rm` that nobody collects what is left here.

use std::path::Path;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::folder::{Folder, open_real_folder};
use ncaas_core::layout::{END_PATH, JobFolder, RESULTS, WORK, job_prefix, remove_ended_work};
use ncaas_core::record::fields::Job;
use ncaas_core::saved_record;

use crate::end_file::note_end;

/// Removes the empty work folders of a group's ended jobs.
pub(super) async fn remove_leftovers(bucket: &Bucket, group: &str, io_dir: &Folder) -> Result<()> {
    let Ok(work) = open_real_folder(io_dir.dir(), WORK) else { return Ok(()) };
    for job in work.entries().into_iter().flatten().flatten() {
        let id = job.file_name();
        let Some(id) = id.to_str() else { continue };
        let Ok(end) = Key::new(format!("{}{END_PATH}", job_prefix(group, id))) else { continue };
        let has_ended = match bucket.head(&end).await {
            Err(failure) if matches!(failure.kind, Kind::UnsafePath | Kind::BadKey) => false,
            entry => entry?.is_some(),
        };
        if has_ended && let Ok(folder) = open_real_folder(&work, id) {
            // The pipe that ended the submission had another io-dir, or was killed before it wrote the file here. A
            // job's folder that cannot be written keeps its container.
            let _ = io_dir.open_below(&Path::new(RESULTS).join(id)).and_then(|folder| note_end(&folder));
            remove_ended_work(&folder);
            // Fails for a folder that is not empty, which is kept.
            if work.remove_dir(id).is_err() {
                note_superseded(bucket, group, id, io_dir).await?;
            }
        }
    }
    Ok(())
}

/// Notes which datasets of an ended job another machine has ended: this io-dir has no saved record of them.
async fn note_superseded(bucket: &Bucket, group: &str, id: &str, io_dir: &Folder) -> Result<()> {
    for key in saved_record::list(bucket, &job_prefix(group, id)).await? {
        let Some(mut saved) = saved_record::read(bucket, &key).await? else { continue };
        let Some(job) = saved.job() else { continue };
        // The bucket's content is data: it chooses neither a folder nor a job of this machine.
        saved.set("job", &Job { id: id.to_owned(), ..job });
        saved.set("io_dir", &io_dir.path());
        if let Ok(folder) = JobFolder::for_record(&saved)
            && folder.saved_record().is_none()
        {
            // The note is missing then, and what was left stays.
            let _ = folder.note_superseded();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn empty_work_folders_of_ended_jobs_are_removed_and_no_others() {
        let home = tempfile::tempdir().unwrap();
        let (bucket, io_dir) = (home.path().join("pca"), home.path().join("io"));
        for id in ["ended", "running", "uncollected"] {
            for folder in ["results", "logs"] {
                fs::create_dir_all(io_dir.join(".ncaas/work").join(id).join("1").join(folder)).unwrap();
            }
        }
        fs::write(io_dir.join(".ncaas/work/uncollected/1/results/r"), "r").unwrap();
        for id in ["ended", "running"] {
            fs::create_dir_all(io_dir.join(".ncaas/work").join(id).join("1/inputs")).unwrap();
            fs::write(io_dir.join(".ncaas/work").join(id).join("1/inputs/x.npy"), "x").unwrap();
            fs::create_dir_all(io_dir.join(".ncaas/work").join(id).join("1/results/a/b/c")).unwrap();
        }
        for id in ["ended", "uncollected"] {
            fs::create_dir_all(bucket.join("lab/results").join(id).join("process_results")).unwrap();
            fs::write(bucket.join("lab/results").join(id).join("process_results/end.txt"), "end").unwrap();
        }
        let bucket = Bucket::open(bucket.to_str().unwrap()).await.unwrap();
        fs::create_dir_all(io_dir.join("results/ended/process_results")).unwrap();
        fs::create_dir_all(io_dir.join("results/running/process_results")).unwrap();
        remove_leftovers(&bucket, "lab", &Folder::open(&io_dir).unwrap()).await.unwrap();
        let has_end = |id: &str| io_dir.join("results").join(id).join("process_results/end.txt").exists();
        assert_eq!(["ended", "running", "uncollected"].map(has_end), [true, false, false]);
        let exists = |path: &str| io_dir.join(".ncaas/work").join(path).exists();
        assert!(!exists("ended") && exists("running/1/inputs/x.npy") && exists("uncollected/1/results/r"));
    }
}
