//! The engine: one per process, its features, its pool and its clock.
//!
//! The same configuration compiles in the child process and runs here; only how instances are allocated differs, which is no part of what
//! compiled code depends on.

use std::num::NonZeroUsize;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmBacktraceDetails};

use crate::policy::Limits;

/// How often the epoch moves on, and so how long a guest runs at most before the host may look at it. Far shorter than what a person or a
/// heartbeat would notice, and a thousand wake-ups a second cost less than a hundredth of a core.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The largest linear memory that any limit can allow, far below the 4 GiB that are reserved.
pub(super) const MEMORY_MAX: usize = Limits::MEMORY_MAX;
/// Core modules of one component. The hungriest toolchain known (componentize-py with stubbed WASI) makes 38.
pub(super) const CORE_INSTANCES_MAX: u32 = 60;
/// Memories of one component. QuickJS makes 3.
pub(super) const MEMORIES_MAX: u32 = 8;
/// Tables of one component. QuickJS makes 3; each resource type of an adapter may add one.
pub(super) const TABLES_MAX: u32 = 20;
/// Elements of one table. StarlingMonkey has 7,700.
const TABLE_ELEMENTS_MAX: usize = 50_000;
/// Frames of a trap's backtrace: enough to reach the author's code through an allocator and a panic handler.
const FRAMES: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not zero");

/// What compiled code depends on. Whatever changes here changes the key of the cache of compiled components.
fn features() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // Synchronous exports only: the streams and futures of the async component model are a surface that nobody here needs.
    config.concurrency_support(false);
    config.strategy(Strategy::Cranelift);
    config.epoch_interruption(true);
    config.consume_fuel(false);
    // Features that no toolchain of ours emits, each a part of wasmtime that has had advisories.
    config.wasm_memory64(false);
    config.wasm_stack_switching(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);
    config.shared_memory(false);
    // A transform is a function of its record: the two places where WebAssembly leaves room are closed.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Registering native unwind tables is quadratic in the number of loaded modules, which is what a reload makes many of; backtraces of
    // guests do not need them.
    config.native_unwind_info(false);
    // Frames have names, and no places in sources: reading a guest's debug information takes what memory and time the guest says, at each trap, outside
    // of every limit.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_backtrace_max_frames(Some(FRAMES));
    // The default; half of what follows is the guest's.
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(2 << 20);
    config.memory_init_cow(true);
    // Snapshots of JavaScript and Python have up to 13 MiB of initial memory with holes in it; a dense image of it is mapped, not copied.
    config.memory_guaranteed_dense_image_size(64 << 20);
    config
}

/// The engine that runs guests, with room for so many instances at once.
pub(super) fn running(slots: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots);
    pool.total_stacks(slots);
    pool.total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX));
    pool.total_memories(slots.saturating_mul(MEMORIES_MAX));
    pool.total_tables(slots.saturating_mul(TABLES_MAX));
    pool.max_core_instances_per_component(CORE_INSTANCES_MAX);
    pool.max_memories_per_component(MEMORIES_MAX);
    pool.max_tables_per_component(TABLES_MAX);
    pool.max_memories_per_module(1);
    pool.max_tables_per_module(4);
    pool.table_elements(TABLE_ELEMENTS_MAX);
    // Metadata of an instance, not its memory; componentize-py needs 402 KiB.
    pool.max_component_instance_size(2 << 20);
    pool.max_core_instance_size(2 << 20);
    pool.max_memory_size(MEMORY_MAX);
    // What a small guest touches stays in place and is reset by copying: giving it back costs system calls that take the process's memory
    // lock, and with two threads more time than the guest itself (32 KiB of stack and 64 KiB of heap for the Rust SDK's guests).
    pool.linear_memory_keep_resident(256 << 10);
    pool.table_keep_resident(64 << 10);
    // Looks up which pages were touched, in place of copying all that is kept; Linux 6.7 and later.
    pool.pagemap_scan(Enabled::Auto);
    let mut config = features();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    tick(&engine)?;
    Ok(engine)
}

/// The engine that only compiles, on one thread: it runs in a process of its own whose CPU time is counted.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = features();
    config.parallel_compilation(false);
    Engine::new(&config)
}

/// Moves the epoch on, from a thread of the operating system: on a runtime, a busy guest could keep its own clock from ticking. The thread
/// ends with the engine.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("keyway-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                #[expect(clippy::disallowed_methods, reason = "a thread of the operating system, on which no task runs")]
                std::thread::sleep(TICK);
            }
        })
        .map_err(|error| wasmtime::format_err!("failed to start the epoch's thread: {error}"))?;
    Ok(())
}
