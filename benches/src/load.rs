//! Load at a fixed rate, whatever the server answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpStream;

use crate::statistics::quantile;

/// The quantiles that are kept.
const QUANTILES: [f64; 7] = [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

/// Requests over kept connections for some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests per second; none for as many as possible.
    pub(crate) rate: Option<f64>,
    /// Kept connections, each with one request at a time.
    pub(crate) connections: u64,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    pub(crate) served_per_second: f64,
    /// Other answers than 200, and connections that broke.
    pub(crate) errors: u64,
    /// Quantile and latency.
    pub(crate) latency_ms: Vec<(f64, f64)>,
    /// Processor time of this thread, as part of the elapsed time.
    pub(crate) busy: f64,
}

impl Load {
    /// Runs to its end, in this thread.
    pub(crate) fn run(self, address: SocketAddr) -> Result<Step> {
        let used = thread_time();
        let begun = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut latencies, errors) = runtime.block_on(self.requests(address))?;
        let elapsed = begun.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        Ok(Step {
            served_per_second: latencies.len() as f64 / elapsed,
            errors,
            latency_ms: QUANTILES.map(|at| (at, quantile(&latencies, at))).to_vec(),
            busy: thread_time().saturating_sub(used).as_secs_f64() / elapsed,
        })
    }

    async fn requests(self, address: SocketAddr) -> Result<(Vec<f64>, u64)> {
        let schedule = Arc::new(Schedule {
            rate: self.rate,
            begun: Instant::now(),
            end: Instant::now() + self.time,
            next: AtomicU64::new(0),
        });
        let tasks: Vec<_> = (0..self.connections)
            .map(|_| tokio::spawn(connection(address, Arc::clone(&schedule))))
            .collect();
        let (mut latencies, mut errors) = (Vec::new(), 0);
        for task in tasks {
            let (own, failed) = task.await.context("a connection of the generator has failed")?;
            latencies.extend(own);
            errors += failed;
        }
        Ok((latencies, errors))
    }
}

/// When the requests of all connections are due.
struct Schedule {
    rate: Option<f64>,
    begun: Instant,
    end: Instant,
    next: AtomicU64,
}

impl Schedule {
    /// Waits until the next request is due, and tells from when its latency counts.
    ///
    /// A request that is taken up late, because all connections were waiting for
    /// answers, counts from the moment at which it was due: a slow server does not
    /// hide its own delay. The timer's inaccuracy is not the server's: a request
    /// that was taken up in time counts from when it is sent.
    async fn wait(&self) -> Option<Instant> {
        let Some(rate) = self.rate else {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.begun + Duration::from_secs_f64(number as f64 / rate);
        if due >= self.end {
            return None;
        }
        if due <= Instant::now() {
            return Some(due);
        }
        tokio::time::sleep_until(due.into()).await;
        Some(Instant::now())
    }
}

async fn connection(address: SocketAddr, schedule: Arc<Schedule>) -> (Vec<f64>, u64) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let mut sender = None;
    while let Some(from) = schedule.wait().await {
        if sender.is_none() {
            sender = connect(address).await;
        }
        let answered = match &mut sender {
            Some(sender) => request(sender, address).await,
            None => None,
        };
        if answered == Some(true) {
            latencies.push(from.elapsed().as_secs_f64() * 1000.0);
        } else {
            errors += 1;
            sender = None;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (latencies, errors)
}

async fn connect(address: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

/// Whether the answer was whole and of status 200; none when the connection broke.
async fn request(sender: &mut SendRequest<Empty<Bytes>>, address: SocketAddr) -> Option<bool> {
    sender.ready().await.ok()?;
    let request = Request::get("/").header("host", address.to_string()).body(Empty::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let good = response.status() == 200;
    response.into_body().collect().await.ok()?;
    Some(good)
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Keeps all threads of a process on one processor, as far as that is allowed.
pub(crate) fn pin(pid: i32, processor: usize) {
    for thread in fs_err::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let number = thread.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(thread) = number.and_then(Pid::from_raw) {
            let _ = sched_setaffinity(Some(thread), &only(processor));
        }
    }
}

/// Keeps this thread on one processor, as far as that is allowed.
pub(crate) fn pin_self(processor: usize) {
    let _ = sched_setaffinity(None, &only(processor));
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}
