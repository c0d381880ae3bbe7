//! Groups, and the buckets that contain them, as a user names them: typing errors are refused with the nearest right
//! name.

use std::path::Path;

use crate::bucket::{Bucket, GroupAddress};
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::layout::{STATE_FOLDER, SUBMISSIONS, check_group};
use crate::suggestion::nearest;

/// The groups of a bucket: its folders whose names are valid for a group.
///
/// # Errors
/// If the bucket does not answer.
pub async fn list_groups(bucket: &Bucket) -> Result<Vec<String>> {
    let mut groups = Vec::new();
    let mut listing = bucket.list_folder("", None);
    while let Some(page) = listing.next_page().await? {
        let folders = page.folders.iter().chain(page.entries.iter().map(|entry| &entry.key));
        let names = folders.filter(|folder| folder.is_folder()).map(|folder| folder.group());
        groups.extend(names.filter(|group| check_group(group).is_ok()).map(str::to_owned));
    }
    Ok(groups)
}

/// Opens a bucket. A directory that is a group in a bucket is refused.
///
/// # Errors
/// [`Kind::Usage`] for a group; same as [`Bucket::open`].
pub async fn open_bucket(address: &str) -> Result<Bucket> {
    let path = Path::new(address);
    if !address.starts_with("s3://") && is_group_folder(path) && !is_bucket_folder(path) {
        let bucket = path.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
        let bucket = if bucket.is_empty() { ".".to_owned() } else { bucket };
        let group = path.file_name().unwrap_or_default().display();
        return Err(Failure::new(Kind::Usage, format!("`{address}` is a group, not a bucket"))
            .hint(format!("the bucket is `{bucket}`; `--group {group}` selects the group")));
    }
    open_named(address).await
}

/// Opens a bucket. A directory that does not exist is refused with the most similar name beside it.
async fn open_named(address: &str) -> Result<Bucket> {
    let failure = match Bucket::open(address).await {
        Err(failure) if failure.kind == Kind::BucketNotFound && !address.starts_with("s3://") => failure,
        opened => return opened,
    };
    let path = Path::new(address);
    let folder = folder_of(path);
    Err(match find_similar_bucket(path) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`?")),
        None if is_bucket_folder(folder) => {
            failure.hint(format!("the bucket is `{}`; `--group GROUP` selects a group in it", folder.display()))
        }
        None => failure,
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The bucket beside a path whose name is most similar to that of the path.
fn find_similar_bucket(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let beside = std::fs::read_dir(folder_of(path)).into_iter().flatten().flatten().take(1000);
    let buckets = beside.filter(|entry| is_bucket_folder(&entry.path()));
    let names: Vec<String> = buckets.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    nearest(name, names.iter().map(String::as_str)).map(|similar| folder_of(path).join(similar).display().to_string())
}

/// Makes sure that a bucket has these groups, unless it has none at all. `may_come`: only a group whose name is similar
/// to that of an existing one is refused, because others can be created later.
///
/// # Errors
/// [`Kind::Usage`] for a group that is refused; if the bucket does not answer.
pub async fn check_groups(bucket: &Bucket, groups: &[String], may_come: bool) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let existing = list_groups(bucket).await?;
    for group in groups {
        check_group(group)?;
        let similar = nearest(group, existing.iter().map(String::as_str));
        if !existing.is_empty() && !existing.contains(group) && (similar.is_some() || !may_come) {
            return Err(unknown_group(bucket.address(), group, &existing));
        }
    }
    Ok(())
}

fn unknown_group(bucket: &str, group: &str, existing: &[String]) -> Failure {
    let create = format!("`ncaas-submit init {bucket} --group {group}` creates it");
    let hint = match nearest(group, existing.iter().map(String::as_str)) {
        Some(similar) => format!("did you mean `{similar}`? {create}"),
        None => format!("its groups are {}; {create}", quote(existing)),
    };
    Failure::new(Kind::Usage, format!("`{bucket}` has no group `{group}`")).hint(hint)
}

/// Makes sure that a new folder of a bucket is not a typing error: its name is not similar to that of a group with
/// submissions, or to that of a bucket beside it.
///
/// # Errors
/// [`Kind::Usage`] or [`Kind::BucketNotFound`] for a folder that is refused; if the bucket does not answer.
pub async fn check_new_folder(bucket: &Bucket, name: &str) -> Result<()> {
    // A user who may use one folder need not be allowed to list the bucket.
    let existing = list_groups(bucket).await.none_if(&[Kind::AccessDenied])?.unwrap_or_default();
    if check_group(name).is_err() || existing.iter().any(|group| group == name) {
        return Ok(());
    }
    if let Some(similar) = nearest(name, existing.iter().map(String::as_str))
        && bucket.exists_under(&format!("{similar}/{SUBMISSIONS}/")).await?
    {
        return Err(unknown_group(bucket.address(), name, &existing));
    }
    let path = Path::new(bucket.address()).join(name);
    match find_similar_bucket(&path).filter(|_| bucket.as_directory().is_some()) {
        Some(similar) => {
            let path = path.display();
            Err(Failure::new(Kind::BucketNotFound, format!("bucket `{path}` does not exist"))
                .hint(format!("did you mean `{similar}`? Otherwise create the folder with `mkdir`")))
        }
        None => Ok(()),
    }
}

/// Opens the bucket of `BUCKET/GROUP`, and makes sure that the group is one of the bucket's. A bucket without groups
/// accepts any. `may_come`: only a group that looks like a typing error is refused, as by [`check_new_folder`].
///
/// # Errors
/// [`Kind::Usage`] if there is no group in it, or one that is refused; same as [`Bucket::open`].
pub async fn open_group(text: &str, may_come: bool) -> Result<(Bucket, String)> {
    if !text.starts_with("s3://") && is_bucket_folder(Path::new(text)) {
        let groups = list_groups(&Bucket::open(text).await?).await?;
        let group = groups.first().map_or("GROUP", String::as_str);
        return Err(Failure::new(Kind::Usage, format!("`{text}` is a bucket without a group"))
            .hint(format!("write for example `{}/{group}`", text.trim_end_matches('/'))));
    }
    let GroupAddress { bucket: address, group } = GroupAddress::parse(text)?;
    if !may_come {
        check_group(&group)?;
    }
    let bucket = open_named(&address).await?;
    if may_come {
        check_new_folder(&bucket, &group).await?;
        return Ok((bucket, group));
    }
    let groups = list_groups(&bucket).await?;
    if groups.is_empty() || groups.contains(&group) {
        return Ok((bucket, group));
    }
    Err(unknown_group(&address, &group, &groups))
}

fn quote(names: &[String]) -> String {
    names.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Whether a folder has submissions.
fn is_group_folder(path: &Path) -> bool {
    path.join(SUBMISSIONS).is_dir()
}

/// Whether a folder is a bucket that the tools have used or that has groups, and not a group itself.
fn is_bucket_folder(path: &Path) -> bool {
    let has_groups = || {
        let children = std::fs::read_dir(path).into_iter().flatten().flatten();
        children.take(1000).any(|child| is_group_folder(&child.path()))
    };
    !is_group_folder(path) && (path.join(STATE_FOLDER).is_dir() || has_groups())
}
