//! Security settings of an app's pod.

use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, SeccompProfile, SecurityContext,
};
use spinapp_api::PodOptions;

/// The user of apps in namespaces that refuse root. A Spin artifact names none,
/// and the shim binds port 80 before it drops privileges.
const UNPRIVILEGED: i64 = 65532;

/// What the app says; in a namespace that enforces "restricted", completed so
/// that its pods are admitted.
pub(super) fn of_pod(options: &PodOptions, restricted: bool) -> Option<PodSecurityContext> {
    let said = options.security_context.clone();
    if !restricted {
        return said;
    }
    let mut context = said.unwrap_or_default();
    context.run_as_non_root.get_or_insert(true);
    context.run_as_user.get_or_insert(UNPRIVILEGED);
    context.seccomp_profile.get_or_insert_with(|| SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        ..SeccompProfile::default()
    });
    Some(context)
}

/// The same for the app's container.
pub(super) fn of_container(options: &PodOptions, restricted: bool) -> Option<SecurityContext> {
    let said = options.container_security_context.clone();
    if !restricted {
        return said;
    }
    let mut context = said.unwrap_or_default();
    context.allow_privilege_escalation.get_or_insert(false);
    context.capabilities.get_or_insert_with(|| Capabilities {
        drop: Some(vec!["ALL".to_owned()]),
        ..Capabilities::default()
    });
    Some(context)
}
