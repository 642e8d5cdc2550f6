//! The Service of an app.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use spinapp_api::SpinApp;

use super::{PORT, PORT_NAME, metadata, ready_label};

/// Always there, also when something else runs the app: whoever does gives its
/// pods the label that is selected here.
pub(super) fn service(app: &SpinApp) -> Service {
    Service {
        metadata: metadata(app, &app.spec.service_annotations),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some([ready_label(&app.name_any())].into()),
            ports: Some(vec![ServicePort {
                protocol: Some("TCP".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
