//! One guest that does on request what guests do in the field. The first part
//! of the path, after the component's prefix `/b`, names the behaviour; the
//! query string holds its numbers.

use std::io::Write as _;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::{Headers, IncomingRequest, OutgoingResponse, Request, Response, ResponseOutparam};
use spin_sdk::http_component;
use spin_sdk::variables;

#[http_component]
async fn handle(request: IncomingRequest, responder: ResponseOutparam) {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match path.strip_prefix("/b/").unwrap_or(path) {
        "hello" => text(responder, "hello\n").await,
        "echo" => echo(request, responder).await,
        "headers" => text(responder, &request_headers(&request)).await,
        "method" => text(responder, &format!("{}\n", method_name(&request))).await,
        "env" => text(responder, &environment()).await,
        "variable" => text(responder, &variable(query)).await,
        "file" => file(responder, query).await,
        "list" => text(responder, &listing(query)).await,
        "fetch" => fetch(responder, query).await,
        "status" => status(responder, query).await,
        "two-cookies" => two_cookies(responder).await,
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(query, "ms")));
            text(responder, "slept\n").await;
        }
        "drip" => drip(responder, query).await,
        "big" => big(responder, query).await,
        "log" => log(responder, query).await,
        "write" => write(request, responder).await,
        "last-words" => last_words(),
        "panic" => panic!("asked to panic"),
        "trap-in-the-body" => trap_in_the_body(responder).await,
        "spin-loop" => spin_loop(),
        "memory" => memory(responder, query).await,
        "recurse" => text(responder, &format!("{}\n", recurse(number(query, "depth")))).await,
        "exit" => std::process::exit(number(query, "code") as i32),
        "no-response" => drop(responder),
        _ => respond(responder, 404, &[], b"no such behaviour\n".to_vec()).await,
    }
}

/// The number behind `name=` in the query string; 0 when there is none.
fn number(query: &str, name: &str) -> u64 {
    parameter(query, name).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|pair| pair.1)
}

async fn text(responder: ResponseOutparam, body: &str) {
    respond(responder, 200, &[("content-type", "text/plain")], body.as_bytes().to_vec()).await;
}

async fn respond(responder: ResponseOutparam, status: u16, headers: &[(&str, &str)], body: Vec<u8>) {
    let list: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let response = OutgoingResponse::new(Headers::from_list(&list).expect("valid headers"));
    response.set_status_code(status).expect("valid status");
    responder.set_with_body(response, body).await.expect("the body is accepted");
}

/// Sends every chunk of the request back before it reads the next one.
async fn echo(request: IncomingRequest, responder: ResponseOutparam) {
    let response = OutgoingResponse::new(Headers::new());
    let mut output = response.take_body();
    let mut input = Box::pin(request.into_body_stream());
    responder.set(response);
    while let Some(chunk) = input.next().await {
        let Ok(chunk) = chunk else { return };
        if output.send(chunk).await.is_err() {
            return;
        }
    }
}

fn request_headers(request: &IncomingRequest) -> String {
    let mut lines: Vec<String> = request
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(&value)))
        .collect();
    lines.sort();
    lines.concat()
}

fn method_name(request: &IncomingRequest) -> String {
    request.method().to_string()
}

fn environment() -> String {
    let mut lines: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
    lines.sort();
    lines.concat()
}

fn variable(query: &str) -> String {
    match variables::get(parameter(query, "name").unwrap_or_default()) {
        Ok(value) => format!("{value}\n"),
        Err(error) => format!("error: {error}\n"),
    }
}

async fn file(responder: ResponseOutparam, query: &str) {
    match std::fs::read(parameter(query, "path").unwrap_or_default()) {
        Ok(content) => respond(responder, 200, &[], content).await,
        Err(error) => respond(responder, 404, &[], format!("{error}\n").into_bytes()).await,
    }
}

fn listing(query: &str) -> String {
    match std::fs::read_dir(parameter(query, "path").unwrap_or("/")) {
        Ok(entries) => {
            let mut names: Vec<String> = entries
                .filter_map(Result::ok)
                .map(|entry| format!("{}\n", entry.file_name().to_string_lossy()))
                .collect();
            names.sort();
            names.concat()
        }
        Err(error) => format!("error: {error}\n"),
    }
}

/// Asks a server, whose `url` the manifest must allow, and passes its answer on.
async fn fetch(responder: ResponseOutparam, query: &str) {
    let request = Request::get(parameter(query, "url").unwrap_or_default()).build();
    match spin_sdk::http::send::<_, Response>(request).await {
        Ok(answer) => respond(responder, *answer.status(), &[], answer.into_body()).await,
        Err(error) => respond(responder, 502, &[], format!("{error}\n").into_bytes()).await,
    }
}

async fn status(responder: ResponseOutparam, query: &str) {
    respond(responder, number(query, "code") as u16, &[("x-behaviour", "status")], Vec::new()).await;
}

async fn two_cookies(responder: ResponseOutparam) {
    respond(responder, 200, &[("set-cookie", "a=1"), ("set-cookie", "b=2")], Vec::new()).await;
}

/// `chunks` pieces of 1 KiB, `ms` milliseconds apart.
async fn drip(responder: ResponseOutparam, query: &str) {
    let response = OutgoingResponse::new(Headers::new());
    let mut output = response.take_body();
    responder.set(response);
    for _ in 0..number(query, "chunks") {
        if output.send(vec![b'.'; 1024]).await.is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(number(query, "ms")));
    }
}

/// `bytes` bytes in pieces of `piece` bytes, or of 64 KiB.
async fn big(responder: ResponseOutparam, query: &str) {
    let response = OutgoingResponse::new(Headers::new());
    let mut output = response.take_body();
    responder.set(response);
    let mut left = number(query, "bytes");
    let longest = if query.contains("piece=") { number(query, "piece") } else { 64 * 1024 };
    while left > 0 {
        let piece = left.min(longest);
        if output.send(vec![b'x'; piece as usize]).await.is_err() {
            return;
        }
        left -= piece;
    }
}

/// `lines` lines on standard output and one on standard error.
async fn log(responder: ResponseOutparam, query: &str) {
    for line in 0..number(query, "lines") {
        println!("line {line}");
    }
    eprintln!("to standard error");
    text(responder, "logged\n").await;
}

/// Writes the body of the request to standard output, as it is.
async fn write(request: IncomingRequest, responder: ResponseOutparam) {
    let body = request.into_body().await.expect("a body");
    let mut output = std::io::stdout();
    output.write_all(&body).expect("standard output takes it");
    output.flush().expect("standard output can be flushed");
    text(responder, "written\n").await;
}

/// Writes a line without an end, then traps: the line must not get lost.
fn last_words() -> ! {
    print!("last words without a newline");
    std::io::stdout().flush().expect("standard output can be flushed");
    core::arch::wasm32::unreachable()
}

async fn trap_in_the_body(responder: ResponseOutparam) {
    let response = OutgoingResponse::new(Headers::new());
    let mut output = response.take_body();
    responder.set(response);
    output.send(b"the first half".to_vec()).await.expect("the chunk is accepted");
    core::arch::wasm32::unreachable()
}

fn spin_loop() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

/// Takes `mib` MiB of memory and touches every page of it.
async fn memory(responder: ResponseOutparam, query: &str) {
    let mut taken = Vec::new();
    for _ in 0..number(query, "mib") {
        taken.push(std::hint::black_box(vec![1_u8; 1024 * 1024]));
    }
    text(responder, &format!("{} MiB\n", taken.len())).await;
}

fn recurse(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    std::hint::black_box(recurse(std::hint::black_box(depth - 1)) + 1)
}
