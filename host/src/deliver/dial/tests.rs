use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::net::TcpListener;

use super::address::{Class, classify};
use super::*;

/// Answers of a resolver, and what was dialled because of them.
#[derive(Debug, Default)]
pub(super) struct Script {
    answers: HashMap<String, Vec<SocketAddr>>,
    dialled: Mutex<Vec<SocketAddr>>,
    /// Where every dial ends, whatever address it was for; none refuses.
    listener: Option<SocketAddr>,
}

impl Script {
    pub(super) fn resolve(&self, host: &str, _port: u16) -> Vec<SocketAddr> {
        self.answers.get(host).cloned().unwrap_or_default()
    }

    pub(super) async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().unwrap().push(address);
        match self.listener {
            Some(listener) => TcpStream::connect(listener).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

fn guard(host: &str, addresses: &[&str]) -> (Guard, Arc<Script>) {
    let answers = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 9)).collect();
    let script = Arc::new(Script { answers: HashMap::from([(host.to_owned(), answers)]), ..Script::default() });
    (Guard { resolver: Resolver::Scripted(Arc::clone(&script)), timeout: Duration::from_secs(5) }, script)
}

async fn dialled(url: &str, addresses: &[&str]) -> (Vec<String>, String) {
    let uri: Uri = url.parse().unwrap();
    let (guard, script) = guard(uri.host().unwrap(), addresses);
    let error = guard.connect(uri).await.err().unwrap().to_string();
    let dialled = script.dialled.lock().unwrap().iter().map(SocketAddr::to_string).collect();
    (dialled, error)
}

#[test]
fn classes() {
    use Class::*;
    for (address, class) in [
        ("1.1.1.1", Public),
        ("172.15.0.1", Public),
        ("172.32.0.1", Public),
        ("100.63.255.255", Public),
        ("192.0.1.1", Public),
        ("169.253.0.1", Public),
        ("2606:4700::1111", Public),
        ("64:ff9b::1.1.1.1", Public),
        ("::ffff:1.1.1.1", Public),
        ("10.0.0.1", Private),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.1.1", Private),
        ("100.64.0.1", Private),
        ("100.127.255.255", Private),
        ("fc00::1", Private),
        ("fd12:3456::1", Private),
        ("::ffff:10.0.0.1", Private),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("::1", Loopback),
        ("::ffff:127.0.0.1", Loopback),
        ("::127.0.0.1", Loopback),
        ("64:ff9b::127.0.0.1", Loopback),
        ("169.254.0.1", LinkLocal),
        ("169.254.169.254", LinkLocal),
        ("100.100.100.200", LinkLocal),
        ("192.0.0.192", LinkLocal),
        ("168.63.129.16", LinkLocal),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fd00:ec2::254", LinkLocal),
        ("fd00:ec2::23", LinkLocal),
        ("fd20:ce::254", LinkLocal),
        ("::ffff:169.254.169.254", LinkLocal),
        ("::ffff:0:169.254.169.254", LinkLocal),
        ("64:ff9b::169.254.169.254", LinkLocal),
        ("2002:a9fe:a9fe::1", LinkLocal),
        ("fe80::5efe:169.254.169.254", LinkLocal),
        ("2001:db9::5efe:169.254.169.254", LinkLocal),
        ("192.0.0.1", Special),
        ("192.0.2.1", Special),
        ("198.51.100.1", Special),
        ("203.0.113.1", Special),
        ("192.88.99.1", Special),
        ("198.18.0.1", Special),
        ("198.19.255.255", Special),
        ("240.0.0.1", Special),
        ("255.255.255.254", Special),
        ("64:ff9b:1::1.1.1.1", Special),
        ("64:ff9b::10.0.0.1", Special),
        ("2002:101:101::1", Special),
        ("2001::1", Special),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Special),
        ("2001:db8::1", Special),
        ("2001:2::1", Special),
        ("3fff::1", Special),
        ("100::1", Special),
        ("fec0::1", Special),
        ("5f00::1", Special),
        ("4000::1", Special),
        ("::1.1.1.1", Special),
        ("0.0.0.0", Nowhere),
        ("0.1.2.3", Nowhere),
        ("224.0.0.1", Nowhere),
        ("239.255.255.255", Nowhere),
        ("255.255.255.255", Nowhere),
        ("::", Nowhere),
        ("::ffff:0.0.0.0", Nowhere),
        ("ff02::1", Nowhere),
        ("64:ff9b::224.0.0.1", Nowhere),
    ] {
        assert_eq!(classify(address.parse().unwrap()), class, "{address}");
    }
}

#[tokio::test]
async fn names_may_be_private_but_not_local() {
    let (asked, _) = dialled("http://orders.internal:8080/", &["10.0.0.1", "fd12::1", "93.184.216.34"]).await;
    assert_eq!(asked, ["10.0.0.1:8080", "[fd12::1]:8080", "93.184.216.34:8080"]);
    for address in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "::ffff:127.0.0.1", "fd00:ec2::254", "198.18.0.1", "255.255.255.255"] {
        let (asked, error) = dialled("http://orders.internal/", &[address]).await;
        assert!(asked.is_empty(), "{address}");
        assert!(error.contains("not dialled"), "{error}");
    }
    // One good address does not carry a bad one with it.
    let (asked, _) = dialled("http://orders.internal/", &["169.254.169.254", "10.0.0.1", "127.0.0.1"]).await;
    assert_eq!(asked, ["10.0.0.1:80"]);
}

