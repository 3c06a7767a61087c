//! Reading a configuration key by key.
//!
//! serde's derived errors end at the first fault and repeat the value, which can hold a password. Here all faults are
//! named, no value is repeated, and an unknown key comes with the one that was probably meant.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{faults::Faults, text::did_you_mean};

/// A table of settings that is being read.
pub struct Table<'a> {
    keys: &'a Map<String, Value>,
    faults: Faults,
}

impl<'a> Table<'a> {
    /// Begins to read a table in which `known` are the keys. The example is a table that would be accepted.
    pub fn new(given: &'a Value, known: &[&str], example: &str) -> Result<Self, String> {
        let Some(keys) = given.as_object() else {
            return Err(format!(
                "must be an object of named keys, as in `{example}`"
            ));
        };
        let mut table = Self {
            keys,
            faults: Faults::default(),
        };
        table.reject_unknown(keys, "", known);
        Ok(table)
    }

    /// Rejects unknown keys of a table within this one; whether it is a table is for [`Table::read`] to find.
    pub fn nested(&mut self, key: &str, known: &[&str]) {
        if let Some(Value::Object(keys)) = self.keys.get(key) {
            self.reject_unknown(keys, &format!("{key}."), known);
        }
    }

    /// Reads a key into its place, which keeps its default where the key is absent. `expected` completes "must be".
    pub fn read<T: DeserializeOwned>(&mut self, key: &str, expected: &str, place: &mut T) {
        let Some(value) = self.keys.get(key) else {
            return;
        };
        match T::deserialize(value) {
            Ok(value) => *place = value,
            Err(_) => self.faults.push(format!("`{key}` must be {expected}")),
        }
    }

    /// Succeeds where no fault was found; otherwise names them all.
    pub fn finish(self) -> Result<(), String> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(self.faults.joined())
    }

    fn reject_unknown(&mut self, keys: &Map<String, Value>, prefix: &str, known: &[&str]) {
        for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
            let suggestion = did_you_mean(key, known);
            self.faults
                .push(format!("unknown key `{prefix}{key}`; {suggestion}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_is_named_and_no_value_is_repeated() {
        let given = json!({"url": ["canary"], "ulr": 1, "count": 3, "limits": {"most": "canary", "leest": 1}});
        let known = ["url", "count", "limits"];
        let mut table = Table::new(&given, &known, "{}").unwrap();
        let (mut url, mut count, mut limits) = (String::new(), 1, Vec::<u64>::new());
        table.nested("limits", &["least", "most"]);
        table.read("url", "a text", &mut url);
        table.read("count", "a whole number", &mut count);
        table.read("limits", "a list", &mut limits);
        let message = table.finish().unwrap_err();
        for part in [
            "`url` must be a text",
            "unknown key `ulr`; did you mean `url`?",
            "unknown key `limits.leest`; did you mean `least`?",
            "`limits` must be a list",
        ] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
        assert!(!message.contains("canary"), "{message}");
        assert_eq!(count, 3);
        assert!(Table::new(&json!(["canary"]), &known, "{}").is_err());
    }
}
