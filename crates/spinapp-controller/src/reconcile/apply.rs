//! Requests that change something.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spinapp_api::{GROUP, SpinApp};

use super::ReconcileError;
use crate::ca_bundle;
use crate::context::FIELD_MANAGER;

/// Applies an object on the server's side and returns it as it then is.
pub(super) async fn apply<K>(client: &Client, object: &K) -> Result<K, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let failed = ReconcileError::on(format!("apply {} {namespace}/{name}", K::kind(&())));
    api.patch(&name, &parameters, &Patch::Apply(object)).await.map_err(failed)
}

/// Applies an object, or deletes the app's one when there should be none.
pub(super) async fn apply_or_delete<K>(
    client: &Client,
    app: &SpinApp,
    object: Option<&K>,
) -> Result<Option<K>, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    if let Some(object) = object {
        return apply(client, object).await.map(Some);
    }
    let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let what = format!("{} {namespace}/{name}", K::kind(&()));
    let read = ReconcileError::on(format!("read {what}"));
    let found = api.get_metadata_opt(&name).await.map_err(read)?;
    let owner = app.uid();
    // An object of the same name that is somebody else's stays.
    let ours = found.filter(|found| {
        found.owner_references().iter().any(|reference| Some(&reference.uid) == owner.as_ref())
    });
    if let Some(uid) = ours.and_then(|found| found.uid()) {
        let parameters = DeleteParams::background()
            .preconditions(Preconditions { uid: Some(uid), ..Preconditions::default() });
        match api.delete(&name, &parameters).await {
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            result => {
                result.map_err(ReconcileError::on(format!("delete {what}")))?;
            }
        }
    }
    Ok(None)
}

/// Makes the Secret with certificate authorities unless there is one already: an
/// administrator may have changed it.
pub(super) async fn create_ca_bundle(
    client: &Client,
    name: &str,
    namespace: &str,
) -> Result<(), ReconcileError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let read = ReconcileError::on(format!("read Secret {namespace}/{name}"));
    if api.get_metadata_opt(name).await.map_err(read)?.is_some() {
        return Ok(());
    }
    let parameters =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &ca_bundle::secret(name, namespace)).await {
        // Another app of the namespace was faster.
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
        result => result
            .map(|_| ())
            .map_err(ReconcileError::on(format!("create Secret {namespace}/{name}"))),
    }
}

/// Deletes the runtime configurations of an app but the current one.
pub(super) async fn delete_old_runtime_configs(
    client: &Client,
    app: &SpinApp,
    current: &str,
) -> Result<(), ReconcileError> {
    let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let ours = ListParams::default().labels(&format!("{GROUP}/app-name={name}")).match_any();
    let listed = ReconcileError::on(format!("list the Secrets of app {namespace}/{name}"));
    let uid = app.uid();
    for secret in api.list_metadata(&ours).await.map_err(listed)? {
        let owned = secret.owner_references().iter().any(|found| Some(&found.uid) == uid.as_ref());
        let old = secret.name_any();
        if !owned || old == current || !old.starts_with(&format!("{name}-")) {
            continue;
        }
        match api.delete(&old, &DeleteParams::default()).await {
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            result => {
                result.map_err(ReconcileError::on(format!("delete Secret {namespace}/{old}")))?;
            }
        }
    }
    Ok(())
}
