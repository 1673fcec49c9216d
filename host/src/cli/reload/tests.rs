use super::*;
use crate::cli::admin::testing::{Served, unwell, well};

async fn shown(status: Status, exit: Exit) -> String {
    let served = Served::start(status, None);
    let mut shown = String::new();
    assert_eq!(ask(&served.admin(None), false, |text| shown = text).await.unwrap(), exit);
    assert_eq!(*served.host.reloads.lock().unwrap(), 1);
    shown
}

#[tokio::test]
async fn what_came_of_it_is_said_of_every_plugin() {
    assert_eq!(shown(well(), Exit::Done).await, "plugin `order`: 01234567 serves");
    insta::assert_snapshot!(shown(unwell(), Exit::Wrong).await, @r"
    plugin `order`: 01234567 serves; aaaaaaaa refused: imports `wasi:sockets/tcp` [2J
      hint: build it without sockets
    ");
    let mut loading = well();
    loading.directory.settled = false;
    loading.directory.problems = vec!["`plugins/x y.wasm`: is no name".into()];
    loading.plugins[0].loading = true;
    insta::assert_snapshot!(shown(loading, Exit::Wrong).await, @r"
    plugin `order`: 01234567 serves; its new files are being looked at
    in the directory: `plugins/x y.wasm`: is no name
    not all is looked at yet; `keyway status` goes on telling
    ");
    let mut empty = well();
    empty.plugins.clear();
    assert_eq!(shown(empty, Exit::Done).await, "there are no plugins in `plugins`");
}

#[tokio::test]
async fn the_json_is_the_status_afterwards() {
    let served = Served::start(unwell(), None);
    let mut shown = String::new();
    assert_eq!(ask(&served.admin(None), true, |text| shown = text).await.unwrap(), Exit::Wrong);
    let status: Status = serde_json::from_str(&shown).unwrap();
    assert_eq!(status.plugins[0].versions.len(), 3);
}
