//! Real files, real events, real time; the code behind the plugins is fake.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::{LATE_WITHIN, START_WITHIN};
use crate::reload::fake::{Host, component, large, write};
use crate::reload::{State, Status, TrustedKeys, Watching};

#[tokio::test]
async fn what_lies_there_at_the_start_serves_from_the_first_moment() {
    let host = Host::with(&[("order.wasm", &component("v1")), ("payments/refund.wasm", &component("keys payment:*"))]).await;
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    let refund = host.plugin("payments/refund").unwrap();
    assert_eq!((refund.keys[0].to_string(), refund.name.team()), ("payment:*".to_owned(), "payments"));
    assert_eq!(host.plugin("order").unwrap().keys[0].to_string(), "order", "with no word about keys, the name is the key");
    assert_eq!(host.history("order").len(), 1, "the first pass is let in as a whole");
}

#[tokio::test]
async fn a_file_renamed_over_another_goes_live() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    for version in ["v2", "v3", "v4"] {
        host.deploy("order.wasm", &component(version));
        host.serves("order", version).await;
    }
    assert_eq!(host.history("order"), ["v1", "v2", "v3", "v4"].map(|version| Some(version.to_owned())));
}

#[tokio::test]
async fn a_slow_copy_in_place_is_waited_for() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    let bytes = component("v2");
    let mut file = File::create(host.root.join("order.wasm")).unwrap();
    for piece in bytes.chunks(bytes.len() / 4 + 1) {
        // Between any two pieces the file is looked at, found quiet, and examined.
        let so_far = file.metadata().unwrap().len();
        host.until("examined", |status| {
            let (first, says) = (&status.plugin("order").versions[0], format!("the file ends after {so_far} bytes"));
            first.state == State::Loading && first.reason.as_ref().is_some_and(|why| why.contains(&says))
        })
        .await;
        file.write_all(piece).unwrap();
        file.flush().unwrap();
    }
    host.serves("order", "v2").await;
    assert_eq!(host.history("order"), ["v1", "v2"].map(|version| Some(version.to_owned())));
    let states: Vec<State> = host.handle.status().plugin("order").versions.iter().map(|version| version.state).collect();
    assert_eq!(states, [State::Live, State::Retired], "no half of it was ever taken for a version");
}

#[tokio::test]
async fn a_config_map_is_swapped_by_its_link() {
    let host = Host::start(|root| {
        write(&root.join("..2026_11_24_1/order.wasm"), &component("v1"));
        symlink("..2026_11_24_1", root.join("..data")).unwrap();
        symlink("..data/order.wasm", root.join("order.wasm")).unwrap();
    });
    host.serves("order", "v1").await;
    // As the kubelet does it: a new folder, a new link beside, a rename over the old link, and the old folder goes.
    write(&host.root.join("..2026_11_24_2/order.wasm"), &component("v2"));
    symlink("..2026_11_24_2", host.root.join("..data_tmp")).unwrap();
    fs::rename(host.root.join("..data_tmp"), host.root.join("..data")).unwrap();
    fs::remove_dir_all(host.root.join("..2026_11_24_1")).unwrap();
    host.serves("order", "v2").await;
    assert_eq!(host.history("order").len(), 2);
}

#[tokio::test]
async fn a_file_that_is_removed_and_written_again_never_stops_serving() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    fs::remove_file(host.root.join("order.wasm")).unwrap();
    host.looked().await;
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    write(&host.root.join("order.wasm"), &component("v2"));
    host.serves("order", "v2").await;
    assert_eq!(host.history("order"), ["v1", "v2"].map(|version| Some(version.to_owned())));
}

#[tokio::test]
async fn a_thousand_touches_change_nothing() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    let file = File::options().append(true).open(host.root.join("order.wasm")).unwrap();
    for _ in 0..1_000 {
        file.set_modified(SystemTime::now()).unwrap();
        tokio::task::yield_now().await;
    }
    host.handle.reload().await;
    assert_eq!(host.history("order").len(), 1);
    host.deploy("order.wasm", &component("v2"));
    host.serves("order", "v2").await;
}

