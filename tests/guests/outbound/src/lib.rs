//! Reaches servers as the lines of a request's body say; answers with a line for
//! each of them.
//!
//! | path ends with | a line | answer |
//! |---|---|---|
//! | `/fetch` | `URL [connect=MS] [first=MS] [between=MS]` | status and body of a GET, or the error |
//! | `/tcp` | `IPV4:PORT` | `connected`, or the error code |
//! | `/tcp-in-turn` | the same | the same |
//! | `/socket` | `tcp` or `udp` | `made`, or the error code |
//! | `/listen` | `IPV4:PORT` | `bound`, or the error code |
//! | `/lookup` | a name | its first address, or the error code |
//!
//! Requests are all sent before the first answer is read, and sockets of `/tcp`
//! are all kept until the end; those of `/tcp-in-turn` are dropped one by one. A
//! URL that begins with `/` is one without authority, which is the app's own.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, OutgoingBody,
    OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, StreamError};
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::{instance_network, network, tcp_create_socket, udp_create_socket};

/// The most that one blocking call reads or writes.
const CHUNK: usize = 4096;

struct Component;

wasip2::http::proxy::export!(Component);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let body = read_request(request);
        let lines = body.lines().filter(|line| !line.is_empty());
        let answers: Vec<String> = match target.rsplit('/').next() {
            Some("fetch") => {
                let sent: Vec<_> = lines.map(send).collect();
                let answers = sent.into_iter().map(|sent| sent.map_err(name_of).and_then(receive));
                answers.map(|answer| answer.unwrap_or_else(|code| code)).collect()
            }
            Some("tcp") => {
                let sockets: Vec<_> = lines.map(connect).collect();
                sockets.iter().map(connected).collect()
            }
            Some("tcp-in-turn") => lines.map(|line| connected(&connect(line))).collect(),
            Some("socket") => lines.map(|line| said(make(line), "made")).collect(),
            Some("listen") => lines.map(|line| said(bind(line), "bound")).collect(),
            Some("lookup") => lines.map(|line| said(look_up(line), "found")).collect(),
            _ => vec![format!("there is no {target}")],
        };
        respond(response_out, &answers.join("\n"));
    }
}

fn name_of(code: ErrorCode) -> String {
    format!("{code:?}").trim_start_matches("ErrorCode::").to_owned()
}

fn send(line: &str) -> Result<FutureIncomingResponse, ErrorCode> {
    let mut words = line.split_whitespace();
    let url = words.next().unwrap_or_default();
    let request = OutgoingRequest::new(Fields::new());
    let rest = match url.split_once("://") {
        Some((scheme, rest)) => {
            let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
            request.set_scheme(Some(&scheme)).expect("a scheme");
            rest
        }
        None => url,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !authority.is_empty() {
        request.set_authority(Some(authority)).expect("an authority");
    }
    request.set_path_with_query(Some(path)).expect("a path");
    let options = RequestOptions::new();
    for word in words {
        let (name, milliseconds) = word.split_once('=').expect("name=MS");
        let nanoseconds = milliseconds.parse::<u64>().expect("a number") * 1_000_000;
        match name {
            "connect" => options.set_connect_timeout(Some(nanoseconds)),
            "first" => options.set_first_byte_timeout(Some(nanoseconds)),
            _ => options.set_between_bytes_timeout(Some(nanoseconds)),
        }
        .expect("a timeout that is supported");
    }
    outgoing_handler::handle(request, Some(options))
}

fn receive(response: FutureIncomingResponse) -> Result<String, String> {
    response.subscribe().block();
    let response = response.get().expect("it is ready").expect("it is asked for once");
    let response = response.map_err(name_of)?;
    let status = response.status();
    let body = response.consume().expect("the body");
    let stream = body.stream().expect("its stream");
    let text = read(&stream)?;
    Ok(format!("{status} {text}"))
}

fn read(stream: &InputStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK as u64) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| error.to_debug_string(), name_of));
            }
        }
    }
}

/// `IPV4:PORT`.
fn address(line: &str) -> IpSocketAddress {
    let address: std::net::SocketAddrV4 = line.parse().expect("IPV4:PORT");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}

fn said<T>(outcome: Result<T, network::ErrorCode>, well: &str) -> String {
    outcome.map_or_else(|code| code.name().to_owned(), |_| well.to_owned())
}

fn make(protocol: &str) -> Result<(), network::ErrorCode> {
    match protocol {
        "udp" => udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4).map(drop),
        _ => tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map(drop),
    }
}

fn bind(line: &str) -> Result<(), network::ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network::instance_network(), address(line))?;
    socket.finish_bind()
}

fn look_up(name: &str) -> Result<(), network::ErrorCode> {
    let addresses = resolve_addresses(&instance_network::instance_network(), name)?;
    loop {
        match addresses.resolve_next_address() {
            Err(network::ErrorCode::WouldBlock) => addresses.subscribe().block(),
            outcome => return outcome.map(drop),
        }
    }
}

fn connect(line: &str) -> Result<TcpSocket, network::ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&instance_network::instance_network(), address(line))?;
    loop {
        match socket.finish_connect() {
            Err(network::ErrorCode::WouldBlock) => socket.subscribe().block(),
            // The socket stays connected without its streams.
            Ok(_) => return Ok(socket),
            Err(error) => return Err(error),
        }
    }
}

fn connected(result: &Result<TcpSocket, network::ErrorCode>) -> String {
    result.as_ref().map_or_else(|code| code.name(), |_| "connected").to_owned()
}

fn read_request(request: IncomingRequest) -> String {
    let body = request.consume().expect("the body");
    let stream = body.stream().expect("its stream");
    let text = read(&stream).unwrap_or_default();
    drop(stream);
    drop(IncomingBody::finish(body));
    text
}

fn respond(response_out: ResponseOutparam, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the body");
    ResponseOutparam::set(response_out, Ok(response));
    let stream = body.write().expect("its stream");
    for chunk in text.as_bytes().chunks(CHUNK) {
        stream.blocking_write_and_flush(chunk).expect("the client reads");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is complete");
}
