use super::*;

#[test]
fn the_adapter_is_what_its_source_says() {
    let text = files::one("sdk/go/adapter/preview1.wat");
    assert!(!text.is_empty());
    assert_eq!(wat::parse_bytes(text).unwrap(), files::one("sdk/go/adapter/preview1.wasm"));
}
