//! The PodDisruptionBudget of an app that asks for one.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use spinapp_api::SpinApp;

use super::{metadata, pod_selector};

pub(super) fn disruption_budget(app: &SpinApp) -> Option<PodDisruptionBudget> {
    let bounds = app.spec.pod_options.as_ref()?.disruption_budget.as_ref()?;
    Some(PodDisruptionBudget {
        metadata: metadata(app, &BTreeMap::new()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: bounds.min_available.clone(),
            max_unavailable: bounds.max_unavailable.clone(),
            selector: Some(LabelSelector {
                match_labels: Some(pod_selector(&app.name_any())),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
