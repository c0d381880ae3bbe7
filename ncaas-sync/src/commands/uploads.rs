//! `ncaas-sync uploads`: unfinished uploads, whose parts take space on the server.

use jiff::Timestamp;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::UploadsArgs;
use crate::bucket_prefix::BucketPrefix;
use ncaas_core::transfer::list_unfinished_uploads;

/// One unfinished upload.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UploadRecord {
    /// Key of the object to be created.
    key: String,
    /// The id that the server gave it.
    upload: String,
    /// Start time, RFC 3339 in UTC.
    begun: String,
    /// Seconds since then.
    age_s: i64,
    /// Number of parts on the server; null if it cannot list them.
    parts: Option<u64>,
    /// Bytes in these parts; null if the server cannot list them.
    bytes: Option<u64>,
    /// Whether its parts were deleted just now.
    dropped: bool,
}

pub(crate) async fn uploads(tool: Tool, args: UploadsArgs) -> Result<ExitStatus> {
    Pipe::for_records(tool, &args.records).source(async |output| list(tool, &args, output).await).await
}

async fn list(tool: Tool, args: &UploadsArgs, output: &Output) -> Result<()> {
    let target = BucketPrefix::parse(&args.target)?;
    let bucket = target.open().await?;
    if bucket.as_s3().is_none() {
        tool.note(&format!("`{}` is a directory, which has no unfinished uploads", bucket.address()));
    }
    let now = Timestamp::now();
    for (upload, begun) in list_unfinished_uploads(&bucket, &target.prefix).await? {
        let age = now.duration_since(begun).as_secs();
        if age < args.older_than.map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)) {
            continue;
        }
        let parts = upload.parts().await?;
        if args.drop {
            upload.abort().await?;
        }
        let record = UploadRecord {
            key: upload.key.as_str().to_owned(),
            upload: upload.id.clone(),
            begun: begun.to_string(),
            age_s: age,
            parts: parts.as_ref().map(|parts| parts.len() as u64),
            bytes: parts.map(|parts| parts.iter().map(|part| part.size).sum()),
            dropped: args.drop,
        };
        output.write_json(&record).await;
    }
    Ok(())
}
