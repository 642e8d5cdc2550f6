//! The same objects as separate files, as one, as a kustomization, and as a Helm
//! chart.

use serde_json::{Value, json};

use crate::objects::{self, File, Settings};
use crate::yaml;

const NOTE: &str = "# Written by `cargo run -p cluster-manifests`; do not edit.\n";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the images are unless somebody says otherwise.
pub(crate) const REGISTRY: &str = "ghcr.io/spinlet";

/// Every file below `runtimeclass/`, with its content; the images come from a
/// registry.
pub(crate) fn files(registry: &str) -> anyhow::Result<Vec<(String, String)>> {
    let plain = objects::files(&defaults(registry))?;
    let mut files: Vec<_> = plain.iter().map(|file| (file.name.to_owned(), whole(file))).collect();
    files.push(("spinlet.yaml".to_owned(), one_file(&plain)));
    files.push(("kustomization.yaml".to_owned(), kustomization(&plain)));
    let identity = objects::identity(&defaults(registry));
    files.push((identity.name.to_owned(), whole(&identity)));
    files.extend(chart(registry)?);
    Ok(files)
}

fn defaults(registry: &str) -> Settings {
    Settings {
        namespace: "spinlet".to_owned(),
        registry: registry.to_owned(),
        tag: format!("v{VERSION}"),
        pull_policy: "IfNotPresent".to_owned(),
    }
}

fn whole(file: &File) -> String {
    format!("{NOTE}# {}\n{}", file.about, documents(&file.objects))
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(yaml::document).collect::<Vec<_>>().join("---\n")
}

fn one_file(files: &[File]) -> String {
    let parts = files.iter().map(|file| format!("# {}\n{}", file.about, documents(&file.objects)));
    let about = "# Everything: `kubectl apply -f runtimeclass/spinlet.yaml`.\n";
    format!("{NOTE}{about}{}", parts.collect::<Vec<_>>().join("---\n"))
}

fn kustomization(files: &[File]) -> String {
    let resources: Vec<_> = files.iter().map(|file| file.name).collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    format!("{NOTE}{}", yaml::document(&kustomization))
}

/// The chart: the same objects with references to values. The namespace is the
/// release's, and the resources are where Helm expects them.
fn chart(registry: &str) -> anyhow::Result<Vec<(String, String)>> {
    let value = |path: &str| format!("{{{{ {path} }}}}");
    let referring = Settings {
        namespace: value(".Release.Namespace"),
        registry: value(".Values.registry"),
        tag: value(".Values.tag"),
        pull_policy: value(".Values.imagePullPolicy"),
    };
    let defaults = defaults(registry);
    let about = json!({
        "apiVersion": "v2",
        "name": "spinlet",
        "description": "Spin apps on Kubernetes: node installer, RuntimeClass, SpinApp controller",
        "type": "application",
        "version": VERSION,
        "appVersion": format!("v{VERSION}"),
    });
    let values = json!({
        "registry": defaults.registry,
        "tag": defaults.tag,
        "imagePullPolicy": defaults.pull_policy,
    });
    let mut files = vec![
        ("helm/Chart.yaml".to_owned(), format!("{NOTE}{}", yaml::document(&about))),
        ("helm/values.yaml".to_owned(), format!("{NOTE}{}", yaml::document(&values))),
    ];
    for file in objects::files(&referring)? {
        match file.name {
            // Made by whoever installs the chart, with the label that lets the
            // node installer run.
            "namespace.yaml" => {}
            "crds.yaml" => files.push(("helm/crds/crds.yaml".to_owned(), whole(&file))),
            name => files.push((format!("helm/templates/{name}"), whole(&file))),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> String {
        files(REGISTRY).unwrap().into_iter().find(|(path, _)| path == name).unwrap().1
    }

    #[test]
    fn the_one_file_has_every_object_of_the_others_in_the_order_they_need() {
        let one = file("spinlet.yaml");
        let mut position = 0;
        for kind in [
            "kind: CustomResourceDefinition",
            "kind: Namespace",
            "kind: RuntimeClass",
            "kind: DaemonSet",
            "kind: Deployment",
        ] {
            let found = one[position..].find(kind);
            position += found.unwrap_or_else(|| panic!("{kind} is missing or too early"));
        }
    }

    #[test]
    fn the_chart_refers_to_every_value_that_it_has() {
        let templates =
            file("helm/templates/controller.yaml") + &file("helm/templates/node-installer.yaml");
        for reference in [".Values.registry", ".Values.tag", ".Values.imagePullPolicy"] {
            assert!(templates.contains(reference), "{reference} is not used");
        }
        assert!(!templates.contains("namespace: spinlet"));
    }

    #[test]
    fn another_registry_is_in_every_file_that_names_images() {
        let files = files("registry.example.com/me").unwrap();
        assert!(files.iter().all(|(_, text)| !text.contains(REGISTRY)));
        let named = |name: &str| {
            let text = &files.iter().find(|(path, _)| path == name).unwrap().1;
            text.matches("registry.example.com/me").count()
        };
        assert_eq!((named("spinlet.yaml"), named("helm/values.yaml")), (2, 1));
    }
}
