//! `/metrics`, `/healthz` and `/readyz` over plain HTTP.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use crate::context::Context;
use crate::metrics::Apps;

/// Answers until the process ends. A connection that fails ends alone.
pub(crate) async fn serve(listener: TcpListener, context: Arc<Context>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: they come back when connections end.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let context = Arc::clone(&context);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &context);
                async move { Ok::<_, Infallible>(answer) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(error, "a connection for metrics ended early");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, context: &Context) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/healthz" | "/readyz" => (StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => (StatusCode::OK, context.metrics.render(count(context))),
        path => (StatusCode::NOT_FOUND, format!("{path} is not served; /metrics is\n")),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn count(context: &Context) -> Apps {
    let mut apps = Apps::default();
    for app in context.apps.state() {
        let conditions = app.0.iter().flat_map(|app| &app.status).flat_map(|it| &it.conditions);
        let mut ready = conditions.filter(|found| found.type_ == "Ready" && found.status == "True");
        if ready.next().is_some() {
            apps.ready += 1;
        } else {
            apps.not_ready += 1;
        }
    }
    apps
}
