//! The CustomResourceDefinitions, as they are installed.

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{SpinApp, SpinAppExecutor};

/// The definitions of both resources. Their schema comes from the types of this
/// crate; descriptions are cut to their first sentence, so that the whole stays
/// well below what `kubectl apply` can keep in an annotation.
///
/// # Errors
/// Never for the types of this crate: it can only fail where a definition cannot
/// be written as JSON.
pub fn custom_resource_definitions() -> Result<Vec<Value>, serde_json::Error> {
    [SpinApp::crd(), SpinAppExecutor::crd()]
        .into_iter()
        .map(|definition| {
            let mut definition = serde_json::to_value(definition)?;
            if let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
            {
                tidy(schema);
            }
            Ok(definition)
        })
        .collect()
}

/// Makes a generated schema say what the API server should check, and no more.
fn tidy(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    // A null is dropped before validation unless the schema keeps it; kept, it
    // would be a third state beside absent and set.
    fields.remove("nullable");
    if let Some(Value::String(description)) = fields.get_mut("description") {
        *description = first_sentence(description);
    }
    // Kubernetes checks formats of its own only, and warns of others.
    let unsigned = fields.get("format").and_then(Value::as_str);
    if unsigned.is_some_and(|format| format.starts_with("uint")) {
        fields.remove("format");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(nested) {
            tidy(schema);
        }
    }
}

fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.find(". ") {
        Some(end) => line.chars().take(line[..=end].chars().count()).collect(),
        None => line,
    }
}

#[cfg(test)]
mod tests;
