//! The checked-in schemas are what the document types say. `UPDATE_SCHEMAS=1 cargo test -p operator-plugin-api` writes them.

use std::{fs, path::Path};

use operator_plugin_api::{
    ActionList, ActionResult, CheckReport, Descriptor, InvokeRequest, Observation, ObserveRequest,
    schemars::{Schema, schema_for},
    serde_json,
};

#[test]
fn checked_in_schemas_match_the_types() {
    let schemas: [(&str, Schema); 7] = [
        ("descriptor", schema_for!(Descriptor)),
        ("observe-request", schema_for!(ObserveRequest)),
        ("observation", schema_for!(Observation)),
        ("check-report", schema_for!(CheckReport)),
        ("action-list", schema_for!(ActionList)),
        ("invoke-request", schema_for!(InvokeRequest)),
        ("action-result", schema_for!(ActionResult)),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, schema) in schemas {
        let path = folder.join(format!("{name}.schema.json"));
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &text).expect("write the schema");
        }
        let checked_in = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == text,
            "{} differs from the types in document.rs; UPDATE_SCHEMAS=1 writes it anew",
            path.display()
        );
    }
}
