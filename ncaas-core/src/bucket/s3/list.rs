//! Lists a bucket by `ListObjectsV2`, a page per request.

use aws_sdk_s3::types::{CommonPrefix, EncodingType, Object};

use crate::bucket::key::{Key, quoted, url_decoded};
use crate::bucket::object::{ObjectInfo, PAGE, Page, Unusable};
use crate::failure::{Failure, Kind, Result};

use super::client::S3Bucket;
use super::metadata::{timestamp, unquoted_etag};

/// A listing that stands between two pages.
pub(in crate::bucket) struct S3Listing {
    bucket: S3Bucket,
    prefix: String,
    after: Option<String>,
    delimiter: Option<String>,
    /// How many objects to ask for at once.
    limit: usize,
    /// Where the server continues; `None` before the first page.
    token: Option<String>,
    ended: bool,
}

impl S3Listing {
    pub(in crate::bucket) fn new(bucket: S3Bucket, prefix: &str, after: Option<&str>, flat: bool) -> S3Listing {
        let after = after.filter(|after| !after.is_empty()).map(str::to_owned);
        let delimiter = flat.then(|| "/".to_owned());
        S3Listing { bucket, prefix: prefix.to_owned(), after, delimiter, limit: PAGE, token: None, ended: false }
    }

    /// The next objects; an empty page is the end.
    pub(in crate::bucket) async fn page(&mut self) -> Result<Page> {
        // A page of S3 may be empty though more follow.
        while !self.ended {
            let page = self.request().await?;
            if page.len() > 0 {
                return Ok(page);
            }
        }
        Ok(Page::default())
    }

    async fn request(&mut self) -> Result<Page> {
        let response = self
            .bucket
            .client
            .list_objects_v2()
            .bucket(&*self.bucket.name)
            .prefix(&self.prefix)
            .set_delimiter(self.delimiter.clone())
            .set_start_after(if self.token.is_none() { self.after.clone() } else { None })
            .set_continuation_token(self.token.clone())
            .max_keys(i32::try_from(self.limit).unwrap_or(i32::MAX))
            // Keys may hold characters that XML cannot.
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| self.bucket.failure("list", None, &error))?;

        let next = response.next_continuation_token().map(str::to_owned);
        if response.is_truncated() == Some(true) {
            // Treating this as the end would hide objects from callers that delete unlisted files.
            if next.is_none() || next == self.token {
                let words = format!(
                    "cannot list `{}`: {} returned no continuation token",
                    self.bucket.address, self.bucket.server
                );
                return Err(Failure::new(Kind::BucketError, words));
            }
            self.token = next;
        } else {
            self.ended = true;
        }

        let encoded = response.encoding_type() == Some(&EncodingType::Url);
        let text = |raw: &str| if encoded { url_decoded(raw) } else { raw.to_owned() };
        let mut page = Page::default();
        for object in response.contents() {
            match Key::new(text(object.key().unwrap_or_default())) {
                Ok(key) if key.is_folder() && object.size().is_some_and(|size| size > 0) => {
                    page.unusable.push(folder_with_content(&self.bucket.address, &key));
                }
                Ok(key) => page.entries.push(entry(key, object)),
                Err(why) => page.unusable.push(Unusable { name: text(object.key().unwrap_or_default()), why }),
            }
        }
        for name in response.common_prefixes().iter().filter_map(CommonPrefix::prefix).map(text) {
            match Key::new(name.as_str()) {
                Ok(key) => page.folders.push(key),
                Err(why) => page.unusable.push(Unusable { name, why }),
            }
        }
        Ok(page)
    }
}

impl S3Bucket {
    /// Checks that the bucket exists. Unlike HeadBucket, whose answer has no body, a failed listing gives a reason.
    pub(super) async fn check(&self) -> Result<()> {
        let mut listing = S3Listing::new(self.clone(), "", None, false);
        listing.limit = 1;
        listing.page().await.map(drop)
    }

    pub(in crate::bucket) async fn exists_under(&self, prefix: &str) -> Result<bool> {
        let mut listing = S3Listing::new(self.clone(), prefix, None, false);
        listing.limit = 1;
        loop {
            let page = listing.page().await?;
            if !page.entries.is_empty() || page.len() == 0 {
                return Ok(!page.entries.is_empty());
            }
        }
    }
}

/// An object that would be lost if it were taken for an empty folder.
fn folder_with_content(address: &str, key: &Key) -> Unusable {
    let message = format!("{} has content, but its name ends in `/`", quoted(&format!("{address}/{key}")));
    let why = Failure::new(Kind::BadKey, message).hint("a folder cannot hold content: copy the object to another key");
    Unusable { name: key.as_str().to_owned(), why }
}

fn entry(key: Key, object: &Object) -> ObjectInfo {
    ObjectInfo {
        key,
        size: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        modified: timestamp(object.last_modified()),
        etag: object.e_tag().map(unquoted_etag),
        sha256: None,
        crc64nvme: None,
        origin_modified: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_as_s3_encodes_them() {
        assert_eq!(url_decoded("a+b%2Bc%20d/%C3%BC%0A%"), "a b+c d/ü\n%");
    }
}