#[tokio::test]
async fn a_directory_may_be_replaced_by_another() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    let beside = host.root.with_file_name("next");
    write(&beside.join("order.wasm"), &component("v2"));
    fs::rename(&host.root, host.root.with_file_name("last")).unwrap();
    fs::rename(&beside, &host.root).unwrap();
    host.serves("order", "v2").await;
    // The new one is watched too.
    host.deploy("order.wasm", &component("v3"));
    host.serves("order", "v3").await;
    assert!(host.history("order").iter().all(Option::is_some));
}

#[tokio::test]
async fn a_directory_may_be_removed_and_made_again() {
    let host = Host::with(&[("order.wasm", &component("v1")), ("payments/refund.wasm", &component("keys payment:*"))]).await;
    // The new folders may well have the numbers of the old ones.
    for (order, refund) in [("v2", "keys payment:a"), ("v3", "keys payment:b")] {
        fs::remove_dir_all(&host.root).unwrap();
        write(&host.root.join("order.wasm"), &component(order));
        write(&host.root.join("payments/refund.wasm"), &component(refund));
        host.serves("order", order).await;
        host.serves("payments/refund", refund).await;
        host.deploy("payments/refund.wasm", &component("keys payment:c"));
        host.serves("payments/refund", "keys payment:c").await;
        host.deploy("order.wasm", &component("v9"));
        host.serves("order", "v9").await;
    }
    assert!(host.history("order").iter().chain(&host.history("payments/refund")).all(Option::is_some));
}

#[tokio::test]
async fn a_directory_that_goes_away_takes_nothing_with_it() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    let aside = host.root.with_file_name("aside");
    fs::rename(&host.root, &aside).unwrap();
    let status = host.until("noticed", |status| !status.problems.is_empty()).await;
    assert!(status.problems[0].cause.starts_with("failed to read the plugins' directory"), "{status:?}");
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    fs::rename(&aside, &host.root).unwrap();
    host.until("well again", |status| status.problems.is_empty()).await;
    assert_eq!(host.history("order").len(), 1);
}

#[tokio::test]
async fn a_directory_may_come_later() {
    let host = Host::start(|_| {});
    let status = host.until("looked", |status| status.looks > 0 && !status.problems.is_empty()).await;
    assert!(!status.ready, "that there is no directory does not mean that there are no plugins");
    write(&host.root.join("order.wasm"), &component("v1"));
    host.handle.ready().await;
    host.serves("order", "v1").await;
    write(&host.root.join("payments/refund.wasm"), &component("keys payment:*"));
    host.serves("payments/refund", "keys payment:*").await;
}

#[tokio::test]
async fn of_two_plugins_with_one_key_the_one_that_serves_stays() {
    let host = Host::with(&[("b.wasm", &component("keys order:*"))]).await;
    host.deploy("a.wasm", &component("keys refund:* order:*"));
    assert_eq!(host.reaches("a", State::Refused).await, "its key `order:*` is served by the plugin `b` already");
    assert_eq!((host.code("a"), host.code("b").as_deref()), (None, Some("keys order:*")));
    // When the other lets go, nobody has to touch anything.
    host.deploy("b.wasm", &component("keys shipment:*"));
    host.serves("a", "keys refund:* order:*").await;
    // Of two that come at once, the name decides, on every host alike.
    let host = Host::with(&[("z.wasm", &component("keys k")), ("y.wasm", &component("keys k"))]).await;
    assert_eq!((host.code("y").as_deref(), host.code("z")), (Some("keys k"), None));
}

