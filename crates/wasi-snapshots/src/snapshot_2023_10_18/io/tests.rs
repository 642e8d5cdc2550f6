use super::*;
use bytes::Bytes;
use std::time::Duration;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe, SinkOutputStream};
use wasmtime_wasi::p2::{InputStream, Pollable};

struct Pipes {
    table: ResourceTable,
    sink: Resource<DynOutputStream>,
    source: Resource<DynInputStream>,
    written: MemoryOutputPipe,
}

impl Pipes {
    fn new(contents: Vec<u8>, capacity: usize) -> Self {
        let mut table = ResourceTable::new();
        let written = MemoryOutputPipe::new(capacity);
        let sink: DynOutputStream = Box::new(written.clone());
        let source: DynInputStream = Box::new(MemoryInputPipe::new(contents));
        let (sink, source) = (table.push(sink).unwrap(), table.push(source).unwrap());
        Self { table, sink, source, written }
    }

    fn borrowed(&self) -> (Resource<DynOutputStream>, Resource<DynInputStream>) {
        (Resource::new_borrow(self.sink.rep()), Resource::new_own(self.source.rep()))
    }

    fn source_is_closed(&self) -> bool {
        self.table.get(&self.source).is_err()
    }
}

#[tokio::test]
async fn forward_writes_everything_and_closes_the_source() {
    let contents: Vec<u8> = (0..3 * CHUNK + 7).map(|byte| byte as u8).collect();
    let mut pipes = Pipes::new(contents.clone(), 1 << 20);
    let (sink, source) = pipes.borrowed();
    let forwarded = forward(&mut &mut pipes.table, sink, source).await.unwrap();
    assert_eq!(forwarded, contents.len() as u64);
    assert_eq!(pipes.written.contents(), contents);
    assert!(pipes.source_is_closed());
}

#[tokio::test]
async fn forward_to_a_sink_that_fails_closes_the_source_and_fails() {
    let mut pipes = Pipes::new(vec![0; 100], 10);
    let (sink, source) = pipes.borrowed();
    forward(&mut &mut pipes.table, sink, source).await.unwrap_err();
    assert!(pipes.source_is_closed());
}

#[tokio::test]
async fn a_splice_moves_at_most_what_was_asked_and_closes_the_source() {
    let mut pipes = Pipes::new(b"hello".to_vec(), 100);
    let (sink, source) = pipes.borrowed();
    assert_eq!(splice(&mut &mut pipes.table, sink, source, 3).await.unwrap(), 3);
    assert_eq!(pipes.written.contents(), "hel");
    assert!(pipes.source_is_closed());

    let mut pipes = Pipes::new(b"hello".to_vec(), 100);
    let (sink, source) = pipes.borrowed();
    assert_eq!(blocking_splice(&mut &mut pipes.table, sink, source, 9).await.unwrap(), 5);
    assert!(pipes.source_is_closed());
}

/// Never ends.
struct Endless;

#[async_trait::async_trait]
impl Pollable for Endless {
    async fn ready(&mut self) {}
}

impl InputStream for Endless {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        Ok(Bytes::from(vec![0; size]))
    }
}

#[tokio::test]
async fn forwarding_without_an_end_can_be_cancelled() {
    let mut table = ResourceTable::new();
    let sink: DynOutputStream = Box::new(SinkOutputStream);
    let source: DynInputStream = Box::new(Endless);
    let (sink, source) = (table.push(sink).unwrap(), table.push(source).unwrap());
    let mut table = &mut table;
    let forwarding = forward(&mut table, sink, source);
    tokio::time::timeout(Duration::from_millis(10), forwarding).await.unwrap_err();
}
