//! Details: the attributes that a log driver's options (`labels`, `env`, `tag`) give each line.
//!
//! The engine's stream has them before the text as `name=value,name=value`, encoded as in a URL's query; its files have
//! them as a JSON object. They are the same on each line, so the last conversion is cached.

use std::collections::BTreeMap;

use form_urlencoded::{byte_serialize, parse};

/// The last details in one form, translated from the other.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Translated {
    /// Translates a file's JSON object to the stream's form; empty if it cannot be parsed.
    pub(super) fn encoded(&mut self, json: &[u8]) -> &[u8] {
        if self.from != json {
            self.from = json.to_vec();
            self.to = serde_json::from_slice(json).map(|details| encode(&details)).unwrap_or_default().into_bytes();
        }
        &self.to
    }

    /// Translates the stream's form to a JSON object.
    pub(crate) fn json(&mut self, encoded: &[u8]) -> &[u8] {
        if self.from != encoded || self.to.is_empty() {
            self.from = encoded.to_vec();
            self.to = serde_json::to_vec(&decode(encoded)).unwrap_or_default();
        }
        &self.to
    }
}

/// The stream's form.
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
    fn details_survive_translation_to_the_other_form_and_back() {
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
