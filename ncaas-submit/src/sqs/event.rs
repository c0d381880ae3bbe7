//! The events that S3 sends to a queue:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.

use ncaas_core::bucket::{Key, url_decoded};
use serde_json::Value;

/// The keys of the objects that were created in the bucket, by a message; none if it is only about other buckets.
pub(super) fn created_keys(body: &str, bucket: &str) -> Option<Vec<Key>> {
    let Ok(message) = serde_json::from_str::<Value>(body) else { return Some(Vec::new()) };
    // An SNS topic wraps the event into a string.
    if let Some(inner) = message.get("Message").and_then(Value::as_str) {
        return created_keys(inner, bucket);
    }
    let Some(records) = message.get("Records").and_then(Value::as_array) else {
        // The test event that S3 sends when notifications are set up, or a message that is not from S3.
        return Some(Vec::new());
    };
    let ours: Vec<&Value> = records
        .iter()
        .filter(|record| record.pointer("/s3/bucket/name").and_then(Value::as_str).is_none_or(|name| name == bucket))
        .collect();
    if ours.is_empty() && !records.is_empty() {
        return None;
    }
    let is_creation = |record: &&&Value| {
        let name = record.get("eventName").and_then(Value::as_str).unwrap_or_default();
        name.trim_start_matches("s3:").starts_with("ObjectCreated")
    };
    let key = |record: &&Value| record.pointer("/s3/object/key").and_then(Value::as_str).map(url_decoded);
    Some(ours.iter().filter(is_creation).filter_map(key).filter_map(|key| Key::new(key).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, bucket: &str, key: &str) -> Value {
        json!({"Records": [{"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})
    }

    fn keys(message: &Value) -> Option<Vec<String>> {
        created_keys(&message.to_string(), "pca").map(|keys| keys.iter().map(|key| key.as_str().to_owned()).collect())
    }

    #[test]
    fn keys_are_decoded_in_events_from_a_topic() {
        let put = event("ObjectCreated:Put", "pca", "lab/submissions/a+b%2B%C3%BCsubmit.json");
        let expected = Some(vec!["lab/submissions/a b+üsubmit.json".to_owned()]);
        assert_eq!(keys(&put), expected);
        assert_eq!(keys(&json!({"Type": "Notification", "Message": put.to_string()})), expected);
    }

    #[test]
    fn other_messages_have_no_keys() {
        assert_eq!(keys(&event("ObjectRemoved:Delete", "pca", "a")), Some(vec![]));
        assert_eq!(keys(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent"})), Some(vec![]));
        assert_eq!(created_keys("no JSON", "pca"), Some(vec![]));
    }

    #[test]
    fn a_message_about_another_bucket_is_not_read() {
        assert_eq!(keys(&event("ObjectCreated:Put", "other", "a")), None);
    }
}
