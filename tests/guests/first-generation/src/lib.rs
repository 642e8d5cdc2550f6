//! A guest of Spin's first generation.
//!
//! The SDKs of that time are no longer to be had as packages, so this one brings
//! what wit-bindgen 0.2 generated for them: the names and signatures of imports
//! and exports, the layouts in memory, and the allocation functions.

use std::alloc::{self, Layout};

mod abi;

use abi::{Request, Response};

/// Answers `request`.
fn handle(request: &Request) -> Response {
    let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
    let result = match path.rsplit('/').next().unwrap_or_default() {
        "echo" => Ok(echo(request)),
        "config" => abi::get_config(query).map(Response::text),
        "fetch" => abi::fetch(query),
        "environment" => std::env::var(query).map(Response::text).map_err(|e| e.to_string()),
        "file" => std::fs::read_to_string(query).map(Response::text).map_err(|e| e.to_string()),
        "log" => {
            println!("{query} on standard output");
            eprintln!("{query} on standard error");
            Ok(Response::text("logged"))
        }
        "count" => count(query),
        "panic" => panic!("as asked"),
        _ => Ok(Response { status: 404, headers: Vec::new(), body: None }),
    };
    result.unwrap_or_else(|error| Response { status: 502, ..Response::text(error) })
}

/// What arrived, one line each.
fn echo(request: &Request) -> Response {
    let mut text = format!("method {}\nuri {}\n", request.method, request.uri);
    for (name, value) in &request.headers {
        text += &format!("header {name}: {value}\n");
    }
    text += &format!("params {}\n", request.params.len());
    text += &format!("body {:?}\n", request.body.as_deref().map(String::from_utf8_lossy));
    let mut response = Response::text(text);
    response.headers.push(("x-generation".into(), "first".into()));
    response
}

/// Adds one to a number in the store `name`, and says what a missing key is.
fn count(name: &str) -> Result<Response, String> {
    let store = abi::open(name)?;
    let missing = abi::get(store, "missing").expect_err("a value for a key never set");
    let old = abi::get(store, "count").unwrap_or_default();
    let number: u32 = String::from_utf8_lossy(&old).parse().unwrap_or_default();
    abi::set(store, "count", (number + 1).to_string().as_bytes())?;
    abi::close(store);
    Ok(Response::text(format!("{} {missing}", number + 1)))
}

/// # Safety
/// The host passes what earlier calls returned.
#[unsafe(export_name = "canonical_abi_realloc")]
unsafe extern "C" fn canonical_abi_realloc(
    old: *mut u8,
    old_length: usize,
    align: usize,
    new_length: usize,
) -> *mut u8 {
    unsafe {
        if new_length == 0 {
            return std::ptr::without_provenance_mut(align);
        }
        if old_length == 0 {
            return alloc::alloc(Layout::from_size_align_unchecked(new_length, align));
        }
        alloc::realloc(old, Layout::from_size_align_unchecked(old_length, align), new_length)
    }
}

/// # Safety
/// The host passes what [`canonical_abi_realloc`] returned.
#[unsafe(export_name = "canonical_abi_free")]
unsafe extern "C" fn canonical_abi_free(pointer: *mut u8, length: usize, align: usize) {
    if length != 0 {
        unsafe { alloc::dealloc(pointer, Layout::from_size_align_unchecked(length, align)) };
    }
}
