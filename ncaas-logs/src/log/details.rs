//! Details: the attributes that a log's options (`labels`, `env`, `tag`) put on its lines.
//!
//! In the engine's stream they stand before the text as `name=value,name=value`, encoded as in a URL's query; in its
//! files as a JSON object. The same ones stand on each line, so what was made of the last ones is kept.

use std::collections::BTreeMap;

use form_urlencoded::{byte_serialize, parse};

/// Details in the one form, made of those in the other.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Translated {
    /// As they stand in the stream, of those in a file; nothing where they cannot be read.
    pub(super) fn encoded(&mut self, json: &[u8]) -> &[u8] {
        if self.from != json {
            self.from = json.to_vec();
            self.to = serde_json::from_slice(json).map(|details| encode(&details)).unwrap_or_default().into_bytes();
        }
        &self.to
    }

    /// As a JSON object, of those in the stream.
    pub(crate) fn json(&mut self, encoded: &[u8]) -> &[u8] {
        if self.from != encoded || self.to.is_empty() {
            self.from = encoded.to_vec();
            self.to = serde_json::to_vec(&decode(encoded)).unwrap_or_default();
        }
        &self.to
    }
}

/// As they stand in the stream.
pub(super) fn encode(details: &BTreeMap<String, String>) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pairs = details.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn decode(encoded: &[u8]) -> BTreeMap<String, String> {
    encoded.split(|&byte| byte == b',').flat_map(parse).map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_the_same_in_either_form() {
        let json = br#"{"a, b":"= &+ x","lab":"\u00e9","none":""}"#;
        let mut encoded = Translated::default();
        let encoded = encoded.encoded(json);
        assert!(!encoded.contains(&b' '), "{encoded:?}");
        assert_eq!(encoded.split(|&byte| byte == b',').count(), 3);
        let again = Translated::default().json(encoded).to_vec();
        let parse = |json: &[u8]| serde_json::from_slice::<BTreeMap<String, String>>(json).ok();
        assert_eq!(parse(&again), parse(json));
        assert_eq!(Translated::default().json(b""), b"{}");
        assert_eq!(Translated::default().encoded(b""), b"");
    }
}
