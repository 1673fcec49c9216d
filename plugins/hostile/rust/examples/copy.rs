//! Copies 16 MiB to and fro, in single instructions that nothing interrupts. Defence: CPU limit (`cpu`).

use keyway_sdk::*;

#[plugin(keys = "hostile-copy:*")]
fn copy() -> Verdict {
    let mut halves = vec![1_u8; 32 << 20];
    loop {
        let (left, right) = halves.split_at_mut(16 << 20);
        left.copy_from_slice(right);
        std::hint::black_box(&mut halves);
    }
}