#[tokio::test]
async fn a_refused_version_leaves_the_old_one_serving_and_says_why() {
    let host = Host::with(&[("order.wasm", &component("v1")), ("other.wasm", &component("v1"))]).await;
    host.deploy("order.wasm", &component("refuse it imports `wasi:sockets`"));
    assert_eq!(host.reaches("order", State::Refused).await, "it imports `wasi:sockets`");
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    // A fault of the host's own is a refusal too, and hurts nothing else.
    host.deploy("order.wasm", &component("panic"));
    host.until("refused again", |status| status.plugin("order").versions[0].reason.as_deref().is_some_and(|why| why.contains("panic"))).await;
    host.deploy("other.wasm", &component("v2"));
    host.serves("other", "v2").await;
    host.deploy("order.wasm", &component("v1"));
    host.until("well again", |status| status.state("order") == Some(State::Live)).await;
    assert!(host.handle.status().plugin("order").trouble().is_none());
    assert!(host.history("order").iter().all(|code| code.as_deref() == Some("v1")));
}

#[tokio::test]
async fn a_person_may_have_the_refused_examined_again() {
    let host = Host::with(&[("order.wasm", &component("picky"))]).await;
    assert_eq!(host.reaches("order", State::Refused).await, "not now");
    host.load.content.store(true, Ordering::Relaxed);
    let status = host.handle.reload().await;
    assert_eq!((status.state("order"), host.code("order").as_deref()), (Some(State::Live), Some("picky")), "the answer comes when all is decided");
}

#[tokio::test]
async fn a_version_that_faults_is_rolled_back_and_not_tried_again() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    host.deploy("order.wasm", &component("v2"));
    host.serves("order", "v2").await;
    let bad = host.plugin("order").unwrap();
    for _ in 0..6 {
        bad.tally.observed(true);
    }
    host.serves("order", "v1").await;
    let reason = host.reaches("order", State::RolledBack).await;
    assert!(reason.starts_with("6 of its first 6 records faulted"), "{reason}");
    // Neither a touch nor another copy of it brings it back.
    host.deploy("order.wasm", &component("v2"));
    host.handle.reload().await;
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    host.reaches("order", State::Quarantined).await;
    host.deploy("order.wasm", &component("v3"));
    host.serves("order", "v3").await;
}

#[tokio::test]
async fn a_sidecar_alone_makes_a_new_version() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    let before = host.plugin("order").unwrap().version.clone();
    host.deploy("order.toml", br#"keys = ["order:*", "refund:*"]"#);
    host.until("reloaded", |_| host.plugin("order").is_some_and(|plugin| plugin.keys.len() == 2)).await;
    assert_ne!(host.plugin("order").unwrap().version, before);
    host.deploy("order.toml", b"\nkey = \"order\"\non_fault = \"retry\"\n");
    let reason = host.reaches("order", State::Refused).await;
    assert!(reason.starts_with("its sidecar is not accepted: line 2: ") && reason.contains("; line 3: "), "{reason}");
    assert_eq!(host.plugin("order").unwrap().keys.len(), 2);
}

#[tokio::test]
async fn a_team_gets_what_it_is_granted() {
    let host = Host::with(&[
        ("payments/good.wasm", &component("keys payment:*")),
        ("payments/greedy.wasm", &component("keys order:*")),
        ("strangers/x.wasm", &component("v1")),
        ("default/x.wasm", &component("v1")),
    ])
    .await;
    assert!(host.code("payments/good").is_some());
    assert_eq!(host.reaches("payments/greedy", State::Refused).await, "it claims the key `order:*`, which the team `payments` is not granted");
    assert_eq!(host.reaches("strangers/x", State::Refused).await, "the team `strangers` is not in the configuration");
    let status = host.handle.status();
    assert_eq!(status.problems.iter().map(|problem| problem.cause.as_str()).collect::<Vec<_>>(), ["a folder `default` is not read"]);
    assert_eq!(host.code("x"), None);
}

