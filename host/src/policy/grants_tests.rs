use proptest::prelude::*;

use super::*;
use crate::outcome::Body;

fn grant(keys: &[&str], destinations: &[&str]) -> Grant {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Grant {
        team: "payments".into(),
        keys: own(keys),
        destinations: own(destinations),
        limits: Limits::default(),
        file: Path::new("/etc/bridge.toml").into(),
    }
}

fn request(destination: &str) -> Request {
    Request { destination: destination.into(), method: "POST".into(), path: "/".into(), headers: Vec::new(), body: None, attributes: Vec::new() }
}

fn failed_with(result: Result<(), Failure>) -> String {
    let failure = result.unwrap_err();
    format!("{}: {}", failure.reason, failure.detail)
}

#[test]
fn a_destination_that_is_not_granted_is_denied() {
    let grant = grant(&["*"], &["ledger", "mail-*"]);
    let check = |requests: &[Request]| check_requests(&grant, &grant.limits, requests);
    check(&[request("ledger"), request("mail-eu"), request("mail-")]).unwrap();
    assert_eq!(
        failed_with(check(&[request("ledger"), request("orders")])),
        "denied: names the destination `orders`, which the team `payments` is not granted; \
         write `destinations = [\"ledger\", \"mail-*\", \"orders\"]` under `[teams.payments]` in `/etc/bridge.toml`"
    );
    let failure = check(&[request("ledger"), request("ledge\n")]).unwrap_err();
    assert!(failure.detail.contains(r"`ledge\n`"), "{}", failure.detail);
    assert_eq!(failure.request.unwrap().index, 1);
    check(&[]).unwrap();
}

#[test]
fn too_much_is_refused_and_says_where_to_allow_more() {
    let grant = grant(&["*"], &["*"]);
    let many = vec![request("a"); 21];
    assert_eq!(
        failed_with(check_requests(&grant, &grant.limits, &many)),
        "output: returned 21 requests, and 20 are its limit; raise `limits.requests` of `[teams.payments]` in `/etc/bridge.toml`"
    );
    let own = Limits { requests: 2, ..grant.limits };
    assert!(failed_with(check_requests(&grant, &own, &many)).ends_with("raise `requests` under `[limits]` in the plugin's sidecar"));
    let mut loud = request("a");
    loud.headers = vec![("x".into(), "y".into()); 65];
    assert!(failed_with(check_requests(&grant, &grant.limits, &[loud])).starts_with("output: returned a request with 65 headers, and 64 are"));
    let mut large = request("a");
    large.body = Some(Body::Bytes(vec![0; 600_000]));
    check_requests(&grant, &grant.limits, std::slice::from_ref(&large)).unwrap();
    assert!(failed_with(check_requests(&grant, &grant.limits, &[large.clone(), large])).starts_with("output: returned more than its limit of 1MiB;"));
}

proptest! {
    /// Whatever a claim within the grant matches, the grant matches too; and what a grant refuses has a key that it does not match.
    #[test]
    fn a_claim_that_is_let_in_matches_nothing_outside(granted in patterns(), claim in pattern(), key in "[ab]{0,5}") {
        let grant = Grant { keys: granted.clone(), ..grant(&[], &[]) };
        let claim: Pattern = claim.parse().unwrap();
        let matched = |key: &str| granted.iter().any(|granted| granted.parse::<Pattern>().unwrap().matches(key));
        if grant.may_claim(&claim) {
            prop_assert!(!claim.matches(&key) || matched(&key), "{key}");
        } else {
            // A character that no granted pattern has shows what lies outside; for an exact claim its own text does.
            let outside = match &claim {
                Pattern::Exact(text) => text.to_string(),
                Pattern::Prefix(text) => format!("{text}#"),
                Pattern::Any => "#".to_owned(),
            };
            prop_assert!(claim.matches(&outside) && !matched(&outside), "{outside}");
        }
    }

    /// The quick way for destinations says what the pattern says.
    #[test]
    fn a_name_is_granted_as_its_pattern_matches(granted in patterns(), name in "[ab]{0,4}") {
        let grant = Grant { destinations: granted.clone(), ..grant(&[], &[]) };
        let expected = granted.iter().any(|granted| granted.parse::<Pattern>().unwrap().matches(&name));
        prop_assert_eq!(grant.may_name(&name), expected);
    }
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("*".to_owned()), 4 => "[ab]{1,4}", 4 => "[ab]{1,4}\\*"]
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(pattern(), 0..4)
}
