use super::*;
use crate::tests::State;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use wasmtime_wasi::p2::Pollable as _;
use wasmtime_wasi_http::Error as BodyError;

fn entry(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

fn incoming_request(state: &mut State, headers: &[(&str, &str)]) -> Resource<IncomingRequest> {
    let mut request = ::http::Request::get("http://example.com/hello");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Empty::<Bytes>::new().map_err(|never| -> BodyError { match never {} });
    state.http().new_incoming_request(Scheme::Http, request.body(body).unwrap()).unwrap()
}

fn outgoing_request(
    view: &mut View<'_>,
    path_with_query: &str,
    authority: &str,
) -> Resource<OutgoingRequest> {
    let headers = new_fields(view, vec![entry("accept", "text/plain")]).unwrap();
    let (path, authority) = (Some(path_with_query.to_owned()), Some(authority.to_owned()));
    new_request(view, Method::Get, path, Some(Scheme::Http), authority, headers).unwrap()
}

#[test]
fn headers_that_the_host_keeps_for_itself_are_left_out() {
    let mut state = State::closed();
    let view = &mut state.http();
    let entries = vec![entry("host", "a"), entry("x-a", "1"), entry("connection", "close")];
    let fields = new_fields(view, entries).unwrap();
    let borrowed = || Resource::new_borrow(fields.rep());
    set_field(view, borrowed(), "transfer-encoding".to_owned(), vec![b"x".to_vec()]).unwrap();
    delete_field(view, borrowed(), "upgrade".to_owned()).unwrap();
    assert_eq!(HostFields::entries(view, borrowed()).unwrap(), [entry("x-a", "1")]);
}

#[test]
fn a_malformed_header_traps_and_is_named() {
    let mut state = State::closed();
    let view = &mut state.http();
    let trap = new_fields(view, vec![entry("x y", "1")]).unwrap_err();
    assert!(trap.to_string().contains("header `x y` is malformed"), "{trap}");
    new_fields(view, vec![entry("x-a", "line\nbreak")]).unwrap_err();
}

#[test]
fn a_guest_changes_its_own_copy_of_the_headers_it_received() {
    let mut state = State::closed();
    let request = incoming_request(&mut state, &[("x-a", "1")]);
    let view = &mut state.http();
    let borrowed = || Resource::new_borrow(request.rep());
    let headers = request_headers(view, borrowed()).unwrap();
    let headers = || Resource::new_borrow(headers.rep());
    append_field(view, headers(), "x-b".to_owned(), b"2".to_vec()).unwrap();
    assert_eq!(HostFields::entries(view, headers()).unwrap().len(), 2);

    let again = request_headers(view, borrowed()).unwrap();
    assert_eq!(HostFields::entries(view, again).unwrap(), [entry("x-a", "1")]);
}

#[tokio::test]
async fn a_request_goes_out_as_the_guest_made_it() {
    let mut state = State::closed();
    let view = &mut state.http();
    let request = outgoing_request(view, "/path?q=1", "example.com:81");
    let options = RequestOptions { connect: Some(1), first_byte: Some(2500), between_bytes: None };
    let future = handle(view, request, Some(options)).unwrap().unwrap();

    let (sent, options) = state.outside.asked.take().unwrap();
    assert_eq!(sent.method(), "GET");
    assert_eq!(sent.uri(), "http://example.com:81/path?q=1");
    assert_eq!(sent.headers()["accept"], "text/plain");
    let expected = today::RequestOptions {
        connect_timeout: Some(Duration::from_millis(1)),
        first_byte_timeout: Some(Duration::from_millis(2500)),
        between_bytes_timeout: None,
    };
    assert_eq!(options, Some(expected));

    let view = &mut state.http();
    view.table.get_mut(&future).unwrap().ready().await;
    let borrowed = || Resource::new_borrow(future.rep());
    let received = response(view, borrowed()).unwrap().unwrap().unwrap().unwrap();
    assert_eq!(HostIncomingResponse::status(view, received).unwrap(), 204);
    assert!(matches!(response(view, borrowed()).unwrap(), Some(Err(()))), "given out once");
}

#[test]
fn a_request_with_a_malformed_part_fails_when_it_is_sent() {
    for (path, authority) in [
        ("no-slash", "example.com"),
        ("/a b", "example.com"),
        ("/", "exa mple.com"),
        ("/", "user@example.com@"),
    ] {
        let mut state = State::closed();
        let view = &mut state.http();
        let request = outgoing_request(view, path, authority);
        let outcome = handle(view, request, None).unwrap();
        assert!(matches!(outcome, Err(Error::InvalidUrl(_))), "{path} {authority}: {outcome:?}");
        assert!(state.outside.asked.is_none(), "{path} {authority} was sent");
    }
}

#[test]
fn a_request_leaves_nothing_behind_when_it_fails() {
    let mut state = State::closed();
    let view = &mut state.http();
    let headers = new_fields(view, Vec::new()).unwrap();
    let borrowed = Resource::new_borrow(headers.rep());
    let method = Method::Other("bad method".to_owned());
    let request = new_request(view, method, None, None, None, borrowed).unwrap();
    let outcome = handle(view, request, None).unwrap();
    assert!(matches!(outcome, Err(Error::Protocol(_))), "{outcome:?}");
    HostFields::drop(view, headers).unwrap();
    assert!(state.table.is_empty());
}

#[test]
fn a_response_carries_the_status_and_the_headers_it_was_made_with() {
    let mut state = State::closed();
    let (sender, mut receiver) = tokio::sync::oneshot::channel();
    let view = &mut state.http();
    let param = view.new_response_outparam(sender).unwrap();
    let headers = new_fields(view, vec![entry("x-a", "1")]).unwrap();
    let response = new_response(view, 418, Resource::new_borrow(headers.rep())).unwrap();
    append_field(view, headers, "x-b".to_owned(), b"too late".to_vec()).unwrap();
    set_response(view, param, Ok(response)).unwrap();

    let sent = receiver.try_recv().unwrap().unwrap();
    assert_eq!(sent.status(), 418);
    assert_eq!(sent.headers().len(), 1);
    assert_eq!(sent.headers()["x-a"], "1");
}

#[test]
fn an_impossible_status_traps() {
    let mut state = State::closed();
    let view = &mut state.http();
    let headers = new_fields(view, Vec::new()).unwrap();
    let trap = new_response(view, 1000, headers).unwrap_err();
    assert!(trap.to_string().contains("status 1000 is invalid"), "{trap}");
}

#[test]
fn an_error_as_response_keeps_its_text() {
    let mut state = State::closed();
    let (sender, mut receiver) = tokio::sync::oneshot::channel();
    let view = &mut state.http();
    let param = view.new_response_outparam(sender).unwrap();
    set_response(view, param, Err(Error::Timeout("upstream".to_owned()))).unwrap();
    let code = receiver.try_recv().unwrap().unwrap_err();
    assert!(
        matches!(&code, ErrorCode::InternalError(Some(text)) if text == "timeout: upstream"),
        "{code:?}"
    );
}

#[test]
fn errors_carry_the_name_they_have_today() {
    let error = Error::from(ErrorCode::HttpRequestDenied);
    assert_eq!(error, Error::Unexpected("ErrorCode::HttpRequestDenied".to_owned()));
    let error = Error::from(ErrorCode::ConnectionTimeout);
    assert_eq!(error, Error::Timeout("ErrorCode::ConnectionTimeout".to_owned()));
}

#[tokio::test]
async fn a_request_without_trailers_gives_empty_ones_once() {
    let mut state = State::closed();
    let request = incoming_request(&mut state, &[]);
    let view = &mut state.http();
    let body = HostIncomingRequest::consume(view, request).unwrap().unwrap();
    let future = today::HostIncomingBody::finish(view, body).unwrap();
    view.table.get_mut(&future).unwrap().ready().await;

    let borrowed = || Resource::new_borrow(future.rep());
    let received = trailers(view, borrowed()).unwrap().unwrap().unwrap();
    assert!(HostFields::entries(view, received).unwrap().is_empty());
    let again = trailers(view, borrowed()).unwrap().unwrap().unwrap_err();
    assert_eq!(again, Error::Unexpected("the trailers were already taken".to_owned()));
}
