//! Keys that look the same in different Unicode normalisation forms.

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{everything, key, keys_of, on_both};

#[tokio::test]
async fn a_missing_key_names_the_one_that_looks_the_same() {
    on_both(async |bucket: Bucket| {
        let decomposed = "lab/inputs/cafe\u{301}.npy";
        bucket.put(&key(decomposed), "x").await.unwrap();
        let failure = bucket.missing(&key("lab/inputs/caf\u{e9}.npy")).await.unwrap();
        assert_eq!(failure.kind, Kind::ObjectNotFound);
        let words = format!(
            "the object does not exist, but `{decomposed}` does, which looks the same but has another Unicode normalisation \
             (`$'lab/inputs/cafe\\U00000301.npy'`)"
        );
        assert!(failure.message.ends_with(&words), "{failure}");
        let other = bucket.missing(&key("lab/inputs/cafe.npy")).await.unwrap();
        assert!(other.message.ends_with(&format!("the object does not exist, but `{decomposed}` does")), "{other}");
        let other = bucket.missing(&key("lab/inputs/other.npy")).await.unwrap();
        assert!(other.message.ends_with("the object does not exist"), "{other}");
        // The two forms are different objects.
        bucket.put(&key("lab/inputs/caf\u{e9}.npy"), "y").await.unwrap();
        assert_eq!(keys_of(&everything(&bucket, "").await.entries), [decomposed, "lab/inputs/caf\u{e9}.npy"]);
    })
    .await;
}
