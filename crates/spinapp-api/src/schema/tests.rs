use serde_json::json;

use super::*;

fn definition(name: &str) -> Value {
    let definitions = custom_resource_definitions().unwrap();
    definitions.into_iter().find(|found| found["metadata"]["name"] == name).unwrap()
}

fn spec_schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
}

#[test]
fn the_names_are_those_of_the_spin_operator() {
    let app = definition("spinapps.core.spinkube.dev");
    assert_eq!(app["spec"]["scope"], "Namespaced");
    assert_eq!(app["spec"]["versions"][0]["name"], "v1alpha1");
    assert_eq!(app["spec"]["names"]["kind"], "SpinApp");
    let executor = definition("spinappexecutors.core.spinkube.dev");
    assert_eq!(executor["spec"]["names"]["kind"], "SpinAppExecutor");
    assert!(executor["spec"]["versions"][0]["subresources"]["status"].is_object());
}

#[test]
fn every_field_of_the_spin_operator_is_there() {
    let app = definition("spinapps.core.spinkube.dev");
    let fields = spec_schema(&app)["properties"].as_object().unwrap();
    let known = [
        "executor",
        "image",
        "imagePullSecrets",
        "checks",
        "replicas",
        "enableAutoscaling",
        "runtimeConfig",
        "volumes",
        "volumeMounts",
        "variables",
        "serviceAnnotations",
        "deploymentAnnotations",
        "podAnnotations",
        "podLabels",
        "resources",
        "components",
        "serviceAccountName",
        "invocationLimits",
    ];
    for name in known {
        assert!(fields.contains_key(name), "{name} is missing");
    }
    let ours: Vec<_> = fields.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert_eq!(ours, ["podOptions"], "what is ours is under one key");
}

#[test]
fn defaults_are_those_of_the_spin_operator() {
    let app = definition("spinapps.core.spinkube.dev");
    let check = &spec_schema(&app)["properties"]["checks"]["properties"]["liveness"]["properties"];
    let default = |name: &str| check[name]["default"].clone();
    assert_eq!(default("initialDelaySeconds"), 10);
    assert_eq!(default("timeoutSeconds"), 1);
    assert_eq!(default("periodSeconds"), 10);
    assert_eq!(default("successThreshold"), 1);
    assert_eq!(default("failureThreshold"), 3);
    assert_eq!(spec_schema(&app)["properties"]["executor"]["default"], "containerd-shim-spin");
}

#[test]
fn an_app_scales_by_its_own_subresource() {
    let app = definition("spinapps.core.spinkube.dev");
    assert_eq!(
        app["spec"]["versions"][0]["subresources"]["scale"],
        json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        })
    );
}

#[test]
fn quantities_may_be_numbers() {
    let app = definition("spinapps.core.spinkube.dev");
    let limits = &spec_schema(&app)["properties"]["resources"]["properties"]["limits"];
    assert_eq!(limits["additionalProperties"]["x-kubernetes-int-or-string"], true);
}

#[test]
fn nothing_is_nullable_and_the_whole_fits_into_the_annotation_of_kubectl_apply() {
    for definition in custom_resource_definitions().unwrap() {
        let text = definition.to_string();
        assert!(!text.contains("\"nullable\""), "a null would be a third state");
        assert!(text.len() < 200_000, "{} bytes", text.len());
    }
}

#[test]
fn a_description_ends_with_its_first_sentence() {
    assert_eq!(first_sentence("One thing. Another."), "One thing.");
    assert_eq!(first_sentence("Uses\na/b.c only"), "Uses a/b.c only");
    assert_eq!(first_sentence("First\n\nSecond"), "First");
}

#[test]
fn a_manifest_of_the_spin_operator_is_read() {
    let app: SpinApp = serde_json::from_value(json!({
        "apiVersion": "core.spinkube.dev/v1alpha1",
        "kind": "SpinApp",
        "metadata": {"name": "resources"},
        "spec": {
            "image": "registry.example/app:1",
            "replicas": 1,
            "executor": "containerd-shim-spin",
            "resources": {"limits": {"cpu": 1, "memory": "500Mi"}},
            "checks": {"liveness": {"httpGet": {"path": "/hello"}}},
        },
    }))
    .unwrap();
    let resources = app.spec.resources.unwrap();
    assert_eq!(resources.limits["cpu"].0, "1");
    let liveness = app.spec.checks.unwrap().liveness.unwrap();
    assert_eq!((liveness.period_seconds, liveness.failure_threshold), (10, 3));
}
