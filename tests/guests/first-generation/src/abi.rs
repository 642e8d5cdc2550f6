//! The types and functions of the interfaces, and their layouts.

use std::cell::UnsafeCell;

const METHODS: [&str; 7] = ["get", "post", "put", "delete", "patch", "head", "options"];

pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Response {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Some(text.into().into_bytes()) }
    }
}

/// Where results are left that do not fit into one value.
#[repr(align(8))]
struct ReturnArea(UnsafeCell<[u8; 32]>);

// There is one thread.
unsafe impl Sync for ReturnArea {}

static RETURN_AREA: ReturnArea = ReturnArea(UnsafeCell::new([0; 32]));

fn return_area() -> *mut u8 {
    RETURN_AREA.0.get().cast()
}

/// Two strings as they lie in memory: address and length of each.
type Pair = [usize; 4];

unsafe fn string(pointer: usize, length: usize) -> String {
    let bytes = unsafe { bytes(pointer, length) };
    String::from_utf8(bytes).expect("the host passes UTF-8 only")
}

unsafe fn bytes(pointer: usize, length: usize) -> Vec<u8> {
    unsafe { Vec::from_raw_parts(pointer as *mut u8, length, length) }
}

unsafe fn pairs(pointer: usize, length: usize) -> Vec<(String, String)> {
    let pairs = unsafe { Vec::from_raw_parts(pointer as *mut Pair, length, length) };
    pairs.into_iter().map(|[a, b, c, d]| unsafe { (string(a, b), string(c, d)) }).collect()
}

unsafe fn word(offset: usize) -> usize {
    unsafe { return_area().add(offset).cast::<usize>().read() }
}

unsafe fn byte(offset: usize) -> u8 {
    unsafe { return_area().add(offset).read() }
}

#[unsafe(export_name = "handle-http-request")]
#[expect(clippy::too_many_arguments, reason = "a request, flattened")]
unsafe extern "C" fn handle_http_request(
    method: usize,
    uri: usize,
    uri_length: usize,
    headers: usize,
    headers_length: usize,
    params: usize,
    params_length: usize,
    has_body: usize,
    body: usize,
    body_length: usize,
) -> *mut u8 {
    let request = unsafe {
        Request {
            method: METHODS[method],
            uri: string(uri, uri_length),
            headers: pairs(headers, headers_length),
            params: pairs(params, params_length),
            body: (has_body == 1).then(|| bytes(body, body_length)),
        }
    };
    unsafe { lower(crate::handle(&request)) }
}

/// Leaves a response in the return area; the host reads it before anything else
/// runs.
unsafe fn lower(response: Response) -> *mut u8 {
    let area = return_area();
    let headers: Vec<Pair> = response
        .headers
        .into_iter()
        .map(|(name, value)| {
            let (name, value) = (name.leak(), value.leak());
            [name.as_ptr() as usize, name.len(), value.as_ptr() as usize, value.len()]
        })
        .collect();
    let headers = headers.leak();
    unsafe {
        area.cast::<u16>().write(response.status);
        area.add(4).write(1);
        area.add(8).cast::<usize>().write(headers.as_ptr() as usize);
        area.add(12).cast::<usize>().write(headers.len());
        area.add(16).write(u8::from(response.body.is_some()));
        let body = response.body.unwrap_or_default().leak();
        area.add(20).cast::<usize>().write(body.as_ptr() as usize);
        area.add(24).cast::<usize>().write(body.len());
    }
    area
}

#[link(wasm_import_module = "spin-config")]
unsafe extern "C" {
    #[link_name = "get-config"]
    fn spin_config_get_config(key: *const u8, length: usize, result: *mut u8);
}

pub(crate) fn get_config(key: &str) -> Result<String, String> {
    unsafe {
        spin_config_get_config(key.as_ptr(), key.len(), return_area());
        match byte(0) {
            0 => Ok(string(word(4), word(8))),
            _ => {
                let kind = ["provider", "invalid-key", "invalid-schema", "other"][byte(4) as usize];
                Err(format!("{kind}: {}", string(word(8), word(12))))
            }
        }
    }
}

#[link(wasm_import_module = "wasi-outbound-http")]
unsafe extern "C" {
    #[link_name = "request"]
    fn outbound_http_request(
        method: usize,
        uri: *const u8,
        uri_length: usize,
        headers: *const Pair,
        headers_length: usize,
        params: *const Pair,
        params_length: usize,
        has_body: usize,
        body: *const u8,
        body_length: usize,
        result: *mut u8,
    );
}

/// POSTs to `uri` and passes on what came back.
pub(crate) fn fetch(uri: &str) -> Result<Response, String> {
    let (name, value) = ("x-sent-by", "the first generation");
    let headers: [Pair; 1] =
        [[name.as_ptr() as usize, name.len(), value.as_ptr() as usize, value.len()]];
    let body = "a body";
    unsafe {
        outbound_http_request(
            1,
            uri.as_ptr(),
            uri.len(),
            headers.as_ptr(),
            headers.len(),
            std::ptr::dangling(),
            0,
            1,
            body.as_ptr(),
            body.len(),
            return_area(),
        );
        if byte(0) == 1 {
            let errors = [
                "success",
                "destination-not-allowed",
                "invalid-url",
                "request-error",
                "runtime-error",
                "too-many-requests",
            ];
            return Err(errors[byte(4) as usize].to_owned());
        }
        let status = return_area().add(4).cast::<u16>().read();
        let headers = if byte(8) == 1 { pairs(word(12), word(16)) } else { Vec::new() };
        let body = (byte(20) == 1).then(|| bytes(word(24), word(28)));
        Ok(Response { status, headers, body })
    }
}

#[link(wasm_import_module = "key-value")]
unsafe extern "C" {
    #[link_name = "open"]
    fn key_value_open(name: *const u8, length: usize, result: *mut u8);
    #[link_name = "get"]
    fn key_value_get(store: u32, key: *const u8, length: usize, result: *mut u8);
    #[link_name = "set"]
    fn key_value_set(
        store: u32,
        key: *const u8,
        length: usize,
        value: *const u8,
        value_length: usize,
        result: *mut u8,
    );
    #[link_name = "close"]
    fn key_value_close(store: u32);
}

unsafe fn key_value_error() -> String {
    let errors = [
        "store-table-full",
        "no-such-store",
        "access-denied",
        "invalid-store",
        "no-such-key",
    ];
    unsafe {
        match errors.get(byte(4) as usize) {
            Some(error) => (*error).to_owned(),
            None => format!("io: {}", string(word(8), word(12))),
        }
    }
}

pub(crate) fn open(name: &str) -> Result<u32, String> {
    unsafe {
        key_value_open(name.as_ptr(), name.len(), return_area());
        if byte(0) == 0 { Ok(word(4) as u32) } else { Err(key_value_error()) }
    }
}

pub(crate) fn get(store: u32, key: &str) -> Result<Vec<u8>, String> {
    unsafe {
        key_value_get(store, key.as_ptr(), key.len(), return_area());
        if byte(0) == 0 { Ok(bytes(word(4), word(8))) } else { Err(key_value_error()) }
    }
}

pub(crate) fn set(store: u32, key: &str, value: &[u8]) -> Result<(), String> {
    unsafe {
        key_value_set(
            store,
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            return_area(),
        );
        if byte(0) == 0 { Ok(()) } else { Err(key_value_error()) }
    }
}

pub(crate) fn close(store: u32) {
    unsafe { key_value_close(store) };
}
