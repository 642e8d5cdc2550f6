//! Passes requests on and stamps the answers with the name that its environment
//! has; answers `/stop` by itself.

use spin_sdk::http::{IntoResponse, Request, next};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let name = std::env::var("NAME").unwrap_or_else(|_| "nobody".to_owned());
    if request.uri().path() == "/stop" {
        return Ok(format!("stopped by {name}\n").into_response()?);
    }
    let mut response = next(request).await?;
    response.headers_mut().append("x-passed", name.parse().expect("a header value"));
    Ok(response.into_response()?)
}
