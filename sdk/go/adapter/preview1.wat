;; WASI preview 1 for a guest that only computes: what Go's runtime and C libraries ask of a system, answered without one.
;;
;; It imports nothing but the guest's memory, so a component that is made with it imports the contract alone. The adapter that Bytecode Alliance
;; publishes turns these calls into WASI 0.2 instead; with it, Go traps as soon as its garbage collector reads the clock inside `cabi_realloc`, where
;; a component may not be left (wasmtime#14318).
;;
;; There are no files, arguments or environment. Output is taken and thrown away. Clocks stand at the epoch and move a microsecond at each
;; reading, so that what waits for time to pass sees it pass; a timer fires at once, and moves the clock. Random bytes are always the same ones.
;;
;; `keyway build` uses preview1.wasm beside this file; a test holds the two equal.
(module
  (import "env" "memory" (memory 0))

  ;; Errors (`errno` of preview 1).
  (global $SUCCESS i32 (i32.const 0))
  (global $BADF i32 (i32.const 8))
  (global $NOTSUP i32 (i32.const 58))

  ;; Nanoseconds.
  (global $now (mut i64) (i64.const 0))
  ;; State of SplitMix64 (Steele, Lea, Flood 2014).
  (global $seed (mut i64) (i64.const 0))

  (func (export "sched_yield") (result i32) (global.get $SUCCESS))

  ;; An exit can only be an end in failure: a guest that is done returns.
  (func (export "proc_exit") (param $code i32) (unreachable))

  ;; Arguments and environment: two counts, both none.
  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (global.get $SUCCESS))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func $nothing (param i32 i32) (result i32) (global.get $SUCCESS))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  (func (export "clock_res_get") (param $clock i32) (param $out i32) (result i32)
    (i64.store (local.get $out) (i64.const 1000))
    (global.get $SUCCESS))
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $out i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $out) (global.get $now))
    (global.get $SUCCESS))
  ;; Called around allocations by Go's bindings, for adapters whose clock is the host's.
  (func (export "adapter_monotonic_clock_set_paused") (param $paused i32))

  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $end i32) (local $z i64)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (global.set $seed (i64.add (global.get $seed) (i64.const 0x9e3779b97f4a7c15)))
        (local.set $z (global.get $seed))
        (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 30))) (i64.const 0xbf58476d1ce4e5b9)))
        (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 27))) (i64.const 0x94d049bb133111eb)))
        (i64.store8 (local.get $at) (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 31))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (global.get $SUCCESS))

  ;; Says that all of it has been written: the sum of the buffers' lengths.
  (func (export "fd_write") (param $fd i32) (param $buffers i32) (param $count i32) (param $out i32) (result i32)
    (local $end i32) (local $written i32)
    (local.set $end (i32.add (local.get $buffers) (i32.shl (local.get $count) (i32.const 3))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $buffers) (local.get $end)))
        (local.set $written (i32.add (local.get $written) (i32.load offset=4 (local.get $buffers))))
        (local.set $buffers (i32.add (local.get $buffers) (i32.const 8)))
        (br $next)))
    (i32.store (local.get $out) (local.get $written))
    (global.get $SUCCESS))

  ;; There is no such descriptor, whichever it is.
  (func $no_descriptor_4 (param i32 i32 i32 i32) (result i32) (global.get $BADF))
  (export "fd_read" (func $no_descriptor_4))
  (func $no_descriptor_3 (param i32 i32 i32) (result i32) (global.get $BADF))
  (export "fd_prestat_dir_name" (func $no_descriptor_3))
  (func $no_descriptor_2 (param i32 i32) (result i32) (global.get $BADF))
  (export "fd_fdstat_get" (func $no_descriptor_2))
  (export "fd_fdstat_set_flags" (func $no_descriptor_2))
  (export "fd_prestat_get" (func $no_descriptor_2))
  (func (export "fd_close") (param i32) (result i32) (global.get $BADF))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (global.get $BADF))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (global.get $BADF))

  ;; One event for each subscription (48 bytes in, 32 out): a timer has fired, a descriptor is not supported.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (local $until i64)
    (i32.store (local.get $events) (local.get $count))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        ;; userdata; then errno and padding, type, and the descriptor's part, which stays zero
        (i64.store (local.get $out) (i64.load (local.get $in)))
        (i64.store offset=8 (local.get $out) (i64.const 0))
        (i64.store offset=16 (local.get $out) (i64.const 0))
        (i64.store offset=24 (local.get $out) (i64.const 0))
        (i32.store8 offset=10 (local.get $out) (i32.load8_u offset=8 (local.get $in)))
        (if (i32.load8_u offset=8 (local.get $in))
          (then (i32.store16 offset=8 (local.get $out) (global.get $NOTSUP)))
          (else
            ;; The flag at 40 tells a point in time from a length of it.
            (local.set $until (i64.load offset=24 (local.get $in)))
            (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1)))
              (then (local.set $until (i64.add (local.get $until) (global.get $now)))))
            (if (i64.gt_u (local.get $until) (global.get $now))
              (then (global.set $now (local.get $until))))))
        (local.set $in (i32.add (local.get $in) (i32.const 48)))
        (local.set $out (i32.add (local.get $out) (i32.const 32)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (global.get $SUCCESS)))
