//! How much of a response of a WASI 0.2 guest waits for its client.
//!
//! Two pieces of [`PIECE`] bytes wait; a guest that has written as much and goes on
//! writing goes on only when the client has taken some. Guests that ask how much
//! they may write are told so. The JavaScript SDK of Spin 2 does not ask, and writes
//! a whole body, or several pieces, at once: where the host of WASI would end it, its
//! write waits here.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::io::streams;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, StreamError, StreamResult};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;

use crate::InstanceState;

/// Bytes of one piece of a response.
pub(crate) const PIECE: usize = 1 << 20;
/// How long a write waits for somebody who takes anything of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Replaces what makes bodies of responses, and what writes to streams.
pub(crate) fn link_0_2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut http = linker.instance("wasi:http/types@0.2.12")?;
    http.func_wrap("[method]outgoing-response.body", |mut store, (response,): Response| {
        let state = store.data_mut();
        state.outbound.makes_response = true;
        let body = types::HostOutgoingResponse::body(&mut state.http(), response);
        state.outbound.makes_response = false;
        Ok((body?,))
    })?;
    let mut io = linker.instance("wasi:io/streams@0.2.12")?;
    io.func_wrap_async("[method]output-stream.write", |mut store, (stream, bytes): Write| {
        Box::new(async move {
            let table = &mut store.data_mut().table;
            let written = match write(table.get_mut(&stream)?.as_mut(), bytes.into()).await {
                Ok(()) => Ok(()),
                Err(error) => Err(streams::Host::convert_stream_error(table, error)?),
            };
            Ok((written,))
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

type Response = (Resource<HostOutgoingResponse>,);
type Write = (Resource<DynOutputStream>, Vec<u8>);

/// Writes all of `bytes`, as much at a time as the stream takes.
async fn write(stream: &mut dyn OutputStream, mut bytes: Bytes) -> StreamResult<()> {
    loop {
        let permitted = stream.check_write()?;
        if bytes.len() <= permitted {
            return stream.write(bytes);
        }
        if permitted > 0 {
            stream.write(bytes.split_to(permitted))?;
        } else if tokio::time::timeout(PATIENCE, stream.ready()).await.is_err() {
            let seconds = PATIENCE.as_secs();
            return Err(StreamError::Trap(wasmtime::Error::msg(format!(
                "nobody has taken anything of what was written for {seconds} s"
            ))));
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::p2::Pollable;

    use super::*;

    /// Takes three bytes at a time, and then nothing until it is waited for.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        pieces: usize,
        is_full: bool,
        never_again: bool,
    }

    #[async_trait::async_trait]
    impl Pollable for Slow {
        async fn ready(&mut self) {
            if self.never_again {
                std::future::pending::<()>().await;
            }
            self.is_full = false;
        }
    }

    impl OutputStream for Slow {
        fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
            assert!(bytes.len() <= self.check_write()?);
            self.taken.extend_from_slice(&bytes);
            self.pieces += 1;
            self.is_full = true;
            Ok(())
        }

        fn flush(&mut self) -> StreamResult<()> {
            Ok(())
        }

        fn check_write(&mut self) -> StreamResult<usize> {
            Ok(if self.is_full { 0 } else { 3 })
        }
    }

    #[tokio::test]
    async fn a_write_of_more_than_a_stream_takes_waits_instead_of_ending_the_guest() {
        let mut slow = Slow::default();
        write(&mut slow, Bytes::from_static(b"12345678")).await.unwrap();
        assert_eq!((slow.taken.as_slice(), slow.pieces), (&b"12345678"[..], 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_ends_after_a_minute() {
        let mut slow = Slow { never_again: true, ..Slow::default() };
        let error = write(&mut slow, Bytes::from_static(b"1234")).await.unwrap_err();
        assert!(matches!(error, StreamError::Trap(error) if error.to_string().contains("60 s")));
    }
}