#[tokio::test]
async fn its_own_cases_are_run_before_a_version_serves() {
    let case = |words: &str| format!(r#"{{ "message": {{ "key": "order" }}, "expect": {{ "skip": "{words}" }} }}"#);
    let host = Host::with(&[("order.wasm", &component("v1")), ("order.cases/one.json", case("v1").as_bytes())]).await;
    assert_eq!(host.code("order").as_deref(), Some("v1"));
    host.deploy("order.wasm", &component("v2"));
    assert_eq!(host.reaches("order", State::Refused).await, "its own case `one.json` fails: skip says `v2`, expected is `v1`");
    host.deploy("order.wasm", &component("fault"));
    host.until("refused", |status| status.plugin("order").versions[0].reason.as_deref().is_some_and(|why| why.ends_with("trapped: unreachable")))
        .await;
    // The case is mended, the component is as it was.
    host.deploy("order.wasm", &component("v2"));
    host.deploy("order.cases/one.json", case("v2").as_bytes());
    host.serves("order", "v2").await;
}

#[tokio::test]
async fn cases_are_read_one_after_the_other() {
    let failing = br#"{ "message": {}, "expect": { "skip": "other words" } }"#;
    let host = Host::with(&[("order.wasm", &component("v1")), ("order.cases/1.json", failing), ("order.cases/2.json", b"no JSON")]).await;
    assert_eq!(host.reaches("order", State::Refused).await, "its own case `1.json` fails: skip says `v1`, expected is `other words`");
    write(&host.root.join("order.cases/1.json"), br#"{ "message": {}, "expect": { "skip": true } }"#);
    host.until("the next is read", |status| {
        status.plugin("order").versions[0].reason.as_deref().is_some_and(|why| why.starts_with("its case `2.json`"))
    })
    .await;
}

#[tokio::test]
async fn what_takes_long_to_compile_keeps_only_its_own_team_waiting() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    // More of them than there are places, small ones and large ones.
    for at in 0..5 {
        host.deploy(&format!("payments/bomb{at}.wasm"), &component(&format!("compile {at}")));
        host.deploy(&format!("payments/large{at}.wasm"), &large(&format!("compile {at}")));
    }
    host.compiling(3).await;
    host.deploy("order.wasm", &component("compile v2"));
    host.compiling(4).await;
    host.load.compiler.permits.add_permits(1);
    // Whichever of the four it was that came first, none is let in that is not compiled; and there is a place for the next.
    host.compiling(5).await;
    host.load.compiler.permits.add_permits(100);
    host.serves("order", "compile v2").await;
}

#[tokio::test]
async fn what_lies_compiled_goes_live_while_all_places_to_compile_are_taken() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    host.deploy("order.wasm", &component("v2"));
    host.serves("order", "v2").await;
    (0..9).for_each(|at| host.deploy(&format!("bomb{at}.wasm"), &component(&format!("compile {at}"))));
    host.compiling(3).await;
    host.deploy("order.wasm", &component("v1"));
    host.serves("order", "v1").await;
    host.deploy("other.wasm", &component("refuse no"));
    host.reaches("other", State::Refused).await;
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_to_compile_does_not_keep_the_host_from_starting() {
    let began = tokio::time::Instant::now();
    let host = Host::start(|root| {
        write(&root.join("order.wasm"), &component("v1"));
        write(&root.join("bomb.wasm"), &component("compile minutes"));
    });
    host.handle.ready().await;
    let waited = began.elapsed();
    assert!(waited >= START_WITHIN && waited < START_WITHIN * 2, "{waited:?}");
    assert_eq!((host.code("order").as_deref(), host.handle.status().late.clone()), (Some("v1"), vec!["bomb".to_owned()]));
    host.load.compiler.permits.add_permits(1);
    host.handle.complete().await;
    assert!(host.handle.status().late.is_empty());
    assert!(host.code("bomb").is_some() || began.elapsed() >= LATE_WITHIN);
}

#[tokio::test]
async fn what_is_compiled_ahead_neither_serves_nor_keeps_others_waiting_nor_is_compiled_again() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    host.deploy("order.wasm", &component("compile v2"));
    host.compiling(1).await;
    // Something else is wanted before it is done; whether it is examined by then or not.
    host.deploy("order.wasm", &component("v3"));
    host.serves("order", "v3").await;
    host.deploy("order.wasm", &component("compile v2"));
    host.load.compiler.permits.add_permits(1);
    host.serves("order", "compile v2").await;
    assert_eq!(*host.load.compiler.begun.borrow(), 1);
    assert_eq!(host.history("order"), ["v1", "v3", "compile v2"].map(|version| Some(version.to_owned())));
}

