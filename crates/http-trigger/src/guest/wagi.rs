//! Calling programs as CGI does it: the `wagi` executor.
//!
//! The request is the program's environment, arguments and standard input; its
//! standard output is the response: headers, an empty line, the body.

mod environment;
mod response;

use std::sync::Arc;

use bytes::Bytes;
use host::spin_http::MAX_BUFFERED_BODY;
use host::{ComponentContext, InstanceState, Program};
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use telemetry::Measured;
use trigger::Failure;
use wasmtime::component::{ComponentExportIndex, InstancePre};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi_http::WasiBody;

use super::{GuestError, Origin, spin};
use crate::trigger_config::Wagi;

/// A component whose instances are run as programs.
pub(crate) struct WagiHandler {
    pub(super) pre: InstancePre<InstanceState>,
    /// Its `run` of `wasi:cli/run`.
    pub(super) run: ComponentExportIndex,
    pub(super) settings: Wagi,
}

/// Has a new instance answer `request`.
pub(super) async fn handle(
    context: &Arc<ComponentContext>,
    handler: &WagiHandler,
    request: http::Request<WasiBody>,
    origin: &Origin,
) -> Result<http::Response<WasiBody>, GuestError> {
    let (parts, body) = request.into_parts();
    let body = spin::whole(body).await?;
    let output = MemoryOutputPipe::new(MAX_BUFFERED_BODY);
    let program = Program {
        arguments: arguments(&handler.settings.argv, &parts),
        environment: environment::of_request(&parts, body.len()),
        stdin: Some(Box::new(MemoryInputPipe::new(body))),
        stdout: Some(Box::new(output.clone())),
        ..Program::default()
    };
    run(context, handler, program, origin).await?;
    let written = output.try_into_inner().map_or_else(Bytes::new, bytes::BytesMut::freeze);
    let response = response::of_output(&written);
    Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
}

/// Runs the program to its end. The instance is gone when this returns.
async fn run(
    context: &Arc<ComponentContext>,
    handler: &WagiHandler,
    program: Program,
    origin: &Origin,
) -> Result<(), GuestError> {
    let mut store = origin.store(context, program);
    let told = store.data().told().cloned();
    let made = Measured::new(told.clone(), handler.pre.instantiate_async(&mut store)).await;
    let instance = match made {
        Ok(instance) => instance,
        Err(error) => return Err(GuestError::instantiation(error, &store)),
    };
    store.data().made();
    let called = async {
        let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut store, &handler.run)?;
        run.call_async(&mut store, ()).await
    };
    let called = Measured::new(told, called).await;
    match called.map_err(|error| Failure::of(error, &store)) {
        Ok((Ok(()),)) | Err(Failure::Exited(0)) => Ok(()),
        Ok((Err(()),)) => Err(GuestError::Failed(Failure::Exited(1))),
        Err(failure) => Err(GuestError::Failed(failure)),
    }
}

/// The program's arguments: the template's words.
fn arguments(template: &str, parts: &Parts) -> Vec<String> {
    let query = parts.uri.query().unwrap_or_default().replace('&', " ");
    let name = environment::script_name(parts);
    let line = template.replace("${SCRIPT_NAME}", &name).replace("${ARGS}", &query);
    line.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_the_words_of_the_template() {
        let request = http::Request::get("http://a.test/hello/x?a=1&b=2")
            .header("spin-matched-route", "/hello/...");
        let parts = request.body(()).unwrap().into_parts().0;
        let words = |template| arguments(template, &parts);
        assert_eq!(words("${SCRIPT_NAME} ${ARGS}"), ["/hello", "a=1", "b=2"]);
        assert_eq!(words("program  -x ${ARGS}"), ["program", "", "-x", "a=1", "b=2"]);
    }
}
