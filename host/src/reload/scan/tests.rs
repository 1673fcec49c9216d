use std::os::unix::fs::symlink;

use super::files::MOST_ENTRIES;
use super::*;
use crate::reload::fake::write;

#[test]
fn only_components_and_what_belongs_to_them_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["a.wasm", "a.toml", "a.wasm.minisig", "a.cases/1.json", "a.cases/notes.md", "b.v2.wasm", "b.v2.toml", "alone.toml", "README"] {
        write(&root.join(name), b"x");
    }
    for name in [".hidden.wasm", "c.wasm.tmp", "c.wasm.part", "c.wasm~", "c.wasm.swp", "deep/er/d.wasm", "with space.wasm"] {
        write(&root.join(name), b"x");
    }
    write(&root.join("payments/a.wasm"), b"x");
    let look = look(root);
    let names: Vec<&str> = look.plugins.keys().map(PluginName::as_str).collect();
    assert_eq!(names, ["a", "b.v2", "payments/a"]);
    let roles = |name: &str| -> Vec<Role> {
        let (_, found) = look.plugins.iter().find(|(known, _)| known.as_str() == name).unwrap();
        found.inputs.as_ref().unwrap().iter().map(|input| input.role.clone()).collect()
    };
    assert_eq!(roles("a"), [Role::Component, Role::Sidecar, Role::Signature, Role::Case("1.json".into())]);
    assert_eq!(roles("b.v2"), [Role::Component, Role::Sidecar]);
    assert_eq!(roles("payments/a"), [Role::Component]);
    assert_eq!(look.problems.iter().map(|problem| problem.cause.as_str()).collect::<Vec<_>>(), [NAME_RULE]);
    let watched: Vec<&Path> = look.folders.keys().map(PathBuf::as_path).collect();
    let expected = ["", "a.cases", "deep", "payments"].map(|name| if name.is_empty() { root.to_owned() } else { root.join(name) });
    assert_eq!(watched, [&[root.parent().unwrap().to_owned()], &expected[..]].concat());
}

#[test]
fn any_change_of_any_file_is_seen_and_no_change_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a.wasm"), b"x");
    write(&root.join("a.cases/1.json"), b"{}");
    let first = look(root).plugins;
    assert_eq!(look(root).plugins, first);
    for name in ["a.wasm", "a.cases/1.json", "a.toml", "a.wasm.minisig", "a.cases/2.json"] {
        let before = look(root).plugins;
        write(&root.join(name), b"longer");
        assert_ne!(look(root).plugins, before, "{name}");
    }
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_gone() {
    let folder = tempfile::tempdir().unwrap();
    let name = |team| PluginName::new(team, "a");
    let missing = look(&folder.path().join("not/yet/there"));
    assert!(missing.blind.everywhere && !missing.saw(&name(DEFAULT_TEAM)));
    let above: Vec<&Path> = missing.folders.keys().map(PathBuf::as_path).collect();
    assert_eq!(above, [folder.path()], "the nearest folder that is there tells when the next one comes");
    let look = Look { blind: Blind { everywhere: false, teams: ["payments".to_owned()].into() }, ..Look::default() };
    assert!(look.saw(&name(DEFAULT_TEAM)) && !look.saw(&name("payments")));
}

#[test]
fn a_team_may_lie_behind_a_link_within_the_directory() {
    // A projected volume with paths of two parts looks so.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("..2026/payments/a.wasm"), b"x");
    symlink("..2026", root.join("..data")).unwrap();
    symlink("..data/payments", root.join("payments")).unwrap();
    let look = look(root);
    assert_eq!(look.plugins.len(), 1);
    assert!(look.plugins.values().all(|found| found.inputs.is_ok()) && look.problems.is_empty());
}

#[test]
fn old_files_are_told_from_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.wasm"), b"x");
    let file = fs::File::options().append(true).open(folder.path().join("a.wasm")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let found = look(folder.path()).plugins.into_values().next().unwrap();
    // A time of modification can be set back by any tool; that the inode was changed just now cannot be hidden.
    assert!(!found.is_old(Duration::from_secs(2)));
    let long_ago = Stamp { device: 0, inode: 0, length: 0, modified: (0, 0), changed: (0, 0) };
    assert!(long_ago.older_than(Duration::from_secs(2)));
    assert!(!Stamp { modified: (i64::MAX, 0), ..long_ago }.older_than(Duration::from_secs(2)), "another machine's clock is ahead");
}

#[test]
fn more_cases_than_a_gate_runs_are_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a.wasm"), b"x");
    write(&root.join("a.cases/0.json"), b"{}");
    for at in 1..=200 {
        fs::hard_link(root.join("a.cases/0.json"), root.join(format!("a.cases/{at}.json"))).unwrap();
    }
    let first = look(root);
    let refusal = first.plugins.values().next().unwrap().inputs.as_ref().unwrap_err();
    assert!(refusal.cause.ends_with("a.cases` holds 201 cases; at most 200 are accepted"), "{refusal:?}");
    assert!(first.folders.contains_key(&root.join("a.cases")), "that one is taken away is noticed");
    fs::remove_file(root.join("a.cases/0.json")).unwrap();
    assert_eq!(look(root).plugins.values().next().unwrap().inputs.as_ref().unwrap().len(), 201);
}

#[test]
fn a_folder_with_too_many_entries_is_not_read_and_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a.wasm"), b"x");
    write(&root.join("payments/a.wasm"), b"x");
    for at in 0..MOST_ENTRIES {
        fs::hard_link(root.join("payments/a.wasm"), root.join(format!("payments/{at}.x"))).unwrap();
    }
    let look = look(root);
    assert_eq!(look.plugins.keys().map(PluginName::as_str).collect::<Vec<_>>(), ["a"]);
    assert!(!look.saw(&PluginName::new("payments", "a")) && look.saw(&PluginName::new("default", "b")));
    assert!(look.problems[0].cause.ends_with("more than 20000 entries"), "{:?}", look.problems);
}
