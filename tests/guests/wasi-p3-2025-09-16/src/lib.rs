//! A guest of WASI 0.3.0-rc-2025-09-16, as Spin 3.5 ran them: echoes as a stream,
//! fetches, and tells its environment and what it may write into headers.

use spin_sdk::http_wasip3::{EmptyBody, IntoResponse, Request, Response, Result, http_service, send};
use spin_sdk::http_wasip3::wasip3::http::types::{Fields, HeaderError};

#[http_service]
async fn handle(request: Request) -> Result<impl IntoResponse> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    Ok(match request.uri().path() {
        "/echo" => Response::new(request.into_body()).into_response()?,
        "/environment" => std::env::var(query).unwrap_or_default().into_response()?,
        "/header" => header(&query).into_response()?,
        "/fetch" => {
            let request = http::Request::get(&query).body(EmptyBody::new()).expect("a URL");
            match send(request).await {
                Ok(response) => response.into_response()?,
                Err(error) => format!("{error:?}").into_response()?,
            }
        }
        _ => "Hello from 2025-09-16!\n".into_response()?,
    })
}

/// What is said about a header of this name.
fn header(name: &str) -> &'static str {
    match Fields::new().append(name, b"value") {
        Ok(()) => "accepted",
        Err(HeaderError::InvalidSyntax) => "invalid syntax",
        Err(HeaderError::Forbidden) => "forbidden",
        Err(HeaderError::Immutable) => "immutable",
    }
}
