//! Takes memory until there is none. Defence: memory limit (`memory`).

use keyway_sdk::*;

#[plugin(keys = "hostile-memory:*")]
fn eat() -> Verdict {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}
