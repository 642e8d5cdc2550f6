use super::*;
use crate::tests::State;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use wasmtime_wasi::p2::Pollable as _;
use wasmtime_wasi_http::Error;

#[test]
fn timeouts_count_milliseconds() {
    let mut state = State::closed();
    let view = &mut state.http();
    let options = HostRequestOptions::new(view).unwrap();
    let borrowed = || Resource::new_borrow(options.rep());
    set_connect_timeout(view, borrowed(), Some(1)).unwrap().unwrap();
    set_first_byte_timeout(view, borrowed(), Some(2)).unwrap().unwrap();
    set_between_bytes_timeout(view, borrowed(), Some(u64::MAX)).unwrap().unwrap();

    assert_eq!(view.table.get(&options).unwrap().connect_timeout, Some(Duration::from_millis(1)));
    assert_eq!(connect_timeout(view, borrowed()).unwrap(), Some(1));
    assert_eq!(first_byte_timeout(view, borrowed()).unwrap(), Some(2));
    assert_eq!(between_bytes_timeout(view, borrowed()).unwrap(), Some(u64::MAX));

    set_connect_timeout(view, borrowed(), None).unwrap().unwrap();
    assert_eq!(connect_timeout(view, borrowed()).unwrap(), None);
}

#[tokio::test]
async fn trailers_are_given_out_once() {
    let mut state = State::closed();
    let view = &mut state.http();
    let body = Empty::<Bytes>::new().map_err(|never| -> Error { match never {} });
    let request = ::http::Request::get("http://example.com/").body(body).unwrap();
    let request = view.new_incoming_request(Scheme::Http, request).unwrap();
    let body = HostIncomingRequest::consume(view, request).unwrap().unwrap();
    let future = types::HostIncomingBody::finish(view, body).unwrap();
    view.table.get_mut(&future).unwrap().ready().await;

    let borrowed = || Resource::new_borrow(future.rep());
    assert!(matches!(trailers(view, borrowed()).unwrap(), Some(Ok(None))));
    let again = trailers(view, borrowed()).unwrap().unwrap().unwrap_err();
    assert!(matches!(again, ErrorCode::InternalError(Some(_))), "{again:?}");
}
