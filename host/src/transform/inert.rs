//! WASI 0.2 with nothing behind it, for components that off-the-shelf toolchains built.
//!
//! Promises that what a guest sees is a function of its record: the wall clock stands at the record's timestamp, the monotonic clock begins at
//! zero and moves on by a microsecond each time that it is read (so that a loop that waits for it ends), a wait moves it on at once, and
//! randomness is seeded by topic, partition and offset. There are no arguments, environment, files or sockets. Output goes to the plugin's
//! log through a sink that never fills up: a guest of Rust's standard library traps when a write to its output fails.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand_core::{TryRng, utils};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::imports::Level;
use super::state::{At, State};

/// Bytes of output that a call may leave in its log, of each stream; the rest is counted.
const OUTPUT_MAX: usize = 8 << 10;
/// Bytes that a guest may write at once; wasmtime's own streams grant the same.
const WRITE_MAX: usize = 64 << 10;
/// Bytes of randomness that a guest may ask for at once.
const RANDOM_MAX: u64 = 64 << 10;
/// Streams, pollables and the like that a guest may hold at once.
const TABLE_MAX: usize = 256;
/// Nanoseconds by which reading the monotonic clock moves it on.
const CLOCK_STEP: u64 = 1_000;

/// What stands behind WASI for one store.
pub(super) struct Inert {
    context: WasiCtx,
    table: ResourceTable,
    now: Arc<AtomicU64>,
    wall: Arc<AtomicU64>,
    seed: Arc<Mutex<Seed>>,
    output: [Sink; 2],
}

impl Inert {
    fn new(at: &At) -> Inert {
        let now = Arc::new(AtomicU64::new(0));
        let wall = Arc::new(AtomicU64::new(0));
        let seed = Arc::new(Mutex::new(Seed::new(at)));
        let output = [Sink::default(), Sink::default()];
        let mut table = ResourceTable::new();
        table.set_max_capacity(TABLE_MAX);
        let context = WasiCtx::builder()
            .wall_clock(Wall(Arc::clone(&wall)))
            .monotonic_clock(Monotonic(Arc::clone(&now)))
            .secure_random(Random(Arc::clone(&seed)))
            .insecure_random(Random(Arc::clone(&seed)))
            .insecure_random_seed(u128::from(Seed::new(at).next()))
            .max_random_size(RANDOM_MAX)
            .stdout(output[0].clone())
            .stderr(output[1].clone())
            .allow_blocking_current_thread(false)
            .allow_ip_name_lookup(false)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut inert = Inert { context, table, now, wall, seed, output };
        inert.begin_call(at);
        inert
    }

    /// Sets clocks and randomness for the next call of a kept instance.
    pub(super) fn begin_call(&mut self, at: &At) {
        self.now.store(0, Ordering::Relaxed);
        self.wall.store(at.timestamp(), Ordering::Relaxed);
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner) = Seed::new(at);
    }
}

impl State {
    /// Moves what the guest wrote to its output and error streams into its log.
    pub(super) fn drain_output(&mut self) {
        let Some(inert) = &self.inert else { return };
        let written = [(Level::Info, inert.output[0].take()), (Level::Error, inert.output[1].take())];
        for (level, Written { kept, lost }) in written {
            for line in String::from_utf8_lossy(&kept).lines() {
                self.write_line(level, line);
            }
            self.log.lost(lost);
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let at = &self.at;
        let inert = self.inert.get_or_insert_with(|| Box::new(Inert::new(at)));
        WasiCtxView { ctx: &mut inert.context, table: &mut inert.table }
    }
}

/// What the inert tier may import besides the contract: packages, as error texts name them.
pub(super) const PACKAGES: [&str; 5] = ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/"];

/// Links what [`PACKAGES`] lists.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<State, Table>(linker, |state| state.ctx().table)?;
    io::poll::add_to_linker::<State, Table>(linker, |state| state.ctx().table)?;
    io::streams::add_to_linker::<State, Table>(linker, |state| state.ctx().table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, Waits>(linker, |state| {
        let now = Arc::clone(&state.inert.get_or_insert_with(|| Box::new(Inert::new(&state.at))).now);
        Waiting { now, table: state.ctx().table }
    })?;
    random::random::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    Ok(())
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

struct Waits;

impl HasData for Waits {
    type Data<'a> = Waiting<'a>;
}

/// The monotonic clock, whose waits are over at once.
struct Waiting<'a> {
    now: Arc<AtomicU64>,
    table: &'a mut ResourceTable,
}

impl Waiting<'_> {
    fn until(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = self.table.push(Wait { now: Arc::clone(&self.now), when })?;
        subscribe(self.table, wait)
    }
}

impl clocks::monotonic_clock::Host for Waiting<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(read(&self.now))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(CLOCK_STEP)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.until(when)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.until(self.now.load(Ordering::Relaxed).saturating_add(duration))
    }
}

/// A wait for an instant of the monotonic clock: it moves the clock there.
struct Wait {
    now: Arc<AtomicU64>,
    when: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Wait {
    async fn ready(&mut self) {
        self.now.fetch_max(self.when, Ordering::Relaxed);
    }
}

fn read(now: &AtomicU64) -> u64 {
    now.fetch_add(CLOCK_STEP, Ordering::Relaxed)
}

struct Monotonic(Arc<AtomicU64>);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        CLOCK_STEP
    }

    fn now(&self) -> u64 {
        read(&self.0)
    }
}

/// Stands at the record's timestamp, in milliseconds.
struct Wall(Arc<AtomicU64>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// SHA-256 in counter mode over the record's position. Slow beside a generator made for speed, but the same for all time: a version of a library may
/// not change what a replay yields.
struct Seed {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Seed {
    fn new(at: &At) -> Seed {
        let key = Sha256::digest(at.to_string()).into();
        Seed { key, counter: 0, block: [0; 32], used: 32 }
    }

    fn next(&mut self) -> u64 {
        if self.used == self.block.len() {
            self.block = Sha256::new().chain_update(self.key).chain_update(self.counter.to_le_bytes()).finalize().into();
            self.counter += 1;
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(bytes)
    }
}

struct Random(Arc<Mutex<Seed>>);

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(bytes, || self.try_next_u64())
    }
}

/// Takes whatever a guest writes, keeps the beginning.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    kept: Vec<u8>,
    /// Lines of the rest; what ends none counts as one for each time that it was written.
    lost: u64,
}

impl Sink {
    fn take(&self) -> Written {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, bytes: &[u8]) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_MAX.saturating_sub(written.kept.len()).min(bytes.len());
        let (kept, lost) = bytes.split_at(room);
        written.kept.extend_from_slice(kept);
        if !lost.is_empty() {
            written.lost += lost.iter().filter(|byte| **byte == b'\n').count().max(1) as u64;
        }
    }
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Sink {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sink {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_counted() {
        let sink = Sink::default();
        sink.keep(&[b'x'; OUTPUT_MAX - 2]);
        sink.keep(b"y\nlost\nlost");
        sink.keep(b"lost");
        sink.keep(b"lost\nlost\n");
        let Written { kept, lost } = sink.take();
        assert!(kept.len() == OUTPUT_MAX && kept.ends_with(b"xy\n"));
        assert_eq!(lost, 4);
        assert_eq!(sink.take().lost, 0);
    }
}
