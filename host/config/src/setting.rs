//! A setting as it is shown: its key and its value.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{KeyPath, value::written};

/// A key, from the top of the configuration or of its section, and the value as people write it.
pub(super) type Setting = (KeyPath, Value);

pub(super) fn at<const N: usize>(key: [&str; N], value: Value) -> Setting {
    (KeyPath::new(key), value)
}

pub(super) fn path(path: &Path) -> Value {
    json!(path.display().to_string())
}

pub(super) fn duration(duration: Duration) -> Value {
    json!(written(duration))
}
