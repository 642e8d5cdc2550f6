//! Does what an app of the SDK 2.x does with `wasi:http` as of 2023-10-18.
//!
//! | path | answer |
//! |---|---|
//! | `/hello` | method, path and query of the request, its header `x-echo` in `x-echoed` |
//! | `/host` | an environment variable, a file, and that the clock and randomness work |
//! | `/upper` | the body in upper case, chunk by chunk as it arrives |
//! | `/error` | 500: the handler returns an error |
//! | `/panic` | none: the handler panics |
//! | `/fetch?URL` | status and body of a GET of URL, or the error |

use anyhow::{anyhow, bail, Context, Result};
use futures::{SinkExt, StreamExt};
use spin_sdk::http::{
    Headers, IncomingRequest, IntoResponse, OutgoingResponse, Request, Response, ResponseOutparam,
};
use spin_sdk::http_component;

#[http_component]
async fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
    let path = request.path_with_query().unwrap_or_default();
    if path == "/upper" {
        upper(request, response_out).await;
        return;
    }
    let response = match answer(&path, request).await {
        Ok(response) => response,
        Err(error) => Response::new(500, format!("{error:#}")),
    };
    let headers: Vec<_> = response
        .headers()
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    let outgoing = OutgoingResponse::new(*response.status(), &Headers::new(&headers));
    response_out.set_with_body(outgoing, response.into_body()).await.expect("the body is taken");
}

async fn answer(path: &str, request: IncomingRequest) -> Result<Response> {
    match path.split_once('?').map_or((path, ""), |(path, query)| (path, query)) {
        ("/hello", _) => Ok(hello(path, &request)),
        ("/host", _) => host(),
        ("/error", _) => bail!("as requested"),
        ("/panic", _) => panic!("as requested"),
        ("/fetch", url) => fetch(url).await,
        _ => Ok(Response::new(404, "")),
    }
}

fn hello(path: &str, request: &IncomingRequest) -> Response {
    let echo = request.headers().get("x-echo").pop().unwrap_or_default();
    let body = format!("{} {path} from 2023-10-18", request.method());
    Response::builder()
        .status(200)
        .header("x-echoed", String::from_utf8_lossy(&echo))
        .header("content-type", "text/plain")
        .body(body)
        .build()
}

fn host() -> Result<Response> {
    let variable = std::env::var("FROM_THE_MANIFEST")?;
    let file = std::fs::read_to_string("/greeting.txt").context("cannot read /greeting.txt")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    if now.as_secs() < 1_700_000_000 {
        bail!("the clock says {now:?}");
    }
    std::thread::sleep(std::time::Duration::from_millis(1));
    // Its keys are random; a host without randomness would trap here.
    let map = std::collections::HashMap::from([("variable", variable), ("file", file)]);
    Ok(Response::new(200, format!("{} {}", map["variable"], map["file"].trim())))
}

async fn upper(request: IncomingRequest, response_out: ResponseOutparam) {
    let mut chunks = request.into_body_stream();
    let response = OutgoingResponse::new(200, &Headers::new(&[]));
    let mut body = response.take_body();
    response_out.set(response);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.expect("the request body can be read");
        body.send(chunk.to_ascii_uppercase()).await.expect("the response body can be written");
    }
}

async fn fetch(url: &str) -> Result<Response> {
    let response: Response = spin_sdk::http::send(Request::get(url).build())
        .await
        .map_err(|error| anyhow!("{error:?}"))?;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    Ok(Response::new(200, format!("{} {text}", response.status())).into_response())
}
