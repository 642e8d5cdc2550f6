use serde_json::json;

use super::*;

fn app(status: serde_json::Value) -> SpinApp {
    serde_json::from_value(json!({
        "apiVersion": "core.spinkube.dev/v1alpha1",
        "kind": "SpinApp",
        "metadata": {"name": "shop", "namespace": "a", "generation": 3},
        "spec": {"image": "i", "executor": "e", "replicas": 2},
        "status": status,
    }))
    .unwrap()
}

fn deployment() -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "shop"},
        "status": {"replicas": 2, "readyReplicas": 1, "conditions": [
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
             "message": "not yet", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"},
        ]},
    }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn found(deployment: &Deployment, verdict: Verdict) -> Found<'_> {
    Found { executor: "e", deployment: Some(deployment), service: true, verdict }
}

#[test]
fn the_conditions_of_the_deployment_stand_beside_ours() {
    let deployment = deployment();
    let app = app(json!(null));
    let status = status(&app, found(&deployment, Verdict::no("Why", "because")), at(1));
    let types: Vec<_> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Ready", "Available", "Progressing"]);
    assert_eq!(status.conditions[0].message, "because");
    assert_eq!(status.conditions[1].reason, "MinimumReplicasUnavailable");
    assert_eq!((status.ready_replicas, status.replicas), (1, 2));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.deployment_name.as_deref(), Some("shop"));
    assert_eq!(
        status.selector,
        "core.spinkube.dev/app-name=shop,core.spinkube.dev/app.shop.status=ready"
    );
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let deployment = deployment();
    let first = status(&app(json!(null)), found(&deployment, Verdict::no("A", "a")), at(10));
    let app = app(serde_json::to_value(&first).unwrap());
    let second = status(&app, found(&deployment, Verdict::no("B", "b")), at(20));
    assert_eq!(second.conditions[0].reason, "B");
    assert_eq!(second.conditions[0].last_transition_time, Time(at(10)));
    let yes = Verdict { ready: Ready::Yes, reason: "C".to_owned(), message: "c".to_owned() };
    let third = status(&app, found(&deployment, yes), at(30));
    assert_eq!(third.conditions[0].last_transition_time, Time(at(30)));
}

#[test]
fn nothing_new_gives_the_same_status() {
    let deployment = deployment();
    let first = status(&app(json!(null)), found(&deployment, Verdict::no("A", "a")), at(10));
    let app = app(serde_json::to_value(&first).unwrap());
    assert_eq!(status(&app, found(&deployment, Verdict::no("A", "a")), at(99)), first);
}
