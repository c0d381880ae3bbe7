//! Multipart uploads. [`crate::transfer`] sends the parts.

use std::collections::HashMap;

use aws_sdk_s3::types::ChecksumAlgorithm;

use crate::bucket::key::Key;
use crate::bucket::object::content_type;
use crate::failure::{Failure, Kind, Result};

use super::client::S3Bucket;

impl S3Bucket {
    /// Begins a multipart upload and returns its id.
    pub(in crate::bucket) async fn begin_multipart_upload(
        &self,
        key: &Key,
        metadata: HashMap<String, String>,
    ) -> Result<String> {
        let request = self.client.create_multipart_upload().bucket(&*self.name).key(key.as_str());
        // The checksum that the SDK computes for each part.
        let request = request.set_content_type(content_type(key)).checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begun = request.set_metadata(Some(metadata)).send().await;
        let id = match &begun {
            Ok(answer) => answer.upload_id().map(str::to_owned),
            // rclone's server gives the answer's root element another name than S3, which the SDK rejects.
            Err(error) => error
                .raw_response()
                .filter(|response| response.status().is_success())
                .and_then(|response| upload_id(response.body().bytes()?)),
        };
        match (id, begun) {
            (Some(id), _) => Ok(id),
            (None, Err(error)) => Err(self.failure("write", Some(key), &error)),
            (None, Ok(_)) => {
                let message = format!("cannot write `{}/{key}`: {} returns no upload id", self.address, self.server);
                Err(Failure::new(Kind::BucketError, message))
            }
        }
    }
}

/// The upload's id in the XML of an answer. Ids are fit for URLs, so nothing in them is escaped.
fn upload_id(body: &[u8]) -> Option<String> {
    let (_, rest) = str::from_utf8(body).ok()?.split_once("<UploadId>")?;
    let (id, _) = rest.split_once("</UploadId>")?;
    Some(id.to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_id_is_found_under_any_root_element() {
        let body = b"<?xml version=\"1.0\"?>\n<InitiateMultipartUpload>\n  <UploadId>1d8f-85a2</UploadId>\n</InitiateMultipartUpload>";
        assert_eq!(upload_id(body).as_deref(), Some("1d8f-85a2"));
        assert_eq!(upload_id(b"<UploadId></UploadId>"), None);
        assert_eq!(upload_id(b"<Error/>"), None);
    }
}
