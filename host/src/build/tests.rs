use super::*;

#[test]
fn the_adapter_is_what_its_source_says() {
    let text = files::one("sdk/go/adapter/preview1.wat");
    assert!(!text.is_empty());
    assert_eq!(wat::parse_bytes(text).unwrap(), files::one("sdk/go/adapter/preview1.wasm"));
}

/// The SDK inherits from its workspace: what it asks for, a project of its own has to give.
#[test]
fn cargo_takes_a_new_rust_project() {
    let parent = tempfile::tempdir().unwrap();
    let new = NewProject { name: "order".into(), language: Language::Rust, parent: parent.path().to_owned() };
    let folder = scaffold(&new).unwrap();
    let output =
        std::process::Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