#[tokio::test]
async fn localhost_is_this_machine() {
    for host in ["localhost", "LOCALHOST", "api.localhost"] {
        let (asked, _) = dialled(&format!("https://{host}/"), &["127.0.0.1", "::1"]).await;
        assert_eq!(asked, ["127.0.0.1:443", "[::1]:443"], "{host}");
    }
    let (asked, _) = dialled("http://notlocalhost/", &["127.0.0.1"]).await;
    assert!(asked.is_empty());
}

#[tokio::test]
async fn literals_are_dialled_as_written() {
    for (url, address) in [
        ("http://127.0.0.1:81/", "127.0.0.1:81"),
        ("http://[::1]:81/", "[::1]:81"),
        ("http://[::ffff:127.0.0.1]:81/", "127.0.0.1:81"),
        ("http://169.254.169.254/", "169.254.169.254:80"),
        ("http://10.1.2.3/", "10.1.2.3:80"),
    ] {
        assert_eq!(dialled(url, &[]).await.0, [address], "{url}");
    }
    for url in ["http://0.0.0.0/", "http://[::]/", "http://224.0.0.1/", "http://255.255.255.255/", "http://[ff02::1]/", "http://[::ffff:0.0.0.0]/"] {
        assert!(dialled(url, &[]).await.0.is_empty(), "{url}");
        assert!(Guard::check_literal(url.parse::<Uri>().unwrap().host().unwrap()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn the_other_end_is_the_checked_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let script = Arc::new(Script {
        answers: HashMap::from([("orders.internal".to_owned(), vec!["10.0.0.1:80".parse().unwrap()])]),
        listener: Some(listener.local_addr().unwrap()),
        ..Script::default()
    });
    let guard = Guard { resolver: Resolver::Scripted(script), timeout: Duration::from_secs(5) };
    let error = guard.connect("http://orders.internal/".parse().unwrap()).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

/// An IPv4 address that no name may lead to.
fn denied() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(127, b, c, d)),
        any::<[u8; 2]>().prop_map(|[c, d]| Ipv4Addr::new(169, 254, c, d)),
        any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(0, b, c, d)),
        (224..=255u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d)),
        Just(Ipv4Addr::new(100, 100, 100, 200)),
        Just(Ipv4Addr::new(168, 63, 129, 16)),
    ]
}

/// Every way of carrying an IPv4 address in an IPv6 one.
fn carriers(v4: Ipv4Addr, noise: u16) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        v4.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, noise, noise, noise, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, high, low >> 8, low << 8, 0, 0),
        Ipv6Addr::new(0x2002, high, low, noise, 0, 0, 0, noise),
        Ipv6Addr::new(0x2001, 0, high, low, noise, noise, noise, noise),
        Ipv6Addr::new(0x2001, 0, noise, noise, noise, noise, !high, !low),
        Ipv6Addr::new(0x2001, noise | 0x1000, noise, noise, 0, 0x5efe, high, low),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0x5efe, high, low),
    ]
}

proptest! {
    /// However an answer of the resolver spells a denied address, it is not dialled.
    #[test]
    fn no_answer_leads_to_a_denied_address(v4 in denied(), noise in any::<u16>()) {
        for address in carriers(v4, noise).into_iter().map(IpAddr::V6).chain([IpAddr::V4(v4)]) {
            prop_assert!(address::check(Host::Name, address).is_err(), "{address} carries {v4}");
        }
    }

    /// However a base URL spells an address that is no host's, the start refuses it; and every other spelling is known to be a literal, so
    /// that no resolver is asked.
    #[test]
    fn no_spelling_of_a_literal_is_taken_for_a_name(v4 in any::<Ipv4Addr>()) {
        let [a, b, c, d] = v4.octets();
        let number = u32::from(v4);
        for spelling in [
            format!("{a}.{b}.{c}.{d}"),
            format!("{number}"),
            format!("0x{number:x}"),
            format!("0{number:o}"),
            format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("{a}.{}", number & 0xff_ffff),
            format!("{a}.{b}.{}", number & 0xffff),
            format!("{a}.{b}.{c}.{d}."),
            format!("%3{}%3{}", 0, 0) + &format!("{}.{b}.{c}.{d}", a % 8),
            format!("[::ffff:{a}.{b}.{c}.{d}]"),
        ] {
            let Ok(url) = url::Url::parse(&format!("http://{spelling}/")) else { continue };
            let target = super::super::target::Target::new(&url).unwrap();
            let uri = target.join("").unwrap();
            let host = Host::of(uri.host().unwrap());
            prop_assert!(matches!(host, Host::Literal(_)), "{spelling} -> {host:?}");
            if classify(IpAddr::V4(v4)) == Class::Nowhere && !spelling.starts_with('%') {
                prop_assert!(Guard::check_literal(uri.host().unwrap()).is_err(), "{spelling}");
            }
        }
    }
}
