use clap::Parser;

use super::*;
use crate::cli::admin::testing::{Served, well};
use crate::observe;
use crate::outcome::Cause;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    release: Release,
}

#[test]
fn exactly_one_thing_is_released() {
    for wrong in [&[][..], &["--key", "a", "--plugin", "b"], &["--unrouted", "--destination", "c"]] {
        assert_eq!(Command::try_parse_from([&["keyway"], wrong].concat()).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn what_is_named_reaches_the_host() {
    let served = Served::start(well(), None);
    // The host of words holds one key, then none, then ends.
    let mut said = Vec::new();
    for (argument, json) in [(&["--key", "a key&b=é:1"][..], false), (&["--plugin", "payments/refund"], true)] {
        let command = Command::try_parse_from([&["keyway"], argument].concat()).unwrap().release;
        assert_eq!(ask(&served.admin(None), &command.what, json, |text| said.push(text)).await.unwrap(), Exit::Done);
    }
    assert_eq!(said, ["1 key is handled anew", "{\"released\":0}"]);
    let command = Command::try_parse_from(["keyway", "--unrouted"]).unwrap().release;
    let error = ask(&served.admin(None), &command.what, false, |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("does not take records"), "{error}");
    let asked =
        [observe::Release::Key("a key&b=é:1".into()), observe::Release::Plugin("payments/refund".into()), observe::Release::Cause(Cause::Unrouted)];
    assert_eq!(*served.host.released.lock().unwrap(), asked);
}
