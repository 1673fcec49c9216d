use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn engine() -> Engine {
    super::super::engine::compiling().unwrap()
}

/// A program in place of the worker.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("worker");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn what_is_kept_is_found_under_the_same_bytes_only() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache"), &engine()).unwrap();
    assert_eq!(cache.get(b"component"), None);
    cache.put(b"component", b"artifact");
    let file = std::fs::read(cache.get(b"component").unwrap()).unwrap();
    assert!(file.starts_with(b"artifact"), "{file:?}");
    assert_eq!(cache.get(b"Component"), None);
}

/// KiB of this file that are mapped into this process and lie in its memory.
fn resident(file: &Path) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut sum = 0;
    for line in smaps.lines() {
        if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            ours = line.ends_with(file.to_str().unwrap());
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| ours) {
            sum += size.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
        }
    }
    sum
}

#[test]
fn pages_that_are_let_go_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let cache = Cache::open(&folder.path().join("cache"), &engine).unwrap();
    let component = wat::parse_str("(component (core module (func (export \"f\") (result i32) i32.const 42)))").unwrap();
    let artifact = engine.precompile_component(&component).unwrap();
    let file = cache.put(&component, &artifact).unwrap();
    let image = Image::mapped(&engine, &file).unwrap();
    let whole = image.code.serialize().unwrap();
    assert!(whole.starts_with(&artifact));
    assert!(resident(&file) >= artifact.len() >> 10, "all of it was read");
    image.let_go();
    assert_eq!(resident(&file), 0);
    assert_eq!(image.code.serialize().unwrap(), whole);
}

#[test]
fn a_damaged_entry_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let cache = Cache::open(&path, &engine()).unwrap();
    cache.put(b"component", b"artifact");
    let entry = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    for damaged in [&whole[..whole.len() - 1], &whole[..10], &flipped] {
        std::fs::write(&entry, damaged).unwrap();
        assert_eq!(cache.get(b"component"), None);
    }
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
    let error = Cache::open(folder.path(), &engine()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn the_child_sees_no_environment_and_its_output_is_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "test -z \"$HOME$CARGO_MANIFEST_DIR\" || exit 3\ntest \"$1\" = compile-worker || exit 4\nexec /bin/cat");
    let output = child::compile(&program, Bytes::from_static(b"component")).await.unwrap();
    assert_eq!(output, b"component");
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grandchild");
    let program = script(folder.path(), &format!("/bin/sleep 3600 &\necho $! > {}\nwait", file.display()));
    let refusal = child::compile_within(&program, Bytes::new(), Duration::from_secs(2)).await.unwrap_err();
    assert!(refusal.cause.contains("takes more than 2s to compile"), "{}", refusal.cause);
    let grandchild = std::fs::read_to_string(&file).unwrap();
    let ends = tokio::time::Instant::now() + Duration::from_secs(30);
    // Gone, or dead and waiting for whoever inherited it.
    while std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(tokio::time::Instant::now() < ends, "the grandchild lives");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_words() {
    let folder = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("echo 'no such feature'; exit 1", "cannot be compiled: no such feature"),
        ("kill -XCPU $$", "60 s of CPU time"),
        ("kill -ABRT $$", "3 GiB of memory"),
        ("exit 7", "exit status: 7"),
    ] {
        let program = script(folder.path(), text);
        let refusal = child::compile(&program, Bytes::from_static(b"component")).await.unwrap_err();
        assert!(refusal.cause.contains(words), "{}", refusal.cause);
    }
    let refusal = child::compile(&folder.path().join("none"), Bytes::new()).await.unwrap_err();
    assert!(refusal.cause.contains("process failed"), "{}", refusal.cause);
}
