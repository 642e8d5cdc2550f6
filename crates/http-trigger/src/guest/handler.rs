//! Which handler a component exports.

use host::InstanceState;
use host::spin_http::bindings as spin;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::wagi::WagiHandler;
use crate::trigger_config::Executor;

/// The snapshots of WASI whose handler has the shape of 0.2.
const SNAPSHOTS: [&str; 2] = ["0.2.0-rc-2023-10-18", "0.2.0-rc-2023-11-10"];

/// The handler of one component, ready to be instantiated.
pub(crate) enum Handler {
    /// `wasi:http/incoming-handler` of 0.2 or a snapshot; `handle` is its function.
    Incoming { pre: InstancePre<InstanceState>, handle: ComponentExportIndex },
    /// `wasi:http/handler` of 0.3.
    Service(ServicePre<InstanceState>),
    /// `fermyon:spin/inbound-http`.
    Spin(spin::HandlerPre<InstanceState>),
    /// `wasi:cli/run`, as the executor `wagi` calls it.
    Wagi(WagiHandler),
}

/// Why a component has no usable handler.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// It exports none.
    #[error(
        "exports no HTTP handler: expected wasi:http/incoming-handler@0.2.x, \
         wasi:http/handler@0.3.0 or fermyon:spin/inbound-http{}",
        hint.as_deref().unwrap_or_default()
    )]
    None {
        /// What it exports instead, as the end of a sentence.
        hint: Option<String>,
    },
    /// The executor wants a program, and it is none.
    #[error("is no program, which the executor \"wagi\" needs: it exports no wasi:cli/run@0.2.x")]
    NoProgram,
    /// It exports several.
    #[error("exports several HTTP handlers: {}", exports.join(", "))]
    Several {
        /// Their names.
        exports: Vec<String>,
    },
    /// Its handler has another signature.
    #[error("exports {export} with an unexpected signature")]
    Signature {
        /// The name of the export.
        export: String,
        /// wasmtime's explanation.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What an export stands for.
enum Kind {
    Incoming,
    Service,
    Spin,
    Other,
}

fn kind(export: &str) -> Kind {
    let released = |version: &str, line: &str| version.starts_with(line) && !version.contains('-');
    match export.split_once('@') {
        Some(("wasi:http/incoming-handler", version))
            if released(version, "0.2.") || SNAPSHOTS.contains(&version) =>
        {
            Kind::Incoming
        }
        Some(("wasi:http/handler", version)) if released(version, "0.3.") => Kind::Service,
        None if export == "fermyon:spin/inbound-http" => Kind::Spin,
        _ => Kind::Other,
    }
}

/// The name of the one handler that `component` exports.
fn export(component: &Component) -> Result<(String, Kind), HandlerError> {
    let ty = component.component_type();
    let mut handlers = Vec::new();
    let mut others = Vec::new();
    let mut has_code = false;
    for (name, item) in ty.exports(component.engine()) {
        has_code |= matches!(
            item.ty,
            ComponentItem::ComponentInstance(_) | ComponentItem::ComponentFunc(_)
        );
        match kind(name) {
            Kind::Other => others.push(name),
            kind => handlers.push((name.to_owned(), kind)),
        }
    }
    match handlers.pop() {
        Some(handler) if handlers.is_empty() => Ok(handler),
        Some((name, _)) => {
            let mut exports: Vec<_> = handlers.into_iter().map(|(name, _)| name).collect();
            exports.push(name);
            Err(HandlerError::Several { exports })
        }
        None => Err(HandlerError::None { hint: hint(&others, has_code) }),
    }
}

fn hint(exports: &[&str], has_code: bool) -> Option<String> {
    if !exports.is_empty() && !has_code {
        let text = "; it is a package of interfaces (WIT) without code: take the component that \
                    implements them";
        return Some(text.to_owned());
    }
    let other = exports.iter().find(|name| name.starts_with("wasi:http/"));
    if let Some(other) = other {
        return Some(format!("; {other} is a version that no release of WASI has kept"));
    }
    if exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
        return Some("; it is a command (wasi:cli/run)".to_owned());
    }
    let library = exports.iter().find(|name| name.contains(':'))?;
    Some(format!("; it exports {library}: a library is a dependency of another component"))
}