#[tokio::test]
async fn a_version_is_shown_from_the_moment_at_which_it_is_seen() {
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    host.deploy("order.wasm", &component("compile v2"));
    let loading = |status: &Status| status.plugin("order").versions.first().filter(|version| version.state == State::Loading).cloned();
    let status = host.until("shown as loading", |status| loading(status).is_some()).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let since = u128::from(loading(&status).unwrap().since);
    assert!(now - since < 60_000, "{since} of {now}");
    assert_eq!(status.plugin("order").versions.len(), 2, "beside the one that serves");
    host.load.compiler.permits.add_permits(1);
    host.serves("order", "compile v2").await;
    host.until("not shown any more", |status| loading(status).is_none()).await;
}

#[tokio::test]
async fn a_thread_of_its_own_goes_on_while_the_host_has_none_to_spare() {
    let host = Host::on_a_thread(|root| write(&root.join("order.wasm"), &component("v1")));
    // This test's runtime has one thread, and this loop does not give it back.
    let wait = |code: &str| {
        let began = tokio::time::Instant::now();
        while host.code("order").as_deref() != Some(code) {
            assert!(began.elapsed().as_secs() < 9, "{:#?}", host.handle.status());
            std::thread::yield_now();
        }
    };
    wait("v1");
    host.deploy("order.wasm", &component("v2"));
    wait("v2");
}

