use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::bounds::Bounds;
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

/// The one entry of a cache folder.
fn entry(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder).unwrap();
    let entry = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    entry
}

#[test]
fn what_is_kept_is_found_under_the_same_bytes_only() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache"), &engine()).unwrap();
    assert!(cache.get(b"component").is_none());
    cache.put(b"component", b"artifact").unwrap();
    cache.get(b"component").unwrap();
    assert!(std::fs::read(entry(&folder.path().join("cache"))).unwrap().starts_with(b"artifact"));
    assert!(cache.get(b"Component").is_none());
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
    let image = Image::mapped(&engine, &cache.put(&component, &artifact).unwrap()).unwrap();
    let file = entry(&folder.path().join("cache"));
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
    cache.put(b"component", b"artifact").unwrap();
    let entry = entry(&path);
    let whole = std::fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    // The last but one is what a machine that lost power leaves of a file that was renamed before it was on disk.
    for damaged in [&whole[..whole.len() - 1], &whole[..10], b"", &flipped] {
        std::fs::write(&entry, damaged).unwrap();
        assert!(cache.get(b"component").is_none());
    }
    cache.put(b"component", b"artifact").unwrap();
    cache.get(b"component").unwrap();
}

#[test]
fn an_entry_that_others_may_write_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let cache = Cache::open(&path, &engine()).unwrap();
    cache.put(b"component", b"artifact").unwrap();
    std::fs::set_permissions(entry(&path), Permissions::from_mode(0o620)).unwrap();
    assert!(cache.get(b"component").is_none());
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(entry(&path), Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(entry(&path), Some(1), None).unwrap();
        assert!(cache.get(b"component").is_none(), "another user's");
    }
}

#[test]
fn what_was_asked_for_longest_ago_goes_when_there_is_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(&folder.path().join("cache"), &engine()).unwrap();
    let artifact = [0; 1_000];
    // Three entries and their digests.
    cache.most = 3_200;
    for (name, age) in [("first", 3_000), ("second", 2_000), ("third", 1_000)] {
        let file = cache.put(name.as_bytes(), &artifact).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    cache.get(b"first").unwrap();
    cache.put(b"fourth", &artifact).unwrap();
    assert!(cache.get(b"second").is_none());
    for name in ["first", "third", "fourth"] {
        assert!(cache.get(name.as_bytes()).is_some(), "{name}");
    }
    // What is larger than all of the room stays until the next one comes.
    cache.put(b"large", &[0; 4_000]).unwrap();
    cache.get(b"large").unwrap();
    assert!(cache.get(b"fourth").is_none());
}

#[test]
fn what_a_killed_host_left_goes_at_the_next_start_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    Cache::open(&path, &engine()).unwrap();
    let ages = [(".compiled-old", 2), (".compiled-new", 0), ("old.cwasm", 31 * 24), ("new.cwasm", 29 * 24), ("README", 31 * 24)];
    for (name, hours) in ages {
        let file = std::fs::File::create(path.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 60 * 60)).unwrap();
    }
    Cache::open(&path, &engine()).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [".compiled-new", "README", "new.cwasm"]);
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
    let error = Cache::open(folder.path(), &engine()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_folder_that_others_could_put_another_one_in_the_place_of_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for mode in [0o777, 0o702] {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let error = Cache::open(&cache, &engine()).unwrap_err().to_string();
        assert!(error.contains("cache/compiled"), "{error}");
        // As it says.
        Cache::open(&cache.join("compiled"), &engine()).unwrap();
    }
    for mode in [0o1777, 0o775] {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        Cache::open(&cache, &engine()).unwrap();
    }
}

#[tokio::test]
async fn the_child_sees_no_environment_and_its_output_is_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "test -z \"$HOME$CARGO_MANIFEST_DIR\" || exit 3\ntest \"$1\" = compile-worker || exit 4\nexec /bin/cat");
    let output = child::compile(&program, Bytes::from_static(b"component"), Bounds::here()).await.unwrap();
    assert_eq!(output, b"component");
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_killed_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grandchild");
    let program = script(folder.path(), &format!("/bin/sleep 3600 &\necho $! > {}\nwait", file.display()));
    let bounds = Bounds { wall: Duration::from_secs(2), ..Bounds::here() };
    let refusal = child::compile(&program, Bytes::new(), bounds).await.unwrap_err();
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
    let bounds = Bounds { memory: 700 << 20, cpu: 7, wall: Duration::from_secs(60), output: 2 << 10, ..Bounds::here() };
    for (text, words) in [
        ("echo 'no such feature'; exit 1", "cannot be compiled: no such feature"),
        ("kill -XCPU $$", "7 s of CPU time"),
        ("kill -ABRT $$", "700 MiB of memory"),
        ("kill -KILL $$", "was killed, as the system does when memory runs out"),
        ("/usr/bin/head -c 2049 /dev/zero", "more than 2 KiB once it is compiled"),
        ("/usr/bin/head -c 1000000 /dev/zero", "more than 2 KiB once it is compiled"),
        ("exit 7", "exit status: 7"),
    ] {
        let program = script(folder.path(), text);
        let refusal = child::compile(&program, Bytes::from_static(b"component"), bounds).await.unwrap_err();
        assert!(refusal.cause.contains(words), "{}", refusal.cause);
    }
    let refusal = child::compile(&folder.path().join("none"), Bytes::new(), bounds).await.unwrap_err();
    assert!(refusal.cause.contains("process failed"), "{}", refusal.cause);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_has_run_out_of_something_is_asked_again() {
    use rustix::io::Errno;
    let mut answers = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::AGAIN].map(Errno::raw_os_error).into_iter();
    let begun = tokio::time::Instant::now();
    let started = child::persistently(|| answers.next().map_or(Ok(7), |error| Err(std::io::Error::from_raw_os_error(error)))).await;
    assert_eq!(started.unwrap(), 7);
    assert_eq!(begun.elapsed().as_millis(), 100 + 200 + 400 + 800);
    let error = child::persistently(|| Err::<(), _>(std::io::Error::from_raw_os_error(Errno::NOENT.raw_os_error()))).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
