use super::tables::tables;
use super::*;
use crate::cli::admin::testing::{Served, unwell, well};

#[test]
fn a_person_reads_it() {
    insta::assert_snapshot!(tables(&unwell(), 3_000_000));
    insta::assert_snapshot!(tables(&crate::observe::Status::default(), 0));
}

#[tokio::test]
async fn whether_all_is_well_is_in_the_exit_code() {
    for (status, exit) in [(well(), Exit::Done), (unwell(), Exit::Wrong)] {
        let served = Served::start(status, None);
        let mut shown = String::new();
        assert_eq!(ask(&served.admin(None), false, |text| shown = text).await.unwrap(), exit);
        assert!(shown.starts_with("host keyway-0 (Keyway 0.1.0): ready\n"), "{shown}");
    }
}

#[tokio::test]
async fn the_json_is_the_host_s_own() {
    let served = Served::start(unwell(), None);
    let mut shown = String::new();
    assert_eq!(ask(&served.admin(None), true, |text| shown = text).await.unwrap(), Exit::Wrong);
    let status: crate::observe::Status = serde_json::from_str(&shown).unwrap();
    assert_eq!(status.plugins[0].versions, unwell().plugins[0].versions);
}
