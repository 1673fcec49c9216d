//! Which addresses may be dialled: a pure decision.
//!
//! The classes follow the IANA special-purpose registries (RFC 6890 and its successors). An IPv6 address that carries an IPv4 address in it
//! is judged by what it carries as well, because that is where its packets may end up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Host;

/// What an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The internet at large.
    Public,
    /// Private networks: RFC 1918, shared address space (RFC 6598), unique local (RFC 4193).
    Private,
    /// This machine.
    Loopback,
    /// This link; the metadata services of clouds live here and at a few fixed addresses.
    LinkLocal,
    /// Reserved, documentation, benchmarks, retired tunnels: nobody's service is there.
    Special,
    /// No host at all: unspecified, multicast, broadcast. Some systems take the unspecified address for loopback.
    Nowhere,
}

/// Whether an address may be dialled for this host.
///
/// # Errors
/// What the address is, in words that complete "`orders` resolves to …".
pub(super) fn check(host: Host, address: IpAddr) -> Result<(), String> {
    let class = classify(address);
    let allowed = match (host, class) {
        (_, Class::Nowhere) => false,
        (_, Class::Public) => true,
        // The operator wrote this very address. Whatever else it is, it was meant.
        (Host::Literal(literal), _) => literal.to_canonical() == address.to_canonical(),
        (Host::Local, Class::Loopback) => true,
        (Host::Local | Host::Name, Class::Private) => true,
        (Host::Local | Host::Name, Class::Loopback | Class::LinkLocal | Class::Special) => false,
    };
    if allowed { Ok(()) } else { Err(format!("{address}, {}", describe(class))) }
}

fn describe(class: Class) -> &'static str {
    match class {
        Class::Public => "a public address",
        Class::Private => "an address of a private network",
        Class::Loopback => "an address of this machine",
        Class::LinkLocal => "a link-local or cloud metadata address",
        Class::Special => "an address reserved for special purposes",
        Class::Nowhere => "no address of a host",
    }
}

pub(super) fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // "This network": Linux takes 0.0.0.0 for loopback.
        [0, ..] => Class::Nowhere,
        [224..=239, ..] | [255, 255, 255, 255] => Class::Nowhere,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        // Metadata services outside link-local: Alibaba Cloud, Oracle's first, Azure's wire server.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Class::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        // Protocol assignments, documentation, 6to4 relays (RFC 7526), AS112, benchmarks, class E.
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => {
            Class::Special
        }
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    let segments = address.segments();
    let carried = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Nowhere,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // Mapped (RFC 4291, section 2.5.5.2): the system dials the carried address itself.
        [0, 0, 0, 0, 0, 0xffff, high, low] => classify_v4(carried(high, low)),
        // Compatible (retired), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => at_least_special(classify_v4(carried(high, low))),
        // NAT64 (RFC 6052): public services are reached this way where there is no IPv4, anything else is a way around this guard.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match classify_v4(carried(high, low)) {
            Class::Public => Class::Public,
            other => at_least_special(other),
        },
        // NAT64 of the local network (RFC 8215): what is behind it is only known there.
        [0x64, 0xff9b, ..] => Class::Special,
        // 6to4 and Teredo: retired, and relays deliver to whatever they carry.
        [0x2002, high, low, ..] => at_least_special(classify_v4(carried(high, low))),
        [0x2001, 0, ..] => Class::Special,
        [0xff00..=0xffff, ..] => Class::Nowhere,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        // Amazon's metadata services: IMDS, DNS and time, all below fd00:ec2::/32. Google's: fd20:ce::254.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254] => Class::LinkLocal,
        // ISATAP (RFC 5214), below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => at_least_special(classify_v4(carried(high, low))),
        [0xfc00..=0xfdff, ..] => Class::Private,
        // Site-local (retired), discard-only, documentation, ORCHID, benchmarks, SRv6 SIDs.
        [0xfec0..=0xfeff, ..]
        | [0x100, 0, 0, 0, ..]
        | [0x2001, 0xdb8, ..]
        | [0x2001, 0x10..=0x2f, ..]
        | [0x2001, 2, 0, ..]
        | [0x3fff, 0..=0xfff, ..]
        | [0x5f00, ..] => Class::Special,
        // Nothing else outside 2000::/3 is given out.
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Special,
    }
}

/// A carried address keeps what makes it worse than special, and is never better.
fn at_least_special(class: Class) -> Class {
    match class {
        Class::Public | Class::Private => Class::Special,
        other => other,
    }
}