/// The function `run` of a program.
fn run(component: &Component) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let mut exports = ty.exports(component.engine());
    let (name, _) = exports.find(|(name, _)| name.starts_with("wasi:cli/run@0.2."))?;
    let interface = component.get_export_index(None, name)?;
    component.get_export_index(Some(&interface), "run")
}

impl Handler {
    /// The handler of a component.
    pub(crate) fn of(
        pre: InstancePre<InstanceState>,
        executor: Executor,
    ) -> Result<Self, HandlerError> {
        match executor {
            Executor::Http => Self::exported(pre),
            Executor::Wagi(settings) => {
                let run = run(pre.component()).ok_or(HandlerError::NoProgram)?;
                Ok(Self::Wagi(WagiHandler { pre, run, settings }))
            }
        }
    }

    /// The handler that a component exports.
    fn exported(pre: InstancePre<InstanceState>) -> Result<Self, HandlerError> {
        let component = pre.component();
        let (export, kind) = export(component)?;
        let signature = |source: wasmtime::Error| HandlerError::Signature {
            export: export.clone(),
            source: source.into(),
        };
        match kind {
            Kind::Service => ServicePre::new(pre).map(Self::Service).map_err(signature),
            Kind::Spin => spin::HandlerPre::new(pre).map(Self::Spin).map_err(signature),
            Kind::Incoming | Kind::Other => {
                let handle = component
                    .get_export_index(None, &export)
                    .and_then(|interface| component.get_export_index(Some(&interface), "handle"))
                    .ok_or_else(|| signature(wasmtime::Error::msg("no function `handle`")))?;
                Ok(Self::Incoming { pre, handle })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(exports: &[&str]) -> Result<String, String> {
        let engine = wasmtime::Engine::new(&engine::config().unwrap()).unwrap();
        let text: Vec<String> = exports
            .iter()
            .enumerate()
            .map(|(n, name)| {
                format!(
                    r#"(instance $i{n} (export "handle" (func $f))) (export "{name}" (instance $i{n}))"#
                )
            })
            .collect();
        let text = text.concat();
        let wat = format!(
            r#"(component
                (core module $m (func (export "f")))
                (core instance $c (instantiate $m))
                (func $f (canon lift (core func $c "f")))
                {text}
            )"#
        );
        let component = Component::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
        export(&component).map(|(name, _)| name).map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_handler_is_needed() {
        for name in [
            "wasi:http/incoming-handler@0.2.0",
            "wasi:http/incoming-handler@0.2.12",
            "wasi:http/incoming-handler@0.2.0-rc-2023-10-18",
            "wasi:http/incoming-handler@0.2.0-rc-2023-11-10",
            "wasi:http/handler@0.3.0",
            "fermyon:spin/inbound-http",
        ] {
            assert_eq!(find(&[name, "acme:other/thing"]).unwrap(), name);
        }
        let error = find(&["wasi:http/handler@0.3.0", "fermyon:spin/inbound-http"]).unwrap_err();
        assert!(error.contains("several") && error.contains("inbound-http"), "{error}");
        let error = find(&["acme:other/thing"]).unwrap_err();
        assert!(error.contains("no HTTP handler"), "{error}");
        assert!(
            error.ends_with(
                "exports acme:other/thing: a library is a dependency of another component"
            )
        );
        assert!(find(&["wasi:cli/run@0.2.0"]).unwrap_err().contains("command"));
        let error = find(&["wasi:http/handler@0.3.0-rc-2026-03-15"]).unwrap_err();
        assert!(error.contains("0.3.0-rc-2026-03-15"), "{error}");
    }

    #[test]
    fn a_package_of_interfaces_is_told_from_a_component() {
        let engine = wasmtime::Engine::new(&engine::config().unwrap()).unwrap();
        let package = r#"(component
            (type $t (component
                (type (instance (export "f" (func))))
                (export "acme:pkg/things@1.0.0" (instance (type 0)))
            ))
            (export "things" (type $t))
        )"#;
        let component = Component::new(&engine, wat::parse_str(package).unwrap()).unwrap();
        let error = export(&component).map(|(name, _)| name).unwrap_err().to_string();
        assert!(error.contains("a package of interfaces (WIT) without code"), "{error}");
    }
}