#[tokio::test]
async fn links_and_pipes_lead_nowhere() {
    let host = Host::start(|root| {
        write(&root.with_file_name("secret"), &component("secret"));
        fs::create_dir(root).unwrap();
        symlink("../secret", root.join("outside.wasm")).unwrap();
        symlink("gone", root.join("dangling.wasm")).unwrap();
        write(&root.join("order.wasm"), &component("v1"));
        symlink("order.wasm", root.join("inside.wasm")).unwrap();
        // A team may not read another's files, nor be led out of the directory.
        write(&root.join("payments/own.wasm"), &component("keys payment:own"));
        symlink("../order.wasm", root.join("payments/stolen.wasm")).unwrap();
        symlink("..", root.join("away")).unwrap();
        write(&root.join("payments/cased.wasm"), &component("keys payment:cased"));
        write(&root.with_file_name("others").join("secret.json"), b"{}");
        symlink("../../others", root.join("payments/cased.cases")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(root.join("pipe.wasm")).status().unwrap();
        assert!(made.success());
    });
    host.handle.ready().await;
    assert!(host.reaches("outside", State::Refused).await.contains("leads out of its folder"));
    assert!(host.reaches("payments/stolen", State::Refused).await.contains("leads out of its folder"));
    assert!(host.reaches("pipe", State::Refused).await.ends_with("is not a regular file"));
    let cases = host.reaches("payments/cased", State::Refused).await;
    assert!(cases.contains("cased.cases` is a link that leads out of its folder") && !cases.contains("secret"), "{cases}");
    assert_eq!(host.code("inside").as_deref(), Some("v1"));
    assert_eq!(host.code("payments/own").as_deref(), Some("keys payment:own"));
    let status = host.handle.status();
    let problems: Vec<&str> = status.problems.iter().map(|problem| problem.cause.split(',').next().unwrap()).collect();
    assert_eq!(problems, ["the link leads out of the plugins' directory", "the link leads to nothing"]);
}

/// The example of minisign's documentation: a key, and its signature over the four bytes `test`.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1633700835\tfile:test\tprehashed
wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==
";

#[tokio::test]
async fn with_trusted_keys_only_signed_bytes_come_in() {
    let keys = TrustedKeys::parse(&[KEY.to_owned()]).unwrap();
    let host = Host::start_with(keys, true, |root| {
        write(&root.join("signed.wasm"), b"test");
        write(&root.join("signed.wasm.minisig"), SIGNATURE.as_bytes());
        write(&root.join("unsigned.wasm"), b"test");
        write(&root.join("changed.wasm"), b"text");
        write(&root.join("changed.wasm.minisig"), SIGNATURE.as_bytes());
        write(&root.join("garbled.wasm"), b"test");
        write(&root.join("garbled.wasm.minisig"), b"trust me");
    });
    host.handle.ready().await;
    assert_eq!(host.code("signed").as_deref(), Some("test"));
    assert!(host.reaches("unsigned", State::Refused).await.starts_with("there is no signature"));
    assert!(host.reaches("changed", State::Refused).await.starts_with("the signature is not by a trusted key"));
    assert!(host.reaches("garbled", State::Refused).await.starts_with("the signature cannot be read"));
    // The signature comes after the component.
    host.deploy("unsigned.wasm.minisig", SIGNATURE.as_bytes());
    host.serves("unsigned", "test").await;
    assert!(TrustedKeys::parse(&["no key".to_owned()]).is_err());
}

#[tokio::test]
async fn a_system_that_tells_of_no_changes_is_looked_at_often() {
    let host = Host::start_with(TrustedKeys::default(), false, |root| write(&root.join("order.wasm"), &component("v1")));
    host.handle.ready().await;
    let cause = "no space left for watches".to_owned();
    assert_eq!(host.handle.status().watching, Watching::Polling { cause });
    host.deploy("order.wasm", &component("v2"));
    host.serves("order", "v2").await;
}

#[tokio::test]
async fn many_plugins_change_at_once() {
    let name = |at: usize| format!("p{at}.wasm");
    let host = Host::start(|root| (0..200).for_each(|at| write(&root.join(name(at)), &component("v1"))));
    host.handle.ready().await;
    assert_eq!(host.handle.status().plugins.iter().filter(|plugin| plugin.serving.is_some()).count(), 200);
    (0..200).for_each(|at| host.deploy(&name(at), &component(if at % 10 == 0 { "refuse no" } else { "v2" })));
    host.until("all decided", |status| status.settled && (0..200).all(|at| status.state(&format!("p{at}")) != Some(State::Loading))).await;
    host.until("all live", |_| (0..200).all(|at| host.code(&format!("p{at}")).as_deref() == Some(if at % 10 == 0 { "v1" } else { "v2" }))).await;
}

#[tokio::test]
async fn the_same_code_with_other_cases_goes_on_serving() {
    let case = |words: &str| format!(r#"{{ "message": {{}}, "expect": {{ "skip": {words} }} }}"#);
    let host = Host::with(&[("order.wasm", &component("v1"))]).await;
    host.deploy("order.cases/one.json", case("true").as_bytes());
    host.handle.reload().await;
    assert_eq!(host.history("order").len(), 1, "nothing to swap");
    host.deploy("order.cases/two.json", case("\"other words\"").as_bytes());
    assert!(host.reaches("order", State::Refused).await.starts_with("its own case `two.json` fails"));
    fs::remove_file(host.root.join("order.cases/two.json")).unwrap();
    host.reaches("order", State::Live).await;
    assert_eq!((host.history("order").len(), host.code("order").as_deref()), (1, Some("v1")));
}

#[tokio::test]
async fn what_is_gone_with_its_folder_is_retired_and_the_rest_is_not() {
    let host = Host::with(&[("order.wasm", &component("v1")), ("payments/refund.wasm", &component("keys payment:*"))]).await;
    fs::remove_dir_all(host.root.join("payments")).unwrap();
    let status = host.handle.reload().await;
    assert_eq!(status.state("payments/refund"), Some(State::Retired), "the answer waits for the grace to be over");
    assert_eq!((host.code("order").as_deref(), host.code("payments/refund")), (Some("v1"), None));
}
