//! Does what a guest can do with WASI as of 2023-11-10, without an SDK.
//!
//! | path | answer |
//! |---|---|
//! | `/hello` | method, path and query of the request, its header `x-echo` in `x-echoed` |
//! | `/host` | an environment variable, a file, and that the clocks and randomness work |
//! | `/upper` | the body in upper case, chunk by chunk as it arrives |
//! | `/error` | the error code `loop-detected` instead of a response |
//! | `/panic` | none: the handler panics |
//! | `/fetch?AUTHORITY/PATH` | status and body of a GET, or the error code |
//! | `/tcp?PORT` | what a server on 127.0.0.1 says to `hello` |

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::wasi::http::incoming_handler::Guest;
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};
use wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasi::sockets::{instance_network, tcp_create_socket};

/// The most that one blocking call reads or writes.
const CHUNK: usize = 4096;

struct Component;

export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let answer = match path {
            "/hello" => Ok(format!("{:?} {target} from 2023-11-10", request.method())),
            "/host" => host(),
            "/fetch" => fetch(query),
            "/tcp" => tcp(query),
            "/upper" => return upper(&request, response_out),
            "/error" => return ResponseOutparam::set(response_out, Err(ErrorCode::LoopDetected)),
            "/panic" => panic!("as requested"),
            _ => Err(format!("there is no {path}")),
        };
        let (status, text) = match answer {
            Ok(text) => (200, text),
            Err(text) => (500, text),
        };
        let echo = request.headers().get("x-echo");
        let (stream, body) = start(response_out, status, echo);
        write(&stream, text.as_bytes());
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}

/// Sends the head of a response.
fn start(out: ResponseOutparam, status: u16, echo: Vec<Vec<u8>>) -> (OutputStream, OutgoingBody) {
    let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())])
        .expect("the headers are well formed");
    headers.set("x-echoed", &echo).expect("the header is well formed");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("the status is valid");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    (body.write().expect("the stream is taken once"), body)
}

fn write(stream: &OutputStream, bytes: &[u8]) {
    for chunk in bytes.chunks(CHUNK) {
        stream.blocking_write_and_flush(chunk).expect("the peer reads");
    }
}

/// The next bytes of a stream, `None` at its end.
fn read(stream: &InputStream) -> Result<Option<Vec<u8>>, String> {
    match stream.blocking_read(CHUNK as u64) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(error)) => Err(error.to_debug_string()),
    }
}

fn upper(request: &IncomingRequest, response_out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let source = incoming.stream().expect("the stream is taken once");
    let (sink, outgoing) = start(response_out, 200, Vec::new());
    while let Some(bytes) = read(&source).expect("the client sends") {
        write(&sink, &bytes.to_ascii_uppercase());
    }
    drop(sink);
    OutgoingBody::finish(outgoing, None).expect("the body is complete");
    drop(source);
    let trailers = IncomingBody::finish(incoming);
    trailers.subscribe().block();
    trailers.get().expect("the trailers are there").expect("the client ends its request");
}

fn host() -> Result<String, String> {
    let environment = wasi::cli::environment::get_environment();
    let variable = environment
        .into_iter()
        .find_map(|(name, value)| (name == "FROM_THE_MANIFEST").then_some(value))
        .ok_or("FROM_THE_MANIFEST is not set")?;

    let (root, _) = wasi::filesystem::preopens::get_directories().pop().ok_or("no directory")?;
    let (path_flags, read) = (PathFlags::empty(), DescriptorFlags::READ);
    let file = root
        .open_at(path_flags, "greeting.txt", OpenFlags::empty(), read)
        .map_err(|code| format!("cannot open greeting.txt: {code:?}"))?;
    let (contents, _) = file.read(100, 0).map_err(|code| format!("cannot read: {code:?}"))?;

    let before = monotonic_clock::now();
    monotonic_clock::subscribe_duration(1_000_000).block();
    if monotonic_clock::now() < before + 1_000_000 || wall_clock::now().seconds < 1_700_000_000 {
        return Err("the clocks are wrong".to_owned());
    }
    if wasi::random::random::get_random_u64() == wasi::random::random::get_random_u64() {
        return Err("randomness repeats itself".to_owned());
    }
    Ok(format!("{variable} {}", String::from_utf8_lossy(&contents).trim()))
}

fn fetch(target: &str) -> Result<String, String> {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| "path")?;
    let options = RequestOptions::new();
    options.set_connect_timeout_ms(Some(5000)).map_err(|()| "timeout")?;
    if options.connect_timeout_ms() != Some(5000) {
        return Err("the timeout changed".to_owned());
    }
    let future =
        outgoing_handler::handle(request, Some(options)).map_err(|code| format!("{code:?}"))?;
    future.subscribe().block();
    let response = future
        .get()
        .ok_or("the response is not there")?
        .map_err(|()| "the response was taken")?
        .map_err(|code| format!("{code:?}"))?;
    let body = response.consume().map_err(|()| "the body was taken")?;
    let stream = body.stream().map_err(|()| "the stream was taken")?;
    let mut text = Vec::new();
    while let Some(bytes) = read(&stream)? {
        text.extend(bytes);
    }
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&text)))
}

fn tcp(port: &str) -> Result<String, String> {
    let port = port.parse().map_err(|_| "the query is not a port")?;
    let failed = |code: wasi::sockets::network::ErrorCode| format!("{code:?}");
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map_err(failed)?;
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    socket.start_connect(&instance_network::instance_network(), address).map_err(failed)?;
    socket.subscribe().block();
    let (source, sink) = socket.finish_connect().map_err(failed)?;
    sink.blocking_write_and_flush(b"hello").map_err(|error| format!("{error:?}"))?;
    let answer = read(&source)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
